"""Communication between processes, so that losses are those of a single process with the whole batch."""

import torch
import torch.distributed as dist
from mmengine.dist import get_rank, get_world_size
from torch import Tensor
from torch.autograd.function import FunctionCtx


def mean_over_ranks(value: Tensor) -> Tensor:
    """Mean of a detached tensor over processes."""
    value = value.detach().clone()
    if get_world_size() > 1:
        dist.all_reduce(value)
        value /= get_world_size()
    return value


def gather_counts(count: int, device: torch.device) -> list[int]:
    """Every rank's ``count``."""
    if get_world_size() == 1:
        return [count]
    counts = torch.zeros(get_world_size(), dtype=torch.int64, device=device)
    counts[get_rank()] = count
    dist.all_reduce(counts)
    return counts.tolist()


class _GatherRows(torch.autograd.Function):
    """Concatenate the ranks' rows; the gradient of a row is the sum of those from all ranks.

    ``torch.distributed.nn.all_gather`` aborts the process on unequal batches, hence the padding to the largest.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts  # type: ignore[attr-defined]
        padded = rows.new_zeros(max(counts), rows.shape[1])
        padded[: len(rows)] = rows
        gathered = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(gathered, padded)
        return torch.cat([part[:count] for part, count in zip(gathered, counts, strict=True)])

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        grad = grads[0].contiguous()
        dist.all_reduce(grad)
        return grad.split(ctx.counts)[get_rank()], None  # type: ignore[attr-defined]


def gather_rows(rows: Tensor, counts: list[int]) -> Tensor:
    """All ranks' rows (sum of counts, D), differentiable; ``counts`` are the ranks' numbers of rows."""
    return rows if len(counts) == 1 else _GatherRows.apply(rows, counts)
