"""Own annotations, whatever their format, to panoptic files for ``PanopticDataset``."""

import os
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..errors import UserError
from ..photos.header import photo_size
from ..photos.suffixes import PHOTO_SUFFIXES, photos_below
from ..visualization.colors import class_colors
from .layout import check_space, read_png
from .panoptic import panoptic_json, write_id_map, write_json
from .parallel import Job, run_jobs
from .scene import VOID, Annotation, Classes, segment_annotation

__all__ = ['Format', 'Photo', 'Written', 'list_photos', 'parse_classes', 'read_semantic', 'write_panoptic']

BYTES_A_PIXEL = 0.2
"""Of the PNGs, generously: photos of street scenes need 0.07."""


class Photo(NamedTuple):
    """A photo to be converted.

    Attributes:
        name: Path below the folder of photos, with slashes; becomes the JSON's ``file_name``.
        path: Where it is.
        image_id: Number in the JSON.
        annotation: Files that its annotation is read from; one may be missing where the format allows it.
        details: What else the format knows of it; plain data.
    """

    name: str
    path: str
    image_id: int | str
    annotation: tuple[str, ...]
    details: Any = None


class Format(Protocol):
    """A way to annotate. Goes to other processes, so it holds plain data only."""

    classes: Classes

    def photos(self) -> list[Photo]:
        """All photos, in the order of the JSON to come."""

    def read(self, photo: Photo, size: tuple[int, int]) -> Annotation:
        """The annotation of a photo of ``size`` (height, width)."""


class Written(NamedTuple):
    """What was made: the JSON, and how many photos, segments, crowds and completely hidden regions."""

    path: Path
    photos: int
    segments: int
    crowds: int
    hidden: int


def write_panoptic(
    source: Format,
    images: Path,
    out: Path,
    name: str,
    only: Collection[str] | None = None,
    processes: int | None = None,
    settings: Any = None,
) -> Written:
    """Write ``panoptic_<name>.json`` and its folder of PNGs into ``out``; the photos stay where they are.

    Args:
        source: The annotations.
        images: Folder of the photos, noted in the JSON relative to ``out``.
        out: Folder to write into.
        name: Of the split.
        only: Names of the photos to take, without suffix; None: all.
        processes: How many; None: one a core.
        settings: Plain data that the result depends on beside files and classes.

    Raises:
        UserError: A file is missing, damaged or does not fit, or two photos would share a PNG.
    """
    target = out / f'panoptic_{name}.json'
    photos = _select(source.photos(), only)
    jobs = []
    owners: dict[str, str] = {}
    for photo in photos:
        if Path(photo.name).is_absolute() or '..' in Path(photo.name).parts:
            raise UserError(f'Photo {photo.name} is not inside {images}; give file names relative to that folder.')
        png = Path(photo.name).with_suffix('.png').as_posix()
        if png in owners:
            raise UserError(f'{owners[png]} and {photo.name} differ in their suffix only; rename or remove one.')
        owners[png] = photo.name
        jobs.append(
            Job(photo.name, (photo.path, *photo.annotation), (str(target.with_suffix('') / png),), photo._asdict())
        )
    height, width = photo_size(photos[0].path)
    check_space(out, int(BYTES_A_PIXEL * height * width * len(jobs)))
    palette = class_colors(len(source.classes.names))
    journal = out / f'.panoptic_{name}.journal'
    settings = [settings, source.classes]
    results = run_jobs(partial(_convert, source=source, palette=palette), jobs, journal, settings, processes, name)
    categories = [
        {'id': label + 1, 'name': name, 'isthing': int(source.classes.is_thing(label)), 'color': palette[label]}
        for label, name in enumerate(source.classes.names)
    ]
    info = {'photos': Path(os.path.relpath(images, out)).as_posix()}
    write_json(target, {'info': info, **panoptic_json(results, '{stem}.png', categories)})
    journal.unlink()
    segments = [segment for result in results for segment in result['segments']]
    crowds = sum(segment['iscrowd'] for segment in segments)
    return Written(target, len(jobs), len(segments), crowds, sum(result['hidden'] for result in results))


def _select(photos: list[Photo], only: Collection[str] | None) -> list[Photo]:
    if only is None:
        return photos
    by_stem = {Path(photo.name).with_suffix('').as_posix(): photo for photo in photos}
    if missing := sorted(set(only) - set(by_stem)):
        raise UserError(f'{missing[0]} of the list is not an annotated photo; names stand there without their suffix.')
    return [photo for stem, photo in by_stem.items() if stem in only]


def _convert(job: Job, source: Format, palette: Sequence[Sequence[int]]) -> dict:
    """Write the PNG of one photo; returns its ``image``, ``segments`` and number of ``hidden`` regions."""
    photo = Photo(**job.details)
    size = photo_size(photo.path)
    id_map, segments, hidden = segment_annotation(source.read(photo, size), source.classes, palette)
    write_id_map(job.products[0], id_map)
    image = {'id': photo.image_id, 'file_name': photo.name, 'height': size[0], 'width': size[1]}
    return {'image': image, 'segments': segments, 'hidden': hidden}


def list_photos(images: Path) -> list[tuple[str, Path]]:
    """Name below ``images``, with slashes, and path of every photo, sorted."""
    if not images.is_dir():
        raise UserError(f'Folder {images} does not exist; give the folder of the photos.')
    photos = photos_below(images)
    if not photos:
        raise UserError(f'{images} has no photos ({", ".join(PHOTO_SUFFIXES)}); put the files there.')
    return [(path.relative_to(images).as_posix(), path) for path in photos]


def parse_classes(things: Sequence[str], stuff: Sequence[str], void: Sequence[int]) -> Classes:
    """Classes from ``NAME`` or ``NAME=VALUE``, as they stand on the command line.

    Args:
        things: Of the countable classes; several may have the same name, whose values then mean the same class.
        stuff: Of the others.
        void: Values that are ignored.

    Raises:
        UserError: A value is not a number or stands for two classes, or a name is both thing and stuff.
    """
    names: list[list[str]] = [[], []]
    pairs: list[tuple[str, int]] = []
    for kind, entries in enumerate((things, stuff)):
        for entry in entries:
            name, equals, value = entry.rpartition('=')
            if equals and not value.isdigit():
                raise UserError(f'{entry!r} has no number behind "="; write NAME=VALUE as in dog=24, or NAME.')
            name = name if equals else entry
            if name not in names[kind]:
                names[kind].append(name)
            if equals:
                pairs.append((name, int(value)))
    both = sorted(set(names[0]) & set(names[1]))
    if both:
        raise UserError(f'{both[0]!r} is given as thing and as stuff; decide for one.')
    all_names = names[0] + names[1]
    values = dict.fromkeys(void, VOID)
    for name, number in pairs:
        label = all_names.index(name)
        if values.setdefault(number, label) != label:
            raise UserError(f'Value {number} is given to {name!r} and to something else; give each value once.')
    return Classes(tuple(names[0]), tuple(names[1]), values)


def read_semantic(path: str | Path, size: tuple[int, int], classes: Classes) -> np.ndarray:
    """Class indices (H, W) of a semantic PNG; ``VOID`` where there is none.

    Raises:
        UserError: It is missing, damaged, coloured or of another size, or has a value without a name.
    """
    values = read_png(path, size)
    if values.ndim != 2:
        raise UserError(
            f'{path} has colours; a semantic PNG has one channel, or a palette, with one value for each class.'
        )
    table = np.full(int(values.max(initial=0)) + 1, VOID - 1, dtype=np.int32)
    for value, label in classes.values.items():
        if value < len(table):
            table[value] = label
    labels = table[values]
    if labels.min(initial=0) < VOID:
        value = int(values[labels < VOID][0])
        raise UserError(
            f'{path} has pixels of value {value}, which stands for no class; '
            f'name it with --stuff NAME={value} or --things NAME={value}, or ignore it with --void {value}.'
        )
    return labels
