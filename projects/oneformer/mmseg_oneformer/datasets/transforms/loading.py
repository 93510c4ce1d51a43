"""Read the annotation of a photo into a small-numbered map."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine import fileio
from mmengine.registry import TRANSFORMS

from ...annotations.id_maps import named_ids, number_type, png_size, table_index_map
from ...annotations.semantic_png import decode_values, encoded_size
from ...annotations.values import InvalidValueError
from ...errors import UserError
from ..relabel import relabelled
from .annotation_loading import instance_segments, semantic_segments

__all__ = ['LoadPanopticIds', 'check_size']


@TRANSFORMS.register_module()
class LoadPanopticIds(BaseTransform):
    """Load the segments of a photo as one integer map, which resizing, cropping and flipping act on like on a picture.

    ``results['gt_seg_map']`` becomes (H, W) uint8, or int32 from 256 segments on: 0 = void, k = entry k (from 1) of
    ``results['segments_info']``. The annotation is what the data set names: a PNG of segment ids, a semantic PNG
    (``SemanticDataset``) or outlines of objects (``InstanceDataset``). Without one, as for the prediction of a
    plain photo, nothing happens.

    In training it stands before the resizing, so that the map takes part in it; in testing behind it, so that the map
    keeps the size of the photo on disk.

    Args:
        backend_args: Of mmengine's file backend, for PNGs that are not on disk.
        allow_absent: Accept segments that the JSON lists and the PNG lacks. They stay in the table: no targets in
            training, missed segments in panoptic quality, as panopticapi counts them.
    """

    def __init__(self, backend_args: dict | None = None, allow_absent: bool = False) -> None:
        self.backend_args = backend_args
        self.allow_absent = allow_absent

    def transform(self, results: dict) -> dict:
        """Add ``gt_seg_map`` to ``results``.

        Raises:
            UserError: If the annotation is missing, broken, of another size than the photo, or does not fit the
                segment table.
        """
        if results.get('seg_map_path') is not None:
            segment_map, table = self._panoptic(results), results['segments_info']
        elif 'semantic_map_path' in results:
            segment_map, table = self._semantic(results)
        elif 'outlines' in results:
            segment_map, table = self._objects(results)
        else:
            return results
        if 'label_of' in results:
            segment_map, table = relabelled(segment_map, table, results['label_of'], results['thing_ids'])
        results['gt_seg_map'] = segment_map.astype(number_type(len(table)), copy=False)
        results['segments_info'] = table
        results.setdefault('seg_fields', []).append('gt_seg_map')
        return results

    def _panoptic(self, results: Mapping[str, Any]) -> np.ndarray:
        """Segment map (H, W) of a PNG of segment ids."""
        path = results['seg_map_path']
        data = self._read(f'Segment map {path}', path)
        if size := png_size(data):
            check_size(f'Segment map {path}', size, results)
        ids = named_ids(data, f'Segment map {path}')
        return table_index_map(ids, results['segments_info'], path, self.allow_absent)

    def _semantic(self, results: Mapping[str, Any]) -> tuple[np.ndarray, list[dict]]:
        """Segment map (H, W) and table of a semantic PNG."""
        path = results['semantic_map_path']
        data = self._read(f'Semantic map {path}', path)
        try:
            size = encoded_size(data)
            check_size(f'Semantic map {path}', size, results)
            values = decode_values(data, size)
        except InvalidValueError as error:
            raise UserError(f'Semantic map {path} {error}.') from error
        return semantic_segments(values, results['semantic_values'], results['thing_ids'], path)

    def _objects(self, results: Mapping[str, Any]) -> tuple[np.ndarray, list[dict]]:
        """Segment map (H, W) and table of outlines."""
        height, width = results['ori_shape'][:2]
        stated, source = results.get('stated_size'), results['outlines_of']
        if stated is not None and stated != (height, width):
            raise UserError(
                f'{source} says {results["img_path"]} is {stated[1]}x{stated[0]}, the photo is {width}x{height} '
                '(width x height); find the right photo, or save it without EXIF orientation.'
            )
        return instance_segments(results['outlines'], (height, width), source)

    def _read(self, what: str, path: str) -> bytes:
        try:
            return fileio.get(path, backend_args=self.backend_args)
        except OSError as error:
            raise UserError(f'{what} cannot be read ({error.strerror or error}); put it there.') from error


def check_size(what: str, size: tuple[int, ...], results: Mapping[str, Any]) -> None:
    """Raise a ValueError if the map called ``what`` has another (height, width) than the photo of ``results``."""
    photo_size = results.get('ori_shape')
    if photo_size is None or size == tuple(photo_size[:2]):
        return
    turned = size == tuple(photo_size[:2])[::-1]
    remedy = (
        'the photo is turned by its EXIF orientation: save it without, or turn the map'
        if turned
        else 'scale the map by nearest neighbour or find the right photo'
    )
    raise UserError(
        f'{what} is {size[1]}x{size[0]} but its photo {results.get("img_path", "")} '
        f'is {photo_size[1]}x{photo_size[0]} (width x height); {remedy}.'
    )
