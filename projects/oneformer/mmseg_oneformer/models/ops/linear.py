"""Linear layers with the faster of the two matrix libraries that PyTorch has on a CPU, and with what follows them.

PyTorch gives fp32 matrix products to MKL, which leaves AVX-512 unused on processors that are not Intel's, and
convolutions to oneDNN, which uses it: on two AMD EPYC cores 185 against 420 GFLOP/s, and half the time of a backward
pass. Two ways lead to oneDNN:

* With gradients a convolution of size 1, which *is* a linear layer, is traceable, and costs no copy, since rows of
  channels are what oneDNN calls channels-last.
* Without gradients the operator that PyTorch's compiler uses. It applies an activation, or adds a shortcut, while the
  results are in the cache; on any processor that saves a pass through the memory.
"""

from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...compat import is_exporting

Model = TypeVar('Model', bound=nn.Module)
Activation = Literal['none', 'relu', 'gelu']

HAS_ONEDNN = torch.backends.mkldnn.is_available()
FUSED = getattr(torch.ops.mkldnn, '_linear_pointwise', None) if HAS_ONEDNN else None
"""PyTorch's operator of a linear layer and what follows it, which has no gradient."""
ONEDNN_IS_FASTER = HAS_ONEDNN and torch.backends.cpu.get_cpu_capability() == 'AVX512'
PLAIN = ('torch.nn.modules.linear.Linear', 'mmcv.cnn.bricks.wrappers.Linear')
"""Layers that do what ``F.linear`` does, by name: importing mmcv takes as long as importing PyTorch."""
ACTIVATIONS = {'none': lambda x: x, 'relu': F.relu, 'gelu': F.gelu}
MIN_PRODUCTS = 2**20
"""Number of multiplications below which calling a convolution costs more than it saves."""


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Activation = 'none',
    shortcut: Tensor | None = None,
) -> Tensor:
    """Do what ``F.linear`` and an activation do, up to rounding; add the result to a shortcut.

    Args:
        x: (..., K).
        weight: (N, K).
        bias: (N,).
        activation: Applied to the result; with a shortcut 'none'.
        shortcut: (..., N).

    Returns:
        (..., N).
    """
    assert shortcut is None or activation == 'none', 'oneDNN adds a shortcut or applies an activation'
    if FUSED is not None and _needs_no_gradient(x, weight):
        if shortcut is not None:
            return FUSED.binary(x, shortcut, weight, bias, 'add')
        return FUSED(x, weight, bias, activation, [], 'none' if activation == 'gelu' else '')
    multiply = _convolution if _convolves_faster(x, weight) else F.linear
    out = ACTIVATIONS[activation](multiply(x, weight, bias))
    return out if shortcut is None else shortcut + out


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    # Contiguous, else out is channels-first, and fused attention does not take its strides.
    rows = x.reshape(-1, x.shape[-1]).contiguous()
    pixels = rows[None, :, None].permute(0, 3, 1, 2)  # an image (1, K, rows, 1), channels last
    out = F.conv2d(pixels, weight[:, :, None, None], bias)
    return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], weight.shape[0])


def _convolves_faster(x: Tensor, weight: Tensor) -> bool:
    return (
        ONEDNN_IS_FASTER
        # First: a branch on dynamic sizes would tie the graph to one outcome.
        and not is_exporting()
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and x.device.type == 'cpu'
        and x.dtype == weight.dtype == torch.float32
        and x.numel() * weight.shape[0] >= MIN_PRODUCTS
        and torch.get_num_threads() > 1  # with one, PyTorch does not give convolutions of size 1 to oneDNN
        and not torch.is_autocast_enabled('cpu')  # oneDNN multiplies bfloat16 in both forms
    )


def _needs_no_gradient(x: Tensor, weight: Tensor) -> bool:
    """Return whether an operator without gradient will do, on real numbers that it takes."""
    return (
        not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not is_exporting()
        and not torch.jit.is_tracing()
        and type(x) is Tensor  # and none that only pretends to have numbers, whose operations are counted
        and x.device.type == 'cpu'
        and x.dtype == weight.dtype == torch.float32
        and x.numel() > 0
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled('cpu')
    )


class Linear(nn.Linear):
    """``nn.Linear`` with :func:`linear`."""

    def forward(self, x: Tensor, activation: Activation = 'none', shortcut: Tensor | None = None) -> Tensor:
        """Map (..., K) to (..., N), with what follows; see :func:`linear`."""
        return linear(x, self.weight, self.bias, activation, shortcut)


class PointwiseConv(nn.Conv2d):
    """A convolution of size 1, which on a CPU is a linear layer: it has the faster library, and needs no other layout.

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        bias: Whether it has one.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H, W); on a CPU channels come last in memory."""
        if x.device.type != 'cpu' or is_exporting():
            return super().forward(x)
        return linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def apply_linear(
    layer: nn.Module, x: Tensor, activation: Activation = 'none', shortcut: Tensor | None = None
) -> Tensor:
    """Apply a layer, in one step with what follows if it is a :class:`Linear`; users may have put another there.

    Args:
        layer: Maps (..., K) to (..., N).
        x: (..., K).
        activation: As for :func:`linear`.
        shortcut: As for :func:`linear`.
    """
    if type(layer) is Linear and not layer._forward_hooks:
        return layer(x, activation, shortcut)
    out = ACTIVATIONS[activation](layer(x))
    return out if shortcut is None else shortcut + out


def use_fast_linear(model: Model) -> Model:
    """Turn every linear layer of ``model`` into :class:`Linear`, including those of backbones from other libraries.

    Parameters and names stay; subclasses with a forward of their own are left unchanged. Returns the model.
    """
    for module in model.modules():
        if f'{type(module).__module__}.{type(module).__name__}' in PLAIN:
            module.__class__ = Linear
    return model
