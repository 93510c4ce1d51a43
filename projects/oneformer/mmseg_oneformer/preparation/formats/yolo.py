"""YOLO segmentation: one text file of outlines a photo, with semantic PNGs for stuff."""

from collections.abc import Sequence
from pathlib import Path

from ...annotations.faults import Fault
from ...annotations.values import InvalidValueError
from ...annotations.yolo import read_yolo_labels, yolo_code
from ...errors import UserError
from ..classes import VOID, check_listed, class_name, parse_classes, read_semantic, void_values
from ..own_data import Photo, list_photos
from ..scene import Annotation, Region, check_area

__all__ = ['YoloFormat']

NO_LABELS = ('classes.txt', 'names.txt', 'labels.txt', 'readme.txt', 'train.txt', 'val.txt', 'test.txt')
"""What labelling tools put beside the text files of photos."""


class YoloFormat:
    """Lines of ``class x y x y ...``, coordinates as fractions of width and height.

    A photo without a text file, or with an empty one, has no objects, as YOLO's trainers read it.

    Args:
        labels: Folder of the text files.
        images: Folder of the photos.
        names: Class names in the order of their numbers. They are things unless they are among ``stuff``.
        semantic: Folder of semantic PNGs named like the photos, or None.
        things: ``NAME=VALUE`` for things that the semantic PNGs know too; or ``NAME`` of all classes that are things.
        stuff: ``NAME=VALUE`` of the semantic PNGs, or ``NAME`` of a class of ``names`` that is not a thing.
        void: Values of the semantic PNGs to be ignored; None: 255.
        ignored: Names that become void where nothing else covers them.
        rest: Stuff class of what nothing covers.
    """

    def __init__(
        self,
        labels: Path,
        images: Path,
        names: Sequence[str],
        semantic: Path | None,
        things: Sequence[str] = (),
        stuff: Sequence[str] = (),
        void: Sequence[int] | None = None,
        ignored: Sequence[str] = (),
        rest: str | None = None,
    ) -> None:
        if not labels.is_dir():
            raise UserError(f'Folder {labels} does not exist; give the folder of the text files.')
        self.labels, self.images, self.semantic = labels, images, semantic
        check_listed(names, things, [*stuff, rest or ''], ignored, '--names')
        stuff_names = set(map(class_name, (*stuff, rest or '')))
        things = [*(name for name in names if name not in stuff_names), *things]
        self.classes = parse_classes(things, stuff, void_values(void, 255, (*things, *stuff)), ignored, rest)
        self.label_of = [VOID if name in self.classes.ignored else self.classes.names.index(name) for name in names]
        self.notes: list[str] = []

    def photos(self) -> list[Photo]:
        """All photos, sorted.

        Raises:
            UserError: No photo has a text file.
        """
        photos = []
        files = (path for path in self.labels.rglob('*') if path.suffix.lower() == '.txt')
        strays = {path for path in files if path.name.lower() not in NO_LABELS}
        count = len(strays)
        for number, (name, path) in enumerate(list_photos(self.images), start=1):
            label = self.labels / Path(name).with_suffix('.txt')
            strays.discard(label)
            sources = [str(label)]
            if self.semantic:
                sources.append(str(self.semantic / Path(name).with_suffix('.png')))
            photos.append(Photo(name, str(path), number, tuple(sources)))
        if len(strays) == count:
            example = self.labels / Path(photos[0].name).with_suffix('.txt')
            raise UserError(
                f'No photo of {self.images} has a text file in {self.labels}, such as {example}; correct them.'
            )
        if strays:
            names = ', '.join(path.relative_to(self.labels).as_posix() for path in sorted(strays)[:5])
            self.notes = [f'{len(strays)} of {count} text files in {self.labels} are of no photo, such as {names}.']
        return photos

    def read(self, photo: Photo, size: tuple[int, int]) -> Annotation:
        """Outlines of the text file on the semantic PNG."""
        path = Path(photo.annotation[0])
        regions, broken = [], []
        if path.is_file():
            labels = read_yolo_labels(path, len(self.label_of))
            broken += [f'{path}: {fault}' for fault in labels.broken]
            for one in labels.objects:
                try:
                    regions.append(Region(self.label_of[one.label], check_area(yolo_code(one, size))))
                except InvalidValueError as error:
                    broken.append(f'{path}: {Fault("outline", f"line {one.line}", str(error), "draw it again")}')
        semantic = read_semantic(photo.annotation[1], size, self.classes) if self.semantic else None
        return Annotation(size, regions, semantic, broken)
