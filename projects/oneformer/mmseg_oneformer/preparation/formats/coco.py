"""COCO instance JSON, with semantic PNGs for stuff."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...datasets.outlines import outline_code
from ...errors import UserError
from ...files import read_json
from ..own_data import Photo, parse_classes, read_semantic
from ..scene import Annotation, Region

__all__ = ['CocoFormat']


class CocoFormat:
    """Objects of an instance JSON: polygons, compressed and uncompressed run-length codes, crowds.

    Its categories are the things, in the order of their ids, unless they are named as stuff.

    Args:
        json_path: The instance JSON.
        images: Folder that its ``file_name`` are relative to.
        semantic: Folder of semantic PNGs named like the photos, or None.
        things: ``NAME=VALUE`` for things that the semantic PNGs know too.
        stuff: ``NAME=VALUE`` of the semantic PNGs, or ``NAME`` of a category that is not a thing.
        void: Values of the semantic PNGs to be ignored.
    """

    def __init__(
        self,
        json_path: Path,
        images: Path,
        semantic: Path | None,
        things: Sequence[str] = (),
        stuff: Sequence[str] = (),
        void: Sequence[int] = (255,),
    ) -> None:
        self.json_path, self.images, self.semantic = json_path, images, semantic
        content = _read(json_path)
        categories = sorted(content['categories'], key=lambda category: category['id'])
        stuff_names = {entry.rpartition('=')[0] or entry for entry in stuff}
        names = [category['name'] for category in categories if category['name'] not in stuff_names]
        self.classes = parse_classes([*names, *things], stuff, void)
        if unknown := sorted(set(self.classes.things) - set(names)):
            raise UserError(f'{json_path} has no category {unknown[0]!r}; correct --things.')
        self.label_of = {category['id']: self.classes.names.index(category['name']) for category in categories}
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
        regions = [self._region(annotation, size) for annotation in annotations]
        semantic = read_semantic(photo.annotation[0], size, self.classes) if self.semantic else None
        return Annotation(size, regions, semantic)

    def _region(self, annotation: dict, size: tuple[int, int]) -> Region:
        where = f'{self.json_path}: annotation {annotation["id"]}'
        if annotation['category_id'] not in self.label_of:
            raise UserError(
                f'{where} has category {annotation["category_id"]}, which "categories" does not list; add it there.'
            )
        code = outline_code(annotation.get('segmentation'), size, where)
        return Region(self.label_of[annotation['category_id']], code, bool(annotation.get('iscrowd', 0)))


def _read(path: Path) -> dict:
    if not path.is_file():
        raise UserError(f'{path} does not exist; give the instance JSON.')
    content = read_json(path)
    if not isinstance(content, dict) or not {'images', 'annotations', 'categories'} <= content.keys():
        raise UserError(f'{path} is not a COCO instance JSON: it needs "images", "annotations" and "categories".')
    if any('segments_info' in annotation for annotation in content['annotations'][:1]):
        raise UserError(f'{path} is a panoptic JSON already; use it as it is.')
    return content
