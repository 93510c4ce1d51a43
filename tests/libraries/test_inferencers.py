"""mmdet's ``DetInferencer`` and mmseg's ``MMSegInferencer`` work with our models as they are and predict as ours."""

import io
import json

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer, init_detector
from mmengine.config import Config
from mmseg.apis import MMSegInferencer, init_model
from PIL import Image
from pycocotools import mask as mask_api

from mmseg_oneformer.apis import OneFormerInferencer
from mmseg_oneformer.checkpoints.checkpoint import for_inference, read_checkpoint, save_safetensors
from mmseg_oneformer.datasets.drawing import draw_scene
from mmseg_oneformer.datasets.shapes import ShapesPanoptic
from mmseg_oneformer.errors import UserError
from mmseg_oneformer.libraries.inferencers import ids_to_rgb
from mmseg_oneformer.zoo import weights
from mmseg_oneformer.zoo.configs import find_config
from mmseg_oneformer.zoo.weights import find_weights

NAME = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
CLASSES = ShapesPanoptic.METAINFO['classes']


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp('photos')
    for number in range(2):
        Image.fromarray(draw_scene(96, np.random.default_rng(number)).image).save(folder / f'{number}.png')
    return folder


@pytest.fixture(scope='module')
def expected(photos):
    return OneFormerInferencer(NAME, device='cpu')(photos, batch_size=2, progress=False)


@pytest.fixture(scope='module')
def detector():
    return DetInferencer(NAME, device='cpu', show_progress=False)


@pytest.fixture(scope='module')
def segmentor():
    return MMSegInferencer(NAME, device='cpu')


@pytest.fixture
def changed():
    """A function that builds an inferencer whose config is changed: as users do, by a config and a path."""

    def build(inferencer, **options):
        cfg = for_inference(Config.fromfile(find_config(NAME)))
        cfg.merge_from_dict({key.replace('__', '.'): value for key, value in options.items()})
        return inferencer(cfg, str(find_weights(NAME)), device='cpu')

    return build


def decode(png):
    return np.asarray(Image.open(png)).astype(int) @ (1, 256, 65536)


def without_void(panoptic):
    return np.where(panoptic.ids == len(CLASSES), 0, panoptic.ids)


def test_detector__samples_equal_ours(detector, photos, expected):
    found = detector(str(photos), batch_size=2, return_datasamples=True)['predictions']
    assert len(found) == 2
    for sample, ours in zip(sorted(found, key=lambda sample: sample.img_path), expected, strict=True):
        assert np.array_equal(sample.pred_sem_seg.data[0].numpy(), ours.semantic)
        assert np.array_equal(sample.pred_panoptic_seg.sem_seg[0].numpy(), ours.panoptic.ids)
        assert torch.equal(sample.pred_instances.masks, ours.sample.pred_instances.masks)
        assert torch.equal(sample.pred_instances.scores, ours.sample.pred_instances.scores)
    assert tuple(detector.visualizer.dataset_meta['classes']) == CLASSES


def test_detector__dict_without_panopticapi(detector, photos, expected):
    found = detector([str(photos / '0.png'), str(photos / '1.png')], batch_size=2)
    prediction, ours = found['predictions'][0], expected[0]
    assert np.array_equal(prediction['panoptic_seg'].astype(int) @ (1, 256, 65536), without_void(ours.panoptic))
    assert prediction['labels'] == ours.sample.pred_instances.labels.tolist()
    assert np.array_equal([mask_api.decode(code) for code in prediction['masks']], ours.sample.pred_instances.masks)
    assert not found['visualization']


def test_detector__saves_pictures_and_predictions(detector, photos, expected, tmp_path):
    paths = [str(photos / f'{number}.png') for number in range(2)]
    detector(paths, batch_size=2, out_dir=str(tmp_path), no_save_pred=False)
    for number, ours in enumerate(expected):
        assert np.array_equal(decode(tmp_path / f'preds/{number}_panoptic_seg.png'), without_void(ours.panoptic))
        saved = json.loads((tmp_path / f'preds/{number}.json').read_text())
        assert saved['scores'] == ours.sample.pred_instances.scores.tolist()
        assert np.array_equal(mask_api.decode(saved['masks'][0]), ours.sample.pred_instances.masks[0])
        assert Image.open(tmp_path / f'vis/{number}.png').size[0] > 4 * 96


def test_detector__picture_of_an_array_without_files(detector, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (picture,) = detector(cv2.imread(str(photos / '0.png')), return_vis=True)['visualization']
    assert picture.dtype == np.uint8 and picture.shape[2] == 3 and np.ptp(picture) > 100
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize('visualizer', ['OneFormerVisualizer', 'mmdet.DetLocalVisualizer'])
@pytest.mark.parametrize('threshold', [0.5, 1.0], ids=['segments', 'none'])
def test_detector__run_length_codes_and_empty_predictions(changed, photos, expected, tmp_path, visualizer, threshold):
    # No class score is above 1, so there are no segments. Large photos get codes by themselves.
    options = {'model__test_cfg__mask_format': 'rle', 'model__test_cfg__object_mask_thr': threshold}
    infer = changed(DetInferencer, visualizer={'type': visualizer, 'name': 'shown'}, **options)
    (prediction,) = infer(str(photos / '0.png'), out_dir=str(tmp_path), no_save_pred=False)['predictions']
    assert np.array_equal(
        [mask_api.decode(code) for code in prediction['masks']], expected[0].sample.pred_instances.masks
    )
    assert bool(decode(prediction['panoptic_seg_path']).any()) == (threshold < 1)
    assert (tmp_path / 'vis/0.png').is_file()


def test_detector__codes_without_instances(changed, photos, tmp_path):
    options = {'model__thing_ids': (), 'model__test_cfg__mask_format': 'rle'}
    infer = changed(DetInferencer, visualizer={'type': 'mmdet.DetLocalVisualizer', 'name': 'shown'}, **options)
    (prediction,) = infer(str(photos / '0.png'), out_dir=str(tmp_path))['predictions']
    assert prediction['masks'] == prediction['bboxes'] == prediction['labels'] == []


def test_segmentor__labels_equal_ours(segmentor, photos, expected, tmp_path):
    paths = [str(photos / f'{number}.png') for number in range(2)]
    found = segmentor(paths, batch_size=2, out_dir=str(tmp_path), return_vis=True)
    for number, (labels, picture, ours) in enumerate(
        zip(found['predictions'], found['visualization'], expected, strict=True)
    ):
        assert np.array_equal(labels, ours.semantic)
        assert np.array_equal(np.asarray(Image.open(tmp_path / f'pred/{number:08}_pred.png')), ours.semantic)
        assert np.array_equal(np.asarray(Image.open(tmp_path / f'vis/{number}.png')), picture)


def test_segmentor__neither_pictures_nor_files(segmentor, photos, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = segmentor(cv2.imread(str(photos / '1.png')))
    assert np.array_equal(found['predictions'], expected[1].semantic) and not found['visualization']
    assert not any(tmp_path.iterdir())


def test_segmentor__its_own_visualizer(changed, photos):
    infer = changed(MMSegInferencer, visualizer={'type': 'mmseg.SegLocalVisualizer', 'name': 'shown'})
    assert infer(str(photos / '0.png'), return_vis=True)['visualization'].shape == (96, 96, 3)


def test_names__a_wrong_one_names_the_nearest():
    with pytest.raises(ValueError, match=r'nor the name of a model \(did you mean "oneformer_r18'):
        DetInferencer('oneformer_r18-narrow_shapes', device='cpu')


def test_names__the_libraries_own_are_found_as_before():
    inferencer = object.__new__(DetInferencer)
    inferencer.scope = 'mmdet'
    cfg, source = inferencer._load_model_from_metafile('rtmdet_tiny_8xb32-300e_coco')
    assert cfg.model.type == 'RTMDet' and source.startswith('https://')


def test_names__own_weights_download_nothing(monkeypatch):
    name = 'oneformer_swin-t_8xb2-160k_ade20k-512x512'
    inferencer = object.__new__(DetInferencer)
    monkeypatch.setattr(weights, '_download', lambda *args: pytest.fail('downloaded'))
    cfg, source = inferencer._load_model_from_metafile(name)
    assert source == f'oneformer://{name}' and 'text_mapper' not in cfg.model and cfg.model.head.num_classes == 150


def test_addresses__published_weights_get_the_names_of_their_classes(monkeypatch, tmp_path):
    # Like a published file, it does not say what the classes are called.
    save_safetensors(read_checkpoint(find_weights(NAME))['state_dict'], tmp_path / f'{NAME}.safetensors', {})
    monkeypatch.setattr(weights, 'weights_root', lambda: tmp_path)
    for init in (init_detector, init_model):
        model = init(for_inference(Config.fromfile(find_config(NAME))), f'oneformer://{NAME}', device='cpu')
        assert tuple(model.dataset_meta['classes']) == CLASSES and len(model.dataset_meta['palette']) == len(CLASSES)


def test_ids_to_rgb__is_what_coco_stores():
    ids = np.array([[0, 255, 256, 1007], [65536, 16777215, 5 * 65536 + 3 * 256 + 1, 254]], np.int32)
    rgb = ids_to_rgb(ids)
    assert rgb.dtype == np.uint8
    assert np.array_equal(rgb.astype(int) @ (1, 256, 65536), ids)
    assert rgb[1, 2].tolist() == [1, 3, 5]


@pytest.mark.parametrize('library', ['detector', 'segmentor'])
def test_arrays__grey_ones_are_read_and_others_refused_in_a_sentence(request, library):
    inferencer = request.getfixturevalue(library)
    grey = np.full((64, 48), 90, np.uint8)
    results = [
        inferencer(one)['predictions'] for one in (grey, np.dstack([grey] * 3), cv2.imencode('.png', grey)[1].tobytes())
    ]
    assert (
        len({json.dumps(np.asarray(one).tolist() if library == 'segmentor' else one[0]['labels']) for one in results})
        == 1
    )
    for wrong in (grey.astype(np.uint16), np.dstack([grey] * 3) / np.float32(255), np.zeros((0, 5, 3), np.uint8)):
        with pytest.raises(UserError, match='An image array has to be'):
            inferencer(wrong)
    inferencer(bytearray(cv2.imencode('.png', grey)[1].tobytes()))
    for wrong in (None, 5, io.BytesIO(b''), Image.fromarray(grey)):
        with pytest.raises(UserError, match=f'{type(wrong).__name__} is not an input'):
            inferencer(wrong)


def test_detector__saves_predictions_for_an_array(detector, tmp_path):
    detector(np.zeros((64, 48, 3), np.uint8), out_dir=str(tmp_path), no_save_pred=False)
    assert [path.name for path in (tmp_path / 'preds').glob('*.json')]


@pytest.mark.parametrize('library', ['detector', 'segmentor'])
def test_files__are_read_and_drawn_on_as_they_are_shown(request, library, tmp_path):
    """OpenCV does not turn an AVIF, and mixes a fourth band of a TIFF into its colours."""
    inferencer = request.getfixturevalue(library)
    scene = Image.fromarray(draw_scene(96, np.random.default_rng(0)).image)
    exif = Image.Exif()
    exif[0x112] = 6
    scene.resize((96, 64)).save(tmp_path / 'a.avif', exif=exif)
    drawn = inferencer(str(tmp_path / 'a.avif'), return_vis=True)
    ours = OneFormerInferencer(NAME, device='cpu')(tmp_path / 'a.avif')
    assert ours.semantic.shape == (96, 64)
    if library == 'segmentor':
        assert np.array_equal(drawn['predictions'], ours.semantic)
    else:
        assert drawn['predictions'][0]['panoptic_seg'].shape == (96, 64, 3)
