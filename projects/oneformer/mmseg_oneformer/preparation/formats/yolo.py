"""YOLO segmentation: one text file of outlines a photo, with semantic PNGs for stuff."""

from collections.abc import Sequence
from pathlib import Path

from ...errors import UserError
from ..own_data import Photo, list_photos, parse_classes, read_semantic
from ..scene import Annotation, Region, polygon_code

__all__ = ['YoloFormat']

ROUNDING = 1e-3
"""Coordinates may be this far outside 0-1, as exporters leave them."""


class YoloFormat:
    """Lines of ``class x y x y ...``, coordinates as fractions of width and height.

    A photo without a text file, or with an empty one, has no objects, as YOLO's trainers read it.

    Args:
        labels: Folder of the text files.
        images: Folder of the photos.
        names: Class names in the order of their numbers. They are things unless they are among ``stuff``.
        semantic: Folder of semantic PNGs named like the photos, or None.
        things: ``NAME=VALUE`` for things that the semantic PNGs know too.
        stuff: ``NAME=VALUE`` of the semantic PNGs, or ``NAME`` of a class of ``names`` that is not a thing.
        void: Values of the semantic PNGs to be ignored.
    """

    def __init__(
        self,
        labels: Path,
        images: Path,
        names: Sequence[str],
        semantic: Path | None,
        things: Sequence[str] = (),
        stuff: Sequence[str] = (),
        void: Sequence[int] = (255,),
    ) -> None:
        if not labels.is_dir():
            raise UserError(f'Folder {labels} does not exist; give the folder of the text files.')
        self.labels, self.images, self.semantic = labels, images, semantic
        stuff_names = {entry.rpartition('=')[0] or entry for entry in stuff}
        self.classes = parse_classes([*(n for n in names if n not in stuff_names), *things], stuff, void)
        self.label_of = [self.classes.names.index(name) for name in names]

    def photos(self) -> list[Photo]:
        """All photos, sorted."""
        photos = []
        for number, (name, path) in enumerate(list_photos(self.images), start=1):
            files = [str(self.labels / Path(name).with_suffix('.txt'))]
            if self.semantic:
                files.append(str(self.semantic / Path(name).with_suffix('.png')))
            photos.append(Photo(name, str(path), number, tuple(files)))
        return photos

    def read(self, photo: Photo, size: tuple[int, int]) -> Annotation:
        """Outlines of the text file on the semantic PNG."""
        path = Path(photo.annotation[0])
        lines = path.read_text(encoding='utf-8').splitlines() if path.is_file() else []
        regions = [
            self._region(line.split(), f'{path}, line {number}', size)
            for number, line in enumerate(lines, start=1)
            if line.strip()
        ]
        semantic = read_semantic(photo.annotation[1], size, self.classes) if self.semantic else None
        return Annotation(size, regions, semantic)

    def _region(self, fields: list[str], where: str, size: tuple[int, int]) -> Region:
        if len(fields) == 5:
            raise UserError(f'{where} is a box, not an outline; boxes cannot become segments.')
        try:
            number, values = int(fields[0]), [float(field) for field in fields[1:]]
        except ValueError as error:
            raise UserError(f'{where} has something that is not a number; write: class x y x y x y ...') from error
        if not 0 <= number < len(self.label_of):
            raise UserError(f'{where} is of class {number}, --names has {len(self.label_of)} classes; add it there.')
        if max(values, default=0) > 1 + ROUNDING or min(values, default=0) < -ROUNDING:
            raise UserError(f'{where} has coordinates outside 0-1; divide x by the width, y by the height.')
        pixels = [value * size[1 - place % 2] for place, value in enumerate(values)]
        try:
            return Region(self.label_of[number], polygon_code([pixels], size))
        except ValueError as error:
            raise UserError(f'{where}: {error}.') from error
