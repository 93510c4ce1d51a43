"""What a user hands in, as a list: photos on disk and arrays, each with a name of its own."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm')
"""What counts as a photo in a folder; a file that is named outright is tried whatever it is called."""

Input: TypeAlias = str | os.PathLike[str] | np.ndarray


@dataclass(frozen=True)
class Source:
    """One image to be answered."""

    name: str
    """Different for each image of a call; the first part of the names of its output files."""
    file_name: str
    """The path below the folder that all files of the call share; the name for an array."""
    path: Path | None = None
    array: np.ndarray | None = None
    """(H, W, 3) uint8 BGR."""


def collect_sources(inputs: Input | Sequence[Input]) -> list[Source]:
    """List the images that ``inputs`` means: a file, a folder (its photos, sorted), an array, or several of these.

    Args:
        inputs: Paths, or arrays as :func:`as_bgr` takes them.

    Returns:
        At least one source, in the given order.

    Raises:
        FileNotFoundError: If a path does not exist.
        ValueError: If there is no image at all, or an array is none.
    """
    if isinstance(inputs, str | os.PathLike | np.ndarray):
        inputs = [inputs]
    found: list[Path | np.ndarray] = []
    for item in inputs:
        if isinstance(item, np.ndarray):
            found.append(as_bgr(item))
        else:
            found.extend(_files(Path(item).expanduser()))
    if not found:
        raise ValueError('No input was given; give photos, folders of photos or BGR arrays.')
    below = _below_common_folder([item for item in found if isinstance(item, Path)])
    file_names = [below[item] if isinstance(item, Path) else f'array_{k:04d}' for k, item in enumerate(found)]
    return [
        Source(name, file_name, path=item) if isinstance(item, Path) else Source(name, file_name, array=item)
        for name, file_name, item in zip(_unique_names(file_names), file_names, found)
    ]


def as_bgr(array: np.ndarray) -> np.ndarray:
    """Return an image array as (H, W, 3) uint8 BGR, the order of OpenCV and OpenMMLab.

    Args:
        array: uint8 grey (H, W) or (H, W, 1), BGR (H, W, 3) or BGRA (H, W, 4), whose alpha is dropped.

    Raises:
        ValueError: If it is something else.
    """
    shape = 'x'.join(map(str, array.shape))
    if array.dtype != np.uint8:
        raise ValueError(f'An image array has to be uint8 with values 0-255, not {array.dtype} ({shape}); convert it.')
    channels = 1 if array.ndim == 2 else array.shape[2] if array.ndim == 3 else 0
    if channels not in (1, 3, 4) or not array.size:
        raise ValueError(
            f'An image array has to be (H, W), (H, W, 3) or (H, W, 4), not {shape}; put its axes in order.'
        )
    if channels == 1:
        return cv2.cvtColor(np.ascontiguousarray(array.reshape(array.shape[:2])), cv2.COLOR_GRAY2BGR)
    return np.ascontiguousarray(array[:, :, :3])


def _files(path: Path) -> list[Path]:
    """Return the file itself, or the photos right in a folder."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f'{path} does not exist; give a photo or a folder of photos.')
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    if not files:
        raise ValueError(f'Folder {path} has no photos ({", ".join(IMAGE_SUFFIXES)}); give another one.')
    return files


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

    Case does not tell names apart, since it does not on every file system.
    """
    plain = [Path(file_name) for file_name in file_names]
    forms = [
        [path.stem for path in plain],
        ['_'.join(path.with_suffix('').parts) for path in plain],
        ['_'.join((*path.with_suffix('').parts, path.suffix.removeprefix('.'))) for path in plain],
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
    """Count names without regard to case."""
    counts: dict[str, int] = {}
    for name in names:
        counts[name.lower()] = counts.get(name.lower(), 0) + 1
    return counts
