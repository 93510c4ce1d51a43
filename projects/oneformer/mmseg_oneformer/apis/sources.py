"""A user's inputs as a list of images and videos, each with a unique name.

Decisions:
* Nothing is guessed: the channel order of arrays and tensors must be stated, a number is a camera and never a file, and
  a web address is fetched only if the call allows it.
* An invalid input is reported at once; pixels are read when their turn comes.
"""

import glob
import os
import re
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from PIL import Image
from torch import Tensor

from ..errors import MissingFileError, UserError
from ..files import shorten, user_path
from ..photos.arrays import array_to_bgr, check_array, check_pillow, check_tensor, tensor_to_bgr
from ..photos.decoding import pillow_to_bgr
from ..photos.suffixes import PHOTO_SUFFIXES, is_hidden, is_photo, is_video
from .urls import check_photo_url, fetch_photo, is_url

__all__ = ['Frame', 'Input', 'Source', 'Video', 'collect_sources', 'is_one_photo']

Input: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | int | np.ndarray | Tensor | Image.Image


@dataclass(frozen=True)
class Video:
    """A video file or a camera."""

    name: str
    """Different for each input of a call; the first part of the names of its output files."""
    file_name: str
    path: Path | None = None
    camera: int | None = None
    """OpenCV's index, in place of a path."""


class Frame(NamedTuple):
    """The position of an image in a video."""

    video: Video
    number: int
    """Frames before it."""
    fps: float
    """Frames per second of the video."""


@dataclass(frozen=True)
class Source:
    """One image to predict for."""

    name: str
    """Different for each image of a call; the first part of the names of its output files."""
    file_name: str
    """The path below the folder that all files of the call share; a name if the image is not a file."""
    path: Path | None = None
    """A file, which the config's own loader reads."""
    read: Callable[[], np.ndarray | bytes] | None = field(default=None, repr=False)
    """For an image that is not a file on disk: returns (H, W, 3) uint8 BGR, or the bytes of a photo's file; or raises a
    ValueError with the reason."""
    frame: Frame | None = None


def collect_sources(
    inputs: Input | Sequence[Input],
    channel_order: str | None = None,
    allow_urls: bool = False,
    allow_private_urls: bool = False,
) -> list[Source | Video]:
    """List the images and videos that ``inputs`` stands for.

    Args:
        inputs: One or several of: the path of a photo or video; a folder, which means its photos, sorted; a glob
            pattern, which means the photos and videos that match, sorted (``**`` for folders within folders); a
            camera's number; an http(s) address; the bytes of a photo's file; an array, a tensor or a PIL image as in
            :mod:`..photos.arrays`.
        channel_order: 'rgb' or 'bgr', for all arrays and tensors.
        allow_urls: Accept addresses on the Internet.
        allow_private_urls: Accept all addresses, including those of this machine and of private networks.

    Returns:
        At least one, in the given order.

    Raises:
        FileNotFoundError: If a path does not exist or a pattern matches nothing.
        UserError: If there is no input at all, or one is invalid.
    """
    one = str | os.PathLike | bytes | bytearray | memoryview | int | np.ndarray | Tensor | Image.Image
    if isinstance(inputs, one) or hasattr(inputs, 'read'):  # An open file would be taken for its lines.
        inputs = [inputs]  # type: ignore[list-item]  # what it is, `_expand` tells
    if isinstance(inputs, Mapping) or not isinstance(inputs, Iterable):
        raise UserError(f'{inputs!r} is not an input; give photos, folders, videos, arrays, tensors or PIL images.')
    urls = _Urls(allow_urls or allow_private_urls, allow_private_urls)
    found: list[_Found] = []
    for item in inputs:
        found += _expand(item, channel_order, urls, len(found))
    if not found:
        raise UserError('No input was given; give photos, folders, videos, arrays, tensors or PIL images.')
    below = _below_common_folder([one.path for one in found if one.path is not None])
    file_names = [one.file_name if one.path is None else below[one.path] for one in found]
    return [
        Video(name, file_name, one.path, one.camera)
        if one.is_video
        else Source(name, file_name, path=one.path, read=one.read)
        for name, file_name, one in zip(_unique_names(file_names), file_names, found, strict=True)
    ]


def is_one_photo(inputs: Any) -> bool:
    """Return whether ``inputs`` is a single photo, and not something that can hold several, such as a folder."""
    if isinstance(inputs, str) and is_url(inputs):
        return True
    if isinstance(inputs, str | os.PathLike):
        path = user_path(inputs)
        return os.path.isfile(path) and not is_video(path)  # noqa: PTH113 (False for what no path can be)
    return isinstance(inputs, np.ndarray | Image.Image | bytes | bytearray | memoryview)


class _Urls(NamedTuple):
    """Which addresses are accepted."""

    allowed: bool
    private: bool


class _Found(NamedTuple):
    """An input without its name."""

    path: Path | None = None
    file_name: str = ''
    """For inputs without a path."""
    read: Callable[[], np.ndarray | bytes] | None = None
    camera: int | None = None

    @property
    def is_video(self) -> bool:
        return self.camera is not None or (self.path is not None and is_video(self.path))


def _expand(item: Input, channel_order: str | None, urls: _Urls, number: int) -> list[_Found]:
    """Return what one input stands for; an input without a name is named by its ``number``."""
    if isinstance(item, np.ndarray):
        check_array(item, channel_order)
        return [_Found(file_name=f'array_{number:04d}', read=partial(array_to_bgr, item, channel_order))]
    if isinstance(item, Tensor):
        check_tensor(item, channel_order)
        names = (f'array_{k:04d}' for k in range(number, number + len(item)))
        return [
            _Found(file_name=name, read=partial(tensor_to_bgr, image, channel_order))
            for name, image in zip(names, item, strict=True)
        ]
    if isinstance(item, Image.Image):
        check_pillow(item)
        return [_Found(file_name=f'image_{number:04d}', read=partial(pillow_to_bgr, item))]
    if isinstance(item, bytes | bytearray | memoryview):
        if not item:
            raise UserError("There are no bytes to decode; give those of a photo's file.")
        return [_Found(file_name=f'bytes_{number:04d}', read=partial(bytes, item))]
    if isinstance(item, int) and not isinstance(item, bool):
        if item < 0:
            raise UserError(f'There is no camera {item}; the first one is 0.')
        return [_Found(file_name=f'camera_{item}', camera=item)]
    if isinstance(item, str) and is_url(item):
        check_photo_url(item, urls.allowed)
        return [_Found(file_name=_url_name(item, number), read=partial(fetch_photo, item, urls.private))]
    if item == '':
        raise UserError('An empty path is not an input; give photos, folders or videos.')
    if isinstance(item, str | os.PathLike):
        try:
            return [_Found(path) for path in _files(user_path(item))]
        except UserError:
            raise
        except OSError as error:
            raise UserError(f'{shorten(str(item))} cannot be opened: {error.strerror}.') from error
    if hasattr(item, 'read'):
        raise UserError(f'{type(item).__name__} is an open file; give its path, or its bytes as file.read().')
    raise UserError(f'{type(item).__name__} is not an input; give paths, bytes, uint8 arrays, tensors or PIL images.')


def _files(path: Path) -> list[Path]:
    """Return the file itself, the photos directly in a folder, or the photos and videos that match a pattern."""
    if path.is_file():
        return [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if is_photo(file))
        if not files:
            raise UserError(f'Folder {path} has no photos ({", ".join(PHOTO_SUFFIXES)}); give another one.')
        return files
    if not glob.has_magic(str(path)):
        raise MissingFileError(f'{path} does not exist; give a photo, a video or a folder of photos.')
    matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))  # noqa: PTH207 (`**` of an absolute path)
    files = [file for file in matches if is_photo(file) or (file.is_file() and is_video(file) and not is_hidden(file))]
    if not files:
        raise MissingFileError(f'No photo or video matches {path}; correct the pattern.')
    return files


def _url_name(url: str, number: int) -> str:
    """Return a file name for an address: its last part, with only characters that every file system accepts."""
    last = urllib.parse.unquote(urllib.parse.urlsplit(url).path.rsplit('/', 1)[-1])
    plain = re.sub(r'[^A-Za-z0-9._-]', '_', last).strip('.')[-80:]
    return plain or f'url_{number:04d}'


def _below_common_folder(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the part of each path below the folder that all share, with forward slashes."""
    if not paths:
        return {}
    absolute = [path.absolute() for path in paths]
    try:
        common = Path(os.path.commonpath([path.parent for path in absolute]))
    except ValueError:  # Different drives.
        return {path: path.as_posix() for path in paths}
    return {path: full.relative_to(common).as_posix() for path, full in zip(paths, absolute)}


def _unique_names(file_names: Sequence[str]) -> list[str]:
    """Return a name for each file: its stem; where stems clash, with its folders; then with its suffix or a number.

    Names that differ only in case count as equal, since some file systems do not distinguish them.
    """
    plain = [Path(file_name) for file_name in file_names]
    forms = [
        [shorten(path.stem) for path in plain],
        [shorten('_'.join(path.with_suffix('').parts)) for path in plain],
        [shorten('_'.join((*path.with_suffix('').parts, path.suffix.removeprefix('.')))) for path in plain],
    ]
    names = forms[0]
    for form in forms[1:]:
        counts = _counts(names)
        names = [form[k] if counts[name.lower()] > 1 else name for k, name in enumerate(names)]
    counts, unique = _counts(names), []
    used = {name for name, count in counts.items() if count == 1}
    for name in names:
        candidate, number = name, 1
        while candidate.lower() in used and counts[name.lower()] > 1:
            number += 1
            candidate = f'{name}-{number}'
        used.add(candidate.lower())
        unique.append(candidate)
    return unique


def _counts(names: Sequence[str]) -> dict[str, int]:
    """Count names, ignoring case."""
    counts: dict[str, int] = {}
    for name in names:
        counts[name.lower()] = counts.get(name.lower(), 0) + 1
    return counts
