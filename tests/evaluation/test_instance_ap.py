import json
import math

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmseg_oneformer.evaluation.instance_ap import InstanceAP, encode_masks

NAMES = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl')


def polygon_truth(tmp_path, images, classes, category_ids):
    """Write a COCO instance file the way a person would: one annotation a thing, uncompressed run lengths."""
    annotations = []
    for image_id, (gt_map, segments) in enumerate(images):
        for index, segment in enumerate(segments, start=1):
            if not segment['isthing']:
                continue
            mask = gt_map == index
            counts, value, run = [], 0, 0
            for pixel in mask.T.ravel():  # column by column
                if pixel != value:
                    counts.append(run)
                    value, run = pixel, 0
                run += 1
            counts.append(run)
            rows, columns = np.nonzero(mask)
            box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': image_id,
                    'category_id': category_ids[segment['label']],
                    'iscrowd': int(segment['iscrowd']),
                    'area': int(mask.sum()),
                    'bbox': [int(v) for v in box],
                    'segmentation': {'counts': [int(c) for c in counts], 'size': list(mask.shape)},
                }
            )
    path = tmp_path / 'instances.json'
    sizes = [gt_map.shape for gt_map, _ in images]
    content = {
        'images': [{'id': i, 'height': h, 'width': w, 'file_name': f'{i}.jpg'} for i, (h, w) in enumerate(sizes)],
        'categories': [{'id': i, 'name': classes[label]} for label, i in category_ids.items()],
        'annotations': annotations,
    }
    path.write_text(json.dumps(content))
    return path


def coco_numbers(path, images_predictions, category_ids, iou_type):
    """Run COCOeval as its own documentation does, from files and result dicts."""
    results = []
    for image_id, (labels, scores, masks) in enumerate(images_predictions):
        for label, score, mask in zip(labels, scores, masks):
            code = mask_api.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
            entry = {'image_id': image_id, 'category_id': category_ids[label], 'score': float(np.float32(score))}
            if iou_type == 'segm':
                results.append(entry | {'segmentation': {'size': code['size'], 'counts': code['counts'].decode()}})
            else:
                results.append(entry | {'bbox': mask_api.toBbox(code).tolist()})
    truth = COCO(str(path))
    evaluation = COCOeval(truth, truth.loadRes(results), iou_type)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return [100 * value if value >= 0 else math.nan for value in evaluation.stats[:6]]


def run_metric(drawn, images, predictions, meta=None, **options):
    evaluator = Evaluator(dict(type='InstanceAP', **options))
    evaluator.dataset_meta = meta or drawn.META
    for image_id, (image, prediction) in enumerate(zip(images, predictions)):
        evaluator.process([drawn.make_sample(image_id, *image, {'instance': prediction})])
    return evaluator.evaluate(len(images))


@pytest.mark.parametrize('kind', ['tensor', 'array', 'transposed'])
def test_encode_masks__equals_pycocotools_own_way(kind):
    masks = np.random.default_rng(0).random((8, 17, 40)) > 0.6
    masks[1:4] = False
    masks[2, :, 3:6] = True  # whole columns: one run
    masks[2, -1, 6] = masks[2, 0, 7] = masks[2, 5, 7] = True  # a run over the border of two columns
    masks[3, -1, -1] = True  # no zeros at the end
    masks[4] = True
    masks[5, :, 20:] = masks[6, :9] = False
    expected = [mask_api.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]
    given = torch.from_numpy(masks.transpose(0, 2, 1).copy()).transpose(1, 2) if kind == 'transposed' else masks
    assert encode_masks(torch.from_numpy(masks) if kind == 'tensor' else given) == expected
    assert encode_masks(masks[:0]) == []
    one_pixel = np.ones((2, 1, 1), dtype=bool)
    one_pixel[1] = False
    assert encode_masks(one_pixel) == [mask_api.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in one_pixel]


@pytest.mark.parametrize(('iou_type', 'before'), [('segm', ''), ('bbox', 'box_')])
def test_instance_ap__equals_pycocotools_from_files(drawn, photos, tmp_path, capsys, iou_type, before):
    metrics = run_metric(drawn, *photos, iou_types=('segm', 'bbox'))
    assert 'Accumulating' not in capsys.readouterr().out
    category_ids = {label: label for label in drawn.THING_IDS}
    path = polygon_truth(tmp_path, photos[0], drawn.CLASSES, category_ids)
    expected = coco_numbers(path, photos[1], category_ids, iou_type)
    assert 5 < expected[0] < 95
    assert [metrics[before + name] for name in NAMES] == pytest.approx(expected, nan_ok=True, abs=1e-12)


@pytest.mark.parametrize('seed', range(6))
def test_instance_ap__equal_scores_count_as_in_pycocotools(drawn, tmp_path, seed):
    """Tied detections of several images count in the order of the image ids, in whichever order the images come."""
    rng = np.random.default_rng(seed)
    images = [drawn.random_truth(rng, shape=(60, 67), num_segments=9) for _ in range(6)]
    tied = [
        (labels, np.round(2 * scores) / 2, masks)
        for labels, scores, masks in (drawn.noisy_instances(rng, *image, drawn.THING_IDS) for image in images)
    ]
    category_ids = {label: label for label in drawn.THING_IDS}
    expected = coco_numbers(polygon_truth(tmp_path, images, drawn.CLASSES, category_ids), tied, category_ids, 'segm')
    evaluator = Evaluator({'type': 'InstanceAP'})
    evaluator.dataset_meta = drawn.META
    for image_id in rng.permutation(len(images)).tolist():
        evaluator.process([drawn.make_sample(image_id, *images[image_id], {'instance': tied[image_id]})])
    metrics = evaluator.evaluate(len(images))
    assert [metrics[name] for name in NAMES] == pytest.approx(expected, nan_ok=True, abs=1e-12)


def test_instance_ap__categories_of_a_file_are_found_by_name(drawn, photos, tmp_path):
    expected = run_metric(drawn, *photos)
    foreign = {3: 1, 1: 90}  # other ids, other order, with a gap
    path = polygon_truth(tmp_path, photos[0], drawn.CLASSES, foreign)
    assert run_metric(drawn, *photos, ann_file=str(path)) == pytest.approx(expected, nan_ok=True)


def test_instance_ap__original_file_is_measured_besides(drawn, photos, tmp_path):
    derived = run_metric(drawn, *photos, iou_types=('segm', 'bbox'))
    path = polygon_truth(tmp_path, photos[0], drawn.CLASSES, {1: 1, 3: 3})
    content = json.loads(path.read_text())
    kept = [entry for entry in content['annotations'] if entry['id'] % 3]
    stranger = kept[0] | {'category_id': 77, 'id': 9999}  # a category that the classes do not have
    content |= {'annotations': [*kept, stranger], 'categories': [*content['categories'], {'id': 77, 'name': 'zebra'}]}
    path.write_text(json.dumps(content))
    both = run_metric(drawn, *photos, iou_types=('segm', 'bbox'), original_ann_file=str(path))
    alone = run_metric(drawn, *photos, iou_types=('segm', 'bbox'), ann_file=str(path))
    expected = derived | {f'{name}_instance': value for name, value in alone.items()}
    assert both == pytest.approx(expected, rel=0, abs=0, nan_ok=True)
    assert both['AP_instance'] != both['AP'] and both['box_AP_instance'] != both['box_AP']
    missing = run_metric(drawn, *photos, original_ann_file=str(tmp_path / 'gone.json'))
    assert missing == pytest.approx({name: derived[name] for name in NAMES}, nan_ok=True)


def test_instance_ap__equals_pycocotools_where_scores_tie(drawn, photos, tmp_path):
    predictions = [(labels, np.round(scores * 4) / 4, masks) for labels, scores, masks in photos[1]]
    predictions[0] = tuple(list(part) * 200 for part in predictions[0])  # more than 100 detections in an image
    assert len(predictions[0][0]) > 500
    ids = {label: label for label in drawn.THING_IDS}
    path = polygon_truth(tmp_path, photos[0], drawn.CLASSES, ids)
    expected = coco_numbers(path, predictions, ids, 'segm')
    metrics = run_metric(drawn, photos[0], predictions)
    assert [metrics[name] for name in NAMES] == pytest.approx(expected, nan_ok=True, abs=1e-12)


def test_instance_ap__image_ids_may_be_names(drawn, photos, tmp_path):
    """As ADE20K's are."""
    expected = run_metric(drawn, *photos)
    path = polygon_truth(tmp_path, photos[0], drawn.CLASSES, {1: 7, 3: 10})
    content = json.loads(path.read_text())
    for entry in content['images']:
        entry['id'] = f'ADE_{entry["id"]}'
    for entry in content['annotations']:
        entry['image_id'] = f'ADE_{entry["image_id"]}'
    path.write_text(json.dumps(content))
    evaluator = Evaluator(dict(type='InstanceAP', ann_file=str(path)))
    evaluator.dataset_meta = drawn.META
    for image_id, (image, prediction) in enumerate(zip(*photos)):
        evaluator.process([drawn.make_sample(f'ADE_{image_id}', *image, {'instance': prediction})])
    assert evaluator.evaluate(len(photos[0])) == pytest.approx(expected, nan_ok=True)


def test_instance_ap__order_of_classes_does_not_matter(drawn, photos):
    expected = run_metric(drawn, *photos)
    order = [4, 3, 2, 1, 0]  # the class that was number 0 is now number 4
    classes = tuple(drawn.CLASSES[order.index(i)] for i in range(5))
    images = [(m, [s | {'label': order[s['label']]} for s in segments]) for m, segments in photos[0]]
    predictions = [([order[label] for label in labels], *rest) for labels, *rest in photos[1]]
    meta = {'classes': classes, 'thing_ids': tuple(order[i] for i in drawn.THING_IDS)}
    assert run_metric(drawn, images, predictions, meta=meta) == pytest.approx(expected, nan_ok=True)


def test_instance_ap__perfect_predictions_give_100(drawn):
    rng = np.random.default_rng(3)
    images = [drawn.random_truth(rng, crowds=False, num_segments=14) for _ in range(3)]
    metrics = run_metric(drawn, images, [drawn.perfect(*image)['instance'] for image in images])
    assert metrics['AP'] == metrics['AP50'] == metrics['AP75'] == pytest.approx(100)


def test_instance_ap__crowds_are_neither_missed_nor_false(drawn):
    gt_map = np.ones((40, 40), dtype=int)
    gt_map[:, 20:] = 2
    segments = [
        {'id': 5, 'label': 1, 'isthing': True, 'iscrowd': False},
        {'id': 6, 'label': 1, 'isthing': True, 'iscrowd': True},
    ]
    found = torch.from_numpy(gt_map == 1)
    inside_crowd = torch.zeros(40, 40, dtype=torch.bool)
    inside_crowd[:10, 25:35] = True
    prediction = ([1, 1], [0.5, 0.9], [found, inside_crowd])
    assert run_metric(drawn, [(gt_map, segments)], [prediction])['AP'] == pytest.approx(100)


def test_instance_ap__nothing_predicted_is_0_and_nothing_to_find_is_nan(drawn):
    gt_map = np.ones((20, 20), dtype=int)
    cat, sky = (
        {'id': 5, 'label': label, 'isthing': isthing, 'iscrowd': False} for label, isthing in ((1, True), (0, False))
    )
    assert run_metric(drawn, [(gt_map, [cat])], [([], [], [])])['AP'] == 0
    assert math.isnan(run_metric(drawn, [(gt_map, [sky])], [([], [], [])])['AP'])


def test_instance_ap__run_lengths_are_taken_as_they_are(drawn, photos):
    expected = run_metric(drawn, *photos)
    metric = InstanceAP()
    metric.dataset_meta = drawn.META
    for image_id, (image, prediction) in enumerate(zip(*photos)):
        sample = drawn.make_sample(image_id, *image, {'instance': prediction}).to_dict()
        codes = [mask_api.encode(np.asfortranarray(mask.numpy().astype(np.uint8))) for mask in prediction[2]]
        sample['pred_instances'] = {k: sample['pred_instances'][k] for k in ('labels', 'scores')} | {'masks': codes}
        metric.process(None, [sample])
    assert metric.evaluate(len(photos[0])) == pytest.approx(expected, nan_ok=True)


def test_instance_ap__mistakes_are_named(drawn, photos, tmp_path):
    with pytest.raises(ValueError, match='iou_types'):
        InstanceAP(iou_types=('keypoints',))
    sky = ([0], [0.5], [torch.ones(120, 133, dtype=torch.bool)])
    with pytest.raises(ValueError, match=r'photo_0.jpg: instances of class 0'):
        run_metric(drawn, photos[0][:1], [sky])
    path = polygon_truth(tmp_path, photos[0][:2], drawn.CLASSES, {1: 1, 3: 3})
    with pytest.raises(ValueError, match='has no image 2'):
        run_metric(drawn, *photos, ann_file=str(path))
    path.write_text(path.read_text().replace('"dog"', '"hound"'))
    with pytest.raises(ValueError, match="no category 'dog'"):
        run_metric(drawn, *photos, ann_file=str(path))
    with pytest.raises(FileNotFoundError, match=r'no gone\.json; prepare the data set .* ann_file=None'):
        InstanceAP(ann_file='gone.json')
    path = polygon_truth(tmp_path, photos[0], drawn.CLASSES, {1: 1, 3: 3})
    content = json.loads(path.read_text())
    content['images'][2] |= {'height': 5}
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match='has a mask of 133x120, but its photo is 133x5'):
        run_metric(drawn, *photos, ann_file=str(path))
    path.write_text(json.dumps({'images': []}))
    with pytest.raises(ValueError, match='is not a COCO instance JSON'):
        run_metric(drawn, *photos, ann_file=str(path))
