"""Test-time augmentation: predictions from several sizes and mirror images of a photo (``tools/test.py --tta``).

Decisions:
* Every view is made from the photo as it is on disk; the reference code resizes the resized photo again.
* Semantic: the mean of the views' score maps at the size of the photo, as in the paper.
* Instance and panoptic, for which paper and reference code define nothing: the queries of the view nearest to the usual
  test size are matched with those of each other view by masks and classes. Matched queries become one, with the mean of
  the mask logits and of the class probabilities; a view without a match votes for 'no object'. The result is
  post-processed as usual, so a single view gives the plain prediction.
* One view at a time is in memory, besides the sum of the scores (K, H, W) and one set of queries per task.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor

from ..datasets.transforms.resize import resize_to, shortest_edge_size
from ..errors import UserError
from ..tasks import check_tasks
from ..zoo.building import build_part
from .mask_resize import ImageSize
from .postprocess import semantic_prediction, semantic_scores
from .query_merging import MergedQueries

__all__ = ['TestTimeViews']


@MODELS.register_module()
class TestTimeViews(BaseModel):
    """Tests another model on several views of each photo; gets photos at their own size.

    Args:
        module: Config of a ``OneFormer``.
        sides: Lengths of the shorter side, in pixels.
        max_size: Limit of the longer side, in pixels.
        flip: Add the mirror image of each size.
        test_side: The usual length at test time; the view nearest to it leads where queries are matched.

    Raises:
        UserError: There are no sides, or the model has no task token.
    """

    __test__ = False  # not a class of tests, although pytest would think so from its name

    def __init__(self, module: dict, sides: Sequence[int], max_size: int, test_side: int, flip: bool = True) -> None:
        super().__init__()
        if not sides or min(sides) < 1:
            raise UserError(f'tta.sides must be lengths in pixels, not {tuple(sides)}; give at least one.')
        self.module = build_part(MODELS, module)
        if not hasattr(self.module, 'predict_logits'):
            raise UserError(f'{type(self.module).__name__} cannot be tested on several views; leave out --tta.')
        self.sides = sorted(sides, key=lambda side: abs(side - test_side))
        self.max_size, self.flip = max_size, flip

    def test_step(self, data: Mapping[str, Any]) -> list[DetDataSample]:
        """Add the predictions to the data samples.

        Args:
            data: ``inputs``: photos (3, H, W) uint8 BGR; ``data_samples``.
        """
        device = next(self.module.parameters()).device
        samples = [sample.to(device) for sample in data['data_samples']]
        for photo, sample in zip(data['inputs'], samples, strict=True):
            self._predict_photo(photo, sample)
        return samples

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor') -> None:
        """Not for training.

        Raises:
            UserError: Always.
        """
        raise UserError(f'several views are for testing only, not for mode {mode!r}; train without tta.')

    def _predict_photo(self, photo: Tensor, sample: DetDataSample) -> None:
        """Add the predictions to one data sample."""
        test_cfg = self.module.test_cfg
        token_of = {task: test_cfg.token or task for task in check_tasks(test_cfg.tasks)}
        tokens = check_tasks(token_of.values())
        scores: Tensor | None = None
        merged: dict[str, MergedQueries] = {}
        for view, is_mirrored in self._views(photo):
            class_logits, mask_logits, size = self._network(view, photo, tokens)
            for task, token in token_of.items():
                logits = class_logits[tokens.index(token)], mask_logits[tokens.index(token)]
                if task == 'semantic':
                    scores = _add_scores(scores, *logits, size, is_mirrored)
                elif task not in merged:
                    merged[task] = MergedQueries(*logits, size)
                else:
                    merged[task].add(*logits, size, is_mirrored)
        if scores is not None:
            sample.pred_sem_seg = semantic_prediction(scores.argmax(0))  # the same for the sum as for the mean
        for task, queries in merged.items():
            self.module.post_process.write(sample, task, queries.class_logits, queries.mask_logits, queries.size)

    def _network(self, view: Tensor, photo: Tensor, tokens: Sequence[str]) -> tuple[Tensor, Tensor, ImageSize]:
        """Return class logits (T, N, K+1), mask logits (T, N, h, w) and the sizes of a view (3, H', W')."""
        sample = DetDataSample(metainfo={'img_shape': tuple(view.shape[1:]), 'ori_shape': tuple(photo.shape[1:])})
        data = self.module.data_preprocessor({'inputs': [view], 'data_samples': [sample]}, False)
        class_logits, mask_logits = self.module.predict_logits(data['inputs'], tokens)
        return class_logits[0], mask_logits[0], ImageSize.of(sample, data['inputs'].shape[2:])

    def _views(self, photo: Tensor) -> Iterator[tuple[Tensor, bool]]:
        """Yield views (3, h, w) uint8 of a photo and whether they are mirrored, the leading one first."""
        image = photo.permute(1, 2, 0).cpu().numpy()
        for side in self.sides:
            size = shortest_edge_size(image.shape[:2], side, self.max_size)
            view = torch.from_numpy(resize_to({'img': image}, size)['img']).permute(2, 0, 1)
            yield view, False
            if self.flip:
                yield view.flip(-1), True


def _add_scores(
    scores: Tensor | None, class_logits: Tensor, mask_logits: Tensor, size: ImageSize, is_mirrored: bool
) -> Tensor:
    """Add the semantic scores of a view to ``scores`` (K, H, W) in place; None for the first view."""
    if scores is None:
        scores = mask_logits.new_zeros((class_logits.shape[1] - 1, *size.original), dtype=torch.float32)
    for rows, strip in semantic_scores(class_logits, mask_logits, size):
        scores[:, rows] += strip.flip(-1) if is_mirrored else strip
    return scores
