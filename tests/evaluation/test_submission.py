"""Files for the benchmarks' servers, read back by the benchmarks' own readers."""

import importlib
import json
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

from mmseg_oneformer.evaluation.submission import FormatAnswers, layout_of
from mmseg_oneformer.run_lengths import encode_masks

IDS = (23, 24, 22, 26, 7)  # of the classes of ``drawn``
STEMS = ('aachen_000000_000001_leftImg8bit', 'aachen_000000_000002_leftImg8bit')
NUMBERS = (90, 7)


@pytest.fixture
def write(drawn, tmp_path):
    """Write the predictions of two images in a layout; returns the folder, the ground truth and the predictions."""

    def run(layout, tasks=('semantic', 'instance', 'panoptic'), coded=False):
        rng = np.random.default_rng(5)
        categories = [
            {'id': number, 'name': name, 'isthing': int(k in drawn.THING_IDS)}
            for k, (number, name) in enumerate(zip(IDS, drawn.CLASSES))
        ]
        ann_file = tmp_path / 'panoptic_val.json'
        truths = [drawn.random_truth(rng, void=False, crowds=False) for _ in STEMS]
        metric = FormatAnswers(tmp_path / 'out', ann_file=write_truth(ann_file, truths, categories), layout=layout)
        metric.dataset_meta = drawn.META
        predictions = [drawn.perfect(*truth) for truth in truths]
        for stem, number, truth, prediction in zip(STEMS, NUMBERS, truths, predictions):
            sample = drawn.make_sample(number, *truth, {task: prediction[task] for task in tasks})
            sample.set_metainfo({'img_path': f'photos/{stem}.png'})
            if layout == 'cityscapes':
                sample.set_metainfo({'img_id': stem.removesuffix('_leftImg8bit')})
            sample = sample.to_dict()
            for key in ('gt_panoptic_seg', 'gt_sem_seg', 'segments_info'):  # no server gives these away
                del sample[key]
            if coded:
                sample['pred_instances']['masks'] = encode_masks(sample['pred_instances']['masks'])
            metric.process(None, [sample])
        assert metric.evaluate(len(STEMS)) == {}
        return tmp_path / 'out', truths, predictions

    return run


def write_truth(path, truths, categories):
    """Write the truth as the panoptic benchmarks have it; returns the JSON."""
    annotations = []
    for stem, (gt_map, segments) in zip(STEMS, truths):
        image_id = stem.removesuffix('_leftImg8bit')
        folder = path.with_suffix('')
        folder.mkdir(exist_ok=True)
        Image.fromarray(np.stack([gt_map, gt_map * 0, gt_map * 0], -1).astype(np.uint8)).save(
            folder / f'{image_id}.png'
        )
        table = [
            {'id': k, 'category_id': IDS[s['label']], 'iscrowd': 0, 'area': int((gt_map == k).sum())}
            for k, s in enumerate(segments, start=1)
        ]
        annotations.append({'image_id': image_id, 'file_name': f'{image_id}.png', 'segments_info': table})
    images = [{'id': annotation['image_id']} for annotation in annotations]
    path.write_text(json.dumps({'images': images, 'annotations': annotations, 'categories': categories}))
    return path


def names(path):
    return zipfile.ZipFile(path).namelist()


def test_coco__read_by_pycocotools_and_as_panoptic_png(write, drawn):
    out, truths, predictions = write('coco')
    table = json.loads((out / 'panoptic_val_oneformer_results.json').read_text())
    assert [entry['image_id'] for entry in table['annotations']] == list(NUMBERS)
    for entry, stem, (gt_map, segments), prediction in zip(table['annotations'], STEMS, truths, predictions):
        assert entry['file_name'] == f'{stem}.png'
        picture = np.array(Image.open(out / 'panoptic_val_oneformer_results' / entry['file_name'])).astype(int)
        ids = picture @ [1, 256, 256**2]
        assert {segment['id'] for segment in entry['segments_info']} == set(np.unique(ids).tolist()) - {0}
        class_of = {segment['id']: segment['category_id'] for segment in entry['segments_info']}
        assert len(class_of) == len(segments)
        expected = np.array(IDS)[np.array([0, *[s['label'] for s in segments]])][gt_map]
        assert np.array_equal(np.vectorize(class_of.get)(ids), expected)
        labels = np.array(Image.open(out / 'semantic' / f'{stem}.png'))
        assert labels.dtype == np.uint8 and np.array_equal(labels, np.array(IDS)[prediction['semantic']])
    truth = COCO()
    truth.dataset = {
        'images': [{'id': number} for number in NUMBERS],
        'categories': [{'id': number} for number in IDS],
        'annotations': [],
    }
    truth.createIndex()
    found = truth.loadRes(str(out / 'detections_val_oneformer_results.json'))
    for number, prediction in zip(NUMBERS, predictions):
        results = found.loadAnns(found.getAnnIds(imgIds=[number]))
        labels, scores, masks = prediction['instance']
        assert [r['category_id'] for r in results] == [IDS[label] for label in labels] and len(labels)
        assert [r['score'] for r in results] == pytest.approx(scores)
        for result, mask in zip(results, masks):
            assert np.array_equal(mask_api.decode(result['segmentation']), mask.numpy())
    assert names(out / 'detections_val_oneformer_results.zip') == ['detections_val_oneformer_results.json']
    pngs = [f'panoptic_val_oneformer_results/{stem}.png' for stem in STEMS]
    assert names(out / 'panoptic_val_oneformer_results.zip') == ['panoptic_val_oneformer_results.json', *pngs]


def test_cityscapes__read_by_the_official_scripts(write, drawn, monkeypatch):
    pytest.importorskip('cityscapesscripts')
    scripts = 'cityscapesscripts.evaluation.eval{}SemanticLabeling'
    instance_level, panoptic_level, pixel_level = (
        importlib.import_module(scripts.format(kind)) for kind in ('InstanceLevel', 'Panoptic', 'PixelLevel')
    )

    out, truths, predictions = write('cityscapes')
    for stem, prediction in zip(STEMS, predictions):
        truth_file = f'gtFine/val/aachen/{stem.replace("leftImg8bit", "gtFine_instanceIds")}.png'
        args = SimpleNamespace(predictionPath=str(out / 'semantic'), predictionWalk=None)
        labels = np.array(Image.open(pixel_level.getPrediction(args, truth_file)))
        assert labels.ndim == 2 and np.array_equal(labels, np.array(IDS)[prediction['semantic']])
        args = SimpleNamespace(predictionPath=str(out / 'instance'), predictionWalk=None)
        found = instance_level.readPredInfo(instance_level.getPrediction(truth_file, args), args)
        class_labels, scores, masks = prediction['instance']
        assert [info['labelID'] for info in found.values()] == [IDS[label] for label in class_labels]
        assert [info['conf'] for info in found.values()] == pytest.approx(scores)
        for file, mask in zip(found, masks):
            assert np.array_equal(np.array(Image.open(file)) != 0, mask.numpy())
    monkeypatch.setattr(panoptic_level.multiprocessing, 'cpu_count', lambda: 1)
    truth = out.parent / 'panoptic_val.json'
    results = panoptic_level.evaluatePanoptic(
        str(truth), str(truth.with_suffix('')), str(out / 'cityscapes_panoptic_val.json'),
        str(out / 'cityscapes_panoptic_val'), str(out.parent / 'official.json'),
    )  # fmt: skip
    assert results['All']['pq'] == 1 and results['All']['n'] == len({s['label'] for _, ss in truths for s in ss})
    assert len(names(out / 'instance.zip')) == 2 + sum(len(prediction['instance'][0]) for prediction in predictions)


def test_ade20k__class_maps_begin_at_one(write):
    out, _, predictions = write('ade20k', tasks=('semantic',))
    for stem, prediction in zip(STEMS, predictions):
        assert np.array_equal(np.array(Image.open(out / 'semantic' / f'{stem}.png')), prediction['semantic'] + 1)
    assert sorted(path.name for path in out.iterdir()) == ['semantic', 'semantic.zip']


@pytest.mark.parametrize('layout', ['coco', 'cityscapes'])
def test_codes_and_dense_masks_give_the_same_files(write, layout):
    out, _, _ = write(layout, tasks=('instance',))
    dense = {path: path.read_bytes() for path in out.rglob('*') if path.is_file() and path.suffix != '.zip'}
    write(layout, tasks=('instance',), coded=True)
    assert dense and all(path.read_bytes() == content for path, content in dense.items())


def test_zip__without_files_of_an_earlier_run(write):
    out, _, _ = write('ade20k', tasks=('semantic',))
    (out / 'semantic/old.png').touch()
    write('ade20k', tasks=('semantic',))
    assert names(out / 'semantic.zip') == [f'semantic/{stem}.png' for stem in STEMS]


def test_mistakes_are_named(drawn, tmp_path):
    ann_file = tmp_path / 'panoptic_val.json'
    with pytest.raises(FileNotFoundError, match=r'panoptic_val.json does not exist'):
        FormatAnswers(tmp_path, ann_file)
    ann_file.write_text(json.dumps({'categories': [{'id': 1, 'name': 'sky', 'isthing': 0}]}))
    with pytest.raises(ValueError, match="not 'voc'"):
        FormatAnswers(tmp_path, ann_file, layout='voc')
    with pytest.raises(ValueError, match='is a file'):
        FormatAnswers(ann_file, ann_file)
    metric = FormatAnswers(tmp_path, ann_file)
    metric.dataset_meta = drawn.META
    with pytest.raises(ValueError, match="no category 'cat'"):
        metric.process(None, [])
    metric.dataset_meta = {'classes': ('sky',)}
    metric.process(None, [{'img_path': 'a/photo.jpg', 'img_id': 1}])
    with pytest.raises(ValueError, match=r'a/photo.jpg have the same name'):
        metric.process(None, [{'img_path': 'b/photo.png', 'img_id': 2}])


def test_layout_of():
    assert [layout_of(name) for name in ('CityscapesPanoptic', 'Ade20kPanoptic', 'CocoPanoptic', 'Own')] == [
        *('cityscapes', 'ade20k', 'coco', 'coco')
    ]
