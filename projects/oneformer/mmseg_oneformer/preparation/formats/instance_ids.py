"""Instance ids as in Cityscapes: one PNG a photo, class times 1000 plus a number."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pycocotools import mask as mask_api

from ...errors import UserError
from ..layout import read_png
from ..own_data import Photo, list_photos, parse_classes
from ..scene import VOID, Annotation, Region

__all__ = ['InstanceIdFormat']


class InstanceIdFormat:
    """16-bit PNGs: ``class * 1000 + k`` are objects, ``class`` alone is stuff, or a crowd if the class is a thing.

    Args:
        ids: Folder of the PNGs.
        images: Folder of the photos.
        things: ``NAME=CLASS``.
        stuff: ``NAME=CLASS``.
        void: Classes to be ignored.
        photo_suffix: What photos end with in place of ``ids_suffix``, as in ``a_leftImg8bit.png``.
        ids_suffix: What PNGs end with, as in ``a_gtFine_instanceIds.png``.
    """

    def __init__(
        self,
        ids: Path,
        images: Path,
        things: Sequence[str],
        stuff: Sequence[str] = (),
        void: Sequence[int] = (0,),
        photo_suffix: str = '',
        ids_suffix: str = '',
    ) -> None:
        self.ids, self.images = ids, images
        self.suffixes = (photo_suffix, ids_suffix)
        self.classes = parse_classes(things, stuff, void)
        for label, name in enumerate(self.classes.names):
            if label not in self.classes.values.values():
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
        values = read_png(path, size)
        if values.ndim != 2:
            raise UserError(f'{path} has colours; a PNG of instance ids has one channel of 16 bits.')
        semantic = np.full(size, VOID, dtype=np.int32)
        regions = []
        for value in np.unique(values).tolist():
            kind = value // 1000 if value >= 1000 else value
            if kind not in self.classes.values:
                raise UserError(
                    f'{path} has pixels of id {value}, of the unknown class {kind}; '
                    f'name it with --things NAME={kind} or --stuff NAME={kind}, or ignore it with --void {kind}.'
                )
            label, mask = self.classes.values[kind], values == value
            if label != VOID and value >= 1000 and self.classes.is_thing(label):
                regions.append(Region(label, mask_api.encode(np.asfortranarray(mask, dtype=np.uint8))))
            else:
                semantic[mask] = label
        return Annotation(size, regions, semantic)
