"""The baseline of the paper's Tables 7 and IV: mmdet's Mask2Former between our data and our predictions."""

from collections.abc import Sequence

from mmdet.models.detectors import Mask2Former
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.registry import MODELS
from torch import Tensor

from ...errors import UserError
from ...tasks import check_tasks
from ..postprocess import ImageSize, PostProcessor, complete_test_cfg


@MODELS.register_module()
class Mask2FormerBaseline(Mask2Former):
    """mmdet's Mask2Former, trained and evaluated as OneFormer is, so that a comparison differs only in the model.

    Network, matching and losses are mmdet's. Its head treats all K classes as things: the targets are then only the
    labels and masks of ``gt_instances``, those of the task drawn for an image, and classes may be in any order.
    Predictions come from OneFormer's post-processing, since mmdet's supports neither thing classes in any order nor
    semantic maps. There is no task token: in joint training the model gets targets of all tasks and no hint which.

    Args:
        backbone: any config whose module returns four levels at strides 4, 8, 16, 32.
        panoptic_head: ``mmdet.Mask2FormerHead`` config; numbers and weights of classes are filled in.
        num_classes: K.
        thing_ids: the classes (0..K-1) that are things; all others are stuff.
        no_object_weight: weight of "no object" in the classification loss.
        train_cfg: mmdet's: points, assigner, sampler.
        test_cfg: ``tasks``, ``object_mask_thr``, ``overlap_thr``, ``max_per_image`` and ``mask_format`` as
            in OneFormer.
        pretrained: accepted because mmseg's ``init_model`` sets it; unused.

    Raises:
        UserError: ``test_cfg`` has a token.
    """

    def __init__(
        self,
        backbone: dict,
        panoptic_head: dict,
        num_classes: int,
        thing_ids: Sequence[int],
        no_object_weight: float = 0.1,
        data_preprocessor: dict | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        pretrained: None = None,
        init_cfg: dict | None = None,
    ) -> None:
        classes = {'num_things_classes': num_classes, 'num_stuff_classes': 0}
        head = ConfigDict(panoptic_head | classes)
        head.loss_cls = head.loss_cls | {'class_weight': [1.0] * num_classes + [no_object_weight]}
        super().__init__(
            backbone=backbone,
            panoptic_head=head,
            panoptic_fusion_head=ConfigDict(type='mmdet.MaskFormerFusionHead', **classes),  # it has no parameters
            train_cfg=None if train_cfg is None else ConfigDict(train_cfg),
            test_cfg=complete_test_cfg(test_cfg, head.get('num_queries', 100)),
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.thing_ids = tuple(thing_ids)
        self.post_process = PostProcessor(thing_ids, self.test_cfg)
        if self.test_cfg.token is not None:
            raise UserError(
                f'Mask2Former has no task token, so "{self.test_cfg.token}" cannot be set; leave out --token.'
            )

    def predict(
        self,
        batch_inputs: Tensor,
        batch_data_samples: Sequence[DetDataSample],
        rescale: bool = True,
        tasks: Sequence[str] | None = None,
    ) -> list[DetDataSample]:
        """Add predictions to the data samples, all from the same queries.

        Args:
            batch_inputs: normalised images (B, 3, H, W).
            batch_data_samples: B samples with ``img_shape`` and ``ori_shape``; they get ``pred_sem_seg``,
                ``pred_instances``, ``pred_panoptic_seg``.
            rescale: if False, predictions have the network input's size instead of the original image's.
            tasks: predictions to make; ``test_cfg.tasks`` by default.
        """
        class_logits, mask_logits = (layers[-1] for layers in self._forward(batch_inputs, batch_data_samples))
        for b, sample in enumerate(batch_data_samples):
            size = ImageSize.of(sample, batch_inputs.shape[2:], rescale)
            for task in check_tasks(self.test_cfg.tasks if tasks is None else tasks):
                self.post_process.write(sample, task, class_logits[b], mask_logits[b], size)
        return list(batch_data_samples)
