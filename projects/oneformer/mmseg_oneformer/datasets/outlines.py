"""COCO's outlines of objects: polygons and run-length codes, read."""

from collections.abc import Sequence
from typing import Any

from pycocotools import mask as mask_api

from ..errors import UserError

__all__ = ['outline_code', 'polygon_code']


def polygon_code(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> dict[str, Any]:
    """Run-length code of the union of polygons (x, y, x, y, ...; pixels), drawn as COCO draws them.

    Raises:
        UserError: A polygon has fewer than three points or half a point.
    """
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise UserError(f'an outline has {len(polygon)} numbers; it needs x and y of three points or more')
    codes = mask_api.frPyObjects([[float(value) for value in polygon] for polygon in polygons], *size)
    return mask_api.merge(codes)


def outline_code(outline: Any, size: tuple[int, int], where: str) -> dict[str, Any]:
    """Run-length code of a ``segmentation`` of an instance JSON, whatever its form.

    Args:
        outline: Polygons, or a run-length code with its counts compressed or as a list.
        size: Height and width of the photo.
        where: File and annotation, for the error.

    Raises:
        UserError: There is none, or it is none of these, or of another size.
    """
    if not outline:
        raise UserError(f'{where} has a box but no segmentation; draw its outline or take it out.')
    if isinstance(outline, list):
        if not all(isinstance(part, list) for part in outline):
            raise UserError(f'{where} has one flat list of numbers; its segmentation has to be a list of outlines.')
        try:
            return polygon_code(outline, size)
        except ValueError as error:
            raise UserError(f'{where}: {error}.') from error
    if tuple(outline['size']) != size:
        raise UserError(f'{where} is a mask of {outline["size"]}, its image is {list(size)} (height, width).')
    return mask_api.frPyObjects(outline, *size) if isinstance(outline['counts'], list) else outline
