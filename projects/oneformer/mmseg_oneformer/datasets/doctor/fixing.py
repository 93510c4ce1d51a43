"""Corrections that lose nothing that could be used, written beside the data and never over them.

``panoptic_train.json`` gives ``panoptic_train.fixed.json``, the list of all changes ``panoptic_train.fixed.txt`` and,
where a PNG had to be corrected, the folder ``panoptic_train.fixed/`` with all PNGs: the corrected ones, and hard links
to the others.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from ...annotations.coco import read_entry
from ...annotations.coco_panoptic import TWICE, stated_area, stated_box
from ...annotations.values import InvalidValueError, as_key, brief
from ...errors import WriteError
from ...files import write_atomic
from .examine import Context, Examination
from .maps import area_drifts, box_drifts, read_map, segment_stats, unknown_ids
from .photos import Photo, read_photo
from .rules import STRAY_SHARE
from .structure import Item
from .tables import Segment, read_table
from .workers import run_chunks

__all__ = ['Fixes', 'fix', 'fixed_paths']


class Paths(NamedTuple):
    """What a fix writes."""

    json: Path
    maps: Path
    changes: Path


class Fixes(NamedTuple):
    """What a fix wrote."""

    json: Path
    maps: Path | None
    """Folder of the PNGs; None: no PNG had to be corrected, the old ones are right."""
    listed: Path
    """All changes, one a line."""
    changes: list[str]


class _Fixed(NamedTuple):
    """One image after its corrections."""

    image_id: Any
    table: list[dict]
    size: tuple[int, int] | None
    """Height and width to state; None: leave them."""
    wrote_map: bool
    changes: list[str]


def fixed_paths(path: str | Path) -> Paths:
    """The files that fixing the JSON ``path`` writes.

    Raises:
        WriteError: One of them is there already.
    """
    stem = Path(path).with_suffix('')
    paths = Paths(*(stem.with_name(f'{stem.name}.fixed{suffix}') for suffix in ('.json', '', '.txt')))
    for there in paths:
        if there.exists():
            raise WriteError(f'{there} is there already, and --fix writes over nothing; move it away.')
    return paths


def fix(examination: Examination) -> Fixes | None:
    """Write the data set with everything corrected that has a ``fix`` in its rule; None if there is nothing to correct.

    Raises:
        WriteError: See ``fixed_paths``.
    """
    context, path = examination.context, Path(examination.source.dataset.ann_file)
    paths = fixed_paths(path)
    content = json.loads(path.read_bytes())  # Not what the data set made of it: some leave categories out.
    content['annotations'] = content.get('annotations') or []  # as the reader takes it
    changes = list(_fix_lists(content))
    temporary = paths.maps.with_name(f'.{paths.maps.name}.{os.getpid()}')
    indices = examination.tally.fixable
    try:
        job = (context, indices, temporary)
        results = [
            fixed for part in run_chunks(_fix_images, job, len(indices), examination.jobs, 'fixing') for fixed in part
        ]
        for fixed in results:
            changes += fixed.changes
        if not changes:
            return None
        _apply(content, results)
        wrote_maps = any(fixed.wrote_map for fixed in results)
        if wrote_maps:
            _link_others(content, examination, temporary)
            temporary.rename(paths.maps)
        write_atomic(paths.changes, '\n'.join(changes) + '\n')
        write_atomic(paths.json, json.dumps(content))
    except BaseException:
        shutil.rmtree(paths.maps, ignore_errors=True)
        paths.changes.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Fixes(paths.json, paths.maps if wrote_maps else None, paths.changes, changes)


def _fix_lists(content: dict) -> Iterator[str]:
    """Take out, in place, what belongs to nothing; yield what was done.

    Entries that cannot be read stay, and so do those that may belong to them.
    """
    keys = [_image_key(image) for image in content['images']]
    numbers = set(keys)
    images_known = None not in numbers and len(numbers) == len(keys)
    annotations_known = all(_annotation_key(annotation) is not None for annotation in content['annotations'])
    first: dict[Any, dict] = {}
    annotations = []
    for annotation in content['annotations']:
        if (number := _annotation_key(annotation)) is not None:
            name = annotation['file_name']
            if images_known and number not in numbers:
                yield f'{name}: annotation taken out, no image has the id {number}'
                continue
            if first.setdefault(number, annotation) is not annotation and annotation == first[number]:
                yield f'{name}: second annotation taken out, it equals the first one'
                continue
        annotations.append(annotation)
    content['annotations'] = annotations
    if not annotations_known:
        return
    for image, number in zip(content['images'], keys, strict=True):
        if number is not None and number not in first:
            yield f'{image["file_name"]}: image {number} taken out, it has no annotation'
    pairs = zip(content['images'], keys, strict=True)
    content['images'] = [image for image, number in pairs if number is None or number in first]


def _apply(content: dict, results: list[_Fixed]) -> None:
    """Put corrected tables and sizes into the content of the JSON."""
    fixed = {result.image_id: result for result in results}
    for annotation in content['annotations']:
        result = fixed.pop(_annotation_key(annotation), None)  # A second annotation is not what was examined.
        if result is not None:
            annotation['segments_info'] = result.table
    sizes = {result.image_id: result.size for result in results if result.size is not None}
    for image in content['images']:
        if (number := _image_key(image)) in sizes:
            image['height'], image['width'] = sizes[number]


def _image_key(entry: Any) -> Any:
    """Return the id of a raw entry of "images", or None if the reader left the entry out."""
    try:
        return (read_entry(entry, 'id', as_key), read_entry(entry, 'file_name'))[0]
    except (InvalidValueError, TypeError):
        return None


def _annotation_key(entry: Any) -> Any:
    """Return the image's id of a raw entry of "annotations", or None if the reader left the entry out."""
    try:
        number, _ = read_entry(entry, 'image_id'), read_entry(entry, 'file_name')
        return number if isinstance(entry.get('segments_info'), list) else None
    except (InvalidValueError, TypeError):
        return None


def _link_others(content: Mapping[str, Any], examination: Examination, folder: Path) -> None:
    """Complete a folder of corrected PNGs with the ones that were right."""
    kept = {_annotation_key(annotation) for annotation in content['annotations']}
    for number, annotation in examination.source.file.annotations.items():
        if number not in kept:
            continue
        target = folder / annotation['file_name']
        source = Path(examination.source.dataset.segment_map_path(annotation))
        if not target.exists() and source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            with suppress(OSError):
                os.link(source, target)
            if not target.exists():  # No links between these places, or on this file system.
                shutil.copyfile(source, target)


def _fix_images(job: tuple[Context, list[int], Path], indices: range) -> list[_Fixed]:
    context, places, folder = job
    return [_fix_image(context, context.items[places[index]], folder) for index in indices]


def _fix_image(context: Context, item: Item, folder: Path) -> _Fixed:
    """Correct one image; its PNG goes to ``folder`` if it has to change."""
    changes: list[str] = []
    table = list(_fix_entries(item, context, changes))
    read = read_map(context.source.dataset.segment_map_path(item.annotation))
    size, wrote = None, False
    if read.ids is not None:
        ids = _fix_map(read.ids, read.rule, table, context, changes)
        wrote = ids is not None
        if ids is not None:
            _write_map(folder / item.annotation['file_name'], ids)
        _fix_numbers(table, read.ids if ids is None else ids, changes)
        size = _fix_size(context, item, read.ids.shape, changes)
    name = item.annotation['file_name']
    return _Fixed(item.image['id'], table, size, wrote, [f'{name}: {change}' for change in changes])


def _fix_entries(item: Item, context: Context, changes: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the entries of the segment table, corrected as far as that goes without the PNG."""
    for fault in context.faults[item.image['id']]:
        if fault.rule == 'segment-id-invalid':
            changes.append(f'segment {fault.segment_id} taken out, no pixel can have this id')
        elif fault.rule == 'segment-id-twice' and fault.what == TWICE:
            changes.append(f'second entry of segment {fault.segment_id} taken out')
    for segment in item.annotation['segments_info']:
        entry: dict[str, Any] = {**segment, 'iscrowd': int(segment['iscrowd'])}
        label = context.classes.label_of.get(entry['category_id'])
        isthing = label in context.classes.things
        if 'isthing' in entry:
            if label is not None and entry['isthing'] != isthing:
                changes.append(f'isthing of segment {entry["id"]} is {int(isthing)}, as of its category')
                entry['isthing'] = isthing
            entry['isthing'] = int(entry['isthing'])
        yield entry


def _fix_map(ids: np.ndarray, rule: str, table: list[Any], context: Context, changes: list[str]) -> np.ndarray | None:
    """Correct the map and, in place, the table; returns the new map, or None if the old one is right.

    Args:
        ids: (H, W) as read.
        rule: Which the file itself breaks.
        table: ``segments_info``.
        context: Of the examination.
        changes: What is done is added.
    """
    stats = segment_stats(ids)
    alien, share = unknown_ids(stats, [entry['id'] for entry in table])
    if share > STRAY_SHARE:
        return None
    new = ids.copy()
    if rule:
        changes.append('PNG written as 8-bit RGB')
    if len(alien):
        new[np.isin(ids, alien)] = 0
        changes.append(f'{len(alien)} unknown ids set to void, {100 * share:.2g} % of the image')
    if not context.source.expected.allow_absent:
        present = set(stats.ids.tolist())
        for entry in [entry for entry in table if entry['id'] not in present]:
            table.remove(entry)
            changes.append(f'segment {entry["id"]} taken out, it has no pixel')
    merged = _merge_stuff(new, table, read_table(table, context.classes), changes)
    return new if rule or len(alien) or merged else None


def _merge_stuff(ids: np.ndarray, table: list[Any], segments: list[Segment], changes: list[str]) -> bool:
    """Merge, in place, the segments of each stuff class into its first one; returns whether there were any."""
    stuff = [segment for segment in segments if not segment.isthing and not segment.iscrowd]
    first: dict[int, Segment] = {}
    for segment in stuff:
        keeper = first.setdefault(segment.label, segment)
        if keeper is not segment:
            ids[ids == segment.id] = keeper.id
            table[:] = [entry for entry in table if entry['id'] != segment.id]
            changes.append(f'segment {segment.id} merged into {keeper.id} ({segment.name})')
    return max(Counter(segment.label for segment in stuff).values(), default=0) > 1


def _fix_numbers(table: list[dict], ids: np.ndarray, changes: list[str]) -> None:
    """Write counted areas and boxes, in place, where the stated ones are too far off."""
    stats = segment_stats(ids)
    counted = dict(zip(stats.ids.tolist(), zip(stats.areas.tolist(), stats.boxes.tolist())))
    for entry in table:
        if entry['id'] not in counted:
            continue
        area, box = counted[entry['id']]
        if entry.get('area') is not None and not _is_right(area_drifts, stated_area, entry, area):
            changes.append(f'area of segment {entry["id"]} is {area}, was {brief(entry["area"])}')
            entry['area'] = area
        if entry.get('bbox') not in (None, []) and not _is_right(box_drifts, stated_box, entry, box):
            changes.append(f'bbox of segment {entry["id"]} is {box}, was {brief(entry["bbox"])}')
            entry['bbox'] = box


def _is_right(drifts: Callable[..., bool], read: Callable[..., Any], entry: Any, counted: Any) -> bool:
    """Return whether an entry states a number, and one that is near what was counted."""
    try:
        return not drifts(read(entry), counted)
    except InvalidValueError:
        return False


def _fix_size(context: Context, item: Item, size: Any, changes: list[str]) -> tuple[int, int] | None:
    """Height and width to state where those of the JSON are neither; None if they are right or not known."""
    stated = item.image.get('height'), item.image.get('width')
    photo = read_photo(context.source.dataset.image_path(item.image))
    if None in stated or stated == size or not isinstance(photo, Photo):
        return None
    changes.append(f'image is {size[1]}x{size[0]}, was {stated[1]}x{stated[0]}')
    return int(size[0]), int(size[1])


def _write_map(path: Path, ids: np.ndarray) -> None:
    bgr = np.stack([ids >> 16, ids >> 8 & 255, ids & 255], axis=-1).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode('.png', bgr)
    if not done:
        raise WriteError(f'{path} could not be encoded.')
    path.write_bytes(data.tobytes())
