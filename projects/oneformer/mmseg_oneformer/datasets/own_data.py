"""Panoptic data that no config describes: a JSON, its photos and its PNGs, found in their usual places."""

import os
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ..annotations.coco_panoptic import PanopticFile
from ..annotations.faults import raise_faults
from ..errors import MissingFileError, UserError
from .categories import checked_metainfo
from .panoptic_files import PanopticFiles, PanopticJson

__all__ = ['OwnData', 'find_folder', 'find_own_data', 'probes']

PROBES = 20
"""Number of entries whose files are looked for to find a folder: a few may be missing."""
LONG_NAMES = {'train': 'training', 'val': 'validation'}


class OwnData(NamedTuple):
    """A panoptic JSON with annotations, and its files."""

    json: Path
    photos: Path
    maps: Path
    """Folder of the PNGs."""
    metainfo: dict[str, Any]
    """``classes``, ``thing_ids`` and ``palette`` of the JSON's categories."""
    num_photos: int


def find_own_data(data: Path, split: str) -> OwnData:
    """Find the files of a split.

    Args:
        data: A panoptic JSON; or a folder with one, or with one for each split, in it or in its ``annotations``.
        split: 'train' or 'val'; if a folder has only one JSON, it is used for both.

    Raises:
        FileNotFoundError: There is no such file or folder.
        UserError: The folder has several panoptic JSONs for the split, or a JSON is not a panoptic one, or its photos
            or PNGs are not beside it.
    """
    path = _choose_json(data, split) if data.is_dir() else data
    dataset = PanopticJson(str(path))
    file = dataset.read_annotations()
    raise_faults(path, file.grave_faults)
    if not file.annotations or not file.images:
        raise UserError(f'{path} has no images or no annotations; give a panoptic JSON that has both.')
    photos, maps = (_folder(dataset, file, key) for key in ('img', 'seg'))
    metainfo = checked_metainfo({}, file.categories, str(path))
    return OwnData(path.resolve(), photos, maps, metainfo, len(file.images))


def _folder(dataset: PanopticFiles, file: PanopticFile, key: str) -> Path:
    folder = find_folder(dataset, file, key)
    if folder is None:
        what, known = ('photos', 'split') if key == 'img' else ('PNGs', 'JSON')
        raise UserError(
            f'The {what} of {dataset.ann_file} are not beside it; put them into a folder called like the {known}, or '
            'write a config that names theirs (docs/own_data.md).'
        )
    return Path(folder).resolve()


def _choose_json(folder: Path, split: str) -> Path:
    """Return the panoptic JSON of a split in a folder."""
    found = sorted(path for place in (folder, folder / 'annotations') for path in place.glob('*panoptic*.json'))
    if not found:
        raise MissingFileError(
            f'{folder} has no panoptic JSON (*panoptic*.json, there or in its annotations folder); '
            'tools/dataset_converters/to_panoptic.py makes one of other annotations (docs/own_data.md).'
        )
    of_split = [path for path in found if split in path.stem.rpartition('panoptic')[2]]
    chosen = of_split if len(found) > 1 else found
    if len(chosen) != 1:
        several = ' and '.join(path.name for path in chosen or found)
        raise UserError(f'{folder} has {several} for the split "{split}"; give the path of the JSON to use.')
    return chosen[0]


def find_folder(dataset: PanopticFiles, file: PanopticFile, key: str) -> str | None:
    """Return the folder beside a JSON with its photos ('img') or PNGs ('seg'), or None if it is not in a usual place.

    Args:
        dataset: Not loaded: it has the JSON and turns names into paths. Its ``data_prefix`` is set to the folder.
        file: The content of the JSON.
        key: A key of ``data_prefix``.
    """
    json = Path(dataset.ann_file)
    name = json.stem.removesuffix('.fixed')  # The doctor's --fix keeps the photos, and mostly the PNGs.
    split = name.rpartition('panoptic_')[2]
    folders = [json.with_suffix(''), json.with_name(name), json.parent, json.parent.parent / name]
    if key == 'img':
        names = [split, LONG_NAMES.get(split, split)]
        roots = [json.parent, json.parent.parent]
        folders = [root / sub / name for root in roots for sub in ('', 'images', 'leftImg8bit') for name in names]
        folders += [folder / 'images' for folder in (*roots, *(root / split for root in roots))] + roots
        noted = file.info.get('photos')  # by to_panoptic.py
        folders = [*([Path(os.path.normpath(json.parent / noted))] if isinstance(noted, str) else []), *folders]
    for folder in folders:
        dataset.data_prefix[key] = str(folder)
        if any(path.is_file() for path in probes(dataset, file, key)):
            return str(folder)
    return None


def probes(dataset: PanopticFiles, file: PanopticFile, key: str) -> list[Path]:
    """Return the paths of the first photos ('img') or PNGs ('seg') of a JSON in the data set's folder."""
    if key == 'img':
        return [Path(dataset.image_path(image)) for image in file.images[:PROBES]]
    return [Path(dataset.segment_map_path(entry)) for entry in islice(file.annotations.values(), PROBES)]
