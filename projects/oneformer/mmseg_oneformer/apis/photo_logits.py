"""The network's output for a photo, from which predictions can be made repeatedly."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from torch import Tensor

from ..errors import UserError
from ..models.postprocess import ImageSize, PostProcessor
from ..tasks import TASKS, check_task, check_tasks
from .results import OneFormerResult
from .sources import Source

__all__ = ['PhotoLogits']


class PhotoLogits:
    """The network's output for one photo under T task tokens; predictions need only post-processing.

    Args:
        source: The photo as it was passed in.
        image: The photo, (H, W, 3) uint8 BGR.
        sample: Holds the sizes; predictions are written into copies of it.
        tokens: The T tasks whose tokens were used.
        class_logits: (T, N, K+1).
        mask_logits: (T, N, h, w).
        padded: Height and width of the network's input.
        post_process: That of the model.
        dataset_meta: ``classes`` and what else is known about them.
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
        post_process: PostProcessor,
        dataset_meta: Mapping[str, Any],
    ) -> None:
        self.source, self.image, self.sample = source, image, sample
        self.class_logits = dict(zip(tokens, class_logits, strict=True))
        self.mask_logits = dict(zip(tokens, mask_logits, strict=True))
        self.size = ImageSize.of(sample, padded)
        self.post_process, self.dataset_meta = post_process, dataset_meta

    @torch.inference_mode()
    def predict(
        self, tasks: str | Sequence[str] = TASKS, token: str | None = None, **thresholds: Any
    ) -> OneFormerResult:
        """Predict tasks.

        Args:
            tasks: 'semantic', 'instance', 'panoptic' or several of them.
            token: The task whose token is used for all; by default each has its own.
            **thresholds: ``object_mask_thr``, ``overlap_thr``, ``max_per_image`` or ``mask_format`` in place of the
                config's; None means the config's.

        Raises:
            UserError: If there is no such task or threshold, or the network was not run with the token.
        """
        post_process = self.post_process.with_options(**thresholds)
        sample = self.sample.clone()
        for task in check_tasks(tasks):
            used = check_task(token or task)
            if used not in self.class_logits:
                raise UserError(f'The network was not run with the {used} token; add it to the tokens.')
            post_process.write(sample, task, self.class_logits[used], self.mask_logits[used], self.size)
        return OneFormerResult(self.source, self.image, _to_cpu(sample), self.dataset_meta)


def _to_cpu(sample: DetDataSample) -> DetDataSample:
    """Move a sample to the CPU; its maps, which have two names each, are moved only once."""
    for name in ('pred_sem_seg', 'pred_panoptic_seg'):
        if name in sample:
            prediction = sample.get(name)
            prediction.sem_seg = prediction.data = prediction.sem_seg.cpu()
    return sample.cpu()
