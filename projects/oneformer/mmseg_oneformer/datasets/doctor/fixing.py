"""Corrections that lose nothing that could be used, written beside the data and never over them.

``panoptic_train.json`` gives ``panoptic_train.fixed.json``, the list of all changes ``panoptic_train.fixed.txt`` and,
where a PNG had to be corrected, the folder ``panoptic_train.fixed/`` with all PNGs: the corrected ones, and hard links
to the others.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from ...errors import WriteError
from ...files import write_atomic
from ..faults import MAX_ID
from .examine import Context, Examination
from .maps import area_drifts, box_drifts, read_map, segment_stats, unknown_ids
from .photos import Photo, read_photo
from .rules import STRAY_SHARE
from .structure import Item, whole_annotation, whole_image
from .tables import Segment, is_box, listed_ids, read_table
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
    """Take out, in place, what belongs to nothing; yield what was done. Entries that cannot be read stay."""
    numbers = {image['id'] for image in content['images'] if whole_image(image)}
    first: dict[Any, dict] = {}
    annotations = []
    for annotation in content['annotations']:
        if whole_annotation(annotation):
            number, name = annotation['image_id'], annotation['file_name']
            if number not in numbers:
                yield f'{name}: annotation taken out, no image has the id {number}'
                continue
            if first.setdefault(number, annotation) is not annotation and annotation == first[number]:
                yield f'{name}: second annotation taken out, it equals the first one'
                continue
        annotations.append(annotation)
    images = [image for image in content['images'] if not whole_image(image) or image['id'] in first]
    for image in content['images']:
        if whole_image(image) and image['id'] not in first:
            yield f'{image["file_name"]}: image {image["id"]} taken out, it has no annotation'
    content['annotations'], content['images'] = annotations, images


def _apply(content: dict, results: list[_Fixed]) -> None:
    """Put corrected tables and sizes into the content of the JSON."""
    fixed = {result.image_id: result for result in results}
    for annotation in filter(whole_annotation, content['annotations']):
        result = fixed.pop(annotation['image_id'], None)  # A second annotation is not what was examined.
        if result is not None:
            annotation['segments_info'] = result.table
    sizes = {result.image_id: result.size for result in results if result.size is not None}
    for image in filter(whole_image, content['images']):
        if image['id'] in sizes:
            image['height'], image['width'] = sizes[image['id']]


def _link_others(content: Mapping[str, Any], examination: Examination, folder: Path) -> None:
    """Complete a folder of corrected PNGs with the ones that were right."""
    for annotation in filter(whole_annotation, content['annotations']):
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


def _fix_entries(item: Item, context: Context, changes: list[str]) -> Iterator[dict]:
    """The entries of the segment table, corrected as far as that goes without the PNG."""
    seen: dict[Any, dict] = {}
    for entry in map(dict, item.annotation['segments_info']):
        number = entry.get('id')
        if isinstance(number, int) and not 0 < number <= MAX_ID:
            changes.append(f'segment {number} taken out, no pixel can have this id')
            continue
        same = seen.get(number)
        if same is not None and all(same.get(key) == entry.get(key) for key in ('category_id', 'iscrowd')):
            changes.append(f'second entry of segment {number} taken out')
            continue
        seen.setdefault(number, entry)
        label = context.classes.label_of.get(entry['category_id'])
        isthing = label in context.classes.things
        if label is not None and bool(entry.get('isthing', isthing)) != isthing:
            changes.append(f'isthing of segment {number} is {int(isthing)}, as of its category')
            entry['isthing'] = int(isthing)
        yield entry


def _fix_map(ids: np.ndarray, rule: str, table: list[dict], context: Context, changes: list[str]) -> np.ndarray | None:
    """Correct the map and, in place, the table; returns the new map, or None if the old one is right.

    Args:
        ids: (H, W) as read.
        rule: Which the file itself breaks.
        table: ``segments_info``.
        context: Of the examination.
        changes: What is done is added.
    """
    stats = segment_stats(ids)
    alien, share = unknown_ids(stats, listed_ids(table))
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
        for entry in [entry for entry in table if entry.get('id') not in present]:
            table.remove(entry)
            changes.append(f'segment {entry.get("id")} taken out, it has no pixel')
    merged = _merge_stuff(new, table, read_table(table, context.classes), changes)
    return new if rule or len(alien) or merged else None


def _merge_stuff(ids: np.ndarray, table: list[dict], segments: list[Segment], changes: list[str]) -> bool:
    """Merge, in place, the segments of each stuff class into its first one; returns whether there were any."""
    stuff = [segment for segment in segments if not segment.isthing and not segment.iscrowd]
    first: dict[int, Segment] = {}
    for segment in stuff:
        keeper = first.setdefault(segment.label, segment)
        if keeper is not segment:
            ids[ids == segment.id] = keeper.id
            table[:] = [entry for entry in table if entry.get('id') != segment.id]
            changes.append(f'segment {segment.id} merged into {keeper.id} ({segment.name})')
    return max(Counter(segment.label for segment in stuff).values(), default=0) > 1


def _fix_numbers(table: list[dict], ids: np.ndarray, changes: list[str]) -> None:
    """Write counted areas and boxes, in place, where the stated ones are too far off."""
    stats = segment_stats(ids)
    counted = dict(zip(stats.ids.tolist(), zip(stats.areas.tolist(), stats.boxes.tolist())))
    for entry in table:
        if entry.get('id') not in counted:
            continue
        area, box = counted[entry['id']]
        if isinstance(entry.get('area'), int | float) and area_drifts(entry['area'], area):
            changes.append(f'area of segment {entry["id"]} is {area}, was {entry["area"]}')
            entry['area'] = area
        if is_box(entry.get('bbox')) and box_drifts(entry['bbox'], box):
            changes.append(f'bbox of segment {entry["id"]} is {box}, was {entry["bbox"]}')
            entry['bbox'] = box


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
