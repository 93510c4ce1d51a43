"""Two gloo processes give what one gives; no image counts twice. Run as a script, this file is one of the processes."""

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import Evaluator

import mmseg_oneformer  # noqa: F401
from mmseg_oneformer.datasets.cityscapes import CityscapesPanoptic
from mmseg_oneformer.evaluation.ground_truth import panoptic_truth
from mmseg_oneformer.evaluation.instance_ap import instance_truth

METRICS = [
    {'type': 'PanopticQuality'},
    {'type': 'InstanceAP', 'iou_types': ('segm', 'bbox'), 'original_ann_file': 'instances.json'},
    {'type': 'MeanIoU'},
]


def measure(meta, samples, metrics):
    evaluator = Evaluator(metrics)
    evaluator.dataset_meta = meta
    for index in DefaultSampler(samples, shuffle=False):  # fills up the shorter share with a repeated image
        evaluator.process([samples[index]])
    return evaluator.evaluate(len(samples))


def city_samples(drawn, folder):
    """Seven drawn streets with their instanceIds in ``folder``."""
    rng, samples = np.random.default_rng(1), []
    for number in range(7):
        ids = drawn.draw_ids(rng)
        cv2.imwrite(str(folder / f'{number}_instanceIds.png'), ids)
        sample = drawn.make_sample(number, ids * 0, [], {'instance': drawn_prediction(*drawn.guess_city(rng, ids))})
        sample.set_metainfo({'instance_ids_path': f'{number}_instanceIds.png'})
        samples.append(sample.to_dict())
    return samples


def drawn_prediction(labels, scores, masks):
    return labels, scores, [torch.from_numpy(mask) for mask in masks]


def instance_file(samples, path):
    """An instance JSON with every other thing of the samples."""
    annotations = []
    for sample in samples:
        for entry in instance_truth(panoptic_truth(sample))[::2]:
            code = entry['segmentation'] | {'counts': entry['segmentation']['counts'].decode()}
            annotations.append(entry | {'id': len(annotations) + 1, 'image_id': sample['img_id'], 'segmentation': code})
    images = [
        dict(id=s['img_id'], file_name=f'{s["img_id"]}.jpg', height=s['ori_shape'][0], width=s['ori_shape'][1])
        for s in samples
    ]
    categories = [{'id': 1, 'name': 'cat'}, {'id': 3, 'name': 'dog'}]
    path.write_text(json.dumps({'images': images, 'annotations': annotations, 'categories': categories}))


def test_metrics__two_processes_equal_one_for_an_odd_number_of_images(
    drawn, photos, tmp_path, monkeypatch, start_ranks
):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    assert len(photos[0]) % 2
    samples = []
    for index, (image, instances) in enumerate(zip(*photos)):
        semantic = drawn.perfect(*image)['semantic']
        semantic[rng.random(semantic.shape) < 0.3] = 0
        predictions = {'panoptic': drawn.disturb(rng, *image), 'instance': instances, 'semantic': semantic}
        samples.append(drawn.make_sample(index, *image, predictions).to_dict())
    instance_file(samples, tmp_path / 'instances.json')
    cases = [
        (drawn.META, samples, METRICS),
        (CityscapesPanoptic.METAINFO, city_samples(drawn, tmp_path), [{'type': 'CityscapesAP'}]),
    ]
    expected = [measure(*case) for case in cases]
    names = ('PQ', 'PQ_th', 'PQ_st', 'AP', 'box_AP', 'AP_instance', 'mIoU')
    assert all(1 < expected[0][name] < 99 for name in names) and 1 < expected[1]['AP'] < 99

    (tmp_path / 'cases.pkl').write_bytes(pickle.dumps(cases))
    before = {path.name for path in tmp_path.iterdir()}
    start_ranks(__file__)()
    for rank in range(2):
        predictions = pickle.loads((tmp_path / f'rank{rank}.pkl').read_bytes())
        for metrics, of_one in zip(predictions, expected, strict=True):
            assert metrics == pytest.approx(of_one, rel=0, abs=0, nan_ok=True)
    assert {path.name for path in tmp_path.iterdir()} == {*before, 'rank0.pkl', 'rank1.pkl'}  # nothing is left behind


if __name__ == '__main__':
    from torch import distributed

    distributed.init_process_group('gloo')
    predictions = [measure(*case) for case in pickle.loads(Path('cases.pkl').read_bytes())]
    Path(f'rank{distributed.get_rank()}.pkl').write_bytes(pickle.dumps(predictions))
    distributed.destroy_process_group()
