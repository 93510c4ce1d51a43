"""COCO instance JSON, with semantic PNGs for stuff."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ...annotations.coco import Category
from ...annotations.coco_instances import InstanceFile, read_instances
from ...annotations.faults import Fault, raise_faults
from ...annotations.outlines import partial_code
from ...annotations.photo_names import find_photo
from ...annotations.values import InvalidValueError
from ...errors import MissingFileError, UserError
from ..classes import VOID, check_listed, class_name, parse_classes, read_semantic, void_values
from ..own_data import Photo
from ..scene import Annotation, Region, check_area

__all__ = ['CocoFormat']


class CocoFormat:
    """Objects of an instance JSON: polygons, compressed and uncompressed run-length codes, crowds.

    Its categories are the things, in the order of their ids, unless they are named as stuff.

    Args:
        json_path: The instance JSON.
        images: Folder that its ``file_name`` are relative to; see :func:`...annotations.photo_names.find_photo`.
        semantic: Folder of semantic PNGs named like the photos, or None.
        things: ``NAME=VALUE`` for things that the semantic PNGs know too; or ``NAME`` of all that are things.
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
        if not json_path.is_file():
            what = 'is a folder' if json_path.is_dir() else 'does not exist'
            raise MissingFileError(f'{json_path} {what}; give the instance JSON.')
        file = read_instances(json_path)
        raise_faults(json_path, file.faults)
        if not file.images:
            raise UserError(f'{json_path} lists no images.')
        self.notes: list[str] = []
        names = [category['name'] for category in self._categories(file)]
        if len(twice := [name for name, count in Counter(names).items() if count > 1]):
            raise UserError(f'{json_path} has two categories called {twice[0]!r}; rename or merge them.')
        check_listed(names, things, [*stuff, rest or ''], ignored, json_path)
        stuff_names = set(map(class_name, (*stuff, rest or '')))
        names = [name for name in names if name not in stuff_names]
        usual = void_values(void, 255, (*things, *stuff))
        self.classes = parse_classes([*names, *things], stuff, usual, ignored, rest)
        labels = {category['id']: self.classes.label_of(category['name']) for category in file.categories}
        self.label_of = {number: label for number, label in labels.items() if label is not None}
        self._file: InstanceFile | None = file

    def _categories(self, file: InstanceFile) -> list[Category]:
        """Return the categories that are classes: a root category of Roboflow, which no object has, is none."""
        used = {entry['category_id'] for entries in file.objects.values() for entry in entries}
        groups = [category.get('supercategory') for category in file.categories]
        roots = [one for one in file.categories if one['id'] not in used and one['name'] in groups]
        roots = [one for one in roots if one.get('supercategory') != one['name']]
        for root in roots:
            self.notes.append(f'{self.json_path}: category {root["name"]!r} is a group without objects, and no class.')
        return [category for category in file.categories if category not in roots]

    def __getstate__(self) -> dict:
        """Without the JSON, of which every photo carries its part."""
        return {**self.__dict__, '_file': None}

    def photos(self) -> list[Photo]:
        """The images of the JSON, in its order."""
        assert self._file is not None
        photos = []
        for image in self._file.images:
            name = find_photo(self.images, image['file_name'])
            files = [str(self.semantic / Path(name).with_suffix('.png'))] if self.semantic else []
            details = [image.get('height'), image.get('width'), self._file.objects[image['id']]]
            files.append(str(self.json_path))  # Another JSON makes finished photos stale.
            photos.append(Photo(name, str(self.images / name), image['id'], tuple(files), details))
        return photos

    def read(self, photo: Photo, size: tuple[int, int]) -> Annotation:
        """Objects of the JSON on the semantic PNG."""
        height, width, objects = photo.details
        if (height or size[0], width or size[1]) != size:
            raise UserError(
                f'{self.json_path} says {photo.name} is {width}x{height}, the photo is {size[1]}x{size[0]} '
                '(width x height); find the right photo, or save it without EXIF orientation.'
            )
        regions: list[Region] = []
        broken: list[str] = []
        for entry in objects:
            label = self.label_of[entry['category_id']]
            faults: list[str] = []
            try:
                code, faults = partial_code(entry['segmentation'], size)
                crowd = entry['iscrowd'] and not self.crowds_are_objects
                regions.append(Region(label, check_area(code), crowd))
            except InvalidValueError as error:
                faults = [str(error)]
            for fault in faults if label != VOID else ():
                sentence = Fault('outline', f'annotation {entry["id"]}', fault, 'draw its outline or take it out')
                broken.append(f'{self.json_path}: {sentence}')
        semantic = read_semantic(photo.annotation[0], size, self.classes) if self.semantic else None
        return Annotation(size, regions, semantic, broken)
