"""Pictures of the predictions while they are measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mmcv
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.structures import BaseDataElement

from ..files import atomic_path
from ..photos.decoding import read_photo
from ..visualization.samples import draw_sample, draw_tokens


@HOOKS.register_module()
class SavePictures(Hook):
    """Writes photo, annotation and predictions of every test image side by side; a token matrix has one row per token.

    Args:
        out_dir: Folder of the PNGs, named like the photos. For photos of the same name in different folders the image
            id is appended.
    """

    def __init__(self, out_dir: str) -> None:
        self.out_dir = Path(out_dir)
        self._photo_of: dict[str, str] = {}

    def after_test_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[BaseDataElement] | Mapping[str, Sequence[BaseDataElement]] | None = None,
    ) -> None:
        """Draw one batch."""
        dataset_meta = runner.test_dataloader.dataset.metainfo
        if isinstance(outputs, Mapping):
            for samples in zip(*outputs.values()):
                picture = draw_tokens(_photo(samples[0]), dict(zip(outputs, samples)), dataset_meta)
                self._write(samples[0], picture)
        else:
            for sample in outputs or ():
                self._write(sample, draw_sample(_photo(sample), sample, dataset_meta))

    def _write(self, sample: BaseDataElement, picture: Any) -> None:
        stem = Path(sample.img_path).stem
        if self._photo_of.setdefault(stem, sample.img_path) != sample.img_path:
            stem = f'{stem}_{sample.img_id}'
        with atomic_path(self.out_dir / f'{stem}.png') as temporary:
            mmcv.imwrite(mmcv.rgb2bgr(picture), str(temporary))


def _photo(sample: BaseDataElement) -> Any:
    """Return the photo (H, W, 3) uint8 RGB."""
    return mmcv.bgr2rgb(read_photo(sample.img_path))
