"""Sentences on what a user might not expect of converted annotations."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ..annotations.photo_names import is_written
from ..photos.suffixes import PHOTO_SUFFIXES
from .classes import VOID, Classes

__all__ = ['LISTED', 'broken_objects', 'findings', 'unused_files']

LISTED = 5
"""Maximum number of examples in a sentence."""
MUCH = 0.05
"""Share of void pixels from which on they are mentioned."""

Results = Sequence[Mapping[str, Any]]


def broken_objects(results: Results) -> tuple[int, list[str]]:
    """Return how many objects or parts of objects were left out, and the first sentences on them."""
    sentences = [sentence for result in results for sentence in result['listed']]
    return sum(result['broken'] for result in results), sentences[:LISTED]


def findings(results: Results, classes: Classes) -> list[str]:
    """Return sentences on objects that were left out, on crowds, and on classes that occur nowhere.

    Args:
        results: The results of each photo, as made by ``own_data``.
        classes: The classes of the data set.
    """
    notes = []
    broken, listed = broken_objects(results)
    if broken:
        among = ', among them' if broken > len(listed) else ''
        one = broken == 1
        start = (
            'An object or part of one is broken and was' if one else f'{broken} objects or parts are broken and were'
        )
        notes.append('\n  '.join([f'{start} left out{among}:', *listed]))
    segments: Counter[int] = Counter()
    crowds: Counter[int] = Counter()
    for segment in (segment for result in results for segment in result['segments']):
        segments[segment['category_id'] - 1] += 1
        crowds[segment['category_id'] - 1] += segment['iscrowd']
    crowded = [label for label, count in crowds.items() if 2 * count > segments[label]]
    if crowded:
        counted = _some(
            [f'{crowds[label]} of {segments[label]} of {classes.names[label]}' for label in sorted(crowded)]
        )
        notes.append(
            f'Most segments of a class are crowds, which no training learns: {counted}; annotate its objects one by '
            "one, or, where each is one object, as in CVAT's masks of COCO 1.0, add --crowds-are-objects."
        )
    absent = [name for label, name in enumerate(classes.names) if label not in segments]
    if absent:
        notes.append(
            f'No photo has a pixel of {_some(absent)}; leave out classes that are not annotated.'
            + _void(results, classes)
        )
    return notes


def _void(results: Results, classes: Classes) -> str:
    """Return a sentence on masks of 0 and 255, if 255 is void and covers a large share."""
    if [value for value, label in classes.values.items() if label == VOID] != [255]:
        return ''
    pixels = sum(result['image']['height'] * result['image']['width'] for result in results)
    share = sum(result['void'] for result in results) / pixels
    if share < MUCH:
        return ''
    return (
        f' Ignored values cover {share:.0%} of all pixels: if the PNGs are masks of 0 and 255, 255 is that class: '
        'write NAME=255.'
    )


def unused_files(images: Path, used: Iterable[str]) -> list[str]:
    """Return sentences on the files in a folder of photos that do not become part of the data set, if there are any."""
    names = {str(Path(path)) for path in used}
    kinds = Image.registered_extensions().keys() | set(PHOTO_SUFFIXES)
    files = [
        path
        for path in sorted(images.rglob('*'))
        if path.suffix.lower() in kinds and str(path) not in names and not path.name.startswith('.')
    ]
    files = [path for path in files if path.is_file() and not is_written(path)]
    photos = [path for path in files if path.suffix.lower() in PHOTO_SUFFIXES]
    others = [path for path in files if path.suffix.lower() not in PHOTO_SUFFIXES]
    notes = []
    if photos:
        notes.append(f'{_count(photos, images)} without an annotation: {_names(photos, images)}.')
    if others:
        notes.append(f'{_count(others, images)} in an unsupported format: {_names(others, images)}; convert them.')
    return notes


def _count(files: Sequence[Path], images: Path) -> str:
    return f'{len(files)} {"file" if len(files) == 1 else "files"} of {images} {"is" if len(files) == 1 else "are"}'


def _names(files: Sequence[Path], images: Path) -> str:
    return _some([path.relative_to(images).as_posix() for path in files])


def _some(names: Sequence[str]) -> str:
    more = f' and {len(names) - LISTED} more' if len(names) > LISTED else ''
    return ', '.join(names[:LISTED]) + more
