import base64
import io
import json

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from PIL import Image
from pycocotools import mask as mask_api

from mmseg_oneformer.apis import OneFormerInferencer
from mmseg_oneformer.apis.results import OneFormerResult, PredictionWriter
from mmseg_oneformer.apis.results.agreement import compare
from mmseg_oneformer.apis.sources import Source
from mmseg_oneformer.datasets.drawing import STUFF, THINGS, draw_scene
from mmseg_oneformer.preparation.formats.labelme import LabelmeFormat
from mmseg_oneformer.run_lengths import encode_masks

META = {'classes': ('car', 'dog', 'sky', 'road'), 'thing_ids': (0, 1), 'category_ids': (3, 18, 40, 41)}
SIZE = (40, 60)


def box(top, bottom, left, right):
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


CAR, DOG, RING = box(5, 15, 4, 20), box(20, 30, 30, 42), box(24, 38, 5, 25) & ~box(28, 33, 10, 18)


@pytest.fixture(params=['dense', 'rle'])
def result(request):
    semantic = torch.full(SIZE, 2)
    semantic[CAR | RING], semantic[DOG], semantic[35:] = 0, 1, 3
    ids = torch.full(SIZE, 4, dtype=torch.int32)
    ids[:20], ids[CAR], ids[DOG], ids[RING] = 1002, 1000, 1001, 2000
    segments = [
        {'id': 1002, 'category_id': 2, 'isthing': False, 'score': 0.95},
        {'id': 1000, 'category_id': 0, 'isthing': True, 'score': 0.9},
        {'id': 1001, 'category_id': 1, 'isthing': True, 'score': 0.8},
        {'id': 2000, 'category_id': 0, 'isthing': True, 'score': 0.7},
    ]
    masks = torch.stack([CAR, DOG, RING, torch.zeros_like(CAR)])
    sample = DetDataSample()
    sample.pred_sem_seg = PixelData(sem_seg=semantic[None], data=semantic[None])
    sample.pred_panoptic_seg = PixelData(metainfo={'segments_info': segments}, sem_seg=ids[None], data=ids[None])
    sample.pred_instances = InstanceData(
        labels=torch.tensor([0, 1, 0, 1]),
        scores=torch.tensor([0.9, 0.8, 0.7, 0.2]),
        bboxes=torch.tensor([[4.0, 5, 20, 15], [30, 20, 42, 30], [5, 24, 25, 38], [0, 0, 0, 0]]),
        masks=encode_masks(masks) if request.param == 'rle' else masks,
    )
    photo = np.full((*SIZE, 3), 90, np.uint8)
    return OneFormerResult(Source('street', 'town/street.jpg', read=lambda: photo), photo, sample, META)


def test_result__arrays_and_names(result):
    assert result.tasks == ('semantic', 'instance', 'panoptic')
    assert result.semantic.shape == result.panoptic.ids.shape == SIZE
    sure = result.instances[result.instances.scores >= 0.5]
    assert (len(sure), sure.names, sure.masks.shape) == (3, ['car', 'dog', 'car'], (3, *SIZE))
    assert np.array_equal(sure[1].masks[0], DOG.numpy())
    assert sure[[]].masks.shape == (0, *SIZE)
    assert [segment.name for segment in result.panoptic.segments] == ['sky', 'car', 'dog', 'car']
    assert np.array_equal(result.panoptic.mask(result.panoptic.segments[3]), RING.numpy())
    assert np.array_equal(result.panoptic.labels == -1, result.panoptic.void)
    assert result.panoptic.void.sum() == 20 * 60 - DOG.sum() - RING.sum()


def test_result__what_was_not_asked_for(result):
    del result.sample.pred_sem_seg
    assert (result.semantic, result.tasks) == (None, ('instance', 'panoptic'))
    with pytest.raises(ValueError, match="semantic prediction was not requested; add 'semantic'"):
        result.to_geojson('semantic')
    for call in (result.compare, lambda: result.plot('semantic')):
        with pytest.raises(ValueError, match='semantic prediction was not requested'):
            call()


def test_repr__says_what_is_in_the_photo(result):
    assert repr(result) == (
        'OneFormerResult(town/street.jpg, 60 x 40; semantic: 4 classes; instances: 3 with a score of 0.5 or more '
        '(2 car, 1 dog); panoptic: 4 segments (2 car, 1 sky, 1 dog))'
    )


def test_coco__panoptic_picture_and_annotation_belong_together(result):
    picture, annotation = result.to_coco_panoptic(image_id=7)
    ids = picture.astype(np.int64) @ [1, 256, 65536]
    assert (annotation['image_id'], annotation['file_name']) == (7, 'street_panoptic.png')
    assert {info['id'] for info in annotation['segments_info']} | {0} == set(np.unique(ids).tolist())
    areas = {info['category_id']: 0 for info in annotation['segments_info']}
    for info in annotation['segments_info']:
        assert info['area'] == (ids == info['id']).sum()
        areas[info['category_id']] += info['area']
    assert areas == {40: 20 * 60 - int(CAR.sum()), 3: int(CAR.sum() + RING.sum()), 18: int(DOG.sum())}


def test_coco__instances_decode_to_the_masks(result):
    found = json.loads(json.dumps(result.to_coco_instances(image_id=7)))
    assert [(one['category_id'], one['image_id'], one['score']) for one in found] == [
        (3, 7, 0.9),
        (18, 7, 0.8),
        (3, 7, 0.7),
    ]
    assert np.array_equal(mask_api.decode(found[2]['segmentation']).astype(bool), RING.numpy())
    assert found[1]['bbox'] == [30, 20, 12, 10]


def test_labelme__read_back_to_the_pixel(result, tmp_path):
    Image.fromarray(result.image).save(tmp_path / 'street.jpg')
    content = result.to_labelme()
    assert {shape['shape_type'] for shape in content['shapes']} == {'polygon', 'mask'}, 'holes need a mask'
    (tmp_path / 'street.json').write_text(json.dumps(content))
    reader = LabelmeFormat(tmp_path, tmp_path, things=['car', 'dog'], stuff=['sky', 'road'])
    (photo,) = reader.photos()
    read = [mask_api.decode(region.code).astype(bool) for region in reader.read(photo, SIZE).regions]
    for region, segment in zip(read, result.panoptic.segments, strict=True):
        assert np.array_equal(region, result.panoptic.mask(segment)), segment.name


def test_labelme__mask_is_cut_to_its_corners(result):
    (shape,) = [shape for shape in result.to_labelme('instance')['shapes'] if shape['shape_type'] == 'mask']
    part = np.asarray(Image.open(io.BytesIO(base64.b64decode(shape['mask']))))
    assert (shape['points'], part.shape, part.sum()) == ([[5, 24], [24, 37]], (14, 20), RING.sum())


def test_geojson__areas_and_orientation(result):
    content = json.loads(json.dumps(result.to_geojson()))
    assert content['type'] == 'FeatureCollection' and len(content['features']) == 4
    for feature in content['features']:
        signed = 0.0
        for polygon in feature['geometry']['coordinates']:
            for number, ring in enumerate(polygon):
                assert ring[0] == ring[-1] and len(ring) >= 5
                x, y = np.array(ring, float).T
                area = (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2
                assert (area > 0) == (number == 0), 'exteriors run counterclockwise, holes clockwise'
                signed += area
        assert signed == feature['properties']['area']
    assert [feature['properties']['name'] for feature in content['features']] == ['sky', 'car', 'dog', 'car']


def test_supervision__detections(result):
    sv = pytest.importorskip('supervision', reason='an optional export')
    detections = result.to_supervision()
    assert isinstance(detections, sv.Detections) and len(detections) == 3
    assert detections.xyxy.tolist() == [[4, 5, 20, 15], [30, 20, 42, 30], [5, 24, 25, 38]]
    assert detections.data['class_name'].tolist() == ['car', 'dog', 'car']
    assert result.to_supervision('semantic').confidence is None
    assert len(result.to_supervision(score_thr=1.1)) == 0


def test_plot__one_task_or_all(result):
    assert result.plot('panoptic').dtype == np.uint8
    assert result.plot().shape[1] > 3 * result.plot('semantic').shape[1]


def test_save__writes_every_prediction(result, tmp_path):
    assert result.save(tmp_path / 'out') == tmp_path / 'out'
    names = {path.relative_to(tmp_path / 'out').as_posix() for path in (tmp_path / 'out').rglob('*') if path.is_file()}
    assert names == {
        *('instances.json', 'panoptic.json', 'street_panoptic.png', 'street_semantic.png'),
        *(f'overlays/street_{task}.jpg' for task in ('instance', 'panoptic', 'semantic')),
    }


@pytest.mark.parametrize(
    ('names', 'numbers'),
    [
        (('000139', '000285'), (139, 285)),
        (('7', 'x'), (1, 2)),
        (('7', '007'), (1, 2)),  # one number, two photos
        (('b', 'a'), (1, 2)),
    ],
)
def test_writer__numbers_of_images(tmp_path, names, numbers):
    writer = PredictionWriter(tmp_path, [Source(name, f'{name}.jpg') for name in names], META)
    assert writer.image_ids == dict(zip(names, numbers, strict=True))


def test_compare__planted_contradictions(result):
    agreement = result.compare()
    assert agreement.void == pytest.approx(1 - (20 * 60 + DOG.sum() + RING.sum()) / (40 * 60))
    assert not agreement.instance_panoptic.any()
    # The last rows of the ring are road in the semantic prediction.
    assert np.array_equal(agreement.semantic_panoptic, RING.numpy() & (result.semantic == 3))
    (area,) = agreement.regions
    assert area == (60, (5, 35, 25, 38), 'road', 'car', 'car')


def test_compare__by_hand():
    semantic = np.array([[0, 0, 1, 1, 2, 2]])
    panoptic = np.array([[0, 1, 1, -1, 2, 0]])
    is_thing = np.array([[True, True, True, False, False, True]])
    dog = np.array([[False, True, False, False, True, True]])
    agreement = compare(semantic, [(1, dog)], panoptic, is_thing, ('car', 'dog', 'sky'), smallest=1)
    assert agreement.semantic_panoptic.tolist() == [[False, True, False, False, False, True]]
    # 0, 2: things without an instance; 4: an instance on stuff; 5: a car that only a dog's instance covers.
    assert agreement.instance_panoptic.tolist() == [[True, False, True, False, True, True]]
    assert agreement.void == pytest.approx(1 / 6)
    first, second = agreement.regions
    assert (first.area, first.box, first.semantic, first.instance) == (3, (0, 0, 3, 1), 'car', 'none')
    assert (second.area, second.panoptic) == (2, 'car')


def test_compare__the_first_class_is_one_like_others():
    road = np.array([[1, 1]])
    car = np.array([[True, False]])
    agreement = compare(road, [(0, car)], road, ~np.ones_like(car), ('car', 'road'), smallest=1)
    assert agreement.instance_panoptic.tolist() == [[True, False]]
    assert [area.instance for area in agreement.regions] == ['car']


def test_compare__points_at_errors():
    """Pixels in dispute are wrong many times as often as the others, by the truth of drawn scenes."""
    infer, names = OneFormerInferencer('oneformer_r18-narrow_1xb16-6k_shapes-96x96', device='cpu'), [*STUFF, *THINGS]
    wrong, count = np.zeros(2), np.zeros(2)
    for seed in range(1000, 1024):
        scene = draw_scene(96, np.random.default_rng(seed))
        truth = np.array([names.index(name) for name in scene.names])[scene.segment_map - 1]
        prediction = infer(scene.image, channel_order='rgb')
        disputed = prediction.compare().differs
        for index, where in enumerate((~disputed, disputed)):
            wrong[index] += (prediction.panoptic.labels != truth)[where].sum()
            count[index] += where.sum()
    agreed, in_dispute = wrong / count
    assert count[1] > 500 and in_dispute > 5 * agreed
