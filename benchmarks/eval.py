"""Evaluation: panoptic quality, AP and mIoU of drawn predictions, against the usual ways of computing them.

eval-pq:    counting pairs of segments, against the protocol's way: each prediction becomes a PNG, is read and sorted.
eval-ap:    faster-coco-eval, as InstanceAP calls it, against pycocotools, over all images together.
eval-miou:  counting pairs of classes, against mmseg's IoUMetric.
eval-three: all of them, one after another.

Predictions are annotations that were moved by some pixels. First the tool checks that both sides find the same numbers.
"""

import argparse
import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from mmseg.evaluation import IoUMetric
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmseg_oneformer.errors import UserError
from mmseg_oneformer.evaluation.ground_truth import PanopticTruth
from mmseg_oneformer.evaluation.instance_ap import InstanceAP, instance_truth
from mmseg_oneformer.evaluation.matching import match_segments
from mmseg_oneformer.evaluation.mean_iou import class_areas

from .batches import segment_map
from .measure import compare
from .rows import Row, make_row

CLASSES, THINGS, VOID = 133, 80, 255


class Scene(NamedTuple):
    """One image with a prediction."""

    truth: np.ndarray
    """(H, W) int32: 0 = void, k = entry k of ``segments``."""
    prediction: np.ndarray
    """(H, W) int32 of ids, ``CLASSES`` = void."""
    segments: list[dict[str, Any]]
    found: list[dict[str, Any]]
    classes: tuple[np.ndarray, np.ndarray]
    """Class maps (H, W) int64 of annotation and prediction."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this subcommand."""
    parser.add_argument('--size', type=int, nargs=2, default=(480, 640), metavar=('H', 'W'), help='default: 480 640')
    parser.add_argument('--images', type=int, default=20, help='(default: %(default)s)')
    parser.add_argument('--segments', type=int, default=20, help='of each image (default: %(default)s)')


def run(args: argparse.Namespace) -> list[Row]:
    """Measure; returns the rows named above, in seconds for all images.

    Raises:
        UserError: A number is too small, or both sides find different numbers.
    """
    if min(args.images, args.segments, *args.size) < 1:
        raise UserError('--images, --segments and --size must be 1 or more.')
    scenes = [_scene(tuple(args.size), args.segments, number) for number in range(args.images)]
    ap = _average_precision(scenes)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f'{number}.png' for number in range(len(scenes))]
        for scene, path in zip(scenes, files):
            _write_ids(path.with_suffix('.truth.png'), scene.truth)
        sides: dict[str, tuple[Callable[[], Any], Callable[[], Any], str]] = {
            'eval-pq': (
                lambda: [_pairs(scene) for scene in scenes],
                lambda: [_pairs_through_png(scene, path) for scene, path in zip(scenes, files)],
                'PNG and sorting',
            ),
            'eval-ap': (*ap, 'pycocotools'),
            'eval-miou': (
                lambda: [class_areas(*scene.classes, CLASSES, VOID) for scene in scenes],
                lambda: [_areas_by_mmseg(scene) for scene in scenes],
                'mmseg',
            ),
        }
        _check(sides)
        ours, peers, _ = zip(*sides.values())
        sides['eval-three'] = (lambda: [call() for call in ours], lambda: [call() for call in peers], 'the three above')
        size = f'{len(scenes)} x {args.size[0]}x{args.size[1]}'
        return [
            make_row(
                name,
                compare(our_call, peer_call, 'cpu', args.runs, args.warmup),
                device='cpu',
                dtype='int32',
                size=size,
                peer=peer,
            )
            for name, (our_call, peer_call, peer) in sides.items()
        ]


def _check(sides: Mapping[str, tuple[Callable[[], Any], Callable[[], Any], str]]) -> None:
    """Compare the numbers of both sides.

    Raises:
        UserError: They differ.
    """
    pairs, areas = sides['eval-pq'], sides['eval-miou']
    same = {
        'eval-pq': pairs[0]() == pairs[1](),
        'eval-ap': np.allclose(sides['eval-ap'][0](), sides['eval-ap'][1](), rtol=0, atol=1e-12),
        'eval-miou': all(np.array_equal(ours, theirs) for ours, theirs in zip(areas[0](), areas[1]())),
    }
    for name, equal in same.items():
        if not equal:
            raise UserError(f'{name}: both sides find different numbers; this is a bug, please report it.')
    print('both sides find the same pairs, precisions (within 1e-12) and areas')


def _scene(size: tuple[int, int], count: int, seed: int) -> Scene:
    rng = np.random.default_rng(seed)
    truth = segment_map(size, count, rng)
    labels = rng.integers(0, CLASSES, count)
    segments = [
        {'id': number, 'label': int(label), 'isthing': bool(label < THINGS), 'iscrowd': False}
        for number, label in enumerate(labels, start=1)
    ]
    moved = np.roll(truth, rng.integers(-6, 7, 2), (0, 1))
    ids = np.array([CLASSES, *(label + 1000 * number for number, label in enumerate(labels, start=1))], dtype=np.int32)
    present = np.flatnonzero(np.bincount(moved.reshape(-1), minlength=count + 1)[1:])
    found = [{'id': int(ids[place + 1]), 'category_id': int(labels[place])} for place in present]
    of_truth, of_prediction = np.array([VOID, *labels]), np.array([CLASSES, *labels])
    return Scene(truth, ids[moved], segments, found, (of_truth[truth], of_prediction[moved]))


# ---- panoptic quality


def _pairs(scene: Scene) -> dict[tuple[int, int], int]:
    """Return how many pixels each pair of ids shares."""
    overlap = match_segments(scene.truth, scene.segments, scene.prediction, scene.found, CLASSES).overlap
    ids = [CLASSES, *(segment['id'] for segment in scene.found)]
    rows, columns = np.nonzero(overlap)
    return {(row, ids[column]): int(overlap[row, column]) for row, column in zip(rows.tolist(), columns.tolist())}


def _pairs_through_png(scene: Scene, path: Path) -> dict[tuple[int, int], int]:
    """Return the same as the protocol's tool computes it, which reads images from files and uses ids unchanged."""
    _write_ids(path, scene.prediction)
    truth, prediction = _read_ids(path.with_suffix('.truth.png')), _read_ids(path)
    np.unique(prediction, return_counts=True)  # Its check that every id is listed, and the areas.
    pairs, counts = np.unique(truth.astype(np.uint64) * 2**24 + prediction, return_counts=True)
    return {(int(pair >> 24), int(pair & 0xFFFFFF)): count for pair, count in zip(pairs.tolist(), counts.tolist())}


def _write_ids(path: Path, ids: np.ndarray) -> None:
    cv2.imwrite(str(path), np.stack([ids >> 16, ids >> 8 & 255, ids & 255], -1).astype(np.uint8))


def _read_ids(path: Path) -> np.ndarray:
    blue, green, red = np.moveaxis(np.asarray(cv2.imread(str(path))).astype(np.uint32), -1, 0)
    return red + 256 * green + 65536 * blue


# ---- average precision


def _average_precision(scenes: list[Scene]) -> tuple[Callable[[], list[float]], Callable[[], list[float]]]:
    """Return AP, AP50 and AP75 from our metric and from pycocotools, for predictions that were encoded before."""
    images, truth, predictions = [], [], []
    for number, scene in enumerate(scenes):
        height, width = scene.truth.shape
        images.append({'id': number, 'height': height, 'width': width})
        truth.append(instance_truth(PanopticTruth(scene.truth, scene.segments)))
        table = np.zeros(int(scene.prediction.max()) + 1, dtype=np.int32)
        found = [entry for entry in scene.found if entry['category_id'] < THINGS]
        table[[entry['id'] for entry in found]] = np.arange(1, len(found) + 1)
        things = [{'label': entry['category_id'], 'isthing': True, 'iscrowd': False} for entry in found]
        scores = np.random.default_rng(number).uniform(0.3, 1, len(found))
        derived = instance_truth(PanopticTruth(table[scene.prediction], things))
        predictions.append([{**entry, 'score': float(score)} for entry, score in zip(derived, scores)])
    metric = InstanceAP()
    metric.dataset_meta = {'classes': [str(label) for label in range(CLASSES)], 'thing_ids': tuple(range(THINGS))}
    results = list(zip(images, truth, predictions))

    def ours() -> list[float]:
        with _quiet():
            found = metric.compute_metrics(results)
        return [found[name] for name in ('AP', 'AP50', 'AP75')]

    def theirs() -> list[float]:
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(_coco(images, truth), _coco(images, predictions), 'segm')
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return [100 * float(value) if value >= 0 else float('nan') for value in evaluation.stats[:3]]

    return ours, theirs


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the table of classes, which a metric logs."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)


def _coco(images: list[dict], entries: list[list[dict]]) -> COCO:
    annotations = [{**entry, 'image_id': place} for place, of_image in enumerate(entries) for entry in of_image]
    coco = COCO()
    coco.dataset = {
        'images': images,
        'categories': [{'id': label, 'name': str(label)} for label in range(THINGS)],
        'annotations': [{**entry, 'id': number} for number, entry in enumerate(annotations, start=1)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


# ---- mean IoU


def _areas_by_mmseg(scene: Scene) -> list[np.ndarray]:
    """Return shared, annotated and predicted pixels of each class, in the order of ``ClassAreas``."""
    truth, prediction = (torch.from_numpy(values) for values in scene.classes)
    shared, _, predicted, annotated = IoUMetric.intersect_and_union(prediction, truth, CLASSES, VOID)
    return [areas.numpy().astype(np.int64) for areas in (shared, annotated, predicted)]
