"""Pascal VOC: one PNG of object numbers and one of classes a photo."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pycocotools import mask as mask_api

from ...errors import UserError
from ..layout import read_png
from ..own_data import Photo, list_photos, parse_classes, read_semantic
from ..scene import Annotation, Region

__all__ = ['VOC_CLASSES', 'VocFormat']

# fmt: off
VOC_CLASSES = (
    'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow', 'diningtable', 'dog',
    'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor',
)
# fmt: on
BORDER = 255


class VocFormat:
    """``SegmentationObject`` (1, 2, ... = objects, 0 = none, 255 = border) and ``SegmentationClass`` with the classes.

    Only photos with a class PNG are taken, since VOC has many without.

    Args:
        images: Folder of the photos (``JPEGImages``).
        objects: Folder of the object PNGs.
        semantic: Folder of the class PNGs.
        things: ``NAME=VALUE``; none at all: VOC's own 20.
        stuff: ``NAME=VALUE``, such as background=0.
        void: Values of the class PNGs to be ignored.
    """

    def __init__(
        self,
        images: Path,
        objects: Path,
        semantic: Path,
        things: Sequence[str] = (),
        stuff: Sequence[str] = (),
        void: Sequence[int] = (255,),
    ) -> None:
        self.images, self.objects, self.semantic = images, objects, semantic
        things = things or [f'{name}={value}' for value, name in enumerate(VOC_CLASSES, start=1)]
        # 0 is VOC's background, which is void unless somebody wants it as stuff.
        has_background = any(entry.endswith('=0') for entry in (*things, *stuff))
        self.classes = parse_classes(things, stuff, void if has_background else (*void, 0))

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
        numbers = read_png(object_path, size)
        if numbers.ndim != 2:
            raise UserError(f'{object_path} has colours; an object PNG has one channel, or a palette.')
        labels = read_semantic(class_path, size, self.classes)
        regions = []
        for number in np.unique(numbers).tolist():
            if number in (0, BORDER):
                continue
            mask = numbers == number
            found = np.unique(labels[mask])
            if len(found) != 1 or found[0] < 0 or not self.classes.is_thing(int(found[0])):
                names = [self.classes.names[label] if label >= 0 else 'void' for label in found.tolist()]
                raise UserError(
                    f'{object_path}: object {number} lies on {", ".join(names)} in {class_path}; '
                    'it must lie on one thing class.'
                )
            regions.append(Region(int(found[0]), mask_api.encode(np.asfortranarray(mask, dtype=np.uint8))))
        return Annotation(size, regions, labels)
