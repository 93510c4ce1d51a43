"""Drawn annotations and predictions in the form the data sets and the model give them."""

import mmseg_oneformer  # noqa: F401  # isort: skip  (first: makes mmdet importable)

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData

from mmseg_oneformer.datasets.benchmarks import CITYSCAPES_LABEL_IDS

CLASSES = ('sky', 'cat', 'grass', 'dog', 'road')
THING_IDS = (1, 3)  # interleaved with stuff, on purpose
K = len(CLASSES)
IGNORE = 255
# Roads and cars' own bonnets, void, groups, objects, a numbered caravan (no void to the script) and an unnumbered one.
CITY_VALUES = (
    7,
    1,
    0,
    26,
    24,
    29,
    29001,
    27003,
    *(1000 * label + k for label in (24, 25, 26, 26, 32, 33) for k in (0, 5)),
)


def make_sample(img_id, gt_map, gt_segments, predictions, num_classes=K):
    """Return a DetDataSample with annotations and with the predictions named in ``predictions``."""
    shape = gt_map.shape
    label_of = np.array([IGNORE, *[s['label'] for s in gt_segments]], dtype=np.int64)
    metainfo = {'img_id': img_id, 'img_path': f'photo_{img_id}.jpg', 'ori_shape': shape, 'img_shape': shape}
    sample = DetDataSample(metainfo=metainfo | {'segments_info': gt_segments})
    index_map = torch.from_numpy(gt_map.astype(np.int32))[None]
    sem_map = torch.from_numpy(label_of[gt_map])[None]
    sample.gt_panoptic_seg = PixelData(sem_seg=index_map, data=index_map)
    sample.gt_sem_seg = PixelData(sem_seg=sem_map, data=sem_map)
    if 'panoptic' in predictions:
        pred_map, segments = predictions['panoptic']
        values = torch.from_numpy(pred_map.astype(np.int32))[None]
        sample.pred_panoptic_seg = PixelData(sem_seg=values, data=values, metainfo={'segments_info': segments})
    if 'instance' in predictions:
        labels, scores, masks = predictions['instance']
        sample.pred_instances = InstanceData(
            labels=torch.as_tensor(labels, dtype=torch.int64),
            scores=torch.as_tensor(scores, dtype=torch.float32),
            bboxes=torch.stack([tight_box(m) for m in masks]) if len(masks) else torch.zeros(0, 4),
            masks=torch.stack(masks) if len(masks) else torch.zeros(0, *shape, dtype=torch.bool),
        )
    if 'semantic' in predictions:
        values = torch.from_numpy(predictions['semantic'].astype(np.int64))[None]
        sample.pred_sem_seg = PixelData(sem_seg=values, data=values)
    return sample


def tight_box(mask):
    rows, columns = torch.nonzero(mask.any(1)).flatten(), torch.nonzero(mask.any(0)).flatten()
    if not len(rows):
        return torch.zeros(4)
    return torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=torch.float32)


def random_truth(rng, shape=(24, 31), num_segments=8, void=True, crowds=True, num_classes=K):
    """Return a blocky index map and its segments; every segment has a pixel."""
    blocks = rng.integers(0 if void else 1, num_segments + 1, size=(6, 6))
    gt_map = np.kron(blocks, np.ones((shape[0] // 6 + 1, shape[1] // 6 + 1), dtype=int))[: shape[0], : shape[1]]
    present = [i for i in np.unique(gt_map) if i > 0]
    gt_map = np.searchsorted([0, *present], gt_map) if len(present) else gt_map * 0
    segments = []
    for original in present:
        label = int(rng.integers(num_classes))
        isthing = label in THING_IDS
        crowd = bool(crowds and isthing and rng.random() < 0.3)
        segments.append({'id': int(original) * 7, 'label': label, 'isthing': isthing, 'iscrowd': crowd})
    return gt_map, segments


def disturb(rng, gt_map, segments, num_classes=K, noise=0.3):
    """Return a panoptic prediction near the truth: pixels moved, labels flipped, segments merged and void added."""
    void, owner = num_classes, gt_map.copy()
    rows = rng.random(gt_map.shape[0]) < noise
    owner[rows] = np.roll(owner, rng.integers(1, 5), axis=1)[rows]
    pixels = rng.random(gt_map.shape) < noise / 2
    owner[pixels] = rng.integers(0, len(segments) + 1, size=pixels.sum())
    pred_map, table, number = np.full(gt_map.shape, void), [], dict.fromkeys(range(num_classes), 0)
    for index in range(len(segments) + 1):  # void regions of the truth get predictions too
        region = owner == index
        if not region.any() or rng.random() < noise / 3:
            continue
        label = (
            int(rng.integers(num_classes)) if index == 0 or rng.random() < noise / 2 else segments[index - 1]['label']
        )
        number[label] += 1
        identity = label + 1000 * number[label]
        pred_map[region] = identity
        table.append({'id': identity, 'category_id': label, 'isthing': label in THING_IDS, 'score': 0.9})
    return pred_map, table


def perfect(gt_map, segments, num_classes=K):
    """Return the three predictions equal to an annotation without crowds."""
    identity = np.array([num_classes, *[s['label'] + 1000 * k for k, s in enumerate(segments, start=1)]])
    table = [
        {'id': s['label'] + 1000 * k, 'category_id': s['label'], 'isthing': s['isthing'], 'score': 1.0}
        for k, s in enumerate(segments, start=1)
    ]
    things = [k for k, s in enumerate(segments, start=1) if s['isthing']]
    masks = [torch.from_numpy(gt_map == k) for k in things]
    labels = [segments[k - 1]['label'] for k in things]
    semantic = np.array([0, *[s['label'] for s in segments]])[gt_map]
    return {
        'panoptic': (identity[gt_map], table),
        'instance': (labels, [0.9] * len(things), masks),
        'semantic': semantic,
    }


def noisy_instances(rng, gt_map, segments, thing_ids):
    """Thing segments eroded, shifted and duplicated, with random scores, and a few random false ones."""
    labels, masks = [], []
    for index, segment in enumerate(segments, start=1):
        if segment['isthing']:
            for _ in range(int(rng.integers(0, 3))):
                shifted = np.roll(gt_map == index, rng.integers(-2, 3), axis=1) & (rng.random(gt_map.shape) > 0.1)
                labels.append(segment['label'] if rng.random() < 0.8 else int(rng.choice(thing_ids)))
                masks.append(torch.from_numpy(shifted))
    return labels, rng.random(len(labels)), masks


def draw_ids(rng, shape=(96, 120)):
    """instanceIds (H, W) of rectangles, some of which are below 100 pixels."""
    ids = np.full(shape, 7, np.uint16)
    for value in rng.permutation(np.array(CITY_VALUES * 2, np.uint16)):
        height, width = rng.integers(3, 40, 2)
        top, left = rng.integers(0, shape[0] - height), rng.integers(0, shape[1] - width)
        ids[top : top + height, left : left + width] = value
    return ids


def guess_city(rng, ids, count=3):
    """Shifted and eroded instances with few distinct scores, of right and wrong classes; empty ones among them."""
    labels, scores, masks = [], [], []
    for value in np.unique(ids):
        label_id = int(value) if value < 1000 else int(value) // 1000
        for _ in range(int(rng.integers(0, count + 1))):
            mask = np.roll(ids == value, rng.integers(-1, 2, 2), (0, 1)) & (rng.random(ids.shape) > 0.1 * rng.random())
            known = label_id in CITYSCAPES_LABEL_IDS[11:] and rng.random() < 0.8
            labels.append(CITYSCAPES_LABEL_IDS.index(label_id) if known else int(rng.choice(range(11, 19))))
            scores.append(float(np.float32(rng.choice([rng.random(), 0.5, 0.25]))))
            masks.append(mask & (rng.random() > 0.05))
    return labels, scores, masks


@pytest.fixture(scope='session')
def protocol():
    """The module with a second implementation of panoptic quality."""
    spec = importlib.util.spec_from_file_location('pq_protocol', Path(__file__).with_name('protocol.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def drawn():
    """The functions and constants above."""
    return SimpleNamespace(
        CLASSES=CLASSES,
        THING_IDS=THING_IDS,
        META={'classes': CLASSES, 'thing_ids': THING_IDS, 'palette': [(0, 0, 0)] * len(CLASSES)},
        make_sample=make_sample,
        random_truth=random_truth,
        disturb=disturb,
        perfect=perfect,
        tight_box=tight_box,
        noisy_instances=noisy_instances,
        draw_ids=draw_ids,
        guess_city=guess_city,
    )


@pytest.fixture
def photos():
    """Nine annotated images and noisy instances for them."""
    rng = np.random.default_rng(0)
    images = [random_truth(rng, shape=(120, 133), num_segments=12) for _ in range(9)]
    predictions = [noisy_instances(rng, *image, THING_IDS) for image in images]
    predictions[4] = ([], [], [])  # nothing found in one of them
    return images, predictions
