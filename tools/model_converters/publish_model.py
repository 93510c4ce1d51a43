"""Turn a checkpoint of a training run into a small file to share, with only the weights and their description.

python tools/model_converters/publish_model.py CONFIG work_dirs/x/iter_160000.pth published
python tools/model_converters/publish_model.py CONFIG work_dirs/x/iter_14000.pth OUT.safetensors --half

In a folder the file is called NAME-<first 8 digits of the SHA-256>.safetensors, as OpenMMLab names its files; a
.safetensors path is used unchanged. The tool prints an entry for metafile.yml, with the scores of a results.json next
to the checkpoint.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmseg_oneformer.command_line import Parser, cli_errors, loading
from mmseg_oneformer.errors import MissingFileError, UserError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description='Reduce a checkpoint to what inference needs.')
    parser.add_argument('config', help='config file, or the name of a model')
    parser.add_argument('checkpoint', help='.pth of a training run')
    parser.add_argument('out', help='folder, or .safetensors file to write')
    parser.add_argument('--half', action='store_true', help='store float16')
    parser.add_argument(
        '--keep-text-branch', action='store_true', help='keep what only training needs, for fine-tuning'
    )
    parser.add_argument(
        '--ema',
        choices=['averaged', 'last'],
        help='for a run with EMAHook: the averaged weights (default) or those of the last step',
    )
    parser.add_argument(
        '--results', metavar='FILE', help='file of scores (default: results.json next to the checkpoint)'
    )
    parser.add_argument('--note', default='', help='how it was made: command, machine, time')
    return parser.parse_args(argv)


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from mmengine.registry import MODELS, init_default_scope
    from torch import nn

    from mmseg_oneformer.checkpoints.checkpoint import (
        TRAINING_ONLY,
        check_fit,
        for_inference,
        load_weights,
        read_checkpoint,
        save_safetensors,
    )
    from mmseg_oneformer.evaluation.results import versions
    from mmseg_oneformer.evaluation.zoo_tables import format_entry, metafile_entry
    from mmseg_oneformer.files import check_not_input, file_digest
    from mmseg_oneformer.zoo.configs import find_config, read_config
    from mmseg_oneformer.zoo.building import build_part


def load_chosen(model: nn.Module, path: str, ema: str | None) -> tuple[dict[str, Any], str]:
    """Load the weights to publish into ``model``.

    EMAHook swaps before it saves: 'state_dict' holds the averaged weights, 'ema_state_dict' those of the last step.

    Returns:
        The checkpoint's meta, and which weights these are: 'averaged', 'last', or '' if the run had no EMAHook.
    """
    checkpoint = read_checkpoint(path)
    swapped = checkpoint.get('ema_state_dict')
    if swapped is None and ema is not None:
        raise UserError(f'{path} holds only one set of weights: it was trained without EMAHook; leave out --ema.')
    meta = load_weights(model, path)
    if swapped is not None and ema == 'last':
        own = model.state_dict()
        last = {key.removeprefix('module.'): value for key, value in swapped.items()}
        last = {key: value for key, value in last.items() if key in own}
        check_fit(own, last, path)
        model.load_state_dict(last)
    return meta, '' if swapped is None else ema or 'averaged'


def write_published(out: Path, name: str, state: dict[str, Any], description: dict[str, Any], half: bool) -> Path:
    """Write the file and return its path, which has the hash in its name if ``out`` is a folder."""
    if out.suffix == '.safetensors':
        save_safetensors(state, out, description, half=half)
        return out
    temporary = out / f'{name}.safetensors'
    save_safetensors(state, temporary, description, half=half)
    return temporary.rename(out / f'{name}-{file_digest(temporary)[:8]}.safetensors')


def read_scores(args: argparse.Namespace, published: Path) -> dict[str, Any] | None:
    """Return the results of this checkpoint or of the published file, or None if there are none."""
    path = Path(args.results or Path(args.checkpoint).parent / 'results.json')
    if not path.is_file():
        if args.results:
            raise MissingFileError(f'There are no results at {path}; tools/test.py writes them.')
        return None
    results = json.loads(path.read_text())
    if results.get('weights_sha256') in (file_digest(args.checkpoint), file_digest(published)):
        return dict(results)
    if args.results:
        raise UserError(f'{path} was measured with {results.get("weights")}, another file; run tools/test.py again.')
    print(f'{path} was measured with another file and is left out.')
    return None


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Publish."""
    args = parse_args(argv)
    out, config = Path(args.out), find_config(args.config)
    if out.suffix not in ('', '.safetensors') and not out.is_dir():  # readers recognise a form by its suffix
        raise UserError(f'OUT is {args.out}; it must be a folder or end in .safetensors.')
    check_not_input(out, args.checkpoint)
    cfg = read_config(args.config) if args.keep_text_branch else for_inference(read_config(args.config))
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = build_part(MODELS, cfg.model)
    meta, ema = load_chosen(model, args.checkpoint, args.ema)
    if 'dataset_meta' not in meta:
        raise UserError(f'{args.checkpoint} does not name its classes; publish a checkpoint that tools/train.py wrote.')
    description = {
        'config': config.stem,
        'dataset_meta': meta['dataset_meta'],
        'seed': meta.get('seed'),
        'iter': meta.get('iter'),
        'options': meta.get('options') or {},
        'versions': versions(),
        'note': args.note,
    }
    if ema:
        description['ema'] = ema
        print(f'The checkpoint holds averaged weights and those of the last step; published: {ema}.')
    published = write_published(out, config.stem, model.state_dict(), description, args.half)
    trained = {key: parameter.numel() for key, parameter in model.named_parameters() if parameter.requires_grad}
    parameters = sum(size for key, size in trained.items() if not key.startswith(TRAINING_ONLY))
    scores = read_scores(args, published)
    print(f'{published}: {published.stat().st_size / 1e6:.2f} MB, {sum(trained.values()):,} parameters\n')
    print(format_entry(metafile_entry(config, cfg, parameters, published.name, meta.get('iter'), scores)))


if __name__ == '__main__':
    main()
