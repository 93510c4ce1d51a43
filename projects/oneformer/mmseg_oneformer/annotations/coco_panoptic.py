"""COCO's panoptic JSON: one table of segments for each photo."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

from ..errors import UserError
from ..memory import without_collection
from .coco import (
    Category,
    Image,
    check_mapping,
    load_json,
    read_categories,
    read_crowd,
    read_entry,
    read_images,
    read_numbers,
)
from .faults import Fault
from .values import InvalidValueError, as_number, brief

__all__ = [
    'MAX_ID',
    'TWICE',
    'PanopticAnnotation',
    'PanopticFile',
    'Segment',
    'read_panoptic',
    'stated_area',
    'stated_box',
]

MAX_ID = 2**24 - 1
"""Largest id that R + 256 G + 65536 B can hold."""
OWN_IDS = 'give every segment of an image its own id from 1 up'
TWICE = 'appears twice'
"""The fault of a second entry of a segment that is identical to the first one."""
TOLERATED = ('annotation-without-image',)
"""Rules whose faults do not change any sample."""


class Segment(TypedDict):
    """An entry of ``segments_info``."""

    id: int
    """1 to ``MAX_ID``, unique in its photo."""
    category_id: int
    """May be unknown; then there is a fault."""
    iscrowd: bool
    isthing: NotRequired[bool]
    area: NotRequired[Any]
    """Not checked: see :func:`stated_area`."""
    bbox: NotRequired[Any]
    """Not checked: see :func:`stated_box`."""
    score: NotRequired[Any]
    """In predictions; not checked."""


class PanopticAnnotation(TypedDict):
    """The segments of a photo."""

    image_id: int | str
    file_name: str
    """Path of the PNG below the folder of the PNGs."""
    segments_info: list[Segment]


class PanopticFile(NamedTuple):
    """The valid part of a panoptic JSON, and the faults of the rest."""

    path: Path
    info: dict[str, Any]
    licenses: list[Any]
    categories: list[Category]
    """Sorted by id."""
    images: list[Image]
    annotations: dict[int | str, PanopticAnnotation]
    """By ``image_id``; the first one of each image, including images that are not listed."""
    faults: list[Fault]

    @property
    def grave_faults(self) -> list[Fault]:
        """The faults that prevent training and evaluation."""
        return [fault for fault in self.faults if fault.rule not in TOLERATED]


@without_collection()
def read_panoptic(path: str | Path, without: Collection[str] = (), need_kind: bool = True) -> PanopticFile:
    """Read a panoptic JSON, or a list of images without annotations.

    Args:
        path: The JSON.
        without: Names of categories that are not classes; no segment may have one.
        need_kind: Whether categories must have "isthing"; those of predictions need not.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: It is not a JSON of this kind. Faults of single entries are in ``faults``.
    """
    path = Path(path)
    content = load_json(path, 'panoptic')
    first = [entry.keys() for entry in content['annotations'][:1] if isinstance(entry, dict)]
    if any('segments_info' not in keys and keys & {'segmentation', 'bbox'} for keys in first):
        raise UserError(
            f'{path} has annotations without "segments_info": give the panoptic JSON, not the instance one, which '
            'InstanceDataset reads.'
        )
    faults: list[Fault] = []
    categories = read_categories(content['categories'], faults, need_kind)
    categories = [category for category in categories if category['name'] not in without]
    # Segments of a category that could not be read would only repeat the category's fault.
    known = None if faults else {category['id'] for category in categories}
    before = len(faults)
    images = read_images(content['images'], faults)
    # An entry that could not be read may be the one that others seem to lack.
    listed = None if len(faults) > before else {image['id'] for image in images}
    before = len(faults)
    annotations = _read_annotations(content['annotations'], listed, known, faults)
    unread = any(fault.rule == 'entry-incomplete' and fault.image_id is None for fault in faults[before:])
    if annotations and not unread:
        faults += [
            Fault(
                'image-without-annotation',
                f'image {image["id"]} ({image["file_name"]})',
                'has no annotation',
                'annotate it or remove it from "images"',
                image['id'],
                image['file_name'],
            )
            for image in images
            if image['id'] not in annotations
        ]
    info, licenses = content.get('info'), content.get('licenses')
    return PanopticFile(
        path,
        info if isinstance(info, dict) else {},
        licenses if isinstance(licenses, list) else [],
        categories,
        images,
        annotations,
        faults,
    )


def _read_annotations(
    entries: list[Any], listed: Collection[int | str] | None, known: Collection[int] | None, faults: list[Fault]
) -> dict[int | str, PanopticAnnotation]:
    """Return the valid annotations by image; the first one of each.

    Args:
        entries: As the JSON has them.
        listed: Ids of the images; None: some could not be read.
        known: Ids of the categories; likewise.
        faults: What is wrong is added.
    """
    found: dict[int | str, PanopticAnnotation] = {}
    twice: dict[int | str, int] = {}
    owners: dict[str, int | str] = {}  # of the PNGs
    for number, entry in enumerate(entries, start=1):
        where = f'annotation number {number}'
        try:
            check_mapping(entry)
            where = f'annotation of image {brief(entry.get("image_id"))}' if 'image_id' in entry else where
            key, name = read_entry(entry, 'image_id'), read_entry(entry, 'file_name')
            table = read_entry(entry, 'segments_info', _as_list)
        except InvalidValueError as error:
            remedy = 'write "image_id", "file_name" and "segments_info"'
            faults.append(Fault('entry-incomplete', where, str(error), remedy))
            continue
        if key in found:
            twice[key] = twice.get(key, 1) + 1
            continue
        if listed is not None and key not in listed:
            remedy = 'add the image, or remove the annotation'
            what = 'is of an image that "images" does not list'
            faults.append(Fault('annotation-without-image', where, what, remedy, key, name))
        elif owners.setdefault(name, key) != key:
            what = f'has the PNG {name}, which is that of image {owners[name]}'
            faults.append(Fault('map-twice', where, what, 'give every image its own PNG', key, name))
        entry['image_id'], entry['file_name'] = key, name
        entry['segments_info'] = _read_table(table, key, name, known, faults)
        found[key] = entry
    faults += [
        Fault(
            'annotation-twice',
            f'image {key}',
            f'has {"two" if count == 2 else count} annotations',
            'keep one',
            key,
            found[key]['file_name'],
        )
        for key, count in twice.items()
    ]
    return found


def _as_list(value: Any) -> list:
    if not isinstance(value, list):
        raise InvalidValueError(f'is {brief(value)} instead of a list')
    return value


def _read_table(
    entries: list[Any], image_id: int | str, file_name: str, known: Collection[int] | None, faults: list[Fault]
) -> list[Segment]:
    """Return the segments of a photo with valid ids, in their order; the first one of each id.

    Args:
        entries: ``segments_info`` as in the JSON.
        image_id: Id of the photo.
        file_name: Name of the PNG.
        known: Ids of the categories; None: some could not be read.
        faults: Faults found are added.
    """
    table: dict[int, Segment] = {}

    def note(rule: str, what: str, remedy: str, number: Any) -> None:
        where = f'segment {brief(number)} of {file_name}'
        faults.append(Fault(rule, where, what, remedy, image_id, file_name, number))

    for entry in entries:
        try:
            check_mapping(entry)
            read_numbers(entry, 'id', 'category_id')
            number, category = entry['id'], entry['category_id']
            crowd = entry['iscrowd'] = read_crowd(entry)
            if 'isthing' in entry:
                entry['isthing'] = read_entry(entry, 'isthing')
        except InvalidValueError as error:
            given = entry.get('id') if isinstance(entry, dict) else None
            note('entry-incomplete', str(error), 'write "id" and "category_id" as numbers, "iscrowd" as 0 or 1', given)
            continue
        if known is not None and category not in known:
            note(
                'unknown-category', f'has category {category}, which "categories" does not list', 'add it there', number
            )
        if not 0 < number <= MAX_ID:
            void = 'has the id of void' if number == 0 else f'has an id outside 1 to {MAX_ID}'
            note('segment-id-invalid', void, OWN_IDS, number)
            continue
        if number in table:
            same = table[number]['category_id'] == category and table[number]['iscrowd'] == crowd
            note('segment-id-twice', TWICE if same else f'{TWICE}, as different things', OWN_IDS, number)
            continue
        table[number] = entry
    return list(table.values())


def stated_area(segment: Segment) -> float | None:
    """Return the area in pixels that a segment states, or None.

    Raises:
        InvalidValueError: It is not a number.
    """
    area = segment.get('area')
    return area if type(area) is int or area is None else as_number(area)


def stated_box(segment: Segment) -> tuple[float, ...] | None:
    """Return the box (left, top, width, height) in pixels that a segment states, or None.

    Raises:
        InvalidValueError: It is not four numbers.
    """
    box = segment.get('bbox')
    if box is None or box == []:
        return None
    if not isinstance(box, list) or len(box) != 4:
        raise InvalidValueError(f'is {brief(box)}, which is not [left, top, width, height]')
    return tuple(as_number(edge) for edge in box)
