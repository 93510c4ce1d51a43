"""Convolutions as matrix products over rows of channels, where that is faster than PyTorch's own on a CPU."""

from torch import Tensor, nn

from ...compat import is_exporting
from .linear import linear


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
