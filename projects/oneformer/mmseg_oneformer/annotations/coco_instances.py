"""COCO's instance JSON: outlines of objects, which may overlap."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

from ..errors import UserError
from ..memory import without_collection
from .coco import Category, Image, check_mapping, load_json, read_categories, read_crowd, read_images, read_numbers
from .faults import Fault
from .outlines import check_segmentation
from .values import MAX_SIDE, InvalidValueError, brief

__all__ = ['InstanceFile', 'Object', 'outline_faults', 'read_instances']


class Object(TypedDict):
    """An annotated object of the file."""

    id: int
    image_id: int | str
    category_id: int
    iscrowd: bool
    segmentation: Any
    """Not checked yet: see :func:`outline_faults`."""
    bbox: NotRequired[Any]
    area: NotRequired[Any]


class InstanceFile(NamedTuple):
    """The valid part of an instance JSON, and the faults of the rest."""

    path: Path
    categories: list[Category]
    """Sorted by id."""
    images: list[Image]
    objects: dict[int | str, list[Object]]
    """By ``image_id``, with an entry for each image."""
    faults: list[Fault]


@without_collection()
def read_instances(path: str | Path) -> InstanceFile:
    """Read an instance JSON.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: It is not a JSON of this kind. Faults of single entries are in ``faults``; outlines are checked by
            :func:`outline_faults`, since a broken one can be left out.
    """
    path = Path(path)
    content = load_json(path, 'instance')
    if any('segments_info' in entry for entry in content['annotations'][:1] if isinstance(entry, dict)):
        raise UserError(f'{path} is a panoptic JSON: use PanopticDataset, which trains all three tasks.')
    faults: list[Fault] = []
    categories = read_categories(content['categories'], faults, need_kind=False)
    # Objects of images and categories that could not be read would only repeat their faults.
    ids = {category['id'] for category in categories}
    known = None if faults else ids
    before = len(faults)
    images = read_images(content['images'], faults)
    objects: dict[int | str, list[Object]] = {image['id']: [] for image in images}
    listed = None if len(faults) > before else objects.keys()
    seen: set[int] = set()
    for number, entry in enumerate(content['annotations'], start=1):
        read = _read_object(entry, number, known, listed, faults)
        if read is None:
            continue
        if read['id'] in seen:
            remedy = 'give every annotation its own id; of merged files, number one anew'
            faults.append(Fault('annotation-id-twice', f'annotation id {read["id"]}', 'appears twice', remedy))
            continue
        seen.add(read['id'])
        # Else its image or category could not be read, which is a fault already.
        if read['image_id'] in objects and read['category_id'] in ids:
            objects[read['image_id']].append(read)
    return InstanceFile(path, categories, images, objects, faults)


def _read_object(
    entry: Any, number: int, known: Collection[int] | None, listed: Collection[int | str] | None, faults: list[Fault]
) -> Object | None:
    """Return an object, or None after adding its fault to ``faults``.

    Args:
        entry: As in the JSON.
        number: Its position, from 1.
        known: Ids of the categories; None: some could not be read.
        listed: Ids of the images; likewise.
        faults: Faults of the file.
    """
    try:
        check_mapping(entry)
        read_numbers(entry, 'id', 'image_id', 'category_id')
        entry['iscrowd'] = read_crowd(entry)
        entry.setdefault('segmentation', None)
    except InvalidValueError as error:
        remedy = 'write "id", "image_id" and "category_id" as numbers, "iscrowd" as 0 or 1'
        named = isinstance(entry, dict) and 'id' in entry
        where = f'annotation {brief(entry["id"])}' if named else f'annotation number {number}'
        faults.append(Fault('entry-incomplete', where, str(error), remedy))
        return None
    where = f'annotation {entry["id"]}'
    if known is not None and entry['category_id'] not in known:
        what = f'has category {entry["category_id"]}, which "categories" does not list'
        faults.append(Fault('unknown-category', where, what, 'add it there'))
        return None
    if listed is not None and entry['image_id'] not in listed:
        what = f'is of image {entry["image_id"]}, which "images" does not list'
        faults.append(Fault('annotation-without-image', where, what, 'add it there or remove the annotation'))
        return None
    return entry


def outline_faults(file: InstanceFile) -> list[Fault]:
    """Return the objects whose outline cannot be drawn at the sizes that the file states; nothing is drawn."""
    faults = []
    for image in file.images:
        stated = image.get('height'), image.get('width')
        for entry in file.objects[image['id']]:
            segmentation = entry['segmentation']
            height, width = stated[0] or _side(segmentation, 0), stated[1] or _side(segmentation, 1)
            try:
                check_segmentation(segmentation, (height, width))
            except InvalidValueError as error:
                where = f'annotation {entry["id"]}'
                remedy = 'draw its outline or take it out'
                faults.append(Fault('outline', where, str(error), remedy, image['id'], image['file_name']))
    return faults


def _side(segmentation: Any, axis: int) -> int:
    """Return the side of a photo whose JSON does not state it: that of the mask, or the longest allowed."""
    size = segmentation.get('size') if isinstance(segmentation, dict) else None
    if isinstance(size, list) and len(size) == 2 and type(size[axis]) is int and 0 < size[axis] <= MAX_SIDE:
        return size[axis]
    return MAX_SIDE
