"""The photo that an annotation refers to, whose name each tool writes in its own way."""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

__all__ = ['find_photo', 'is_written', 'like_photo']

LABEL_STUDIO = re.compile(r'[0-9a-f]{8}-(?=.)')
"""The prefix that Label Studio adds to the name of a photo that it stores."""


def find_photo(images: Path, name: str) -> str:
    """Return the name of a photo below its folder.

    Args:
        images: The folder.
        name: As in the annotation, with forward slashes. It may begin with the last folders of ``images``, and with
            Label Studio's prefix ("images/ab12cd34-").

    Returns:
        The name of a file that exists, or ``name`` if there is none.
    """
    if (images / name).is_file():
        return name
    return next((other for other in _other_names(images, name) if (images / other).is_file()), name)


def _other_names(images: Path, name: str) -> Iterator[str]:
    parts, folders = name.split('/'), images.resolve().parts
    own = [name, *('/'.join(parts[n:]) for n in range(1, len(parts)) if folders[-n:] == tuple(parts[:n]))]
    yield from (unicodedata.normalize(form, name) for form in ('NFC', 'NFD'))  # macOS writes the latter.
    yield from own[1:]
    for one in own:
        folder, slash, last = one.rpartition('/')
        if prefix := LABEL_STUDIO.match(last):
            yield f'{folder}{slash}{last[prefix.end() :]}'
            if folder == 'images':
                yield last[prefix.end() :]


def like_photo(images: Path, name: str) -> str:
    """Return a sentence on a photo that does not exist, naming a file with a similar name if there is one."""
    wanted = _plain(name.rpartition('/')[2])
    for path in sorted(images.rglob('*')):
        if _plain(path.name) == wanted and path.is_file():
            return f'Photo {images / name} does not exist, but {path} does; correct the name in the annotation.'
    return f'Photo {images / name} does not exist; put it there or remove its annotation.'


def _plain(name: str) -> str:
    """Return a name without what file systems may change in it: case, and how accents are encoded."""
    return unicodedata.normalize('NFC', name).casefold()


def is_written(path: Path) -> bool:
    """Return whether a file is a panoptic JSON or PNG of an earlier run, and so not an annotation or photo."""
    folders = [path.with_suffix(''), *path.parents] if path.suffix == '.json' else list(path.parents)
    own = (folder for folder in folders if folder.name.startswith('panoptic_'))
    return any(folder.is_dir() and folder.with_suffix('.json').is_file() for folder in own)
