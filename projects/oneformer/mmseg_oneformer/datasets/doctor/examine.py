"""Go through a data set: the JSON as a whole, then every image in several processes, then photos against photos."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...annotations.coco_panoptic import TWICE
from ...annotations.faults import Fault
from ...annotations.id_maps import MAX_PIXELS
from ...errors import UserError
from .against import Instances, compare_instances, comparison_finding, instances_by_image
from .maps import check_pixels, read_map, segment_stats
from .photos import Photo, PhotoMark, identities, read_photo
from .rules import RULES, Finding
from .source import Source
from .structure import Item, as_finding, check_categories, compare_categories, pair_up, read_classes, split_faults
from .tables import Classes, check_table, read_table
from .tally import Tally
from .workers import processes, run_chunks

__all__ = ['Context', 'Examination', 'examine']

HOPELESS = {'entry-incomplete', 'map-missing', 'map-damaged', 'map-size', 'exif-turned'}
"""Findings after which nothing of the image is corrected: too much is unknown."""


MAP_EXCESS = 4
"""A map with more pixels than this many photos is not decoded: it belongs to another photo, or its header lies."""


class Context(NamedTuple):
    """What the examination of an image needs."""

    source: Source
    items: list[Item]
    classes: Classes
    faults: Mapping[int | str, Sequence[Fault]]
    """Of the segment table of each image."""
    deep: bool
    instances: Instances | None


class Examination(NamedTuple):
    """What was found."""

    source: Source
    context: Context
    tally: Tally
    seconds: float
    """Of the images, without the time that reading the JSONs took."""
    jobs: int
    """Processes that took part."""


def examine(
    source: Source,
    val: Source | None = None,
    against: str | Path | None = None,
    deep: bool = False,
    jobs: int = 1,
) -> Examination:
    """Examine a data set.

    Args:
        source: What is to be examined.
        val: Validation data; their photos are looked for among those of ``source``, and their categories compared.
        against: An instance JSON of the same photos.
        deep: Decode the photos too, instead of reading their headers and ends.
        jobs: Processes.

    Raises:
        UserError: ``against`` cannot be read, or has none of the photos.
    """
    classes = read_classes(source.file.categories)
    instances = instances_by_image(against, classes.names) if against is not None else None
    if instances is not None and not instances.by_image.keys() & {image['id'] for image in source.file.images}:
        raise UserError(f'{against} has none of these photos; --against needs the instances of the same photos.')
    faults, faults_of = split_faults(source.file)
    context = Context(source, pair_up(source.file), classes, faults_of, deep, instances)
    tally = Tally.empty(len(classes.names))
    for finding in (*map(as_finding, faults), *check_categories(source.file, source.expected)):
        tally.add_findings([finding])
    start = time.perf_counter()
    for part in run_chunks(_examine_images, context, len(context.items), jobs, 'examining'):
        tally.merge(part)
    seconds = time.perf_counter() - start
    tally.add_findings(_absent_classes(tally, classes))
    others: list[tuple[PhotoMark, Finding]] = []
    if val is not None:
        tally.add_findings(compare_categories(source.file.categories, val.file.categories))
        images = val.file.images
        for marks in run_chunks(_mark_photos, (val, images, deep), len(images), jobs, 'validation photos'):
            others += marks
    for finding in _equal_photos(tally.photos, others):
        tally.add_findings([finding])
    return Examination(source, context, tally, seconds, processes(len(context.items), jobs))


def _examine_images(context: Context, indices: range) -> Tally:
    """Examine some images."""
    tally = Tally.empty(len(context.classes.names))
    start = time.process_time()
    for index in indices:
        item_id = context.items[index].image['id']
        findings = list(_examine_image(context, context.items[index], tally))
        rules = {finding.rule for finding in findings}
        tally.add_findings(findings)
        differ = any(fault.rule == 'segment-id-twice' and fault.what != TWICE for fault in context.faults[item_id])
        if any(RULES[rule].fix for rule in rules) and not rules & HOPELESS and not differ:
            tally.fixable.append(index)
    tally.cpu_seconds = time.process_time() - start
    return tally


def _examine_image(context: Context, item: Item, tally: Tally) -> Iterator[Finding]:
    """Yield what is wrong with one image and count it in ``tally``."""
    number, photo_name, map_name = item.image['id'], item.image['file_name'], item.annotation['file_name']
    table = item.annotation['segments_info']
    segments = read_table(table, context.classes)
    pixels = None
    photo = read_photo(context.source.dataset.image_path(item.image), context.deep)
    if isinstance(photo, Photo):
        tally.photos.append((photo.mark, Finding('', '', number, photo_name)))
    for finding in photo.findings if isinstance(photo, Photo) else [photo]:
        yield finding._replace(image_id=number, file=photo_name)
    yield from map(as_finding, context.faults[number])
    for finding in check_table(table, segments, context.classes):
        yield finding._replace(image_id=number, file=map_name)

    most = MAP_EXCESS * photo.size[0] * photo.size[1] if isinstance(photo, Photo) else MAX_PIXELS
    read = read_map(context.source.dataset.segment_map_path(item.annotation), most)
    if read.rule:
        yield Finding(read.rule, read.text, number, map_name)
    if read.ids is not None:
        stats = segment_stats(read.ids)
        pixels = dict(zip(stats.ids.tolist(), stats.areas.tolist()))
        for finding in check_pixels(segments, _listed_ids(item, context), stats, context.source.expected.allow_absent):
            yield finding._replace(image_id=number, file=map_name)
        if context.instances is not None:
            for comparison in compare_instances(item, segments, read.ids, pixels, context.instances):
                tally.comparisons.append(comparison)
                yield comparison_finding(comparison, item)
    size = read.ids.shape if read.ids is not None else None
    for finding in _check_sizes(item.image, photo if isinstance(photo, Photo) else None, size):
        yield finding._replace(image_id=number, file=photo_name)
    tally.add_segments(segments, pixels)


def _listed_ids(item: Item, context: Context) -> list[int]:
    """Return the ids that the JSON lists for an image, those of incomplete entries too."""
    given = [fault.segment_id for fault in context.faults[item.image['id']]]
    return [entry['id'] for entry in item.annotation['segments_info']] + [one for one in given if isinstance(one, int)]


def _check_sizes(image: Any, photo: Photo | None, map_size: tuple[int, ...] | None) -> Iterator[Finding]:
    """Compare height and width of photo, PNG and JSON."""
    sizes = set() if map_size is None else {map_size}
    if photo is not None:
        seen = photo.size
        if map_size is not None and map_size != seen:
            turned = photo.turned and map_size == seen[::-1]
            text = f'photo {_by(seen)}{" as it is turned" if photo.turned else ""}, PNG {_by(map_size)}'
            yield Finding('exif-turned' if turned else 'map-size', text)
        sizes.add(seen)
    stated = image.get('height'), image.get('width')
    if None not in stated and sizes and stated not in sizes:
        there = ' and '.join(_by(size) for size in sorted(sizes))
        yield Finding('json-size', f'{_by(stated)} in the JSON, {there} of the files')


def _by(size: Any) -> str:
    """(height, width) as people write it."""
    return f'{size[1]}x{size[0]}'


def _absent_classes(tally: Tally, classes: Classes) -> Iterator[Finding]:
    for label, (name, row) in enumerate(zip(classes.names, np.asarray(tally.histogram))):
        if not row[1]:
            why = f'{row[4]} crowd segments only' if row[4] else 'no segment'
            yield Finding('class-absent', f'class {label} ({name}): {why}')


def _mark_photos(context: tuple[Source, list, bool], indices: range) -> list[tuple[PhotoMark, Finding]]:
    """Read some photos of the validation data; those that cannot be read are not its matter."""
    source, images, deep = context
    marks = []
    for index in indices:
        photo = read_photo(source.dataset.image_path(images[index]), deep)
        if isinstance(photo, Photo):
            marks.append((photo.mark, Finding('', '', images[index]['id'], images[index]['file_name'])))
    return marks


def _equal_photos(ours: list[tuple[PhotoMark, Finding]], others: list[tuple[PhotoMark, Finding]]) -> Iterator[Finding]:
    """Yield photos that are there twice, and those that the validation data have too."""
    keys = identities([mark for mark, _ in (*ours, *others)])
    first: dict[str, Finding] = {}
    for key, (_, where) in zip(keys, ours):
        if key in first:
            yield where._replace(rule='photo-twice', text=f'the same photo as {_name(first[key])}')
        first.setdefault(key, where)
    for key, (_, where) in zip(keys[len(ours) :], others):
        if key in first:
            yield first[key]._replace(rule='leak', text=f'it is {_name(where)} of the validation data')


def _name(where: Finding) -> str:
    return f'{where.file} (image {where.image_id})'
