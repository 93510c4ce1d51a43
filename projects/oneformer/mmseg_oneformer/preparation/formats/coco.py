"""COCO instance JSON, with semantic PNGs for stuff."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...annotations.faults import Fault
from ...annotations.outlines import outline_code
from ...annotations.values import InvalidValueError
from ...errors import UserError
from ...files import read_json
from ..classes import VOID, check_listed, class_name, parse_classes, read_semantic, void_values
from ..own_data import Photo
from ..scene import Annotation, Region, check_area

__all__ = ['CocoFormat']


class CocoFormat:
    """Objects of an instance JSON: polygons, compressed and uncompressed run-length codes, crowds.

    Its categories are the things, in the order of their ids, unless they are named as stuff.

    Args:
        json_path: The instance JSON.
        images: Folder that its ``file_name`` are relative to.
        semantic: Folder of semantic PNGs named like the photos, or None.
        things: ``NAME=VALUE`` for things that the semantic PNGs know too; or ``NAME`` of all categories that are things.
        stuff: ``NAME=VALUE`` of the semantic PNGs, or ``NAME`` of a category that is not a thing.
        void: Values of the semantic PNGs to be ignored; None: 255.
        ignored: Categories that become void where nothing else covers them.
        rest: Stuff class of what nothing covers.
        crowds_are_objects: ``iscrowd`` says nothing: CVAT sets it for every mask that was drawn with a brush.
    """

    def __init__(
        self,
        json_path: Path,
        images: Path,
        semantic: Path | None,
        things: Sequence[str] = (),
        stuff: Sequence[str] = (),
        void: Sequence[int] | None = None,
        ignored: Sequence[str] = (),
        rest: str | None = None,
        crowds_are_objects: bool = False,
    ) -> None:
        self.json_path, self.images, self.semantic = json_path, images, semantic
        self.crowds_are_objects = crowds_are_objects
        content = _read(json_path)
        categories = sorted(content['categories'], key=lambda category: category['id'])
        names = [category['name'] for category in categories]
        check_listed(names, things, [*stuff, rest or ''], ignored, json_path)
        stuff_names = set(map(class_name, (*stuff, rest or '')))
        names = [name for name in names if name not in stuff_names]
        usual = void_values(void, 255, (*things, *stuff))
        self.classes = parse_classes([*names, *things], stuff, usual, ignored, rest)
        self.label_of = {category['id']: self.classes.label_of(category['name']) for category in categories}
        self._content: dict | None = content

    def __getstate__(self) -> dict:
        """Without the JSON, of which every photo carries its part."""
        return {**self.__dict__, '_content': None}

    def photos(self) -> list[Photo]:
        """The images of the JSON, in its order."""
        assert self._content is not None
        of_image: dict[Any, list[dict]] = {image['id']: [] for image in self._content['images']}
        for annotation in self._content['annotations']:
            if annotation['image_id'] not in of_image:
                raise UserError(
                    f'{self.json_path}: annotation {annotation["id"]} is of image {annotation["image_id"]}, '
                    'which "images" does not list; add it there or remove the annotation.'
                )
            of_image[annotation['image_id']].append(annotation)
        photos = []
        for image in self._content['images']:
            name = image['file_name']
            files = [str(self.semantic / Path(name).with_suffix('.png'))] if self.semantic else []
            details = [image.get('height'), image.get('width'), of_image[image['id']]]
            files.append(str(self.json_path))  # Another JSON makes finished photos stale.
            photos.append(Photo(name, str(self.images / name), image['id'], tuple(files), details))
        if not photos:
            raise UserError(f'{self.json_path} lists no images.')
        return photos

    def read(self, photo: Photo, size: tuple[int, int]) -> Annotation:
        """Objects of the JSON on the semantic PNG."""
        height, width, annotations = photo.details
        if (height or size[0], width or size[1]) != size:
            raise UserError(
                f'{self.json_path} says {photo.name} is {width}x{height}, the photo is {size[1]}x{size[0]} '
                '(width x height); find the right photo, or save it without EXIF orientation.'
            )
        regions, broken = [], []
        for annotation in annotations:
            where = f'annotation {annotation["id"]}'
            if annotation['category_id'] not in self.label_of:
                raise UserError(
                    f'{self.json_path}: {where} has category {annotation["category_id"]}, which "categories" does not '
                    'list; add it there.'
                )
            try:
                code = check_area(outline_code(annotation.get('segmentation'), size))
            except InvalidValueError as error:
                broken.append(f'{self.json_path}: {Fault("outline", where, str(error), "draw it or take it out")}')
            else:
                crowd = bool(annotation.get('iscrowd', 0)) and not self.crowds_are_objects
                regions.append(Region(self.label_of[annotation['category_id']], code, crowd))
        semantic = read_semantic(photo.annotation[0], size, self.classes) if self.semantic else None
        return Annotation(size, regions, semantic, broken)


def _read(path: Path) -> dict:
    if not path.is_file():
        raise UserError(f'{path} does not exist; give the instance JSON.')
    content = read_json(path)
    if not isinstance(content, dict) or not {'images', 'annotations', 'categories'} <= content.keys():
        raise UserError(f'{path} is not a COCO instance JSON: it needs "images", "annotations" and "categories".')
    if any('segments_info' in annotation for annotation in content['annotations'][:1]):
        raise UserError(f'{path} is a panoptic JSON already; use it as it is.')
    return content
