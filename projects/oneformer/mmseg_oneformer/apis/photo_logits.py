"""A photo that went through the network once, to be asked again and again."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from torch import Tensor

from ..models.postprocess import ImageSize, to_data_sample
from ..tasks import TASKS, check_task, check_tasks
from .results import OneFormerResult
from .sources import Source

__all__ = ['PhotoLogits']


class PhotoLogits:
    """The network's output for one photo under T task tokens; answers are made of it by post-processing alone.

    Args:
        source: The photo as it was handed in.
        image: The photo, (H, W, 3) uint8 BGR.
        sample: Knows the sizes; answers are written into copies of it.
        tokens: The T tasks whose tokens were used.
        class_logits: (T, N, K+1).
        mask_logits: (T, N, h, w).
        padded: Height and width of the network's input.
        thing_ids: The classes that are things.
        test_cfg: Thresholds and ``mask_format``, as of a ``OneFormer``.
        dataset_meta: ``classes`` and what else is known of them.
    """

    def __init__(
        self,
        source: Source,
        image: np.ndarray,
        sample: DetDataSample,
        tokens: Sequence[str],
        class_logits: Tensor,
        mask_logits: Tensor,
        padded: tuple[int, int],
        thing_ids: Sequence[int],
        test_cfg: Any,
        dataset_meta: Mapping[str, Any],
    ) -> None:
        self.source, self.image, self.sample = source, image, sample
        self.class_logits = dict(zip(tokens, class_logits, strict=True))
        self.mask_logits = dict(zip(tokens, mask_logits, strict=True))
        self.size = ImageSize(padded, sample.img_shape[:2], sample.ori_shape[:2])
        self.thing_ids, self.test_cfg, self.dataset_meta = tuple(thing_ids), test_cfg, dataset_meta

    @torch.inference_mode()
    def answer(
        self, tasks: str | Sequence[str] = TASKS, token: str | None = None, **thresholds: Any
    ) -> OneFormerResult:
        """Answer tasks.

        Args:
            tasks: 'semantic', 'instance', 'panoptic' or several of them.
            token: The task whose token is used for all; by default each has its own.
            **thresholds: ``object_mask_thr``, ``overlap_thr``, ``max_per_image`` or ``mask_format`` in place of the
                config's.

        Raises:
            ValueError: If there is no such task or threshold, or the photo was not looked at under the token.
        """
        unknown = sorted(thresholds.keys() - self.test_cfg.keys())
        if unknown:
            raise ValueError(f'There is no threshold {", ".join(unknown)}; see test_cfg in docs/configs.md.')
        test_cfg = type(self.test_cfg)(self.test_cfg | thresholds)
        sample = self.sample.clone()
        for task in check_tasks(tasks):
            used = check_task(token or task)
            if used not in self.class_logits:
                raise ValueError(f'The photo was not looked at under the {used} token; add it to the tokens.')
            logits = self.class_logits[used], self.mask_logits[used]
            to_data_sample(sample, task, *logits, self.size, self.thing_ids, test_cfg)
        return OneFormerResult(self.source, self.image, _to_cpu(sample), self.dataset_meta)


def _to_cpu(sample: DetDataSample) -> DetDataSample:
    """Move a sample; its maps, which have two names each, only once."""
    for name in ('pred_sem_seg', 'pred_panoptic_seg'):
        if name in sample:
            answer = sample.get(name)
            answer.sem_seg = answer.data = answer.sem_seg.cpu()
    return sample.cpu()
