"""What other tools read of a prediction, read back by those tools: to the pixel."""

import base64
import io
import json
import tracemalloc

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from shapely import contains_xy
from shapely.geometry import Polygon, shape

from mmseg_oneformer.apis.results import OneFormerResult
from mmseg_oneformer.apis.results.exports import coco_categories
from mmseg_oneformer.apis.sources import Source
from mmseg_oneformer.datasets.panoptic import PanopticDataset
from mmseg_oneformer.run_lengths import encode_masks

CLASSES, THINGS, CATEGORY_IDS = ('car', 'dog', 'sky', 'road'), (0, 1), (3, 18, 40, 41)


def make_result(ids, segments, semantic, masks, labels, scores, meta):
    """A result of arrays (H, W) and masks (n, H, W), as run-length codes."""
    masks, sample = np.asarray(masks, bool).reshape(-1, *ids.shape), DetDataSample()
    ids, semantic = torch.as_tensor(ids, dtype=torch.int32)[None], torch.as_tensor(semantic)[None]
    boxes = [[x.min(), y.min(), x.max() + 1, y.max() + 1] if len(x) else [0] * 4 for y, x in map(np.nonzero, masks)]
    sample.pred_sem_seg = PixelData(sem_seg=semantic, data=semantic)
    sample.pred_panoptic_seg = PixelData(metainfo={'segments_info': segments}, sem_seg=ids, data=ids)
    sample.pred_instances = InstanceData(
        labels=torch.as_tensor(labels, dtype=torch.int64),
        scores=torch.as_tensor(scores, dtype=torch.float32),
        bboxes=torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        masks=encode_masks(masks),
    )
    photo = np.full((*ids.shape[1:], 3), 90, np.uint8)
    return OneFormerResult(Source('photo', 'photo.png', read=lambda: photo), photo, sample, meta)


@pytest.fixture(scope='module', params=range(6))
def result(request):
    """Ragged segments, full of holes, specks and corners that touch, as no careful hand would draw them."""
    rng = np.random.default_rng(request.param)
    size = rng.integers(12, 34, 2)
    labels = rng.integers(-1, 4, size) if request.param % 2 else np.kron(rng.integers(-1, 4, (9, 9)), np.ones((3, 3)))
    labels = labels.astype(np.int64)
    segments, ids = [], np.full(labels.shape, 4)
    for number, label in enumerate(np.unique(labels[labels >= 0]).tolist()):
        ids[labels == label] = label + 1000 * number
        score = 0.9 - number / 10
        segments.append({'id': label + 1000 * number, 'category_id': label, 'isthing': label in THINGS, 'score': score})
    masks = [rng.random(labels.shape) < 0.6, labels == 0, labels == 1]
    meta = {'classes': CLASSES, 'thing_ids': THINGS, 'category_ids': CATEGORY_IDS}
    return make_result(ids, segments, np.maximum(labels, 0), masks, [1, 0, 1], [0.9, 0.75, 0.6], meta)


def pixels_inside(geometry, size):
    """Pixels (H, W) bool whose centres are inside."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    return contains_xy(geometry, x, y)


def test_geojson__valid_geometry_and_the_exact_pixels(result):
    content = json.loads(json.dumps(result.to_geojson()))
    assert content['type'] == 'FeatureCollection'
    for feature, segment in zip(content['features'], result.panoptic.segments, strict=True):
        geometry = shape(feature['geometry'])
        assert geometry.is_valid and geometry.geom_type == 'MultiPolygon'
        assert np.array_equal(pixels_inside(geometry, result.size), result.panoptic.mask(segment))
        assert geometry.area == feature['properties']['area']
        for polygon in geometry.geoms:
            # RFC 7946, 3.1.6, numerically: y of pixels points down.
            assert polygon.exterior.is_ccw and not any(ring.is_ccw for ring in polygon.interiors)


def test_geojson__regions_of_the_semantic_prediction(result):
    features = result.to_geojson('semantic')['features']
    for feature, label in zip(features, np.unique(result.semantic).tolist(), strict=True):
        assert feature['properties']['name'] == CLASSES[label]
        assert np.array_equal(pixels_inside(shape(feature['geometry']), result.size), result.semantic == label)


def test_geojson__instances_may_overlap(result):
    features = result.to_geojson('instance')['features']
    for feature, mask in zip(features, result.instances.masks, strict=True):
        assert np.array_equal(pixels_inside(shape(feature['geometry']), result.size), mask)


def test_labelme__polygons_are_the_masks(result):
    masks = {}
    for one in result.to_labelme()['shapes']:
        found = masks.setdefault(one['group_id'], np.zeros(result.size, bool))
        if one['shape_type'] == 'polygon':
            found |= pixels_inside(Polygon(one['points']), result.size)
        else:  # labelme's: the PNG lies between the two corner pixels, both inside
            (left, top), (right, bottom) = one['points']
            part = np.asarray(Image.open(io.BytesIO(base64.b64decode(one['mask']))))
            found[top : bottom + 1, left : right + 1] |= part
    for mask, segment in zip(masks.values(), result.panoptic.segments, strict=True):
        assert np.array_equal(mask, result.panoptic.mask(segment))


def test_coco_panoptic__grey_classes_do_not_run_out_of_ids():
    """Shades of grey are few: a hundred or so fit between dark and light."""
    ids = np.arange(15 * 20).reshape(15, 20) * 1000
    segments = [{'id': int(k), 'category_id': 0, 'isthing': True, 'score': 0.9} for k in ids.ravel()]
    meta = {'classes': ('car',), 'thing_ids': (0,), 'palette': [(128, 128, 128)]}
    result = make_result(ids, segments, np.zeros_like(ids), [], [], [], meta)
    picture, annotation = result.to_coco_panoptic()
    assert (
        len({info['id'] for info in annotation['segments_info']})
        == 300
        == len(np.unique(picture.reshape(-1, 3), axis=0))
    )


def test_coco_panoptic__read_by_our_data_set(result, tmp_path):
    picture, annotation = result.to_coco_panoptic(image_id=7)
    height, width = result.size
    Image.fromarray(picture).save(tmp_path / annotation['file_name'])
    Image.fromarray(result.image).save(tmp_path / 'photo.png')
    content = {
        'images': [{'id': 7, 'file_name': 'photo.png', 'height': height, 'width': width}],
        'annotations': [annotation],
        'categories': coco_categories(result.dataset_meta),
    }
    (tmp_path / 'panoptic.json').write_text(json.dumps(content))
    pipeline = [{'type': 'LoadImageFromFile'}, {'type': 'LoadPanopticIds'}, {'type': 'PackOneFormerInputs'}]
    data = PanopticDataset(
        ann_file=str(tmp_path / 'panoptic.json'),
        data_prefix={'img': str(tmp_path), 'seg': str(tmp_path)},
        pipeline=pipeline,
        test_mode=True,
    )
    assert (data.metainfo['classes'], data.metainfo['thing_ids']) == (CLASSES, THINGS)
    sample = data[0]['data_samples']
    read = sample.gt_panoptic_seg.sem_seg[0].numpy()
    for number, (info, segment) in enumerate(zip(sample.segments_info, result.panoptic.segments, strict=True), start=1):
        assert (info['label'], info['isthing']) == (segment.label, segment.is_thing)
        assert np.array_equal(read == number, result.panoptic.mask(segment))


def test_coco_instances__perfect_by_pycocotools(result, capsys):
    """The predictions are their own truth: only masks, boxes and ids that belong together score an AP of one."""
    found = json.loads(json.dumps(result.to_coco_instances(image_id=7)))
    height, width = result.size
    truth = COCO()
    truth.dataset = {
        'images': [{'id': 7, 'height': height, 'width': width}],
        'annotations': [
            {**one, 'id': k, 'iscrowd': 0, 'area': float(mask.sum())}
            for k, (one, mask) in enumerate(zip(found, result.instances.masks, strict=True), start=1)
        ],
        'categories': coco_categories(result.dataset_meta),
    }
    truth.createIndex()
    for kind in ('segm', 'bbox'):
        evaluation = COCOeval(truth, truth.loadRes(found), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[0] == pytest.approx(1)
    assert all(np.array_equal(truth.annToMask(one), mask) for one, mask in zip(found, result.instances.masks))


def test_supervision__reads_and_draws_them(result):
    sv = pytest.importorskip('supervision', reason='an optional export')
    detections = result.to_supervision(score_thr=0.7)
    assert detections.class_id.tolist() == [1, 0] and detections.confidence.tolist() == pytest.approx([0.9, 0.75])
    assert np.array_equal(detections.mask, result.instances.masks[:2])
    assert np.array_equal(detections.xyxy - [0, 0, 1, 1], sv.mask_to_xyxy(detections.mask))
    drawn = sv.MaskAnnotator(opacity=1).annotate(np.zeros((*result.size, 3), np.uint8), detections)
    assert np.array_equal(drawn.any(2), detections.mask.any(0))
    assert len(result.to_supervision('panoptic')) == len(result.panoptic.segments)


def test_threshold__leaves_out_panoptic_segments(result):
    kept = [segment for segment in result.panoptic.segments if segment.score >= 0.85]
    assert [one['label'] for one in result.to_labelme('panoptic', score_thr=2)['shapes']] == []
    assert {one['group_id'] for one in result.to_labelme('panoptic', 0.85)['shapes']} == {*range(1, len(kept) + 1)}
    features = result.to_geojson('panoptic', score_thr=0.85)['features']
    assert [one['properties']['name'] for one in features] == [segment.name for segment in kept]
    assert len(kept) < len(result.panoptic.segments)


def test_threshold__none_is_for_instances_alone():
    ids = np.array([[1, 1, 2, 2]])
    segments = [{'id': k, 'category_id': k, 'isthing': k < 2, 'score': k / 10} for k in (1, 2)]  # object_mask_thr=0.05
    masks, meta = [ids == 1, ids == 2], {'classes': CLASSES, 'thing_ids': THINGS}
    result = make_result(ids, segments, ids, masks, [1, 1], [0.6, 0.4], meta)
    names = {
        task: [one['properties']['name'] for one in result.to_geojson(task)['features']]
        for task in ('semantic', 'instance', 'panoptic')
    }
    assert names == {'semantic': ['dog', 'sky'], 'instance': ['dog'], 'panoptic': ['dog', 'sky']}


# ---- extremes -------------------------------------------------------------------------------------------------------


def check_every_form(result, folder):
    """Call every export; return the names of what the panoptic prediction has."""
    picture, annotation = result.to_coco_panoptic()
    assert picture.shape == (*result.size, 3) and len(annotation['segments_info']) == len(result.panoptic.segments)
    for task in ('semantic', 'instance', 'panoptic'):
        json.dumps([result.to_geojson(task), result.to_labelme(task)])
        assert result.plot(task).dtype == np.uint8
    json.dumps(result.to_coco_instances())
    assert result.compare().differs.shape == result.size
    assert result._repr_jpeg_().startswith(b'\xff\xd8')
    assert Image.open(result.save(folder) / 'photo_panoptic.png').size == result.size[::-1]
    return [segment.name for segment in result.panoptic.segments]


def test_empty_predictions__every_form(tmp_path):
    void, meta = np.full((20, 30), 4), {'classes': CLASSES, 'thing_ids': THINGS}
    result = make_result(void, [], np.full((20, 30), 2), [], [], [], meta)
    assert check_every_form(result, tmp_path) == []
    assert 'Instances(none)' in repr(result.instances) and 'panoptic: 0 segments (none)' in repr(result)
    assert result.to_geojson() == {'type': 'FeatureCollection', 'features': []} and not result.to_labelme()['shapes']
    assert result.instances.masks.shape == (0, 20, 30) and result.compare().void == 1
    pytest.importorskip('supervision')
    assert len(result.to_supervision()) == 0


def test_one_class__and_no_pixel_of_anything_else(tmp_path):
    whole = np.zeros((1, 1), int)
    segments = [{'id': 0, 'category_id': 0, 'isthing': True, 'score': 1.0}]
    result = make_result(whole, segments, whole, [whole == 0], [0], [1.0], {'classes': ('cell',), 'thing_ids': (0,)})
    assert check_every_form(result, tmp_path) == ['cell']
    assert not result.compare().differs.any()
    (feature,) = result.to_geojson()['features']
    assert shape(feature['geometry']).equals(Polygon([(0, 0), (1, 0), (1, 1), (0, 1)]))


@pytest.mark.parametrize('palette', [None, 'random', [(1, 2, 3), (200, 10, 10), (5, 5, 5), (9, 9, 9)]])
def test_palette__absent_by_name_or_given(result, palette):
    meta = dict(result.dataset_meta) if palette is None else {**result.dataset_meta, 'palette': palette}
    other = OneFormerResult(result.source, result.image, result.sample, meta)
    assert len(other.colors) == len(CLASSES) and other.plot('panoptic').any()
    picture, annotation = other.to_coco_panoptic()
    ids = picture.astype(int) @ [1, 256, 65536]
    assert set(np.unique(ids).tolist()) - {0} == {info['id'] for info in annotation['segments_info']}


def test_twelve_megapixels__codes_stay_codes():
    """Memory in units of one dense mask (12 MB): it does not grow with the number of instances."""
    size, meta = (3000, 4000), {'classes': CLASSES, 'thing_ids': THINGS}
    ids = np.full(size, 2)
    segments = [{'id': 2, 'category_id': 2, 'isthing': False, 'score': 0.9}]
    result = make_result(ids, segments, ids, [], [], [], meta)
    one = np.zeros(size, bool)
    one[100:300, 200:500] = True
    (code,) = encode_masks(one[None])
    count = 20
    result.sample.pred_instances = InstanceData(
        labels=torch.zeros(count, dtype=torch.int64),
        scores=torch.full((count,), 0.9),
        bboxes=torch.tensor([[200.0, 100, 500, 300]]).expand(count, 4),
        masks=[dict(code) for _ in range(count)],
    )
    peaks = {}
    for name, export in (
        ('coco', result.to_coco_instances),
        ('geojson', lambda: result.to_geojson('instance')),
        ('compare', result.compare),
    ):
        tracemalloc.start()
        export()
        peaks[name] = tracemalloc.get_traced_memory()[1] / 12e6
        tracemalloc.stop()
    assert peaks['coco'] < 0.1 and peaks['geojson'] < 10 and peaks['compare'] < 40, peaks
    assert result.instances[:2].masks.shape == (2, *size)
