"""Pascal VOC: one PNG of object numbers and one of classes a photo."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pycocotools import mask as mask_api

from ...annotations.voc import BACKGROUND, BORDER, VOC_CLASSES, read_labelmap, read_voc_classes, read_voc_objects
from ...errors import UserError
from ..classes import VOID, check_listed, class_name, labels_of, parse_classes, void_values
from ..own_data import Photo, list_photos
from ..scene import Annotation, Region

__all__ = ['VocFormat']


class VocFormat:
    """``SegmentationObject`` (1, 2, ... = objects, 0 = none, 255 = border) and ``SegmentationClass`` with the classes.

    Both may be colours, as CVAT's "Segmentation mask" and Datumaro write them: then ``labelmap.txt`` beside the folders
    names those of the classes, whose values are their places there. Only photos with a class PNG are taken, since VOC
    has many without.

    Args:
        images: Folder of the photos (``JPEGImages``).
        objects: Folder of the object PNGs.
        semantic: Folder of the class PNGs.
        things: ``NAME=VALUE``, or with ``labelmap.txt`` ``NAME``; none at all: its classes, or VOC's own 20.
        stuff: The same, such as background=0.
        void: Values of the class PNGs to be ignored; None: 255.
        ignored: Names of classes that become void.
        rest: Stuff class of what nothing covers, and of the background.
    """

    def __init__(
        self,
        images: Path,
        objects: Path,
        semantic: Path,
        things: Sequence[str] = (),
        stuff: Sequence[str] = (),
        void: Sequence[int] | None = None,
        ignored: Sequence[str] = (),
        rest: str | None = None,
    ) -> None:
        self.images, self.objects, self.semantic = images, objects, semantic
        path = semantic.parent / 'labelmap.txt'
        self.labels = read_labelmap(path) if path.is_file() else []
        if self.labels:
            names = [label.name for label in self.labels]
            values = {name: value for value, name in enumerate(names)}
            background = values.get(BACKGROUND)
        else:
            names, background = list(VOC_CLASSES), 0
            values = {name: value for value, name in enumerate(VOC_CLASSES, start=1)}
        if self.labels or not things:
            listed = [name for name in names if name != BACKGROUND or name in map(class_name, (*things, *stuff))]
            if self.labels:
                check_listed(listed, list(map(class_name, things)), [*stuff, rest or ''], ignored, path)
            taken = set(map(class_name, (*things, *stuff, *ignored, rest or '')))
            things = [*things, *(name for name in listed if name not in taken)]
        things = _with_values(things, values, path)
        stuff, ignored = _with_values(stuff, values, path), _with_values(ignored, values, path)
        usual = void_values(void, 255, (*things, *stuff))
        if background is not None and not any(entry.endswith(f'={background}') for entry in (*things, *stuff)):
            # The background is void unless somebody wants it as stuff, or as the rest.
            if rest and '=' not in rest:
                rest = f'{rest}={background}'
            else:
                usual = (*usual, background)
        self.classes = parse_classes(things, stuff, usual, ignored, rest)
        no_class = (BORDER, background)
        self.unwanted = {v for v, label in self.classes.values.items() if label == VOID and v not in no_class}

    def photos(self) -> list[Photo]:
        """All photos that have a class PNG, sorted."""
        photos: list[Photo] = []
        for name, path in list_photos(self.images):
            png = Path(name).with_suffix('.png')
            if (self.semantic / png).is_file():
                files = (str(self.objects / png), str(self.semantic / png))
                photos.append(Photo(name, str(path), len(photos) + 1, files))
        if not photos:
            raise UserError(f'No photo of {self.images} has a PNG of the same name in {self.semantic}.')
        return photos

    def read(self, photo: Photo, size: tuple[int, int]) -> Annotation:
        """Objects with the class that the class PNG has under them."""
        object_path, class_path = photo.annotation
        numbers, names = read_voc_objects(object_path, size, coloured=bool(self.labels))
        values = read_voc_classes(class_path, size, self.labels)
        labels = labels_of(values, self.classes, class_path)
        regions, broken = [], []
        for number, name in names.items():
            mask = numbers == number
            found = np.unique(labels[mask]).tolist()
            if len(found) == 1 and self.classes.is_thing(found[0]):
                regions.append(Region(found[0], mask_api.encode(np.asfortranarray(mask, dtype=np.uint8))))
            elif not set(np.unique(values[mask]).tolist()) <= self.unwanted:
                lying = ', '.join(self.classes.names[label] if label != VOID else 'void' for label in found)
                broken.append(f'{object_path}: {name} lies on {lying} in {class_path}; it must lie on one thing class.')
        return Annotation(size, regions, labels, broken)


def _with_values(entries: Sequence[str], values: Mapping[str, int], source: Path) -> list[str]:
    """Return ``NAME=VALUE`` for each entry that is a known name.

    Raises:
        UserError: An entry has another value than ``labelmap.txt`` says.
    """
    result = []
    for entry in entries:
        name, equals, value = entry.rpartition('=')
        place = values.get(name if equals else entry)
        if equals and place is not None and source.is_file() and value != str(place):
            raise UserError(f'{entry!r} contradicts {source}, where {name} is number {place}; leave the number out.')
        result.append(entry if equals or place is None else f'{entry}={place}')
    return result
