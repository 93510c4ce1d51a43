"""Linear layers with the faster of the two matrix libraries that PyTorch has on a CPU.

PyTorch gives fp32 matrix products to MKL, which leaves AVX-512 unused on processors that are not Intel's, and
convolutions to oneDNN, which uses it: on two AMD EPYC cores 185 against 420 GFLOP/s, and half the time of a backward
pass. A convolution of size 1 *is* a linear layer, has a gradient, is traceable, and costs no copy, since rows of
channels are what oneDNN calls channels-last.
"""

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...compat import is_exporting

Model = TypeVar('Model', bound=nn.Module)

ONEDNN_IS_FASTER = torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == 'AVX512'
PLAIN = ('torch.nn.modules.linear.Linear', 'mmcv.cnn.bricks.wrappers.Linear')
"""Layers that do what ``F.linear`` does, by name: importing mmcv takes as long as importing PyTorch."""
MIN_PRODUCTS = 2**20
"""Number of multiplications below which calling a convolution costs more than it saves."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Do what ``F.linear`` does, up to rounding.

    Args:
        x: (..., K).
        weight: (N, K).
        bias: (N,).

    Returns:
        (..., N).
    """
    if not _convolves_faster(x, weight):
        return F.linear(x, weight, bias)
    rows = x.reshape(
        -1, x.shape[-1]
    ).contiguous()  # else out is channels-first, and fused attention does not take its strides
    pixels = rows[None, :, None].permute(0, 3, 1, 2)  # an image (1, K, rows, 1), channels last
    out = F.conv2d(pixels, weight[:, :, None, None], bias)
    return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], weight.shape[0])


def _convolves_faster(x: Tensor, weight: Tensor) -> bool:
    return (
        ONEDNN_IS_FASTER
        and not is_exporting()  # first: a branch on dynamic sizes would tie the graph to one outcome
        and not torch.jit.is_tracing()
        and x.device.type == 'cpu'
        and x.dtype == weight.dtype == torch.float32
        and x.numel() * weight.shape[0] >= MIN_PRODUCTS
        and not torch.is_autocast_enabled('cpu')  # oneDNN multiplies bfloat16 in both forms
    )


class Linear(nn.Linear):
    """``nn.Linear`` with :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., K) to (..., N)."""
        return linear(x, self.weight, self.bias)


def use_fast_linear(model: Model) -> Model:
    """Turn every linear layer of ``model`` into :class:`Linear`, including those of backbones from other libraries.

    Parameters and names stay; subclasses with a forward of their own are left unchanged. Returns the model.
    """
    for module in model.modules():
        if f'{type(module).__module__}.{type(module).__name__}' in PLAIN:
            module.__class__ = Linear
    return model
