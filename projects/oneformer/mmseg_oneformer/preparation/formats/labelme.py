"""labelme: one JSON of shapes a photo."""

from collections.abc import Sequence
from pathlib import Path

from pycocotools import mask as mask_api

from ...annotations.faults import Fault
from ...annotations.labelme import LabelmeShape, read_labelme, shape_code
from ...annotations.photo_names import is_written
from ...annotations.values import InvalidValueError
from ...errors import UserError
from ...photos.suffixes import is_photo
from ..classes import VOID, parse_classes
from ..layout import list_files
from ..own_data import Photo
from ..scene import Annotation, Region, check_area

__all__ = ['LabelmeFormat']


class LabelmeFormat:
    """Shapes of labelme and X-AnyLabeling; those of one label and one ``group_id`` are one object.

    Args:
        annotations: Folder of the JSONs.
        images: Folder of the photos; each JSON's ``imagePath`` is looked for there by its name, below the same
            subfolder as the JSON. Without one it is the photo that is named like the JSON.
        things: Labels of countable classes.
        stuff: Labels of the others.
        ignored: Labels that become void where nothing else covers them.
        rest: Stuff class of what nothing covers.
    """

    def __init__(
        self,
        annotations: Path,
        images: Path,
        things: Sequence[str],
        stuff: Sequence[str],
        ignored: Sequence[str] = (),
        rest: str | None = None,
    ) -> None:
        if not annotations.is_dir():
            raise UserError(f'Folder {annotations} does not exist; give the folder of labelme JSONs.')
        self.annotations, self.images = annotations, images
        self.classes = parse_classes(things, stuff, (), ignored, rest)

    def photos(self) -> list[Photo]:
        """The photos of all JSONs, sorted by the names of the JSONs."""
        photos = []
        unknown: dict[str, str] = {}
        files = (path for path in list_files(self.annotations, ('.json',)) if not is_written(path))
        for number, path in enumerate(files, start=1):
            folder = path.relative_to(self.annotations).parent
            content = read_labelme(path)
            name = (folder / (content.photo or self._named_like(path, folder))).as_posix()
            photos.append(Photo(name, str(self.images / name), number, (str(path),)))
            for shape in content.shapes:
                if self.classes.label_of(shape.label) is None:
                    unknown.setdefault(shape.label, f'{path}: shape {shape.number}')
        if unknown:  # All at once: a user should not have to run the tool once for each.
            names = ', '.join(map(repr, unknown))
            one = len(unknown) == 1
            what = f'the unknown label {names}' if one else f'one of {len(unknown)} unknown labels, {names}'
            raise UserError(
                f'{next(iter(unknown.values()))} has {what}; add {"it" if one else "them"} to --things, --stuff or '
                '--ignore.'
            )
        return photos

    def _named_like(self, path: Path, folder: Path) -> str:
        """Return the name of the photo of a JSON that names none."""
        place = self.images / folder
        for photo in sorted(place.iterdir()) if place.is_dir() else ():
            if photo.stem == path.stem and is_photo(photo):
                return photo.name
        raise UserError(
            f'{path} names no photo in "imagePath", and {place} has none called {path.stem}; name it there.'
        )

    def read(self, photo: Photo, size: tuple[int, int]) -> Annotation:
        """Shapes of the JSON."""
        path = Path(photo.annotation[0])
        content = read_labelme(path)
        noted = (content.height or size[0], content.width or size[1])
        if noted != size:
            raise UserError(
                f'{path} was drawn on a photo of {noted[1]}x{noted[0]}, {photo.path} is {size[1]}x{size[0]} '
                '(width x height); find the right photo.'
            )
        groups: dict[tuple, list[dict]] = {}
        broken = [f'{path}: {fault}' for fault in content.broken]
        for shape in content.shapes:
            label = self._label(shape, path)
            key = (label, shape.group) if shape.group is not None else (label, None, shape.number)
            try:
                groups.setdefault(key, []).append(check_area(shape_code(shape, size)))
            except InvalidValueError as error:
                if label != VOID:
                    broken.append(f'{path}: {Fault("outline", shape.entry, str(error), "draw it again or remove it")}')
        regions = [Region(key[0], mask_api.merge(codes)) for key, codes in groups.items() if codes]
        return Annotation(size, regions, broken=broken)

    def _label(self, shape: LabelmeShape, path: Path) -> int:
        label = self.classes.label_of(shape.label)
        if label is None:  # The file was changed after `photos` had read it.
            raise UserError(f'{path}: shape {shape.number} has the unknown label {shape.label!r}; run again.')
        return label
