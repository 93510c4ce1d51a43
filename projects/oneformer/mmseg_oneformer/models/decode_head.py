"""OneFormer's head as a decode head of mmseg's ``EncoderDecoder``: semantic segmentation in mmseg's own configs."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor

from ..errors import UserError
from ..zoo.building import build_part
from .losses import Targets
from .masked_decoder import Predictions
from .ops import use_fast_linear
from .postprocess import ImageSize, PostProcessor, complete_test_cfg


@MODELS.register_module(name='OneFormerDecodeHead')
def build_decode_head(**config: Any) -> 'OneFormerDecodeHead':
    """Build a :class:`OneFormerDecodeHead` from a config, with the faster linear layers."""
    return use_fast_linear(OneFormerDecodeHead(**config))


class OneFormerDecodeHead(BaseModule):
    """All of OneFormer after the backbone, under the semantic token.

    ``EncoderDecoder`` gives it four levels at strides 4, 8, 16, 32 and ``SegDataSample``; data sets, pipelines,
    sliding-window inference and metrics stay mmseg's. Each class in an image is one target. There is no text branch:
    mmseg's pipelines make no texts, and without it the losses are those of the paper's Table 5, "without contrastive
    loss".

    The parts are named as in ``OneFormer``, so training can start from a trained head: ``head=dict(...,
    init_cfg=dict(type='Pretrained', checkpoint='oneformer://NAME', prefix='head.'))``.

    Args:
        num_classes: K, at least 2.
        head: ``OneFormerHead`` config; ``num_classes`` is filled in.
        criterion: ``OneFormerCriterion`` config, or None for its defaults.
        ignore_index: The value of pixels without an annotation.

    Raises:
        UserError: If there are fewer than two classes.
    """

    align_corners = False
    """How ``EncoderDecoder`` resizes the scores to the photo."""

    def __init__(
        self,
        num_classes: int,
        head: dict,
        criterion: dict | None = None,
        ignore_index: int = 255,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_classes < 2:
            raise UserError(
                f'OneFormerDecodeHead needs two or more classes, got num_classes={num_classes}; count the background.'
            )
        self.num_classes = self.out_channels = num_classes
        self.ignore_index = ignore_index
        self.head = build_part(MODELS, {'type': 'OneFormerHead'} | head | {'num_classes': num_classes})
        shared = {'num_classes': num_classes, 'channels': self.head.channels}
        losses = {'type': 'OneFormerCriterion', 'auxiliary': None}
        self.criterion = build_part(MODELS, losses | shared | (criterion or {}))
        self.post_process = PostProcessor((), complete_test_cfg(None, self.head.num_queries))

    def forward(self, features: Sequence[Tensor], every_layer: bool = False) -> Predictions:
        """Predict from four levels (B, C_i, H/s, W/s) under the semantic token, after every layer or only the last."""
        return self.head(features, [('semantic',)] * len(features[0]), every_layer)

    def loss(self, features: Sequence[Tensor], batch_data_samples: Sequence[Any], train_cfg: Any) -> dict[str, Tensor]:
        """Return the losses by name, as ``EncoderDecoder`` expects them; each sample has ``gt_sem_seg``."""
        labels = torch.cat([sample.gt_sem_seg.data for sample in batch_data_samples])
        return self.criterion(self(features, every_layer=True), self.targets(labels))

    def targets(self, labels: Tensor) -> Targets:
        """Return one target for each class in each image.

        Args:
            labels: Class maps (B, H, W) integer, ``ignore_index`` where there is no annotation.

        Raises:
            UserError: If a map has a value that is neither a class nor ``ignore_index``.
        """
        index_map, present = torch.full_like(labels, -1, dtype=torch.int16), []
        for single, target in zip(labels, index_map, strict=True):
            classes = single.unique()
            classes = classes[classes != self.ignore_index].long()
            outside = classes[(classes < 0) | (classes >= self.num_classes)].tolist()
            if outside:
                raise UserError(
                    f'A label map has the value {outside[0]}, but the head has {self.num_classes} classes; set '
                    'num_classes, or reduce_zero_label in the data set.'
                )
            for number, label in enumerate(classes.tolist()):
                target[single == label] = number
            present.append(classes)
        return Targets(index_map, present, ['semantic'] * len(present))

    def predict(self, features: Sequence[Tensor], batch_img_metas: Sequence[dict], test_cfg: Any) -> Tensor:
        """Return the score of each class in each pixel, (B, K, H, W), at least 0; these are not logits.

        Args:
            features: Four levels of the backbone.
            batch_img_metas: Their ``img_shape`` and ``pad_shape``.
            test_cfg: Of the model; unused.
        """
        output = self(features)
        size = ImageSize(*[_input_size(batch_img_metas[0])] * 3)
        images = zip(output.class_logits[-1, :, 0], output.mask_logits()[:, 0], strict=True)
        return torch.stack([self.post_process.class_scores(classes, masks, size) for classes, masks in images])


build_decode_head.__wrapped__ = OneFormerDecodeHead  # type: ignore[attr-defined]  # for inspect.signature


def _input_size(meta: dict) -> tuple[int, int]:
    """Return the height and width of the network's input, found as mmseg's own heads do.

    Sliding-window inference puts the window's size (a ``torch.Size``) in place of ``img_shape``.
    """
    shape = meta['img_shape']
    height, width = shape[:2] if isinstance(shape, torch.Size) else meta.get('pad_shape', shape)[:2]
    return int(height), int(width)
