"""Where a OneFormer attends: its attention weights, recomputed from the inputs of its modules.

Decisions:

* Hooks record the inputs of the modules for one call; the network runs as usual, with its fused kernels, which keep no
  weights. The inputs are enough to compute the weights for the few queries of interest.
* :meth:`CrossAttention.output` and :meth:`DeformableAttention.output` compute the module's output from the same inputs;
  the tests compare it with the module's own.
* One photo and one token at a time: pictures are viewed one by one.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..apis import OneFormerResult, PhotoLogits
from ..errors import UserError
from ..models.layers import Attention
from ..models.mask_resize import resize_masks
from ..models.oneformer import OneFormer
from ..models.ops.ms_deform_attn import MSDeformAttn, ms_deform_attn_plain

Shape = tuple[int, int]
"""Height and width of a level."""


@dataclass
class CrossAttention:
    """One masked cross-attention of the decoder, as it was called."""

    module: Attention
    query: Tensor
    """(1, N, C)."""
    key: Tensor
    """(1, S, C)."""
    value: Tensor
    """(1, S, C)."""
    mask: Tensor
    """(1, N, S), added to the logits: -inf where a query must not attend."""
    shape: Shape
    """Of the attended level, S = h * w."""

    @torch.inference_mode()
    def weights(self, queries: Sequence[int]) -> Tensor:
        """Attention weights (heads, n, h, w) of n queries; they sum to 1 over the level, 0 where it is blocked."""
        return self._weights(queries).unflatten(2, self.shape)

    def allowed(self, queries: Sequence[int]) -> Tensor:
        """Where n queries may attend, (n, h, w) bool: the mask predicted before this layer."""
        return (self.mask[0, list(queries)] == 0).unflatten(1, self.shape)

    @torch.inference_mode()
    def output(self) -> Tensor:
        """Return the module's output (1, N, C), computed with these weights."""
        value = self._project(2, self.value)[0]
        mixed = self._weights(range(self.query.shape[1])) @ value
        return self.module.out_proj(mixed.transpose(0, 1).flatten(1))[None]

    def _weights(self, queries: Sequence[int]) -> Tensor:
        query, key = self._project(0, self.query[:, list(queries)])[0], self._project(1, self.key)[0]
        logits = query @ key.mT / query.shape[-1] ** 0.5
        return (logits + self.mask[0, list(queries)]).softmax(-1)

    def _project(self, which: int, x: Tensor) -> Tensor:
        """Heads (1, heads, L, C/heads) of the query, key or value projection (0, 1, 2) of x (1, L, C)."""
        weight, bias = self.module.projections()[which]
        return nn.functional.linear(x, weight, bias).unflatten(-1, (self.module.num_heads, -1)).transpose(1, 2)


@dataclass
class DeformableAttention:
    """One deformable self-attention of the pixel decoder, as it was called."""

    module: MSDeformAttn
    query: Tensor
    """(1, S, C), all levels one after another."""
    value: Tensor
    """(1, S, C)."""
    reference: Tensor
    """(S, 2), centres (x, y) in 0..1."""
    shapes: list[Shape]
    """Of the levels, the coarsest first."""

    def token(self, level: int, x: float, y: float) -> int:
        """Return the position among the S of the cell of a level that holds (x, y), each in 0..1."""
        height, width = self.shapes[level]
        row, column = min(int(y * height), height - 1), min(int(x * width), width - 1)
        return sum(h * w for h, w in self.shapes[:level]) + row * width + column

    @torch.inference_mode()
    def points(self, tokens: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return where n positions attend.

        Args:
            tokens: n of the S positions.

        Returns:
            Locations (n, heads, levels, points, 2), (x, y) in 0..1, or beyond it outside the image, and weights
            (n, heads, levels, points) with the sum 1 over levels and points.
        """
        module, query = self.module, self.query[0, list(tokens)]
        by_point = (module.num_heads, module.num_levels, module.num_points)
        offsets = module.sampling_offsets(query).unflatten(1, (*by_point, 2))
        sizes = torch.tensor([[w, h] for h, w in self.shapes], dtype=offsets.dtype, device=offsets.device)
        locations = self.reference[list(tokens), None, None, None] + offsets / sizes[:, None]
        weights = module.attention_weights(query).unflatten(1, (module.num_heads, -1)).softmax(-1)
        return locations, weights.unflatten(2, by_point[1:])

    @torch.inference_mode()
    def output(self) -> Tensor:
        """Return the module's output (1, S, C), computed with these points."""
        locations, weights = self.points(range(self.query.shape[1]))
        value = self.module.value_proj(self.value).unflatten(2, (self.module.num_heads, -1))
        return self.module.output_proj(ms_deform_attn_plain(value, self.shapes, locations[None], weights[None]))


@dataclass
class RecordedAttention:
    """All attention of one pass, layer by layer."""

    decoder: list[CrossAttention] = field(default_factory=list)
    pixel_decoder: list[DeformableAttention] = field(default_factory=list)


@contextmanager
def watched(model: OneFormer) -> Iterator[RecordedAttention]:
    """Record one pass of a model over one photo under one token.

    Example:
        >>> with watched(infer.model) as recorded:
        ...     (photo,) = infer.logits([infer.prepare(image)], ['panoptic'])
        >>> recorded.decoder[-1].weights([7]).mean(0)
    """
    recorded = RecordedAttention()
    levels: list[Shape] = []

    def note_levels(module: nn.Module, inputs: tuple, output: tuple[Tensor, list[Tensor]]) -> None:
        levels[:] = [(level.shape[2], level.shape[3]) for level in output[1]]

    def note_decoder(module: Attention, inputs: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
        if inputs[0].shape[0] != 1:
            raise UserError('Attention is recorded for one photo at a time; give a batch of one.')
        recorded.decoder.append(CrossAttention(module, *inputs, levels[len(recorded.decoder) % len(levels)]))

    def note_pixel_decoder(module: MSDeformAttn, inputs: tuple[Tensor, Tensor, Tensor, list[Shape]]) -> None:
        recorded.pixel_decoder.append(DeformableAttention(module, *inputs))

    head = model.head
    with ExitStack() as stack:
        stack.enter_context(_removed(head.pixel_decoder.register_forward_hook(note_levels)))
        for layer in head.decoder.layers:
            stack.enter_context(_removed(layer.cross_attn.register_forward_pre_hook(note_decoder)))
        for layer in head.pixel_decoder.layers:
            stack.enter_context(_removed(layer.self_attn.register_forward_pre_hook(note_pixel_decoder)))
        yield recorded


@contextmanager
def _removed(handle: torch.utils.hooks.RemovableHandle) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()


@torch.inference_mode()
def segment_queries(photo: PhotoLogits, prediction: OneFormerResult, token: str) -> dict[int, int]:
    """Return the query of each panoptic segment, by the segment's id.

    A segment is won by one query; for a stuff class of several parts, the query with the largest share is taken.

    Args:
        photo: The network's output.
        prediction: Its panoptic prediction under ``token``.
        token: The task whose token was used.
    """
    assert prediction.panoptic is not None
    scores, labels = photo.class_logits[token].softmax(-1).max(-1)
    ids, queries = torch.from_numpy(prediction.panoptic.ids), {}
    for segment in prediction.panoptic.segments:
        own = ((labels == segment.label) & (scores > photo.post_process.test_cfg.object_mask_thr)).nonzero().flatten()
        probs = resize_masks(photo.mask_logits[token][own].float(), photo.size).sigmoid() * scores[own, None, None]
        won = probs.argmax(0).cpu()[ids == segment.id]
        queries[segment.id] = int(own[torch.bincount(won, minlength=len(own)).argmax()])
    return queries


@torch.inference_mode()
def query_at(photo: PhotoLogits, token: str, x: int, y: int) -> int:
    """Return the query that claims a pixel of the photo: the largest class score times mask probability there.

    Raises:
        UserError: The pixel is outside the photo.
    """
    height, width = photo.size.original
    if not (0 <= x < width and 0 <= y < height):
        raise UserError(f'({x}, {y}) is outside the photo of {width} x {height} pixels; x is below {width}.')
    scores = photo.class_logits[token].softmax(-1)[:, :-1].amax(-1)
    masks = resize_masks(photo.mask_logits[token].float(), photo.size)[:, y, x]
    return int((scores * masks.sigmoid()).argmax())
