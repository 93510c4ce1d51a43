"""PNGs of instance ids: the class times a divisor plus a number, as Cityscapes and KITTI write them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from .semantic_png import read_values

__all__ = ['CITYSCAPES', 'IdRegion', 'read_instance_ids']

CITYSCAPES = 1000


class IdRegion(NamedTuple):
    """The meaning of a value: the number of its class, and whether its pixels are one object."""

    value: int
    kind: int
    is_object: bool


def read_instance_ids(
    path: str | Path, size: tuple[int, int], divisor: int = CITYSCAPES
) -> tuple[np.ndarray, list[IdRegion]]:
    """Read a PNG of instance ids.

    With Cityscapes' divisor of 1000, a value below it is only a class, and object numbers begin at 0. With any other
    one, such as KITTI's 256, every value holds both, and number 0 is not an object.

    Args:
        path: The PNG.
        size: Height and width of the photo.
        divisor: See above.

    Returns:
        Values (H, W) int32, and the meaning of each that occurs.

    Raises:
        UserError: It is missing, damaged, coloured or differs in size.
    """
    values = read_values(path, size)
    present = np.flatnonzero(np.bincount(values.reshape(-1))).tolist()
    if divisor == CITYSCAPES:
        regions = [IdRegion(v, v // divisor if v >= divisor else v, v >= divisor) for v in present]
    else:
        regions = [IdRegion(v, v // divisor, v % divisor > 0) for v in present]
    return values, regions
