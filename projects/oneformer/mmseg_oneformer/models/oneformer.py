"""The detector: the whole model in one screenful.

images                  (B, 3, H, W)
backbone, neck     -> four levels (B, C_i, H/s, W/s), s = 4, 8, 16, 32
head.pixel_decoder -> mask features (B, C, H/4, W/4) and memory: three levels (B, C, H/s, W/s), s = 32, 16, 8
head.task_token    -> one vector for each of T tasks (B, T, C); all that follows depends on the task
head.query_initializer -> object queries (B, T, N, C): copies of the token that attended to the image, and the token
head.decoder       -> after each of L layers class logits (L, B, T, N, K+1) and mask embeddings (L, B, T, N, C);
times the mask features they are mask logits (B, T, N, H/4, W/4)
inference, T <= 3: post_process turns the logits of one image and task into a map of classes, instances or segments
training, T = 1:   text_mapper turns the texts of an image into text queries (B, N, C);
criterion compares predictions with targets, and queries with text queries -> losses by name
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor

from ..errors import UserError
from ..tasks import TASKS, check_task, check_tasks
from ..zoo.building import build_part
from .backbones.initial_weights import load_initial_weights
from .feature_levels import check_levels
from .fine_tuning import fine_tune, is_fine_tuning
from .losses import Targets
from .ops import use_fast_linear
from .postprocess import ImageSize, PostProcessor, complete_test_cfg
from .precision import check_dtype, network_precision
from .text_mapper import TextList


@MODELS.register_module(name='OneFormer')
def build_oneformer(**config: Any) -> 'OneFormer':
    """Build a :class:`OneFormer` from a config, with the faster linear layers."""
    return use_fast_linear(OneFormer(**config))


class OneFormer(BaseModel):
    """One transformer for semantic, instance and panoptic segmentation (Jain et al., CVPR 2023).

    Args:
        backbone: any config whose module returns four levels at strides 4, 8, 16, 32, through the neck if it has one.
        head: ``OneFormerHead`` config.
        thing_ids: the classes (0..K-1) that are things; all others are stuff.
        neck: config of the module between backbone and head, such as mmseg's ``Feature2Pyramid``.
        text_mapper, criterion: configs for training, widths and counts filled in from the head; absent from inference
            models (``for_inference``). The text mapper is built only for a criterion that reads texts.
        test_cfg: ``tasks`` to predict; ``token``: None to predict each task from its own token (the paper's rule), or a
            task whose token is used for all; ``object_mask_thr``, ``overlap_thr``, ``max_per_image`` of
            post-processing; ``mask_format``: instances as 'dense' masks, 'rle', or 'auto': 'rle' above 4 megapixels;
            ``dtype`` of the network at inference, 'fp32', 'bf16' or, on GPUs, 'fp16'.
        init_cfg: ``dict(type='FineTuneFrom', checkpoint=...)`` to start from another model (``fine_tune``).
        train_cfg, pretrained: accepted because mmseg's ``init_model`` sets them; unused.

    Raises:
        UserError: The backbone's levels are not those that the head takes.
    """

    init_cfg: dict | None  # BaseModule sets it

    def __init__(
        self,
        backbone: dict,
        head: dict,
        thing_ids: Sequence[int],
        neck: dict | None = None,
        text_mapper: dict | None = None,
        criterion: dict | None = None,
        data_preprocessor: dict | None = None,
        test_cfg: dict | None = None,
        train_cfg: None = None,
        pretrained: None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = build_part(MODELS, backbone)
        self.neck = None if neck is None else build_part(MODELS, neck)
        self.head = build_part(MODELS, {'type': 'OneFormerHead'} | head)
        check_levels(self.backbone, self.neck, self.head.pixel_decoder.in_channels)
        shared = {'channels': self.head.channels}
        text_defaults = {'type': 'TextMapper', 'num_queries': self.head.num_queries}
        loss_defaults = {'type': 'OneFormerCriterion', 'num_classes': self.head.num_classes}
        self.criterion = None if criterion is None else build_part(MODELS, loss_defaults | shared | criterion)
        # Without a loss that reads texts nothing would reach the text mapper's parameters, which DDP rejects.
        reads_texts = self.criterion is not None and self.criterion.reads_texts
        self.text_mapper = None
        if text_mapper is not None and reads_texts:
            self.text_mapper = build_part(MODELS, text_defaults | shared | text_mapper)
        self.thing_ids = tuple(thing_ids)
        self.test_cfg = complete_test_cfg(test_cfg, self.head.num_queries)
        self.post_process = PostProcessor(self.thing_ids, self.test_cfg)

    def init_weights(self) -> None:
        """Initialise every part; with ``init_cfg.type='FineTuneFrom'``, copy another model's checkpoint over it."""
        source = self.init_cfg if is_fine_tuning(self.init_cfg) else None
        if source is not None:
            self.init_cfg = self.backbone.init_cfg = None  # the checkpoint has the backbone's weights too
        load_initial_weights(self.backbone)
        super().init_weights()
        if source is not None:
            fine_tune(self, source['checkpoint'], source.get('classes'))

    def forward(
        self, inputs: Tensor, data_samples: Sequence[DetDataSample] | None = None, mode: str = 'tensor'
    ) -> dict[str, Tensor] | list[DetDataSample] | tuple[Tensor, Tensor]:
        """Return what OpenMMLab's ``mode`` requests: losses ('loss'), predictions ('predict') or logits ('tensor').

        Raises:
            UserError: There is no such mode.
        """
        if mode == 'tensor':
            return self.predict_logits(inputs, check_tasks(self.test_cfg.tasks))
        if mode not in ('loss', 'predict') or data_samples is None:
            raise UserError(f'mode must be "loss" or "predict", with data samples, or "tensor", not "{mode}".')
        return self.loss(inputs, data_samples) if mode == 'loss' else self.predict(inputs, data_samples)

    def extract_feat(self, batch_inputs: Tensor) -> Sequence[Tensor]:
        """Return the four levels of normalised images (B, 3, H, W)."""
        if batch_inputs.device.type == 'cpu':  # convolutions are faster in this layout: a fifth less time for ResNet-50
            batch_inputs = batch_inputs.contiguous(memory_format=torch.channels_last)
        features = self.backbone(batch_inputs)
        return features if self.neck is None else self.neck(features)

    def loss(self, batch_inputs: Tensor, batch_data_samples: Sequence[DetDataSample]) -> dict[str, Tensor]:
        """Training losses of a batch; each image has its own task."""
        if self.criterion is None:
            raise UserError(
                'this model was built for inference: train with the config itself, not for_inference(config)'
            )
        for key, transform in (('task', 'SampleTask'), ('gt_targets', 'TaskTargets'), ('texts', 'DescribeTargets')):
            if key not in batch_data_samples[0]:
                raise UserError(f'the training samples have no "{key}"; add {transform} to the training pipeline.')
        tasks = [(sample.task,) for sample in batch_data_samples]
        predictions = self.head(self.extract_feat(batch_inputs), tasks, every_layer=True)
        targets = collect_targets(batch_data_samples, (batch_inputs.shape[2], batch_inputs.shape[3]))
        text_queries = None
        if self.text_mapper is not None:
            text_queries = self.text_mapper([TextList(s.texts, s.text_counts, s.filler) for s in batch_data_samples])
        return self.criterion(predictions, targets, text_queries)

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum of the losses, and the values to log, on the CPU: one wait for the GPU, not one for each loss.

        The wait comes before the backward pass, since the matching has just waited; after it, the GPU would run idle.
        """
        loss, logged = super().parse_losses(losses)
        values = torch.stack([value.detach() for value in logged.values()]).cpu()
        return loss, dict(zip(logged, values.unbind(), strict=True))

    def predict(
        self,
        batch_inputs: Tensor,
        batch_data_samples: Sequence[DetDataSample],
        rescale: bool = True,
        tasks: Sequence[str] | None = None,
        token: str | None = None,
        mask_format: str | None = None,
    ) -> list[DetDataSample]:
        """Add predictions to the data samples, each task from its own token.

        Args:
            batch_inputs: normalised images (B, 3, H, W).
            batch_data_samples: B samples with ``img_shape`` and ``ori_shape``; they get ``pred_sem_seg``,
                ``pred_instances``, ``pred_panoptic_seg``.
            rescale: if False, predictions have the network input's size instead of the original image's.
            tasks: to predict; ``test_cfg.tasks`` by default.
            token: a task whose token is used for all; ``test_cfg.token`` by default.
            mask_format: of the instances; ``test_cfg.mask_format`` by default.
        """
        tasks = check_tasks(self.test_cfg.tasks if tasks is None else tasks)
        forced = token or self.test_cfg.token
        token_of = {task: forced or task for task in tasks}
        self._predict_into(batch_inputs, [token_of], [batch_data_samples], rescale, mask_format)
        return list(batch_data_samples)

    def predict_tokens(
        self, batch_inputs: Tensor, batch_data_samples: Sequence[DetDataSample], tokens: Sequence[str] = TASKS
    ) -> dict[str, list[DetDataSample]]:
        """Predict ``test_cfg.tasks`` under every token, from one backbone pass (paper, Tables 8 and V)."""
        tasks = check_tasks(self.test_cfg.tasks)
        copies = {token: [sample.clone() for sample in batch_data_samples] for token in check_tasks(tokens)}
        self._predict_into(batch_inputs, [dict.fromkeys(tasks, token) for token in copies], list(copies.values()), True)
        return copies

    def _predict_into(
        self,
        batch_inputs: Tensor,
        token_of_task: Sequence[dict[str, str]],
        samples: Sequence[Sequence[DetDataSample]],
        rescale: bool,
        mask_format: str | None = None,
    ) -> None:
        """Write predictions under the tokens of ``token_of_task[i]`` into ``samples[i]``, one network pass for all."""
        tokens = check_tasks(token for wanted in token_of_task for token in wanted.values())
        class_logits, mask_logits = self.predict_logits(batch_inputs, tokens)
        post_process = self.post_process.with_options(mask_format=mask_format)
        for wanted, batch in zip(token_of_task, samples, strict=True):
            for b, sample in enumerate(batch):
                size = ImageSize.of(sample, batch_inputs.shape[2:], rescale)
                for task, token in wanted.items():
                    t = tokens.index(check_task(token))
                    post_process.write(sample, task, class_logits[b, t], mask_logits[b, t], size)

    def predict_logits(self, batch_inputs: Tensor, tokens: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Class logits (B, T, N, K+1) and mask logits (B, T, N, H/4, W/4) under T tokens, from one backbone pass.

        They are fp32, as post-processing is, whatever ``test_cfg.dtype`` the network computes in.
        """
        with network_precision(batch_inputs.device, check_dtype(self.test_cfg.dtype, batch_inputs.device)):
            features = self.extract_feat(batch_inputs)
            predictions = self.head(features, [tokens] * batch_inputs.shape[0], every_layer=False)
            class_logits, mask_logits = predictions.class_logits[-1], predictions.mask_logits()
        if self.test_cfg.dtype == 'fp32':
            return class_logits, mask_logits
        return class_logits.float(), mask_logits.float()

    def compile_network(self) -> None:
        """Compile the network in place (``torch.compile``): the first images of each size and task list are slow."""
        for part in (self.backbone, self.neck, self.head):
            if part is not None:
                part.compile()


build_oneformer.__wrapped__ = OneFormer  # type: ignore[attr-defined]  # for inspect.signature


def collect_targets(samples: Sequence[DetDataSample], size: tuple[int, int]) -> Targets:
    """Targets of a batch, index maps padded with -1 to the batch's ``size``."""
    maps = [sample.gt_targets.index_map[0] for sample in samples]
    index_map = maps[0].new_full((len(maps), *size), -1)
    for b, single in enumerate(maps):
        index_map[b, : single.shape[0], : single.shape[1]] = single
    return Targets(index_map, [sample.gt_instances.labels for sample in samples], [sample.task for sample in samples])
