"""The shipped configs measure each task on its own annotations: a drawn benchmark, a model that knows the panoptic one.

Its PQ is 100 whatever the annotations of the other tasks say, and AP and mIoU follow those.
"""

import json
import math

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import InstanceData, PixelData

from mmseg_oneformer.engine.evaluating import run_evaluation
from mmseg_oneformer.zoo.configs import find_config

NAMES = {
    'ade20k': 'oneformer_r50_8xb2-160k_ade20k-512x512',
    'cityscapes': 'oneformer_r50_8xb2-90k_cityscapes-512x1024',
    'coco': 'oneformer_r50_8xb2-50e_coco-1024x1024',
}


@MODELS.register_module(force=True)
class TruthTeller(BaseModel):
    """Answers all tasks with the panoptic annotation, crowds left out, void as class 0."""

    def __init__(self, num_classes, thing_ids, test_cfg=None):
        super().__init__()
        self.num_classes, self.thing_ids = num_classes, thing_ids
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, data_samples, mode):
        for sample in data_samples:
            index_map, segments = sample.gt_panoptic_seg.sem_seg[0], sample.segments_info
            seen = [(k, s) for k, s in enumerate(segments, start=1) if (index_map == k).any() and not s['iscrowd']]
            ids, semantic = torch.full_like(index_map, self.num_classes), torch.zeros_like(index_map)
            for k, segment in enumerate(segments, start=1):
                semantic[index_map == k] = segment['label']
            for k, segment in seen:
                ids[index_map == k] = segment['label'] + 1000 * k
            table = [{'id': s['label'] + 1000 * k, 'category_id': s['label']} for k, s in seen]
            sample.pred_panoptic_seg = PixelData(sem_seg=ids[None], metainfo={'segments_info': table})
            sample.pred_sem_seg = PixelData(sem_seg=semantic[None], data=semantic[None])
            things = [(k, s['label']) for k, s in seen if s['isthing']]
            sample.pred_instances = InstanceData(
                labels=torch.tensor([label for _, label in things]),
                scores=torch.ones(len(things)),
                masks=torch.stack([index_map == k for k, _ in things]),
            )
        return data_samples


@pytest.fixture
def measure(drawn_benchmarks, tmp_path, monkeypatch):
    """Draw a benchmark; returns its folder and a function that evaluates the shipped config with options."""
    monkeypatch.chdir(tmp_path)

    def prepare(data):
        root = drawn_benchmarks.draw_benchmark(data, tmp_path, train=1, val=3)
        torch.save({'state_dict': {'weight': torch.ones(1)}}, 'weights.pth')

        def run(options=None, tasks=('semantic', 'instance', 'panoptic')):
            cfg = Config.fromfile(find_config(NAMES[data]))
            cfg.model = dict(type='TruthTeller', num_classes=cfg.num_classes, thing_ids=cfg.thing_ids)
            cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
            cfg.merge_from_dict(
                {'work_dir': 'work', 'visualizer.name': f'own annotations of {data}', **(options or {})}
            )
            results = run_evaluation(cfg, 'weights.pth', config_name=find_config(NAMES[data]), tasks=tasks)
            return {name: math.nan if value is None else value for name, value in results['metrics']['own'].items()}

        return root, run

    return prepare


def edit(path, change):
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(path), change(values))


def test_ade20k(measure):
    root, run = measure('ade20k')
    before = run()
    assert before['AP'] == pytest.approx(100) and before['mIoU'] == 100 and before['PQ'] > 80
    # mIoU: everything that was not void is the flag now, class 149 = 150 - 1, which the model has nowhere.
    for path in (root / 'annotations/validation').iterdir():
        edit(path, lambda values: np.where(values > 0, 150, 0).astype(np.uint8))
    # AP: a second object, which no prediction finds, beside each one.
    path = root / 'ade20k_instance_val.json'
    content = json.loads(path.read_text())
    double = content['annotations']
    content['annotations'] = [*double, *(entry | {'id': entry['id'] + 1000} for entry in double)]
    path.write_text(json.dumps(content))
    after = run()
    assert after['PQ'] == before['PQ'] and after['mIoU'] == 0 and 45 < after['AP'] < 55
    derived = run({'test_dataloader.dataset.data_prefix.sem': None, 'test_evaluator.1.ann_file': None})
    assert (derived['PQ'], derived['mIoU']) == (before['PQ'], 100) and derived['AP'] == pytest.approx(100)

    path.unlink()
    with pytest.raises(FileNotFoundError, match=r'no data/ade/ADEChallengeData2016/ade20k_instance_val\.json; prepare'):
        run()
    assert set(run(tasks=('semantic',))) == {'mIoU', 'fwIoU', 'mAcc', 'aAcc'}
    for path in (root / 'annotations/validation').iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r'annotations/validation/ADE_val_.* does not exist; .*sem=None'):
        run(tasks=('semantic',))
    assert run(tasks=('panoptic',))['PQ'] == before['PQ']


def test_cityscapes(measure):
    root, run = measure('cityscapes')
    before = run()
    assert before['AP'] == pytest.approx(100) and set(before) >= {'AP50', 'PQ', 'mIoU'} and 'AP75' not in before
    assert before['mIoU'] == 100
    for path in (root / 'gtFine/val').rglob('*_labelTrainIds.png'):
        edit(path, lambda values: np.where(values < 255, 18, 255).astype(np.uint8))
    for path in (root / 'gtFine/val').rglob('*_instanceIds.png'):  # the left half of every object is void
        edit(
            path, lambda values: np.where(np.arange(values.shape[1]) < values.shape[1] / 2, 0, values).astype(np.uint16)
        )
    after = run()
    assert after['PQ'] == before['PQ'] and after['mIoU'] < 20 and after['AP'] < 100
    derived = run(
        {
            'test_evaluator.1.type': 'InstanceAP',
            'test_dataloader.dataset.data_prefix.sem': None,
            'test_dataloader.dataset.data_prefix.instance': None,
        }
    )
    assert derived['mIoU'] == 100 and derived['AP'] == pytest.approx(100) and 'AP75' in derived


def test_coco__original_instances_where_they_are(measure):
    root, run = measure('coco')
    before = run()
    assert before['AP'] == pytest.approx(100) and 'AP_instance' not in before
    panoptic = json.loads((root / 'annotations/panoptic_val2017.json').read_text())
    things = [category for category in panoptic['categories'] if category['isthing']]
    entry = {'id': 1, 'image_id': panoptic['images'][0]['id'], 'category_id': things[0]['id'], 'iscrowd': 0}
    entry |= {'segmentation': [[1, 1, 30, 1, 30, 30, 1, 30]], 'bbox': [1, 1, 29, 29], 'area': 841}
    content = {'images': panoptic['images'], 'categories': things, 'annotations': [entry]}
    (root / 'annotations/instances_val2017.json').write_text(json.dumps(content))
    after = run()
    assert after['AP_instance'] == 0  # a person where there is none
    assert {name: after[name] for name in before} == pytest.approx(before, nan_ok=True)
