import json
import threading

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from pycocotools import mask as rle
from tqdm import TMonitor

from mmseg_oneformer.apis import OneFormerInferencer, OneFormerResult
from mmseg_oneformer.datasets.panoptic import PanopticDataset
from mmseg_oneformer.errors import UserError

FIELDS = {'semantic': 'pred_sem_seg', 'instance': 'pred_instances', 'panoptic': 'pred_panoptic_seg'}


@pytest.fixture(scope='module')
def infer(tiny_model):
    config, weights = tiny_model
    return OneFormerInferencer(config, weights, device='cpu')


def predictions(infer, *args, **kwargs):
    """What mmdet's and mmseg's tools read, of each image."""
    results = infer(*args, channel_order='bgr', **kwargs)
    return [result.sample for result in (results if isinstance(results, list) else [results])]


def assert_same(one, other):
    assert torch.equal(one.pred_sem_seg.sem_seg, other.pred_sem_seg.sem_seg)
    assert torch.equal(one.pred_panoptic_seg.sem_seg, other.pred_panoptic_seg.sem_seg)
    assert one.pred_panoptic_seg.segments_info == other.pred_panoptic_seg.segments_info
    for key in ('labels', 'scores', 'bboxes', 'masks'):
        assert torch.equal(one.pred_instances[key], other.pred_instances[key])


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def test_call__all_tasks(infer, make_photo):
    (sample,) = predictions(infer, make_photo())
    assert sample.pred_sem_seg.sem_seg.shape == (1, 50, 70)
    assert len(sample.pred_sem_seg.sem_seg.unique()) > 1
    assert sample.pred_instances.masks.shape[1:] == (50, 70) and len(sample.pred_instances)
    assert sample.pred_panoptic_seg.segments_info


def test_call__one_in_one_out_and_a_list_for_whatever_may_be_several(infer, make_photo, tmp_path):
    photo, options = make_photo(), {'tasks': 'semantic', 'channel_order': 'bgr', 'progress': False}
    path = save(tmp_path / 'photo.png', photo)
    one = [infer(given, **options) for given in (photo, path, str(path), Image.open(path))]
    tensor = torch.from_numpy(photo).permute(2, 0, 1)[None]
    several = [[photo], (path,), tmp_path, f'{tmp_path}/*.png', tensor]
    lists = [infer(given, **options) for given in several]
    assert [type(result) for result in one] == [OneFormerResult] * 4
    assert [[type(result) for result in results] for results in lists] == [[OneFormerResult]] * 5
    with pytest.raises(UserError, match=r'result of one photo, not a list; leave out \[0\]'):
        one[0][0]
    with pytest.raises(UserError, match='not a list'):
        (_,) = one[0]
    with pytest.raises(UserError, match='put the one photo into a list'):
        infer(photo, on_broken=print, **options)


@pytest.mark.parametrize('tasks', [('semantic',), 'instance', ['panoptic', 'semantic']])
def test_call__subset_equals_all(infer, make_photo, tasks):
    (some,), (every,) = predictions(infer, make_photo(), tasks), predictions(infer, make_photo())
    wanted = {FIELDS[task] for task in ([tasks] if isinstance(tasks, str) else tasks)}
    assert {key for key in some.all_keys() if key.startswith('pred')} == wanted
    for key in wanted - {'pred_instances'}:
        assert torch.equal(some.get(key).sem_seg, every.get(key).sem_seg)


def test_call__token_changes_the_prediction_and_leaves_no_trace(infer, make_photo):
    (own,) = predictions(infer, make_photo())
    (forced,) = predictions(infer, make_photo(), token='instance')
    assert torch.equal(own.pred_instances.masks, forced.pred_instances.masks)
    assert not torch.equal(own.pred_sem_seg.sem_seg, forced.pred_sem_seg.sem_seg)
    assert_same(own, predictions(infer, make_photo())[0])


def test_call__path_and_array_agree(infer, make_photo, tmp_path):
    path = save(tmp_path / 'photo.png', make_photo())
    assert_same(predictions(infer, path)[0], predictions(infer, make_photo())[0])
    assert_same(predictions(infer, str(path))[0], predictions(infer, [make_photo()])[0])


def test_call__colours_matter(infer, make_photo):
    (bgr,), (rgb,) = (
        predictions(infer, make_photo()),
        predictions(infer, np.ascontiguousarray(make_photo()[:, :, ::-1])),
    )
    assert not torch.equal(bgr.pred_sem_seg.sem_seg, rgb.pred_sem_seg.sem_seg)


def test_call__batch_of_equal_sizes_equals_single(infer, make_photo):
    photos = [make_photo(seed=seed) for seed in range(3)]
    for together, alone in zip(predictions(infer, photos, batch_size=2, progress=False), photos, strict=True):
        assert torch.equal(together.pred_sem_seg.sem_seg, predictions(infer, alone)[0].pred_sem_seg.sem_seg)


def test_call__batch_of_different_sizes(infer, make_photo):
    samples = predictions(infer, [make_photo(50, 70), make_photo(90, 40), make_photo(31, 33)], batch_size=3)
    assert [sample.pred_sem_seg.shape for sample in samples] == [(50, 70), (90, 40), (31, 33)]


def test_call__order_of_a_folder(infer, make_photo, tmp_path):
    for number, name in enumerate(('b.png', 'a.png', 'c.PNG')):
        save(tmp_path / name, make_photo(40 + number, 60))
    (tmp_path / 'notes.txt').write_text('no photo')
    assert [sample.ori_shape for sample in predictions(infer, tmp_path)] == [(41, 60), (40, 60), (42, 60)]


def test_call__grey_and_alpha(infer, make_photo, tmp_path):
    grey = cv2.cvtColor(make_photo(), cv2.COLOR_BGR2GRAY)
    three = np.repeat(grey[:, :, None], 3, 2)
    (expected,) = predictions(infer, three)
    for image in (grey, grey[:, :, None], np.dstack([three, 255 - grey]), save(tmp_path / 'grey.png', grey)):
        assert_same(predictions(infer, image)[0], expected)
    alpha = save(tmp_path / 'alpha.png', np.dstack([three, np.full_like(grey, 255)]))
    assert predictions(infer, alpha)[0].ori_shape == (50, 70)


@pytest.mark.parametrize('size', [(1, 1), (2, 90), (3, 1)])
def test_call__tiny_images(infer, make_photo, size, tmp_path):
    (sample,) = predictions(infer, make_photo(*size), out_dir=tmp_path)
    assert sample.pred_sem_seg.shape == size
    assert Image.open(tmp_path / 'array_0000_semantic.png').size == size[::-1]


@pytest.mark.parametrize(
    'array, sentence',
    [
        (np.zeros((5, 5, 3)), 'uint8'),
        (np.zeros((3, 5, 5), np.uint8), 'axes'),
        (np.zeros((0, 5, 3), np.uint8), 'not 0x5x3'),
        (np.zeros(5, np.uint8), 'not 5'),
    ],
)
def test_call__no_image_array(infer, array, sentence):
    with pytest.raises(ValueError, match=sentence):
        predictions(infer, array)


def test_call__wrong_arguments(infer, make_photo, tmp_path):
    with pytest.raises(ValueError, match="'depth'"):
        predictions(infer, make_photo(), tasks=('semantic', 'depth'))
    with pytest.raises(ValueError, match="'all'"):
        predictions(infer, make_photo(), token='all')
    with pytest.raises(ValueError, match='batch size of 0'):
        predictions(infer, make_photo(), batch_size=0)
    with pytest.raises(FileNotFoundError, match='nothing_here'):
        predictions(infer, tmp_path / 'nothing_here.jpg')
    with pytest.raises(ValueError, match='has no photos'):
        predictions(infer, tmp_path)
    with pytest.raises(ValueError, match='No input'):
        predictions(infer, [])


def test_call__thresholds_in_place_of_the_configs(infer, make_photo):
    kept = []
    for threshold in (None, 0.0, 1.0):
        (sample,) = predictions(infer, make_photo(), 'panoptic', object_mask_thr=threshold, overlap_thr=0.0)
        kept.append(len(sample.pred_panoptic_seg.segments_info))
    assert kept[1] > kept[2] == 0 and infer.model.test_cfg.object_mask_thr != 0
    (logits,) = infer.logits([infer.prepare(make_photo())])
    assert len(logits.predict('panoptic', overlap_thr=0.0).panoptic.segments) == kept[0]


def test_stream__arguments_are_checked_at_once(infer, make_photo):
    with pytest.raises(ValueError, match='depth'):
        infer.stream(make_photo(), tasks='depth')
    with pytest.raises(UserError, match=r'no option batchsize \(did you mean "batch_size"\?\)'):
        infer.stream(make_photo(), batchsize=2)


def test_call__corrupt_image_is_named(infer, make_photo, tmp_path):
    save(tmp_path / 'a.png', make_photo())
    (tmp_path / 'broken.jpg').write_bytes(b'\xff\xd8\xff no photo')
    with pytest.raises(ValueError, match=r'broken\.jpg'):
        predictions(infer, tmp_path, out_dir=tmp_path / 'out', progress=False)
    assert not list((tmp_path / 'out').glob('*.json'))


def test_stream__broken_ones_are_left_out(infer, make_photo, tmp_path):
    save(tmp_path / 'a.png', make_photo())
    save(tmp_path / 'c.png', make_photo(60, 60))
    (tmp_path / 'b.jpg').write_bytes(b'')
    broken = []
    stream = infer.stream(
        tmp_path, batch_size=3, out_dir=tmp_path / 'out', on_broken=lambda source, reason: broken.append(reason)
    )
    predictions = list(stream)
    assert [prediction.source.name for prediction in predictions] == ['a', 'c']
    assert [prediction.image.shape for prediction in predictions] == [(50, 70, 3), (60, 60, 3)]
    assert len(broken) == 1 and 'b.jpg' in broken[0]
    assert [image['file_name'] for image in json.loads((tmp_path / 'out/panoptic.json').read_text())['images']] == [
        'a.png',
        'c.png',
    ]


def test_stream__predictions_before_a_broken_image_come_first(infer, make_photo, tmp_path):
    save(tmp_path / 'a.png', make_photo())
    (tmp_path / 'b.jpg').write_bytes(b'')
    save(tmp_path / 'c.png', make_photo())
    stream = infer.stream(tmp_path, out_dir=tmp_path / 'out', progress=False)
    assert next(stream).source.name == 'a' and (tmp_path / 'out/a_panoptic.png').exists()
    with pytest.raises(ValueError, match=r'b\.jpg'):
        next(stream)
    assert not list((tmp_path / 'out').glob('*.json')) and not (tmp_path / 'out/c_panoptic.png').exists()


@pytest.mark.parametrize('with_files', [False, True])
def test_stream__left_early(infer, make_photo, tmp_path, with_files):
    threads = set(threading.enumerate())
    stream = infer.stream(
        [make_photo()] * 5, channel_order='bgr', out_dir=tmp_path if with_files else None, progress=False
    )
    next(stream)
    stream.close()
    left = {type(thread) for thread in set(threading.enumerate()) - threads}
    assert left <= {TMonitor}  # The first progress bar of a process, hidden or not, starts tqdm's.
    assert not list(tmp_path.glob('*.json')) and not list(tmp_path.glob('**/*tmp*'))


def test_out_dir__files(infer, make_photo, tmp_path):
    path, out = save(tmp_path / 'in/photo.png', make_photo()), tmp_path / 'out'
    (sample,) = predictions(infer, path, out_dir=out)
    assert sorted(file.relative_to(out).as_posix() for file in out.rglob('*') if file.is_file()) == [
        'instances.json',
        'overlays/photo_instance.jpg',
        'overlays/photo_panoptic.jpg',
        'overlays/photo_semantic.jpg',
        'panoptic.json',
        'photo_panoptic.png',
        'photo_semantic.png',
    ]
    assert np.array_equal(np.array(Image.open(out / 'photo_semantic.png')), sample.pred_sem_seg.sem_seg[0].numpy())

    content = json.loads((out / 'panoptic.json').read_text())
    colors = np.array(Image.open(out / 'photo_panoptic.png')).astype(int)
    ids, prediction = colors @ [1, 256, 65536], sample.pred_panoptic_seg
    segments = content['annotations'][0]['segments_info']
    assert [s['category_id'] for s in segments] == [s['category_id'] for s in prediction.segments_info]
    for segment, info in zip(segments, prediction.segments_info):
        assert np.array_equal(ids == segment['id'], prediction.sem_seg[0].numpy() == info['id'])
        assert segment['area'] == (ids == segment['id']).sum()
    assert np.array_equal(ids == 0, prediction.sem_seg[0].numpy() == 4)
    assert [category['name'] for category in content['categories']] == ['disc', 'box', 'sky', 'grass']

    results, found = json.loads((out / 'instances.json').read_text()), sample.pred_instances
    solid = [k for k in range(len(found)) if found.masks[k].any()]
    assert len(results) == len(solid) > 0
    for result, k in zip(results, solid):
        assert np.array_equal(rle.decode(result['segmentation']).astype(bool), found.masks[k].numpy())
        assert result['bbox'] == rle.toBbox(result['segmentation']).tolist()
        assert result['category_id'] == found.labels[k]


def test_out_dir__codes_give_the_same_files(infer, make_photo, tmp_path):
    (dense,) = predictions(infer, make_photo(), out_dir=tmp_path / 'dense', mask_format='dense')
    (coded,) = predictions(infer, make_photo(), out_dir=tmp_path / 'coded', mask_format='rle')
    assert isinstance(dense.pred_instances.masks, torch.Tensor) and isinstance(coded.pred_instances.masks, list)
    files = sorted(file.relative_to(tmp_path / 'dense') for file in (tmp_path / 'dense').rglob('*.*'))
    assert len(files) == 7
    for file in files:
        assert (tmp_path / 'dense' / file).read_bytes() == (tmp_path / 'coded' / file).read_bytes()
    assert infer.model.test_cfg.mask_format == 'auto'


def test_out_dir__only_the_asked(infer, make_photo, tmp_path):
    predictions(infer, make_photo(), tasks='semantic', out_dir=tmp_path)
    assert sorted(file.name for file in tmp_path.rglob('*.*')) == ['array_0000_semantic.jpg', 'array_0000_semantic.png']


def test_out_dir__same_names_in_different_folders(infer, make_photo, tmp_path):
    for name in ('one/cat.png', 'two/cat.png', 'two/cat.jpg', 'two/dog.png'):
        save(tmp_path / name, make_photo(seed=len(name)))
    inputs = [tmp_path / 'one', tmp_path / 'two', tmp_path / 'two/dog.png']
    predictions(infer, inputs, tasks='panoptic', out_dir=tmp_path / 'out', progress=False)
    maps = sorted(file.name for file in (tmp_path / 'out').glob('*_panoptic.png'))
    assert maps == [
        'one_cat_panoptic.png',
        'two_cat_jpg_panoptic.png',
        'two_cat_png_panoptic.png',
        'two_dog_png-2_panoptic.png',
        'two_dog_png_panoptic.png',
    ]
    images = json.loads((tmp_path / 'out/panoptic.json').read_text())['images']
    assert [image['file_name'] for image in images] == [
        'one/cat.png',
        'two/cat.jpg',
        'two/cat.png',
        'two/dog.png',
        'two/dog.png',
    ]


def test_out_dir__is_a_panoptic_data_set(infer, make_photo, tmp_path):
    for number in (139, 285):
        save(tmp_path / f'in/{number:012d}.png', make_photo(seed=number))
    predictions(infer, tmp_path / 'in', tasks='panoptic', out_dir=tmp_path / 'out', progress=False)
    pipeline = [{'type': 'LoadImageFromFile'}, {'type': 'LoadPanopticIds'}, {'type': 'PackOneFormerInputs'}]
    data = PanopticDataset(
        ann_file=str(tmp_path / 'out/panoptic.json'),
        data_prefix={'img': str(tmp_path / 'in'), 'seg': str(tmp_path / 'out')},
        pipeline=pipeline,
        test_mode=True,
    )
    assert [data.get_data_info(k)['img_id'] for k in range(2)] == [139, 285]
    assert data.metainfo['thing_ids'] == (0, 1)
    assert data[0]['data_samples'].gt_panoptic_seg.shape == (50, 70)


def test_out_dir__not_where_the_photos_are(infer, make_photo, tmp_path):
    save(tmp_path / 'a.png', make_photo())
    with pytest.raises(ValueError, match='another folder'):
        predictions(infer, tmp_path, out_dir=tmp_path)


def test_out_dir__nothing_half_written(infer, make_photo, tmp_path, monkeypatch):
    def fail(self, path, **options):
        path.write_bytes(b'half')
        raise OSError('disk full')

    monkeypatch.setattr(Image.Image, 'save', fail)
    with pytest.raises(OSError, match='disk full'):
        predictions(infer, make_photo(), out_dir=tmp_path)
    assert not [file for file in tmp_path.rglob('*') if file.is_file()]


def test_init__no_weights(tiny_model):
    with pytest.raises(ValueError, match='No weights'):
        OneFormerInferencer(tiny_model[0], device='cpu')


def test_init__wrong_device(tiny_model):
    with pytest.raises(ValueError, match='Device'):
        OneFormerInferencer(*tiny_model, device='toaster')


def test_init__config_object_and_options(tiny_model, make_photo):
    config, weights = tiny_model
    cfg = Config.fromfile(config)
    infer = OneFormerInferencer(cfg, weights, 'cpu', {'model.test_cfg.max_per_image': 3})
    assert len(predictions(infer, make_photo(), 'instance')[0].pred_instances) <= 3
    assert cfg.model.test_cfg.max_per_image == 20


def test_init__classes_of_the_config(tiny_model, make_photo, tmp_path):
    config, weights = tiny_model
    bare = tmp_path / 'bare.pth'
    torch.save({'state_dict': torch.load(weights, weights_only=True)['state_dict']}, bare)
    infer = OneFormerInferencer(config, bare, 'cpu')
    assert infer.dataset_meta['classes'] == ('disc', 'box', 'sky', 'grass')


@pytest.mark.parametrize(
    'change, sentence',
    [
        ({'classes': ('a', 'b')}, '2 classes and the model has 4'),
        ({'classes': (0, 1, 2, 3)}, 'are not names'),
        ({'classes': ('a', 'b\nc', 'd', 'e')}, r"'b\\nc' has a line break or a control character"),
        ({'classes': ('a', 'b', 'd', '\x1b[2J')}, r"'\\x1b\[2J' has a line break or a control character"),
        ({'palette': [(1, 2, 3)]}, 'not 4 colours'),
        ({'palette': [1, 2, 3, 4]}, 'not 4 colours'),
        ({'category_ids': [7]}, 'not 4 whole numbers'),
        (None, 'is a list, not a dict'),
    ],
)
def test_init__names_of_no_use(tiny_model, tmp_path, change, sentence):
    config, weights = tiny_model
    checkpoint = torch.load(weights, weights_only=True)
    meta = checkpoint['meta']
    meta['dataset_meta'] = [1] if change is None else {**meta['dataset_meta'], **change}
    torch.save(checkpoint, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=sentence):
        OneFormerInferencer(config, tmp_path / 'other.pth', 'cpu')


def test_known_classes__long_names_are_cut(tiny_model):
    infer = OneFormerInferencer(*tiny_model, device='cpu')
    assert infer.known_classes == '4 classes: disc, box, sky, grass'
    infer.dataset_meta['classes'] = ('a' * 40, 'b' * 9999, *'cdefghi')
    assert infer.known_classes == f'9 classes: {"a" * 40}, {"b" * 37}..., c, d, e, f, g, h, ...'
