"""The network as one graph: photos and task numbers in, logits out."""

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from ..errors import UserError
from ..tasks import TASKS
from .dinat import traceable_dinat
from .swin import traceable_backbone

__all__ = ['DIVISOR', 'LEAST_SIDE', 'OneFormerGraph', 'example_inputs', 'trace']

DIVISOR = 32
"""Sides of the graph's input are multiples of this."""

LEAST_SIDE = 64
"""Pixels: the last level of a smaller image would be one position, which PyTorch traces as a constant."""

EXAMPLE_SIZE = (416, 800)
"""Height and width at which a graph for any size is traced.

No level of a Swin then has a single window along a side, or equally many along both: AOTInductor would simplify indices
accordingly, and read beyond its arrays at other sizes.
"""


class OneFormerGraph(nn.Module):
    """What is exported: normalisation, network, and a table of the three task tokens to choose from.

    The token of a task depends only on the weights, so its text is not in the graph: a number is enough.

    Args:
        model: A ``OneFormer`` in evaluation mode.

    Raises:
        UserError: If the model has no task token, or its photos are not preprocessed like those of the published
            models.
    """

    mean: Tensor
    deviation: Tensor
    tokens: Tensor

    def __init__(self, model: BaseModel) -> None:
        super().__init__()
        head, preprocessor = model.head, model.data_preprocessor
        if head.task_token is None:
            raise UserError(
                'This model has no task token to choose predictions with; export one with use_task_token=True.'
            )
        known = preprocessor._enable_normalize and preprocessor._channel_conversion
        if not known or preprocessor.pad_size_divisor != DIVISOR:
            raise UserError(
                f'The data_preprocessor must have mean, std, bgr_to_rgb=True and pad_size_divisor={DIVISOR}, which '
                'become part of the graph; change the config.'
            )
        self.backbone, self.neck, self.head = traceable_backbone(model.backbone), model.neck, head
        with torch.no_grad():
            tokens = head.task_token([TASKS], head.decoder.norm)[0]  # (3, C)
        self.register_buffer('tokens', tokens)
        self.register_buffer('mean', preprocessor.mean)
        self.register_buffer('deviation', preprocessor.std)

    def forward(self, image: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """Predict T tasks for each image.

        Args:
            image: (B, 3, H, W) float32 RGB in 0..255, H and W multiples of 32 and at least 64, padded with the mean.
            task: (T,) int64, indices of ``TASKS``: semantic 0, instance 1, panoptic 2.

        Returns:
            Class logits (B, T, N, K+1) and mask logits (B, T, N, H/4, W/4).
        """
        features = self.backbone((image - self.mean) / self.deviation)
        if self.neck is not None:
            features = self.neck(features)
        mask_features, memory = self.head.pixel_decoder(features)
        token = self.tokens[task][None, :, None].expand(image.shape[0], task.shape[0], 1, -1)
        queries = self.head.queries_of(token, mask_features)
        positions = self.head.query_embed.weight
        predictions = self.head.decoder(queries, positions, memory, mask_features, every_layer=False)
        return predictions.class_logits[-1], predictions.mask_logits()


def example_inputs(size: tuple[int, int], batch: int = 2, tasks: int = 2) -> tuple[Tensor, Tensor]:
    """Return a batch of noise images (B, 3, H, W) in 0..255 and task numbers, to trace or time a graph with."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, 3, *size, generator=generator) * 255, torch.arange(tasks)


def trace(graph: OneFormerGraph, size: tuple[int, int] | None = None) -> ExportedProgram:
    """Trace the graph; the number of tasks, 1 to 3, is dynamic.

    Args:
        graph: In evaluation mode.
        size: Height and width of all images, with one image per call; by default size and batch are dynamic.

    Raises:
        UserError: If the size is invalid, or the backbone cannot be traced.
    """
    if size is not None and any(side % DIVISOR or side < LEAST_SIDE for side in size):
        raise UserError(f'Height and width must be multiples of {DIVISOR} from {LEAST_SIDE} on, not {size}.')
    sides = {2: DIVISOR * Dim('height_32nds', min=2), 3: DIVISOR * Dim('width_32nds', min=2)}
    free = {} if size else {0: Dim('batch', min=1), **sides}
    inputs = (part.to(graph.mean.device) for part in example_inputs(size or EXAMPLE_SIZE, batch=1 if size else 2))
    try:
        # Oblivious: whether a map is contiguous is not checked, since that would tie the graph to sizes of one outcome.
        oblivious = torch.fx.experimental._config.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
        with traceable_dinat(), torch.no_grad(), oblivious:
            program = torch.export.export(
                graph, tuple(inputs), dynamic_shapes=(free, {0: Dim('tasks', min=1, max=3)}), strict=False
            )
    except Exception as error:  # A tracer runs all kinds of code: there is no list of what it raises.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip('.')
        what, remedy = (
            ('at this size', 'use Swin, ResNet or ConvNeXt')
            if size
            else ('at any size', 'try a fixed size (--size H W)')
        )
        raise UserError(f'{type(graph.backbone).__name__} cannot be exported {what} ({reason}); {remedy}.') from error
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, GraphModule) else ():
            node.meta.pop('stack_trace', None)  # All formats would store it, and with it paths of this machine.
    return program
