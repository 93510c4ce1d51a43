"""The loader: from JPEG and PNG to a packed training sample, against a pipeline that carries a stack of masks.

One thread, no worker: figures are seconds per sample on one core. The peer consists of mmdet's own transforms, with the
same parameters and the same draws, and reads the same files. First the tool checks that both make the same targets of
the same classes, except for a pixel at their edges, since mmdet rounds sizes and centres differently.

By default two published recipes, ADE20K's crops and COCO's large-scale jittering, are measured on the photos of
data/coco_mini or, without these, on drawn shapes.
"""

import argparse
import copy
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS

from mmseg_oneformer.datasets.panoptic import PanopticDataset
from mmseg_oneformer.datasets.randomness import keyed_randomness
from mmseg_oneformer.datasets.shapes import write_shapes
from mmseg_oneformer.errors import UserError
from mmseg_oneformer.zoo.configs import find_config

from .measure import Measured, Samples, compare
from .peers.mask_stack import VOID, mask_stack_info, mask_stack_pipeline
from .rows import Row, make_row
from .stages import Part, no_part, split

RECIPES = (
    'oneformer_swin-t_8xb2-160k_ade20k-512x512',
    'oneformer_swin-t_8xb2-50e_coco-1024x1024',
)
PHOTOS = Path('data/coco_mini')
DRAWN = 480
"""Height and width of drawn pictures, in pixels."""
DIFFERENT = 0.02
"""Share of the annotated pixels above which targets are not the same."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this subcommand."""
    parser.add_argument('--data', metavar='CONFIG', help='name or path of a config whose training data to load instead')
    parser.add_argument('--photos', type=int, default=26, help='maximum number of photos (default: %(default)s)')


def run(args: argparse.Namespace) -> list[Row]:
    """Measure; returns a row 'loader-RECIPE' for each recipe and rows of its steps, in seconds per sample.

    Raises:
        UserError: There are no panoptic training data, or both sides make different targets.
    """
    if args.photos < 1:
        raise UserError(f'--photos is {args.photos}; give 1 or more.')
    rows = []
    with tempfile.TemporaryDirectory() as folder, _one_thread():
        for name in RECIPES if args.data is None else (args.data,):
            cfg = Config.fromfile(find_config(name))
            settings = cfg.train_dataloader.dataset.to_dict()
            if settings.get('sources'):
                raise UserError(f'{name} mixes data sets; give --data a config with one.')
            if args.data is None:
                settings = {**_photos(Path(folder), args.photos), 'pipeline': settings['pipeline']}
            rows += _measure(settings, f'loader-{Path(name).stem.split("_")[-1]}', args)
    return rows


def _measure(settings: Mapping[str, Any], name: str, args: argparse.Namespace) -> list[Row]:
    dataset = _build(settings)
    count = min(len(dataset), args.photos)
    infos = [_info(dataset, place) for place in range(count)]
    pipeline = mask_stack_pipeline(settings['pipeline'])

    def theirs(pass_number: int, place: int) -> dict:
        with keyed_randomness(dataset.seed, pass_number, place):
            return pipeline(copy.deepcopy(infos[place]))

    print(f'{name}: {_agreement(_for_all_targets(settings), theirs, count)}')
    passes = [0, 0]

    def ours() -> None:
        passes[0] += 1
        for place in range(count):
            dataset[passes[0], place]

    def peer() -> None:
        passes[1] += 1
        for place in range(count):
            theirs(passes[1], place)

    def staged(part: Part = no_part) -> None:
        for place in range(count):
            with keyed_randomness(dataset.seed, 1, place):
                results = _prepared(dataset, place)
                for transform in dataset.pipeline.transforms:
                    with part(type(transform).__name__):
                        results = transform(results)

    facts = {'device': 'cpu', 'dtype': 'uint8', 'size': _sizes(settings['pipeline'])}
    measured = compare(ours, peer, 'cpu', args.runs, args.warmup)
    rows = [make_row(name, _per_sample(measured, count), peer="mmdet's mask stack", **facts)]
    rate, other = (1 / side.median for side in _per_sample(measured, count) if side is not None)
    print(f'{name}: {rate:.0f} samples per second on one core, {other:.0f} with the mask stack')
    for step, taken in split(staged, {}, 'cpu', args.runs).items():
        rows.append(make_row(f'{name}/{step}', _per_sample(taken, count), **facts))
    return rows


def _per_sample(measured: Measured, count: int) -> Measured:
    def share(side: Samples) -> Samples:
        return side._replace(seconds=tuple(taken / count for taken in side.seconds))

    return Measured(share(measured.ours), measured.peer and share(measured.peer))


# ---- the photos


def _photos(folder: Path, count: int) -> dict[str, Any]:
    """Return the settings of a data set of photos, or of ``count`` pictures of shapes drawn into ``folder``."""
    root, kind = PHOTOS, 'CocoPanoptic'
    if not root.is_dir():
        root, kind = folder, 'ShapesPanoptic'
        if not any(folder.iterdir()):
            write_shapes(folder, train=count, val=1, size=DRAWN)
    train, annotations = ('train2017', 'panoptic_train2017') if kind == 'CocoPanoptic' else ('train', 'panoptic_train')
    return {
        'type': kind,
        'data_root': str(root),
        'ann_file': f'annotations/{annotations}.json',
        'data_prefix': {'img': train, 'seg': f'annotations/{annotations}'},
    }


def _build(settings: Mapping[str, Any]) -> PanopticDataset:
    dataset = DATASETS.build(copy.deepcopy(dict(settings)))
    if not isinstance(dataset, PanopticDataset):
        raise UserError('the loader is measured on panoptic annotations; give --data a config with a PanopticDataset.')
    return dataset


def _prepared(dataset: PanopticDataset, place: int) -> dict[str, Any]:
    """Return the input of the data set's pipeline."""
    metainfo = dataset.metainfo
    facts = {'classes': metainfo['classes'], 'thing_ids': metainfo['thing_ids'], 'tasks': dataset.tasks}
    return {**dataset.get_data_info(place), **facts}


def _info(dataset: PanopticDataset, place: int) -> dict[str, Any]:
    results = _prepared(dataset, place)
    for transform in dataset.pipeline.transforms[:2]:
        results = transform(results)
    if 'gt_seg_map' not in results:
        raise UserError('a training pipeline must begin with LoadPhoto and LoadPanopticIds.')
    return mask_stack_info(dataset.get_data_info(place), results['gt_seg_map'])


def _sizes(steps: list[Any]) -> str:
    """Return the size of the samples, if the pipeline fixes one."""
    crops = [step.get('crop', step) for step in steps]
    sizes = [crop['size'] for crop in crops if crop['type'] in ('FixedSizeCrop', 'PadTo', 'RandomPanopticCrop')]
    return 'x'.join(map(str, sizes[-1])) if sizes else 'own'


# ---- the targets


def _for_all_targets(settings: Mapping[str, Any]) -> PanopticDataset:
    """Return our data set with every segment a target."""
    steps = [
        {'type': 'SampleTask', 'probs': {'panoptic': 1.0}} if step['type'] == 'SampleTask' else step
        for step in settings['pipeline']
    ]
    return _build({**settings, 'pipeline': steps})


def _agreement(dataset: PanopticDataset, theirs: Callable[[int, int], dict], count: int) -> str:
    """Compare the areas of the classes under the same augmentation, and return the result as a sentence.

    Raises:
        UserError: They are not the same.
    """
    different = annotated = 0
    for place in range(count):
        ours = _our_areas(dataset[0, place]['data_samples'])
        other = _their_areas(theirs(0, place)['data_samples'], set(dataset.metainfo['thing_ids']))
        different += sum(abs(ours[label] - other[label]) for label in ours | other)
        annotated += ours.total()
    share = different / max(annotated, 1)
    if share > DIFFERENT:
        raise UserError(
            f'both sides do not make the same targets: the areas of the classes differ by {100 * share:.1f} %; '
            'this is a bug in the benchmark, please report it.'
        )
    return f'the areas of the classes differ by {100 * share:.2f} % in {count} photos'


def _our_areas(sample: Any) -> Counter[int]:
    labels = sample.gt_instances.labels
    areas = torch.bincount(sample.gt_targets.index_map.flatten() + 1, minlength=len(labels) + 1)[1:]
    return _sum(zip(labels.tolist(), areas.tolist()))


def _their_areas(sample: Any, things: set[int]) -> Counter[int]:
    masks = sample.gt_instances.masks.masks
    areas = list(zip(sample.gt_instances.labels.tolist(), masks.sum((1, 2)).tolist()))
    labels, counts = np.unique(sample.gt_sem_seg.sem_seg.numpy(), return_counts=True)
    return _sum(areas + [pair for pair in zip(labels.tolist(), counts.tolist()) if pair[0] not in {*things, VOID}])


def _sum(pairs: Any) -> Counter[int]:
    total: Counter[int] = Counter()
    for label, area in pairs:
        total[label] += area
    return total


@contextmanager
def _one_thread() -> Iterator[None]:
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])
