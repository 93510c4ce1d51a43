"""The network as CUDA graphs (``torch.compile(mode='reduce-overhead')``) against itself, compiled or not.

python -m benchmarks.cuda_graphs --device cuda --dtype bf16 --against compiled --out graphs.json

A graph is one launch instead of thousands, so it gains most with small images. What cannot be captured, such as a copy
from the host, PyTorch leaves out; their number is printed. Without a GPU nothing is captured.
"""

import argparse
import copy
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.utils import counters

from mmseg_oneformer.checkpoints.checkpoint import for_inference
from mmseg_oneformer.command_line import Parser, add_options_argument, cli_errors
from mmseg_oneformer.models.precision import DTYPES, network_precision
from mmseg_oneformer.tasks import TASKS

from .measure import compare
from .models import DEFAULT_MODEL, Setting, build, read_model
from .rows import format_rows, make_row, write_rows
from .settings import add_common_arguments, apply_common_arguments, context


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser)
    parser.add_argument('--model', default=DEFAULT_MODEL, metavar='NAME_OR_CONFIG', help='(default: %(default)s)')
    add_options_argument(parser)
    parser.add_argument('--size', type=int, default=640, help='height and width (default: %(default)s)')
    parser.add_argument('--batch', type=int, default=1, help='images at a time (default: %(default)s)')
    parser.add_argument('--dtype', choices=DTYPES, default='fp32', help='fp32 (default), or autocast on both sides')
    parser.add_argument('--against', choices=('eager', 'compiled'), default='eager', help='(default: %(default)s)')
    return parser.parse_args(argv)


def network(model: Any, images: Tensor, dtype: str) -> Callable[[], object]:
    """Return a call of the network with the three task tokens."""

    def call() -> object:
        # Otherwise the head's graph would begin a new step and give up the features, which are the backbone's.
        torch.compiler.cudagraph_mark_step_begin()
        with torch.inference_mode(), network_precision(images.device, dtype):
            return model.predict_logits(images, TASKS)

    return call


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse_args(argv)
    apply_common_arguments(args)
    setting = Setting((args.size, args.size), args.batch, 0)
    graphs = build(for_inference(read_model(args, setting)).model).to(args.device).eval()
    peer = copy.deepcopy(graphs)
    for part in (graphs.backbone, graphs.head):
        part.compile(mode='reduce-overhead')
    if args.against == 'compiled':
        peer.compile_network()
    images = torch.randn(args.batch, 3, *setting.size, generator=torch.Generator().manual_seed(0)).to(args.device)
    ours, theirs = (network(model, images, args.dtype) for model in (graphs, peer))
    # The first runs compile, and the first after that records.
    measured = compare(ours, theirs, args.device, args.runs, max(args.warmup, 3))
    facts = {'device': args.device, 'dtype': args.dtype, 'size': setting.size_text}
    rows = [make_row('network-graphs', measured, **facts, peer=args.against)]
    print(f'left out of the graphs: {counters["inductor"]["cudagraph_skips"]} parts\n{format_rows(rows)}')
    if args.out is not None:
        command = f'python -m benchmarks.cuda_graphs {shlex.join(argv)}'
        write_rows(rows, args.out, context(args.device, argv) | {'command': command})


if __name__ == '__main__':
    main()
