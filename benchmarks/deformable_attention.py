"""Multi-scale deformable attention only: our operator, forward and with its gradients, against other forms of it.

Queries and values are the pixel decoder's: every position of the levels at strides 32, 16 and 8 of an image attends to
4 points per level around itself, for each of 8 heads. The gradients and results of both sides are compared first.

--against plain:    one grid_sample per level, as in code without an operator of its own.
--against compiled: the same with torch.compile.
--against mmcv:     mmcv's compiled operator, on a GPU and for fp32.
--against copy:     copying as many bytes as the operator reads and writes at least. All forms are printed as a share of
                    its bandwidth, which is the memory's if no cache holds the bytes: --size 1024 --batch 8 has 0.6 GB.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mmseg_oneformer.compat import compiled_ms_deform_attn
from mmseg_oneformer.errors import UserError
from mmseg_oneformer.models.ops.ms_deform_attn import (
    Shapes,
    ms_deform_attn_mmcv,
    ms_deform_attn_own,
    ms_deform_attn_plain,
)
from mmseg_oneformer.models.pixel_decoder import pixel_centres
from mmseg_oneformer.text_table import format_table

from .measure import compare
from .models import DTYPES
from .rows import Row, make_row

HEADS, DEPTH, POINTS = 8, 32, 4
SPREAD = 2.0
"""Standard deviation of the points around their query, in pixels of the level."""
SAME = {'fp32': 1e-3, 'fp16': 1e-2, 'bf16': 5e-2}
"""Relative difference above which two forms do not compute the same. The locations determine it: a point on a pixel's
centre has a different slope to either side, and rounding may choose either."""

Form = Callable[[Tensor, Shapes, Tensor, Tensor], Tensor]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this subcommand."""
    parser.add_argument(
        '--size', type=int, nargs='+', default=[512, 1024], metavar='PIXELS', help='sides of images (default: 512 1024)'
    )
    parser.add_argument('--batch', type=int, nargs='+', default=[1, 2], help='images at a time (default: 1 2)')
    parser.add_argument('--dtype', choices=DTYPES, default='fp32', help='of the values (default: %(default)s)')
    parser.add_argument(
        '--against', nargs='+', choices=('plain', 'compiled', 'mmcv', 'copy'), default=['plain'], help='default: plain'
    )


def run(args: argparse.Namespace) -> list[Row]:
    """Measure; returns rows 'forward' and 'forward-backward' for every size, batch and peer.

    Raises:
        UserError: A setting is invalid, a peer is not installed, or both sides do not compute the same.
    """
    if any(side < 32 or side % 32 for side in args.size) or min(args.batch) < 1:
        raise UserError(f'--size {args.size} --batch {args.batch}: give multiples of 32, and 1 or more images.')
    peers = {name: _peer(name, args) for name in args.against}
    rows: list[Row] = []
    for side in args.size:
        for batch in args.batch:
            inputs = attention_inputs(side, batch, DTYPES[args.dtype], args.device)
            for name, form in peers.items():
                rows += _measure(form, name, inputs, f'{side}x{side}' + f', batch {batch}' * (batch > 1), args)
    if 'copy' in args.against:
        print(bandwidth_shares(rows))
    return rows


def attention_inputs(side: int, batch: int, dtype: torch.dtype, device: str) -> tuple[Tensor, Shapes, Tensor, Tensor]:
    """Return value, shapes, locations and weights of a layer of the pixel decoder, as ``ms_deform_attn`` takes them."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(side // stride, side // stride) for stride in (32, 16, 8)]
    reference = torch.cat([pixel_centres(shape, torch.empty(())) for shape in shapes])
    tokens = len(reference)
    size = torch.tensor([(w, h) for h, w in shapes]).T[:, None, :, None]  # (2, 1, levels, 1)
    offsets = SPREAD * torch.randn(batch, tokens, 2, HEADS, len(shapes), POINTS, generator=generator)
    locations = (reference[:, :, None, None, None] + offsets / size).movedim(2, -1)
    weights = torch.rand(batch, tokens, HEADS, len(shapes) * POINTS, generator=generator).softmax(-1)
    value = torch.randn(batch, tokens, HEADS, DEPTH, generator=generator).to(device, dtype)
    return value, shapes, locations.to(device), weights.unflatten(3, (len(shapes), POINTS)).to(device)


def least_bytes(value: Tensor, locations: Tensor, weights: Tensor) -> dict[str, int]:
    """Return how many bytes each row's call reads and writes if it touches nothing twice within a pass."""
    read, result = value.nbytes + locations.nbytes + weights.nbytes, value.nbytes
    # The backward pass reads the gradient of the result and the arguments again, and writes as many gradients.
    return {'forward': read + result, 'forward-backward': 3 * read + 2 * result}


def bandwidth_shares(rows: Sequence[Row]) -> str:
    """Return a table: how near each form comes to the time of the copy among ``rows``."""
    copies = {(row.name, row.size): row.peer_s for row in rows if row.peer == 'copy'}
    forms: dict[tuple[str, str], dict[str, float | None]] = {key: {} for key in copies}
    for row in rows:
        measured = {'ours': row.ours_s} if row.peer == 'copy' else {str(row.peer): row.peer_s}
        forms[row.name, row.size] |= measured
    names = list(dict.fromkeys(name for measured in forms.values() for name in measured))
    cells = [
        [*key, *(f'{100 * (copies[key] or 0) / (seconds or 1):.2g} %' for seconds in measured.values())]
        for key, measured in forms.items()
    ]
    return format_table(["share of a copy's bandwidth", 'size', *names], cells)


def _peer(name: str, args: argparse.Namespace) -> Form:
    if name == 'mmcv' and (args.dtype != 'fp32' or not args.device.startswith('cuda')):
        raise UserError('--against mmcv is for --device cuda and --dtype fp32; choose plain or compiled.')
    if name == 'mmcv' and compiled_ms_deform_attn() is None:
        raise UserError('mmcv has no compiled operators; install a build of mmcv with them, or choose another peer.')
    form: Form = {'mmcv': ms_deform_attn_mmcv}.get(name, _exact_plain)
    return torch.compile(form, dynamic=False) if name == 'compiled' else form


def _exact_plain(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """The plain form, which samples half-precision values in fp32."""
    return ms_deform_attn_plain(value.to(locations.dtype), shapes, locations, weights).to(value.dtype)


def _own(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """Our operator; on the CPU it has no half precision either."""
    exact = value if value.is_cuda else value.to(locations.dtype)
    return ms_deform_attn_own(exact, shapes, locations, weights).to(value.dtype)


def _measure(peer: Form, name: str, inputs: tuple[Any, ...], size: str, args: argparse.Namespace) -> list[Row]:
    value, shapes, locations, weights = inputs

    def forward(form: Form) -> Callable[[], Tensor]:
        def call() -> Tensor:
            with torch.no_grad():
                return form(value, shapes, locations, weights)

        return call

    def both(form: Form) -> Callable[[], list[Tensor]]:
        def call() -> list[Tensor]:
            leaves = [x.detach().requires_grad_() for x in (value, locations, weights)]
            out = form(leaves[0], shapes, *leaves[1:])
            out.backward(torch.ones_like(out))
            return [out.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]

        return call

    ways: dict[str, Callable[[Form], Callable[[], object]]] = {'forward': forward, 'forward-backward': both}
    if name == 'copy':
        theirs = {row: _copy(number, args.device) for row, number in least_bytes(value, locations, weights).items()}
    else:
        _check_equal(both(_own)(), both(peer)(), name, size, args.dtype)
        theirs = {row: way(peer) for row, way in ways.items()}
    facts = {'device': args.device, 'dtype': args.dtype, 'size': size, 'peer': name}
    return [
        make_row(row, compare(way(_own), theirs[row], args.device, args.runs, args.warmup), **facts)
        for row, way in ways.items()
    ]


def _copy(number: int, device: str) -> Callable[[], object]:
    """Return a call that moves ``number`` bytes: it reads half of them and writes the other half."""
    source, target = torch.zeros(2, number // 2, dtype=torch.uint8, device=device)
    return lambda: target.copy_(source)


def _check_equal(ours: Sequence[Tensor], theirs: Sequence[Tensor], peer: str, size: str, dtype: str) -> None:
    """Print how closely both sides agree.

    Raises:
        UserError: They do not compute the same.
    """
    parts = ('result', 'gradients of values', 'of locations', 'of weights')
    apart = [((a - b).float().norm() / b.float().norm()).item() for a, b in zip(ours, theirs, strict=True)]
    print(f'{size} against {peer}: relative difference', ', '.join(f'{p} {d:.0e}' for p, d in zip(parts, apart)))
    if not max(apart) <= SAME[dtype]:
        raise UserError(f'At {size} our operator and {peer} do not compute the same; ratios would be meaningless.')
