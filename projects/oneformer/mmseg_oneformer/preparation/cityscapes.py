"""Cityscapes: panoptic files and train ids from the fine annotations, equal to those of cityscapesScripts.

``createPanopticImgs`` uses one core, writes its JSON in place and stops if a split is missing; the files of this module
have the same names, values and ids. labelTrainIds follow from labelIds pixel by pixel, since the official script draws
the same polygons in the same order for both. cityscapesScripts is therefore not needed here; tests compare with it if
it is installed.
"""

from pathlib import Path

import numpy as np

from ..annotations.semantic_png import read_pixels
from ..datasets.benchmarks import CITYSCAPES, CITYSCAPES_LABEL_IDS
from ..errors import UserError
from .layout import check_space, list_files, require_folder
from .panoptic import boxes, encode_labels, panoptic_json, write_id_map, write_json
from .parallel import Job, hold_journal, run_jobs, write_if_changed

__all__ = ['SPLITS', 'prepare_cityscapes']

SPLITS = ('train', 'val', 'test')
GROUPS = (
    *('flat',) * 2,
    *('construction',) * 3,
    *('object',) * 3,
    *('nature',) * 2,
    'sky',
    *('human',) * 2,
    *('vehicle',) * 6,
)
LAST_LABEL = 33
VOID = 255
BYTES_A_PICTURE = 150_000
REMEDY = 'unpack gtFine_trainvaltest.zip, and give the folder that holds "gtFine"'


def prepare_cityscapes(root: Path, out: Path, split: str, processes: int | None = None) -> list[Path]:
    """Write ``gtFine/cityscapes_panoptic_<split>.json`` with its PNGs, and ``*_labelTrainIds.png`` beside labelIds.

    Args:
        root: Folder with ``gtFine``.
        out: Output folder, in which ``gtFine`` is created; usually ``root``.
        split: 'train', 'val' or 'test', whose annotations are void except for a frame.
        processes: Number of processes; None: one per core.

    Returns:
        The JSON.

    Raises:
        UserError: A file is missing, damaged or not as released.
    """
    folder = require_folder(root / 'gtFine' / split, REMEDY)
    pngs = out / 'gtFine' / f'cityscapes_panoptic_{split}'
    jobs = []
    for path in list_files(folder, ('_gtFine_instanceIds.png',), REMEDY):
        stem = path.name.removesuffix('_gtFine_instanceIds.png')
        train_ids = out / path.relative_to(root).with_name(f'{stem}_gtFine_labelTrainIds.png')
        sources = (str(path), str(path.with_name(f'{stem}_gtFine_labelIds.png')))
        jobs.append(Job(stem, sources, (str(pngs / f'{stem}_gtFine_panoptic.png'), str(train_ids))))
    check_space(out, BYTES_A_PICTURE * len(jobs))
    journal = out / 'gtFine' / f'.cityscapes_{split}.journal'
    target = out / 'gtFine' / f'cityscapes_panoptic_{split}.json'
    with hold_journal(journal, [target]):
        results = run_jobs(_convert, jobs, journal, {'cityscapes': 1}, processes, f'Cityscapes {split}')
        write_json(target, panoptic_json(results, '{id}_gtFine_panoptic.png', _categories()))
    return [target]


def _categories() -> list[dict]:
    meta = CITYSCAPES
    return [
        {
            'id': CITYSCAPES_LABEL_IDS[label],
            'name': name,
            'color': meta['palette'][label],
            'supercategory': GROUPS[label],
            'isthing': int(label in meta['thing_ids']),
        }
        for label, name in enumerate(meta['classes'])
    ]


def _convert(job: Job) -> dict:
    """Write the panoptic PNG and the train ids of one photo; returns its ``image`` and ``segments``."""
    instance_path, label_path = job.sources
    values = read_pixels(instance_path)
    labels = read_pixels(label_path, values.shape[:2])
    if values.ndim != 2 or values.max(initial=0) >= 1000 * (LAST_LABEL + 1):
        raise UserError(
            f'Annotation {instance_path} has values over {1000 * (LAST_LABEL + 1)}; it is not instanceIds of gtFine.'
        )
    if labels.ndim != 2 or labels.max(initial=0) > LAST_LABEL:
        raise UserError(f'Annotation {label_path} has values over {LAST_LABEL}; it is not labelIds of gtFine.')
    id_map, segments = _segments(values.astype(np.int32))
    write_id_map(job.products[0], id_map)
    train_ids = np.full(256, VOID, dtype=np.uint8)
    train_ids[list(CITYSCAPES_LABEL_IDS)] = range(len(CITYSCAPES_LABEL_IDS))
    write_if_changed(job.products[1], encode_labels(train_ids[labels]))
    image = {
        'id': job.key,
        'width': values.shape[1],
        'height': values.shape[0],
        'file_name': f'{job.key}_gtFine_leftImg8bit.png',
    }
    return {'image': image, 'segments': segments}


def _segments(values: np.ndarray) -> tuple[np.ndarray, list[dict]]:
    """Return ids (H, W) and entries of a map of instance ids: label id, or 1000 times the label id plus a number.

    The ids stay the instance ids. A thing class without a number is a group of objects: a crowd.
    """
    areas = np.bincount(values.reshape(-1), minlength=1)
    present = [value for value in np.flatnonzero(areas).tolist() if _label_id(value) in CITYSCAPES_LABEL_IDS]
    position = np.zeros(len(areas), dtype=np.int32)
    position[present] = range(1, len(present) + 1)
    index_map = position[values]
    segments = []
    for value, box in zip(present, boxes(index_map, len(present))):
        label_id = _label_id(value)
        is_thing = CITYSCAPES_LABEL_IDS.index(label_id) in CITYSCAPES['thing_ids']
        segments.append(
            {
                'id': value,
                'category_id': label_id,
                'area': int(areas[value]),
                'bbox': box,
                'iscrowd': int(is_thing and value < 1000),
            }
        )
    return np.where(index_map > 0, values, 0), segments


def _label_id(value: int) -> int:
    return value if value < 1000 else value // 1000
