"""Operations of a model, counted from the shapes that its operators see.

The unit is the paper's: a multiply-add is one operation, and so is one element of an element-wise operator. Two counts
are kept apart:

* what usual counters see: convolutions, linear layers, matrix products (including those of attention), and, at the
  rates of fvcore, norms and resizing. Operators with kernels of their own (the sampling of deformable attention, and
  neighbourhood attention) and everything element-wise do not count.
* all: also softmax, activations, sums and those operators. Moving elements is free.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ..models.backbones import dinat

SOFTMAX = 5
"""Operations per element: maximum, difference, exponential, sum, quotient."""

USUAL_RATES = {  # of fvcore, per element of the input, of which a norm's output has as many
    'native_layer_norm': 5,
    'native_group_norm': 5,
    'native_batch_norm': 2,
    '_native_batch_norm_legit_no_training': 2,
    'upsample_bilinear2d': 4,  # for this and the next, per element of the output
    'upsample_nearest2d': 1,
}
OTHER_RATES = {
    '_softmax': SOFTMAX,
    'grid_sampler_2d': 4,
    'max_pool2d_with_indices': 9,
    **dict.fromkeys(('rsub', 'floor_divide', 'cumsum', 'masked_fill_', 'threshold_'), 1),
}
"""Per element of the output; for pooling, the 3 x 3 window of ResNet's stem."""

# fmt: off
FREE = frozenset((
    'arange', 'cat', 'clone', 'constant_pad_nd', 'copy_', 'empty', 'empty_like', 'fill_', 'flip', 'full', 'full_like',
    'gather', 'im2col', 'index', 'index_put', 'index_put_', 'index_select', 'lift_fresh', 'linspace', 'new_ones',
    'new_zeros', 'nonzero', 'repeat', 'roll', 'scalar_tensor', 'stack', '_to_copy', '_unsafe_view', 'zero_', 'zeros',
    'zeros_like',
))
# fmt: on
"""Operators that only create or move elements."""

REST = 'rest'
"""The part for operations outside all modules that are followed."""


@dataclass(frozen=True)
class Operations:
    """Operations of one pass.

    Attributes:
        usual: What usual counters see, by part of the model.
        other: What only the full count includes, by part of the model.
        unknown: Operators that neither count covers, with the number of elements of their output.
    """

    usual: Mapping[str, float]
    other: Mapping[str, float]
    unknown: Mapping[str, float]

    @property
    def seen(self) -> float:
        """What usual counters see."""
        return sum(self.usual.values())

    @property
    def parts(self) -> list[str]:
        """Names of the parts, in the order in which they ran."""
        return list(dict.fromkeys([*self.usual, *self.other]))

    @property
    def all(self) -> float:
        """Every operation."""
        return self.seen + sum(self.other.values())


class OperationCounter(TorchDispatchMode):
    """Counts the operations of everything that runs inside."""

    def __init__(self) -> None:
        """Start at zero."""
        super().__init__()
        self.parts = [REST]
        self.usual: dict[str, float] = defaultdict(float)
        self.other: dict[str, float] = defaultdict(float)
        self.unknown: dict[str, float] = defaultdict(float)

    def result(self) -> Operations:
        """Return the counts so far."""
        return Operations(dict(self.usual), dict(self.other), dict(self.unknown))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        first = out[0] if isinstance(out, tuple | list) and out else out
        size = float(first.numel()) if isinstance(first, Tensor) else 0.0
        name, part = func.overloadpacket.__name__, self.parts[-1]
        if name.startswith('_scaled_dot_product'):
            query, keys, depth = args[0], args[1].shape[-2], args[2].shape[-1]
            logits = query.numel() // query.shape[-1] * keys
            self.usual[part] += logits * (query.shape[-1] + depth)
            self.other[part] += logits * SOFTMAX
        elif func.overloadpacket in flop_registry:  # counts two for a multiply-add
            self.usual[part] += flop_registry[func.overloadpacket](*args, **kwargs, out_val=out) / 2
        elif name == 'ms_deform_attn':  # two per coordinate; per element four corners, the weight, the sum
            value, _, locations, weights = args
            self.other[part] += 2 * locations.numel() + 6 * weights.numel() * value.shape[-1]
        elif name in USUAL_RATES:
            self.usual[part] += USUAL_RATES[name] * size
        elif name in OTHER_RATES:
            self.other[part] += OTHER_RATES[name] * size
        elif torch.Tag.reduction in func.tags:
            self.other[part] += args[0].numel()
        elif not (func.is_view or name in FREE):
            if torch.Tag.pointwise in func.tags:
                self.other[part] += size
            elif size:
                self.unknown[name] += size
        return out

    def neighborhood_attention(
        self, query: Tensor, key: Tensor, value: Tensor, rpb: Tensor, kernel_size: int, dilation: int = 1
    ) -> Tensor:
        """Count neighbourhood attention instead of computing it: every query has exactly kernel_size² keys.

        Our implementation works in tiles and masks surplus keys in them, which is not part of the operator. Arguments
        and result are those of the operator.
        """
        logits = query.numel() / query.shape[-1] * kernel_size**2
        self.other[self.parts[-1]] += logits * (query.shape[-1] + value.shape[-1] + 1 + SOFTMAX)  # 1: bias
        return torch.empty_like(value)

    @contextmanager
    def following(self, model: nn.Module) -> Iterator[None]:
        """Count the parts of ``model`` separately: its children and, except for the backbone, their children."""
        handles = []
        for name, child in model.named_children():
            inner = [] if name == 'backbone' else [(f'{name}.{key}', part) for key, part in child.named_children()]
            for part_name, part in [(name, child), *inner]:
                handles.append(part.register_forward_pre_hook(lambda *_, part=part_name: self.parts.append(part)))
                handles.append(part.register_forward_hook(lambda *_: self.parts.pop() and None))
        original = dinat.neighborhood_attention
        dinat.neighborhood_attention = self.neighborhood_attention
        try:
            yield
        finally:
            dinat.neighborhood_attention = original
            for handle in handles:
                handle.remove()
