"""PNGs of segment ids: read with a reason where that fails, counted, and compared with their segment table."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ...annotations.id_maps import MAX_PIXELS, PNG, decode_ids, png_size
from .rules import AREA_PIXELS, AREA_SHARE, BOX_PIXELS, TINY_AREA, VOID_SHARE, Finding
from .tables import Segment

__all__ = [
    'MapFile',
    'SegmentStats',
    'area_drifts',
    'box_drifts',
    'check_pixels',
    'read_map',
    'segment_stats',
    'unknown_ids',
]

GREY, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 3, 4, 6
"""Colour types of a PNG's header."""


class MapFile(NamedTuple):
    """What could be read of a PNG of segment ids."""

    ids: np.ndarray | None
    """(H, W) int32, 0 = void; of a map of one channel its values."""
    rule: str = ''
    """The rule that the file itself breaks."""
    text: str = ''


class SegmentStats(NamedTuple):
    """Pixels and boxes of the S ids of a map, void included, in ascending order."""

    ids: np.ndarray
    """(S,)"""
    areas: np.ndarray
    """(S,) in pixels"""
    boxes: np.ndarray
    """(S, 4): left, top, width, height"""


def read_map(path: str | Path, max_pixels: int = MAX_PIXELS) -> MapFile:
    """Read a map as the loader does, and say why it could not be read or should have another form.

    Args:
        path: The PNG.
        max_pixels: A map whose header states more is not decoded.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return MapFile(None, 'map-missing', f'no file {path}')
    except OSError as error:
        return MapFile(None, 'map-damaged', f'cannot be read ({error.strerror})')
    if not data.startswith(PNG) or len(data) < 26:
        return MapFile(None, 'map-form' if data else 'map-damaged', 'is not a PNG' if data else 'is empty')
    height, width = png_size(data) or (0, 0)
    if height * width > max_pixels:
        return MapFile(None, 'map-size', f'is {width}x{height} by its header')
    depth, color = data[24], data[25]
    if depth == 16 or color in (GREY, GREY_ALPHA):
        what = f'{"one channel" if color in (GREY, GREY_ALPHA) else "three channels"} of {depth} bits'
        values = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
        ids = values.astype(np.int32) if color == GREY and values is not None else None
        return MapFile(ids, 'map-form', f'has {what}')
    ids = decode_ids(data)
    if ids is None:
        return MapFile(None, 'map-damaged', 'cannot be decoded')
    if color in (PALETTE, RGB_ALPHA):
        return MapFile(ids, 'map-channels', f'has {"a palette" if color == PALETTE else "an alpha channel"}')
    return MapFile(ids)


def segment_stats(ids: np.ndarray) -> SegmentStats:
    """Count a map in one go over its horizontal runs, a hundred times fewer than its pixels.

    Args:
        ids: (H, W) integers.
    """
    width = ids.shape[1]
    flat = np.ascontiguousarray(ids).reshape(-1)
    begins = np.empty(flat.size, dtype=bool)
    begins[1:] = flat[1:] != flat[:-1]
    begins[::width] = True  # A run ends with its row: boxes need its columns.
    starts = np.flatnonzero(begins)
    run_ids = flat[starts]
    order = np.argsort(run_ids)
    lengths = np.diff(starts, append=flat.size)[order]
    rows, lefts = np.divmod(starts[order], width)
    run_ids = run_ids[order]
    firsts = np.concatenate(([0], np.flatnonzero(run_ids[1:] != run_ids[:-1]) + 1))
    left, right = np.minimum.reduceat(lefts, firsts), np.maximum.reduceat(lefts + lengths, firsts)
    top, bottom = np.minimum.reduceat(rows, firsts), np.maximum.reduceat(rows, firsts) + 1
    areas = np.add.reduceat(lengths, firsts)
    return SegmentStats(run_ids[firsts], areas, np.stack([left, top, right - left, bottom - top], axis=1))


def unknown_ids(stats: SegmentStats, known: Sequence[int]) -> tuple[np.ndarray, float]:
    """The ids (U,) of a map that are neither void nor ``known``, and the share of pixels (0-1) that they cover."""
    # For a dozen ids a set takes a tenth of the time of np.isin.
    listed = {0, *known}
    unknown = np.array([number not in listed for number in stats.ids.tolist()], dtype=bool)
    return stats.ids[unknown], float(stats.areas[unknown].sum() / stats.areas.sum())


def check_pixels(
    segments: Sequence[Segment], listed: Sequence[int], stats: SegmentStats, allow_absent: bool
) -> Iterator[Finding]:
    """Compare a map with its segment table; findings lack image and file.

    Args:
        segments: The table, without entries that could not be read.
        listed: All ids of the table.
        stats: Of the map.
        allow_absent: The config accepts segments without a pixel.
    """
    alien, share = unknown_ids(stats, listed)
    areas = dict(zip(stats.ids.tolist(), stats.areas.tolist()))
    boxes = dict(zip(stats.ids.tolist(), stats.boxes.tolist()))
    if len(alien):
        most = max(alien.tolist(), key=areas.__getitem__)
        more = f' and others of {len(alien) - 1} more such ids' if len(alien) > 1 else ''
        text = f'{areas[most]} pixels of id {most}{more}, {100 * share:.2g} % of the image'
        yield Finding('id-not-in-json', text, segment_id=most)
    void = areas.get(0, 0) / stats.areas.sum()
    if void > VOID_SHARE:
        yield Finding('void-share', f'{100 * void:.0f} % void')
    for segment in segments:
        area = areas.get(segment.id)
        if area is None:
            rule = 'segment-covered' if allow_absent else 'id-not-in-map'
            yield Finding(rule, f'segment {segment.id} ({segment.name}) has no pixel', segment_id=segment.id)
            continue
        yield from _check_numbers(segment, area, boxes[segment.id])


def area_drifts(stated: float, area: int) -> bool:
    """Whether an area of the JSON is too far from the counted one."""
    return abs(stated - area) > max(AREA_PIXELS, AREA_SHARE * area)


def box_drifts(stated: Sequence[float], box: Sequence[int]) -> bool:
    """Whether a box of the JSON is too far from the counted one; both are left, top, width, height."""
    edges = [(one[0], one[1], one[0] + one[2], one[1] + one[3]) for one in (stated, box)]
    return any(abs(ours - theirs) > BOX_PIXELS for ours, theirs in zip(*edges))


def _check_numbers(segment: Segment, area: int, box: Sequence[int]) -> Iterator[Finding]:
    where = f'segment {segment.id} ({segment.name})'
    if segment.area is not None and area_drifts(segment.area, area):
        yield Finding('area-drift', f'{where}: area {segment.area:g}, {area} pixels', segment_id=segment.id)
    if segment.box is not None and box_drifts(segment.box, box):
        stated = [round(value, 1) for value in segment.box]
        yield Finding('box-drift', f'{where}: bbox {stated}, pixels {list(box)}', segment_id=segment.id)
    if area < TINY_AREA:
        yield Finding('segment-tiny', f'{where}: {area} pixels', segment_id=segment.id)
