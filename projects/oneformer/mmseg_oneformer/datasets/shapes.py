"""Shapes: a synthetic data set in COCO's panoptic format, for a first run without any download."""

import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from mmengine.registry import DATASETS
from tqdm import tqdm

from ..errors import UserError, WriteError
from .drawing import STUFF, THINGS, draw_scene
from .panoptic import PanopticDataset

__all__ = ['ShapesPanoptic', 'write_shapes']

CLASSES = (*STUFF, *THINGS)
PALETTE = [(128, 186, 232), (96, 160, 52), (32, 84, 148), (224, 60, 60), (236, 172, 36), (150, 70, 200), (32, 196, 172)]
MANIFEST = 'make_shapes.json'
SPLITS = ('train', 'val')
FORKING_PAYS = 400
"""Number of pictures below which starting processes takes longer than drawing."""


@DATASETS.register_module()
class ShapesPanoptic(PanopticDataset):
    """Landscapes (sky, grass, water) with balls, boxes, cones and stars; made by ``write_shapes``.

    Stuff comes first on purpose: code that assumes that the first classes are things fails here.
    """

    METAINFO = {
        'classes': CLASSES,
        'thing_ids': tuple(range(len(STUFF), len(CLASSES))),
        'palette': PALETTE,
    }


class _Job(NamedTuple):
    """One picture to be drawn: everything a worker needs."""

    folder: str
    split: str
    number: int
    size: int
    seed: int


def write_shapes(
    out: str | Path,
    train: int = 4000,
    val: int = 200,
    size: int = 96,
    seed: int = 0,
    overwrite: bool = False,
    workers: int | None = None,
) -> bool:
    """Draw the data set into the folder ``out``; the same arguments give the same bytes.

    Everything is written beside ``out`` and moved there in one step, so an ``out`` that exists is complete. Picture n
    of a split depends only on seed, split and n: a larger set begins with the smaller one.

    Args:
        out: Folder to create, with ``train/``, ``val/`` and ``annotations/``.
        train: Number of training pictures.
        val: Number of validation pictures.
        size: Height and width in pixels.
        seed: Non-negative.
        overwrite: Replace an ``out`` made with other arguments.
        workers: Processes that draw; None: one per core.

    Returns:
        False if ``out`` was already there, complete and drawn with the same arguments.

    Raises:
        UserError: If an argument is out of range, or ``out`` holds something else.
    """
    out = Path(out)
    if train < 1 or val < 1 or size < 32 or seed < 0:
        raise UserError(
            f'make_shapes needs train, val >= 1, size >= 32 and seed >= 0, got {train}, {val}, {size}, {seed}.'
        )
    manifest = {'format': 1, 'train': train, 'val': val, 'size': size, 'seed': seed}
    if _found(out, manifest, overwrite):
        return False
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f'.{out.name}.{os.getpid()}.part')
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for split, count in zip(SPLITS, (train, val)):
            _write_split(temporary, split, count, size, seed, workers)
        (temporary / MANIFEST).write_text(json.dumps(manifest) + '\n')
        if out.exists():
            shutil.rmtree(out)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def _found(out: Path, manifest: dict, overwrite: bool) -> bool:
    """Return whether ``out`` is already as requested; raise an error if it should not be replaced."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    path = out / MANIFEST
    if not path.is_file():
        raise UserError(f'{out} exists and was not made by make_shapes; give another --out.')
    there = json.loads(path.read_text())
    if there == manifest:
        return True
    if not overwrite:
        raise UserError(f'{out} holds shapes drawn with {there}; give another --out, or --overwrite to replace them.')
    return False


def _write_split(folder: Path, split: str, count: int, size: int, seed: int, workers: int | None) -> None:
    for name in (split, f'annotations/panoptic_{split}'):
        (folder / name).mkdir(parents=True)
    jobs = [_Job(str(folder), split, number, size, seed) for number in range(1, count + 1)]
    entries = list(
        tqdm(_run(jobs, workers), total=count, desc=f'drawing {split}', unit='picture', mininterval=0.5, disable=None)
    )
    content = {
        'info': {'description': f'Shapes, {split}', 'size': size, 'seed': seed},
        'images': [image for image, _ in entries],
        'annotations': [annotation for _, annotation in entries],
        'categories': [
            {
                'id': label + 1,
                'name': name,
                'supercategory': kind,
                'isthing': int(kind == 'thing'),
                'color': PALETTE[label],
            }
            for label, name in enumerate(CLASSES)
            for kind in ('thing' if name in THINGS else 'stuff',)
        ],
    }
    (folder / f'annotations/panoptic_{split}.json').write_text(json.dumps(content))


def _run(jobs: list[_Job], workers: int | None) -> Iterator[tuple[dict, dict]]:
    """Draw ``jobs`` and yield their JSON entries in order, using several processes if it is worth starting them."""
    workers = workers or os.cpu_count() or 1
    if workers == 1 or len(jobs) < FORKING_PAYS or 'fork' not in multiprocessing.get_all_start_methods():
        yield from map(_draw, jobs)
        return
    context = multiprocessing.get_context('fork')
    # OpenCV's threads do not survive a fork; with 0 the children do not wait for them.
    with ProcessPoolExecutor(workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(0,)) as pool:
        yield from pool.map(_draw, jobs, chunksize=16)


def _draw(job: _Job) -> tuple[dict, dict]:
    """Draw one picture, write it with its segment map and return their entries for ``images`` and ``annotations``."""
    rng = np.random.default_rng((job.seed, SPLITS.index(job.split), job.number))
    scene = draw_scene(job.size, rng)
    ids = _segment_ids(scene.names)
    stem = f'{job.number:06d}'
    folder = Path(job.folder)
    id_map = np.array([0, *ids], dtype=np.int32)[scene.segment_map]
    bgr = np.stack([id_map >> 16, id_map >> 8 & 255, id_map & 255], axis=-1).astype(np.uint8)
    _write(folder / f'annotations/panoptic_{job.split}/{stem}.png', bgr)
    # Colour at full resolution: at half, the default, it would bleed over the outlines of such small pictures.
    _write(folder / job.split / f'{stem}.jpg', scene.image[..., ::-1])
    segments: list[dict[str, Any]] = []
    for number, (name, segment_id) in enumerate(zip(scene.names, ids), start=1):
        rows, columns = np.nonzero(scene.segment_map == number)
        left, top = int(columns.min()), int(rows.min())
        segments.append(
            {
                'id': segment_id,
                'category_id': CLASSES.index(name) + 1,
                'area': len(rows),
                'bbox': [left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1],
                'iscrowd': 0,
            }
        )
    image = {'id': job.number, 'file_name': f'{stem}.jpg', 'height': job.size, 'width': job.size}
    return image, {'image_id': job.number, 'file_name': f'{stem}.png', 'segments_info': segments}


def _segment_ids(names: list[str]) -> list[int]:
    """Return ids that, as colours R + 256 G + 65536 B, are the class's colour, a little darker per further segment."""
    ids = []
    for place, name in enumerate(names):
        red, green, blue = (max(channel - 9 * names[:place].count(name), 1) for channel in PALETTE[CLASSES.index(name)])
        ids.append(red + 256 * green + 65536 * blue)
    return ids


def _write(path: Path, bgr: np.ndarray) -> None:
    options = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    done, data = cv2.imencode(path.suffix, np.ascontiguousarray(bgr), options if path.suffix == '.jpg' else [])
    if not done:
        raise WriteError(f'{path} could not be encoded.')
    path.write_bytes(data.tobytes())
