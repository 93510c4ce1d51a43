"""Read a data set's own class map, which mIoU is measured on."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine import fileio
from mmengine.registry import TRANSFORMS

from ...annotations.semantic_png import decode_values, encoded_size
from ...annotations.values import InvalidValueError
from ...errors import UserError
from .loading import check_size
from .packing import ignore_index

__all__ = ['LoadSemanticMap']


@TRANSFORMS.register_module()
class LoadSemanticMap(BaseTransform):
    """Load the data set's own class map, for mIoU on the annotations that the paper measures it on (appendix A).

    ``results['gt_sem_map']`` becomes (H, W) int64: class indices, ``ignore_index(K)`` = void. Without ``sem_map_path``
    in the results (``data_prefix.sem`` of the data set names its folder) nothing happens, and classes are derived from
    the panoptic annotation. Stands behind the resizing, since mIoU is measured at the size of the photo on disk.

    Args:
        reduce_zero_label: The PNG holds 0 for void and class + 1 otherwise, as in ADE20K.
        backend_args: Of mmengine's file backend, for PNGs that are not on disk.
    """

    def __init__(self, reduce_zero_label: bool = False, backend_args: dict | None = None) -> None:
        self.reduce_zero_label = reduce_zero_label
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Add ``gt_sem_map`` to ``results``.

        Raises:
            UserError: If the PNG is missing, broken, of another size than the photo, or has values that are no class.
        """
        path = results.get('sem_map_path')
        if path is None:
            return results
        try:
            data = fileio.get(path, backend_args=self.backend_args)
        except OSError as error:
            raise UserError(
                f'Class map {path} cannot be read ({error.strerror or error}); put it there, or set '
                'data_prefix.sem=None to measure mIoU on the panoptic annotation.'
            ) from error
        try:
            size = encoded_size(data)
            check_size(f'Class map {path}', size, results)
            values = decode_values(data, size)
        except InvalidValueError as error:
            raise UserError(f'Class map {path} {error}.') from error
        num_classes = len(results['classes'])
        classes = self._table(num_classes, int(values.max(initial=0)))[values]
        if classes.min(initial=0) < 0:
            raise UserError(
                f'Class map {path} has the value {int(values[classes < 0][0])}, which is neither one of the '
                f'{num_classes} classes nor void; give maps of train ids, and check reduce_zero_label of '
                'LoadSemanticMap.'
            )
        results['gt_sem_map'] = classes
        return results

    def _table(self, num_classes: int, largest: int) -> np.ndarray:
        """Class, void or -1 for "neither" of every value of a PNG up to ``largest``, int64."""
        void, first = ignore_index(num_classes), int(self.reduce_zero_label)
        table = np.full(max(largest, void, num_classes) + 1, -1, dtype=np.int64)
        table[void] = table[0] = void
        table[first : first + num_classes] = range(num_classes)
        return table
