"""Conversion of own annotations in any format to panoptic files for ``PanopticDataset``."""

import os
from collections.abc import Collection, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..annotations.photo_names import is_written, like_photo
from ..errors import UserError
from ..photos.header import photo_size
from ..photos.suffixes import PHOTO_SUFFIXES, photos_below
from ..visualization.colors import class_colors
from .classes import VOID, Classes
from .findings import LISTED, broken_objects, findings, unused_files
from .layout import check_space
from .panoptic import panoptic_json, write_id_map, write_json
from .parallel import Job, hold_journal, run_jobs
from .scene import Annotation, segment_annotation

__all__ = ['Format', 'Photo', 'Written', 'list_photos', 'write_panoptic']

BYTES_A_PIXEL = 0.2
"""Bytes per pixel of the PNGs, a generous estimate: photos of street scenes need 0.07."""


class Photo(NamedTuple):
    """A photo to be converted.

    Attributes:
        name: Path below the folder of photos, with slashes; becomes the JSON's ``file_name``.
        path: The file.
        image_id: Number in the JSON.
        annotation: Files that its annotation is read from; one may be missing if the format allows it.
        details: What else the format knows about it; plain data.
    """

    name: str
    path: str
    image_id: int | str
    annotation: tuple[str, ...]
    details: Any = None


class Format(Protocol):
    """An annotation format. It is sent to other processes, so it holds only plain data.

    ``notes``, if there are any after :meth:`photos`, are sentences on what a user might not expect.
    """

    classes: Classes

    def photos(self) -> list[Photo]:
        """Return all photos, in the order of the JSON to be written."""

    def read(self, photo: Photo, size: tuple[int, int]) -> Annotation:
        """Return the annotation of a photo of ``size`` (height, width)."""


class Written(NamedTuple):
    """What was written.

    Attributes:
        path: The JSON.
        photos: Number of photos.
        segments: Number of segments, including crowds.
        crowds: Number of crowds.
        hidden: Number of regions that others cover completely.
        broken: Number of objects and parts of objects that were left out.
        notes: Sentences on what a user might not expect.
    """

    path: Path
    photos: int
    segments: int
    crowds: int
    hidden: int
    broken: int = 0
    notes: tuple[str, ...] = ()


def write_panoptic(
    source: Format,
    images: Path,
    out: Path,
    name: str,
    only: Collection[str] | None = None,
    processes: int | None = None,
    settings: Any = None,
    strict: bool = False,
) -> Written:
    """Write ``panoptic_<name>.json`` and its folder of PNGs into ``out``; the photos stay where they are.

    Args:
        source: The annotations.
        images: Folder of the photos, recorded in the JSON relative to ``out``.
        out: Folder to write into.
        name: Name of the split.
        only: Names of the photos to use, without suffix; None: all.
        processes: Number of processes; None: one per core.
        settings: Plain data that the result depends on, besides files and classes.
        strict: A broken object is an error, instead of being left out.

    Raises:
        UserError: A file is missing, damaged, does not fit or would be overwritten, two photos would share a PNG, all
            objects are broken, or another run is writing the same files.
    """
    if Path(name).name != name or name in ('', '.', '..'):
        raise UserError(f'{name!r} is not a name for a split, which is part of file names; give one such as train.')
    if os.path.realpath(out) == os.path.realpath(images):
        raise UserError(f'{out} is the folder of the photos; choose another folder for --out.')
    if not source.classes.names:
        raise UserError('There is no class; name some with --things or --stuff.')
    target = out / f'panoptic_{name}.json'
    photos = source.photos()
    notes = [*getattr(source, 'notes', ())]
    if only is None:
        notes += unused_files(images, (photo.path for photo in photos))
    jobs = _jobs(_select(photos, only), images, target)
    height, width = photo_size(jobs[0].sources[0])
    check_space(out, int(BYTES_A_PIXEL * height * width * len(jobs)))
    palette = class_colors(len(source.classes.names))
    work = partial(_convert, source=source, palette=palette, strict=strict)
    journal = out / f'.panoptic_{name}.journal'
    settings = [settings, source.classes, strict]
    with hold_journal(journal, [target]):
        results = run_jobs(work, jobs, journal, settings, processes, name)
        broken, listed = broken_objects(results)
        if broken and not sum(result['objects'] for result in results):
            raise UserError(f'No object is left, since all {broken} are broken; correct them: {" ".join(listed)}')
        categories = [
            {'id': label + 1, 'name': name, 'isthing': int(source.classes.is_thing(label)), 'color': palette[label]}
            for label, name in enumerate(source.classes.names)
        ]
        info = {'photos': Path(os.path.relpath(images, out)).as_posix()}
        write_json(target, {'info': info, **panoptic_json(results, '{stem}.png', categories)})
    notes += findings(results, source.classes)
    segments = [segment for result in results for segment in result['segments']]
    crowds = sum(segment['iscrowd'] for segment in segments)
    hidden = sum(result['hidden'] for result in results)
    return Written(target, len(jobs), len(segments), crowds, hidden, broken, tuple(notes))


def _jobs(photos: Sequence[Photo], images: Path, target: Path) -> list[Job]:
    """Return the job of each photo.

    Raises:
        UserError: A photo is in another folder or shares its PNG with another one, or an input would be overwritten.
    """
    folder = target.with_suffix('')
    written, real = Path(os.path.realpath(folder)), cache(os.path.realpath)
    jobs: list[Job] = []
    owners: dict[str, Photo] = {}
    for photo in photos:
        if Path(photo.name).is_absolute() or '..' in Path(photo.name).parts:
            raise UserError(f'Photo {photo.name} is not inside {images}; give file names relative to that folder.')
        png = Path(photo.name).with_suffix('.png').as_posix()
        other = owners.setdefault(png, photo)
        if other is not photo and other.name == photo.name:
            raise UserError(f'{_where(other)} and {_where(photo)} are both of photo {photo.name}; leave one out.')
        if other is not photo:
            raise UserError(f'{other.name} and {photo.name} differ in their suffix only; rename or remove one.')
        if not os.access(photo.path, os.F_OK):
            raise UserError(like_photo(images, photo.name))
        sources = (photo.path, *photo.annotation)
        for source in map(Path, sources):
            place = Path(real(source.parent))
            if place == written or written in place.parents or place / source.name == Path(real(target)):
                raise UserError(f'{source} would be read and written over; choose another folder for --out.')
        jobs.append(Job(photo.name, sources, (str(folder / png),), photo._asdict()))
    return jobs


def _where(photo: Photo) -> str:
    """Return how a message names the annotation of a photo."""
    return f'image {photo.image_id} of {photo.annotation[-1]}' if photo.annotation else f'image {photo.image_id}'


def _select(photos: list[Photo], only: Collection[str] | None) -> list[Photo]:
    if only is None:
        return photos
    by_stem = {Path(photo.name).with_suffix('').as_posix(): photo for photo in photos}
    if missing := sorted(set(only) - set(by_stem)):
        raise UserError(f'{missing[0]} of the list is not an annotated photo; the list has names without suffix.')
    if not only:
        raise UserError('The list of photos is empty; write their names into it, one per line, without suffix.')
    return [photo for stem, photo in by_stem.items() if stem in only]


def _convert(job: Job, source: Format, palette: Sequence[Sequence[int]], strict: bool) -> dict:
    """Write the PNG of one photo; returns the data for the JSON and the findings."""
    photo = Photo(**job.details)
    size = photo_size(photo.path)
    annotation = source.read(photo, size)
    if strict and annotation.broken:
        more = f' ({len(annotation.broken)} such faults in this photo)' if len(annotation.broken) > 1 else ''
        raise UserError(f'{annotation.broken[0]}{more}')
    id_map, segments, hidden = segment_annotation(annotation, source.classes, palette)
    write_id_map(job.products[0], id_map)
    semantic = annotation.semantic
    return {
        'image': {'id': photo.image_id, 'file_name': photo.name, 'height': size[0], 'width': size[1]},
        'segments': segments,
        'hidden': hidden,
        'objects': sum(region.label != VOID for region in annotation.regions),
        'broken': len(annotation.broken),
        'listed': list(annotation.broken[:LISTED]),
        'void': 0 if semantic is None else int((semantic == VOID).sum()),
    }


def list_photos(images: Path) -> list[tuple[str, Path]]:
    """Return the name below ``images``, with slashes, and the path of every photo, sorted."""
    if not images.is_dir():
        raise UserError(f'Folder {images} does not exist; give the folder of the photos.')
    photos = [path for path in photos_below(images) if not is_written(path)]
    if not photos:
        raise UserError(f'{images} has no photos ({", ".join(PHOTO_SUFFIXES)}); put the files there.')
    return [(path.relative_to(images).as_posix(), path) for path in photos]
