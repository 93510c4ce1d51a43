"""Instance ids as in Cityscapes and KITTI: one PNG a photo, class times 1000 or 256 plus a number."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pycocotools import mask as mask_api

from ...annotations.instance_id_png import CITYSCAPES, read_instance_ids
from ...errors import UserError
from ..classes import VOID, parse_classes, void_values
from ..own_data import Photo, list_photos
from ..scene import Annotation, Region

__all__ = ['InstanceIdFormat']


class InstanceIdFormat:
    """16-bit PNGs: ``class * 1000 + k`` are objects, ``class`` alone is stuff, or a crowd if the class is a thing.

    Args:
        ids: Folder of the PNGs.
        images: Folder of the photos.
        things: ``NAME=CLASS``.
        stuff: ``NAME=CLASS``.
        void: Classes to be ignored; None: 0.
        photo_suffix: What photos end with in place of ``ids_suffix``, as in ``a_leftImg8bit.png``.
        ids_suffix: What PNGs end with, as in ``a_gtFine_instanceIds.png``.
        ignored: ``NAME=CLASS`` of classes that become void.
        rest: Stuff class of what nothing covers, and of class 0.
        divisor: What classes are multiplied by. With another one than 1000, number 0 is no object, as in KITTI.
    """

    def __init__(
        self,
        ids: Path,
        images: Path,
        things: Sequence[str],
        stuff: Sequence[str] = (),
        void: Sequence[int] | None = None,
        photo_suffix: str = '',
        ids_suffix: str = '',
        ignored: Sequence[str] = (),
        rest: str | None = None,
        divisor: int = CITYSCAPES,
    ) -> None:
        if divisor < 2:
            raise UserError(f'--divisor is {divisor}; it has to be larger than every number, such as 1000 or 256.')
        self.ids, self.images, self.divisor = ids, images, divisor
        self.suffixes = (photo_suffix, ids_suffix)
        entries = (*things, *stuff)
        numbered = void is not None or any(entry.endswith('=0') for entry in entries)
        rest_value = f'{rest}=0' if rest and not numbered else rest  # Class 0 is what nobody has annotated.
        self.classes = parse_classes(
            things, stuff, void_values(void, 0, (*entries, rest_value or '')), ignored, rest_value
        )
        for label, name in enumerate(self.classes.names):
            if label not in self.classes.values.values() and label != self.classes.rest:
                raise UserError(f'{name!r} has no number; write {name}=CLASS, such as dog=24.')

    def photos(self) -> list[Photo]:
        """All photos with the ending, sorted."""
        photos: list[Photo] = []
        for name, path in list_photos(self.images):
            stem = str(Path(name).with_suffix(''))
            if stem.endswith(self.suffixes[0]):
                png = self.ids / f'{stem.removesuffix(self.suffixes[0])}{self.suffixes[1]}.png'
                photos.append(Photo(name, str(path), len(photos) + 1, (str(png),)))
        if not photos:
            raise UserError(f'No photo of {self.images} ends with {self.suffixes[0]!r}; correct --photo-suffix.')
        return photos

    def read(self, photo: Photo, size: tuple[int, int]) -> Annotation:
        """Objects on the classes without a number."""
        path = photo.annotation[0]
        values, found = read_instance_ids(path, size, self.divisor)
        semantic = np.full(size, VOID, dtype=np.int32)
        regions = []
        for value, kind, is_object in found:
            if kind not in self.classes.values:
                raise UserError(
                    f'{path} has pixels of id {value}, of the unknown class {kind}; '
                    f'name it with --things NAME={kind} or --stuff NAME={kind}, or ignore it with --void {kind}. '
                    f'Ids are class x {self.divisor} + number; KITTI needs --divisor 256.'
                )
            label, mask = self.classes.values[kind], values == value
            if is_object and self.classes.is_thing(label):
                regions.append(Region(label, mask_api.encode(np.asfortranarray(mask, dtype=np.uint8))))
            else:
                semantic[mask] = label
        return Annotation(size, regions, semantic)
