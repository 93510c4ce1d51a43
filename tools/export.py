"""Write a model for use without training code: one graph for the three tasks, or one file of weights.

python tools/export.py NAME_OR_CONFIG [WEIGHTS] --format onnx --out FOLDER --verify
python tools/export.py NAME_OR_CONFIG [WEIGHTS] --format torch --out FOLDER --verify
python tools/export.py NAME_OR_CONFIG [WEIGHTS] --format aotinductor --out FOLDER --size 512 512 --device cuda
python tools/export.py NAME_OR_CONFIG [WEIGHTS] --format safetensors --out model.safetensors

The task is an input of the graph. Height, width and number of photos may vary, unless --size fixes them.

Exit status: 0 for success, 1 if the predictions differ from PyTorch's (--verify), 2 for an invalid command line.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmseg_oneformer.command_line import Parser, cli_errors, loading
from mmseg_oneformer.errors import UserError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description='Write a model for use without training code.')
    parser.add_argument('model', metavar='NAME_OR_CONFIG', help='name of a model, or a config file')
    parser.add_argument('weights', nargs='?', help='a checkpoint or its https URL (default: that of the model)')
    parser.add_argument(
        '--format', choices=['onnx', 'torch', 'aotinductor', 'safetensors'], default='onnx', help='default: %(default)s'
    )
    parser.add_argument('--out', required=True, metavar='PATH', help='folder to write, or file for safetensors')
    parser.add_argument(
        '--size',
        nargs=2,
        type=int,
        metavar=('H', 'W'),
        help='fixed size of photos, multiples of 32 (default: any size)',
    )
    parser.add_argument(
        '--verify', nargs='*', metavar='PHOTO', help='compare with PyTorch on these photos (default: on drawn ones)'
    )
    parser.add_argument('--device', default='cpu', help='device of a compiled graph (default: %(default)s)')
    return parser.parse_args(argv)


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    import numpy as np
    from tqdm import tqdm

    from mmseg_oneformer.apis import OneFormerInferencer
    from mmseg_oneformer.checkpoints.model_file import write_model_file
    from mmseg_oneformer.deploy.formats import check_format, deployment_meta, write_folder
    from mmseg_oneformer.deploy.oneformer_numpy import OneFormer, Runner, read_photo
    from mmseg_oneformer.deploy.verify import compare_with_torch, drawn_photos, format_comparisons, network_runner
    from mmseg_oneformer.files import check_not_input, check_writable


def read_photos(paths: Sequence[str]) -> Sequence[np.ndarray]:
    """Return photos (H, W, 3) uint8 BGR: those of ``paths``, or drawn ones.

    Raises:
        UserError: If one cannot be read.
    """
    try:
        return [np.ascontiguousarray(read_photo(path)[:, :, ::-1]) for path in paths] or list(drawn_photos())
    except ValueError as error:  # from a standalone module, which does not have UserError
        raise UserError(str(error)) from error


def report(step: str) -> None:
    """Print the next step, with the time."""
    print(f'{time.strftime("%H:%M:%S")}  {step}', file=sys.stderr, flush=True)


@cli_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Export the model of the command line; returns the exit status."""
    args = parse_args(argv)
    out, single, size = Path(args.out), args.format == 'safetensors', args.size and (args.size[0], args.size[1])
    if single and size:
        raise UserError('A file of weights has no size; leave out --size.')
    if single != (out.suffix == '.safetensors') or (not single and out.is_file()):
        raise UserError(f'--out is {"a .safetensors file" if single else "a folder"} for this format, not {out}.')
    check_writable(out)
    check_not_input(out, args.weights)
    photos = None if args.verify is None else read_photos(args.verify)
    report(f'loading {args.weights or args.model}')
    infer = OneFormerInferencer(args.model, args.weights, args.device)
    meta = deployment_meta(infer.cfg, infer.model, infer.dataset_meta, size)
    if single:
        report(f'writing {out.name}')
        write_model_file(out, infer.cfg, infer.model, infer.dataset_meta)
    else:
        check_format(args.format, infer.device, photos is not None)
        write_folder(args.format, infer.model, meta, out, size, report)
    batch = f'{size[0]} x {size[1]} pixels, one photo a call' if size else 'any number and size of photos'
    print(f'{out} written{"" if single else f": {batch}, any of the three tasks"}')
    if photos is None:
        return 0
    report(f'comparing with PyTorch on {len(photos)} photos')
    return verify(network_runner(OneFormerInferencer(out)) if single else OneFormer(out).run, meta, infer, photos)


def verify(run: Runner, meta: dict[str, Any], infer: OneFormerInferencer, photos: Iterable[np.ndarray]) -> int:
    """Compare an export with PyTorch, print a table and return the exit status."""
    comparisons = compare_with_torch(run, meta, infer, tqdm(photos, unit='photo', leave=False, disable=None))
    print(format_comparisons(comparisons))
    if all(one.agrees for one in comparisons):
        return 0
    print('The predictions of the export differ from those of PyTorch; do not use it.', file=sys.stderr)
    return 1


if __name__ == '__main__':
    sys.exit(main())
