"""Turn a checkpoint of a training run into a small file to share: weights and their description, nothing else.

python tools/model_converters/publish_model.py CONFIG work_dirs/x/iter_14000.pth OUT.safetensors --half
"""

import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmengine.registry import MODELS, init_default_scope

from mmseg_oneformer.apis.registry import read_config
from mmseg_oneformer.engine.cli import cli_errors
from mmseg_oneformer.evaluation import versions
from mmseg_oneformer.models.checkpoint import for_inference, load_weights, save_safetensors


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Strip a checkpoint to what inference needs.')
    parser.add_argument('config', help='config file, or the name of a model')
    parser.add_argument('checkpoint', help='.pth of a training run')
    parser.add_argument('out', help='.safetensors file to write')
    parser.add_argument('--half', action='store_true', help='store float16')
    parser.add_argument('--note', default='', help='how it was made: command, machine, time')
    return parser.parse_args(argv)


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Publish."""
    args = parse_args(argv)
    if Path(args.out).suffix != '.safetensors':  # by which the readers tell the formats apart
        raise ValueError(f'OUT has to end in .safetensors, not as {args.out}.')
    cfg = for_inference(read_config(args.config))
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = MODELS.build(cfg.model)
    meta = load_weights(model, args.checkpoint)
    if 'dataset_meta' not in meta:
        raise ValueError(
            f'{args.checkpoint} does not name its classes; publish a checkpoint that tools/train.py wrote.'
        )
    description = {
        'config': Path(args.config).stem,
        'dataset_meta': meta['dataset_meta'],
        'seed': meta.get('seed'),
        'iter': meta.get('iter'),
        'versions': versions(),
        'note': args.note,
    }
    save_safetensors(model.state_dict(), args.out, description, half=args.half)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f'{args.out}: {Path(args.out).stat().st_size / 1e6:.2f} MB, {parameters:,} parameters')


if __name__ == '__main__':
    main()
