"""Mapillary Vistas 1.2: a check of the download, and panoptic annotations if it has none.

The release already has panoptic annotations in COCO's format. Releases before 1.2, and partly unpacked downloads, have
only ``instances/``: 16-bit PNGs of 256 times the label plus a number.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..annotations.coco_panoptic import read_panoptic
from ..annotations.faults import raise_faults
from ..annotations.semantic_png import read_pixels
from ..annotations.values import InvalidValueError, as_flag, as_name
from ..datasets.benchmarks import MAPILLARY, MAPILLARY_UNLABELED
from ..errors import UserError
from ..files import read_json
from ..photos.header import photo_size
from .layout import check_space, list_files, require_folder
from .panoptic import SegmentIds, boxes, panoptic_json, write_id_map, write_json
from .parallel import Job, hold_journal, run_jobs

__all__ = ['FOLDERS', 'prepare_mapillary']

FOLDERS = {'train': 'training', 'val': 'validation'}
CONFIGS = ('config.json', 'config_v1.2.json')
BYTES_A_PICTURE = 400_000
REMEDY = 'unpack the 1.2 release of Mapillary Vistas, and give the folder that holds "training" and "validation"'


def prepare_mapillary(root: Path, out: Path, split: str, processes: int | None = None) -> list[Path]:
    """Check ``<folder>/panoptic`` of a split, or make it from ``<folder>/instances`` if it is missing.

    Args:
        root: Folder with ``training`` and ``validation``.
        out: Folder in which ``<folder>/panoptic`` is created if necessary; usually ``root``.
        split: 'train' or 'val'.
        processes: Number of processes; None: one per core.

    Returns:
        The panoptic JSON.

    Raises:
        UserError: The folder holds another release, or a file is missing, damaged or not as released.
    """
    folder = FOLDERS[split]
    photos = require_folder(root / folder / 'images', REMEDY)
    source = root / folder / 'panoptic/panoptic_2018.json'
    if source.is_file():
        _check_release(source, photos)
        return [source]
    if (root / folder / 'v1.2/panoptic').is_dir():
        raise UserError(
            f'{root} is the 2.0 release, which keeps the annotations of 1.2 apart; '
            f'link them with: ln -s v1.2/panoptic {root / folder}/panoptic'
        )
    if not (root / folder / 'instances').is_dir():
        raise UserError(f'{source} does not exist; {REMEDY}.')
    return [_make_panoptic(root, out, split, processes)]


def _check_release(json_path: Path, photos: Path) -> None:
    """Compare a downloaded JSON with the classes of the configs and the files on disk."""
    file = read_panoptic(json_path, without=(MAPILLARY_UNLABELED,))
    entries = file.categories
    names = tuple(entry['name'] for entry in entries)
    things = tuple(label for label, entry in enumerate(entries) if entry['isthing'])
    if (names, things) != (MAPILLARY['classes'], MAPILLARY['thing_ids']):
        raise UserError(f'{json_path} does not have the 65 classes and 37 things of release 1.2; {REMEDY}.')
    raise_faults(json_path, file.grave_faults)
    on_disk = {path.stem for path in photos.glob('*.jpg')}
    pngs = {path.name for path in json_path.parent.glob('*.png')}
    for image in file.images:
        if Path(image['file_name']).stem not in on_disk:
            raise UserError(f'Photo {photos / image["file_name"]} of {json_path} does not exist; {REMEDY}.')
    for annotation in file.annotations.values():
        if annotation['file_name'] not in pngs:
            raise UserError(f'Annotation {json_path.parent / annotation["file_name"]} does not exist; {REMEDY}.')


def _make_panoptic(root: Path, out: Path, split: str, processes: int | None) -> Path:
    labels = _read_labels(root)
    folder = FOLDERS[split]
    instances = root / folder / 'instances'
    target = out / folder / 'panoptic/panoptic_2018.json'
    jobs = [
        Job(
            path.stem,
            (str(path), str(instances / f'{path.stem}.png')),
            (str(target.parent / f'{path.stem}.png'),),
        )
        for path in list_files(root / folder / 'images', ('.jpg',), REMEDY)
    ]
    check_space(out, BYTES_A_PICTURE * len(jobs))
    journal = target.with_name('.mapillary.journal')
    is_thing = [bool(label['instances']) for label in labels[:-1]]
    settings = {'mapillary': 1, 'things': is_thing}
    categories = [
        {
            'id': number,
            'name': label['readable'],
            'supercategory': label['name'].split('--')[0],
            'isthing': int(label['instances']),
            'color': label['color'],
        }
        for number, label in enumerate(labels[:-1], start=1)
    ]
    work = partial(_convert, is_thing=is_thing)
    with hold_journal(journal, [target]):
        results = run_jobs(work, jobs, journal, settings, processes, f'Mapillary {split}')
        write_json(target, panoptic_json(results, '{id}.png', categories))
    return target


def _read_labels(root: Path) -> list[dict]:
    """Return the 66 entries of the release's configuration, void last."""
    for name in CONFIGS:
        if (root / name).is_file():
            content = read_json(root / name)
            labels = content.get('labels') if isinstance(content, dict) else None
            try:
                # Only the fields that are used are checked: other tools add to these files.
                return _checked_labels(labels)
            except (KeyError, TypeError, InvalidValueError) as error:
                raise UserError(f'{root / name} does not have the 66 labels of release 1.2; {REMEDY}.') from error
    raise UserError(f'{root} has neither {" nor ".join(CONFIGS)}, which name the labels; {REMEDY}.')


def _checked_labels(labels: Any) -> list[dict]:
    """Return the labels of the release, or raise a KeyError, TypeError or InvalidValueError."""
    names = tuple(as_name(label['readable']) for label in labels)
    if names != (*MAPILLARY['classes'], MAPILLARY_UNLABELED):
        raise InvalidValueError('has other names')
    return [
        {**label, 'name': as_name(label['name']), 'instances': as_flag(label['instances']), 'color': label['color']}
        for label in labels
    ]


def _convert(job: Job, is_thing: list[bool]) -> dict:
    """Write the panoptic PNG of one photo from its instances; returns its ``image`` and ``segments``."""
    photo, instance_path = job.sources
    size = photo_size(photo)
    values = read_pixels(instance_path, size)
    if values.ndim != 2 or values.max(initial=0) >= 256 * (len(is_thing) + 1):
        raise UserError(f'Annotation {instance_path} has labels over {len(is_thing)}; it is not of release 1.2.')
    labels, numbers = np.divmod(values.astype(np.int32), 256)
    # Stuff is one segment per class, whatever the number; the label after the last class is void.
    values = np.where(np.array([*is_thing, False])[labels], labels * 256 + numbers, labels * 256) + 1
    values[labels == len(is_thing)] = 0
    areas = np.bincount(values.reshape(-1))
    present = np.flatnonzero(areas)
    present = present[present > 0]
    position = np.zeros(len(areas), dtype=np.int32)
    position[present] = np.arange(1, len(present) + 1)
    index_map = position[values]
    ids = SegmentIds(MAPILLARY['palette'])
    segments = [
        {
            'id': ids.next((value - 1) // 256),
            'category_id': (value - 1) // 256 + 1,
            'area': int(areas[value]),
            'bbox': box,
            'iscrowd': 0,
        }
        for value, box in zip(present.tolist(), boxes(index_map, len(present)))
    ]
    write_id_map(job.products[0], np.array([0, *(segment['id'] for segment in segments)])[index_map])
    image = {'id': job.key, 'file_name': Path(photo).name, 'width': size[1], 'height': size[0]}
    return {'image': image, 'segments': segments}
