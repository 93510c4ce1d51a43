"""PNGs of segment ids: decoded, and compared with the table of segments."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import UserError

__all__ = ['MAX_PIXELS', 'decode_ids', 'number_type', 'png_size', 'read_ids', 'table_index_map']

PNG = b'\x89PNG\r\n\x1a\n'
MAX_PIXELS = 2**28
"""Maximum for a map whose photo is not known."""


def png_size(data: bytes) -> tuple[int, int] | None:
    """Return the height and width that the header of a PNG states, or None if it is not a PNG.

    They are compared with the photo's before the pixels are decoded: a file of 500 KB may claim gigabytes.
    """
    if not data.startswith(PNG) or len(data) < 24:
        return None
    return int.from_bytes(data[20:24], 'big'), int.from_bytes(data[16:20], 'big')


def decode_ids(data: bytes) -> np.ndarray | None:
    """Return the ids (H, W) int32 of a PNG that holds them as R + 256 G + 65536 B, or None if it cannot be decoded.

    Raises:
        UserError: It has more than 8 bits per channel.
    """
    try:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
        bgr = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error:
        return None
    if bgr is None:
        return None
    if bgr.dtype != np.uint8:
        raise UserError('has 16 bits a channel; ids are stored as R + 256 G + 65536 B with 8 bits each')
    # Read as one little-endian number, R, G, B and a fourth byte are the id plus something in the top byte.
    rgba = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGBA)
    ids = rgba.view('<i4')[..., 0]
    ids &= 0xFFFFFF
    return ids.astype(np.int32, copy=False)


def read_ids(path: Path) -> np.ndarray:
    """Return the ids (H, W) int32 of a PNG whose photo is not known.

    Raises:
        UserError: It cannot be decoded, or is not a map of ids.
    """
    data = path.read_bytes()
    height, width = png_size(data) or (0, 0)
    if height * width > MAX_PIXELS:
        raise UserError(f'{path} has {width}x{height} pixels by its header, too many for a photo; copy it again.')
    return named_ids(data, str(path))


def named_ids(data: bytes, name: str) -> np.ndarray:
    """Return the ids (H, W) int32 of a PNG; errors name it.

    Raises:
        UserError: It cannot be decoded, or is not a map of ids.
    """
    try:
        ids = decode_ids(data)
    except UserError as error:
        raise UserError(f'{name} {error}; write it again.') from error
    if ids is None:
        raise UserError(f'{name} cannot be decoded: it is damaged or not a PNG; copy it again.')
    return ids


def number_type(segments: int) -> type[np.uint8 | np.int32]:
    """Return the type of a map of so many segments: bytes where they suffice, which all later steps handle faster."""
    return np.uint8 if segments < 256 else np.int32


def table_index_map(
    ids: np.ndarray, segments_info: Sequence[Mapping[str, Any]], name: str, allow_absent: bool = False
) -> np.ndarray:
    """Replace the ids of a PNG with 1-based positions in the segment table.

    Works on runs of equal pixels, of which there are a hundred times fewer than pixels: sorting or searching all pixels
    takes longer than decoding the photo.

    Args:
        ids: (H, W) int32, 0 = void.
        segments_info: The segment table; ids are unique and not 0.
        name: Name of the PNG, for the error.
        allow_absent: Accept segments without pixels.

    Returns:
        (H, W) of :func:`number_type`: 0 = void, k = ``segments_info[k - 1]``.

    Raises:
        UserError: If the PNG has an id that the table lacks, or, unless allowed, the table has one that the PNG lacks.
    """
    known = np.array([0] + [segment['id'] for segment in segments_info], dtype=np.int64)
    by_id = np.argsort(known)
    flat = np.ascontiguousarray(ids).reshape(-1)
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    run_ids = flat[starts]
    place = np.minimum(np.searchsorted(known[by_id], run_ids), len(known) - 1)
    numbers = by_id[place]
    wrong = known[numbers] != run_ids
    if wrong.any():
        raise UserError(
            f'Segment map {name} has pixels of id {int(run_ids[wrong][0])}, which "segments_info" in the JSON does not '
            'list; add the segment there or set its pixels to 0 (void).'
        )
    absent = np.bincount(numbers, minlength=len(known)) == 0
    absent[0] = False
    if absent.any() and not allow_absent:
        raise UserError(
            f'Segment map {name} has no pixel of segment {int(known[absent][0])}, which the JSON lists; '
            'remove the segment of "segments_info", find the right PNG, or set allow_absent=True of LoadPanopticIds.'
        )
    lengths = np.diff(np.append(starts, flat.size))
    return np.repeat(numbers.astype(number_type(len(segments_info))), lengths).reshape(ids.shape)
