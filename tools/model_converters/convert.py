"""Convert weights between the forms in which OneFormer is published.

python tools/model_converters/convert.py 250_16_swin_l_oneformer_ade20k_160k.pth swin-l.safetensors --model NAME
python tools/model_converters/convert.py oneformer_coco_swin_large/ swin-l.safetensors --model NAME
python tools/model_converters/convert.py swin-l.safetensors for_transformers/ --model NAME --to hf

IN: .pth or .pkl of the reference code, .pth or .safetensors of ours, a folder of transformers or a file in it, an https
URL, or the name of a model. Its form is recognised. OUT: .safetensors or .pth for mm (ours), .pth for shi (the
reference code), a folder for hf (transformers).
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmseg_oneformer.command_line import Parser, add_options_argument, cli_errors, loading
from mmseg_oneformer.errors import UserError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description='Convert weights of OneFormer between their published forms.')
    parser.add_argument('input', metavar='IN', help='file, folder, https URL, or name of a model')
    parser.add_argument('out', metavar='OUT', help='file or folder to write')
    parser.add_argument(
        '--model', metavar='NAME_OR_CONFIG', required=True, help='the model to which the weights belong'
    )
    parser.add_argument(
        '--allow-not-finite',
        action='store_true',
        help='convert weights with a NaN or an infinity too, to look into them',
    )
    parser.add_argument('--to', choices=('hf', 'mm', 'shi'), default='mm', help='form of OUT (default: mm, ours)')
    parser.add_argument(
        '--reset-classifier', action='store_true', help='start a new class head unless the file names the same classes'
    )
    text = parser.add_mutually_exclusive_group()
    text.add_argument(
        '--text',
        action='store_true',
        default=None,
        help='keep the text branch, which training needs (default except for hf)',
    )
    text.add_argument('--no-text', dest='text', action='store_false', help='leave it out (default for hf)')
    add_options_argument(parser)
    return parser.parse_args(argv)


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from mmengine.config import Config
    import torch
    from torch import Tensor

    from mmseg_oneformer.checkpoints.checkpoint import convert, describe_conversion
    from mmseg_oneformer.checkpoints.conversion.convert import BUFFERS, FORMS, from_ours
    from mmseg_oneformer.checkpoints.conversion.hub_config import check_hub_config
    from mmseg_oneformer.checkpoints.conversion.output import (
        check_network,
        check_target,
        write_hub_folder,
        write_ours,
        write_reference,
    )
    from mmseg_oneformer.checkpoints.conversion.summary import format_report
    from mmseg_oneformer.checkpoints.files import read_file
    from mmseg_oneformer.datasets.metainfo import metainfo_of
    from mmseg_oneformer.files import check_not_input, check_writable
    from mmseg_oneformer.models.compatibility import fit_to_model
    from mmseg_oneformer.zoo.configs import find_config, read_config
    from mmseg_oneformer.zoo.weights import resolve_weights


def dataset_meta(cfg: Config, meta: dict[str, Any], num_classes: int) -> dict[str, Any]:
    """Return names, things and colours of the classes: the file's own, else those of the config's data set.

    Raises:
        UserError: Neither has as many classes as the model.
    """
    stored = {key.lower(): value for key, value in (meta.get('dataset_meta') or {}).items()}
    things = {'thing_ids': list(cfg.model.thing_ids)}
    of_config = metainfo_of(cfg.test_dataloader.dataset) if cfg.get('test_dataloader') else {}
    for found in ({**things, **stored}, {**of_config, **things}):
        if len(found.get('classes') or ()) == num_classes:
            return json.loads(json.dumps(found, default=lambda value: value.tolist()))
    raise UserError(
        f'neither the file nor the data set of the config names {num_classes} classes; give a config whose '
        "test_dataloader.dataset.metainfo has the model's classes."
    )


def names_classes_of(meta: dict[str, Any], cfg: Config) -> bool:
    """Return whether a file's meta names the classes that the model of ``cfg`` has, in the same order."""
    stored = {key.lower(): value for key, value in (meta.get('dataset_meta') or {}).items()}
    return list(stored.get('classes') or ()) == dataset_meta(cfg, {}, cfg.model.head.num_classes)['classes']


def write(args: argparse.Namespace, state: dict[str, Tensor], cfg: Config, meta: dict[str, Any]) -> int:
    """Write ``state`` (our names) in the requested form; returns the number of tensors written."""
    out = Path(args.out)
    if args.to == 'mm':
        write_ours(out, state, meta)
        return len(state)
    check_network(cfg, FORMS[args.to])
    norm_cfg = cfg.model.backbone.get('norm_cfg') or {}
    frozen = not norm_cfg.get('requires_grad', True)
    converted = from_ours(state, args.to, frozen_norms=frozen, buffers=meta.get(BUFFERS)).state
    if args.to == 'shi':
        write_reference(out, converted)
    else:
        write_hub_folder(out, converted, state, cfg, meta['dataset_meta'])
    return len(converted)


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Convert."""
    args = parse_args(argv)
    check_target(Path(args.out), args.to)
    check_writable(args.out)
    cfg = read_config(args.model, args.cfg_options)
    if cfg.get('model', {}).get('type') != 'OneFormer':
        raise UserError(f'{args.model} is not a OneFormer; tools/infer.py --list shows the names of those that are.')
    torch.manual_seed(0)  # of a new class head: the same command makes the same file
    path = resolve_weights(args.input)
    check_not_input(args.out, path)
    checkpoint = read_file(path, finite=not args.allow_not_finite)
    conversion = convert(checkpoint, path)
    if path.is_dir():
        conversion.warnings += check_hub_config(path, cfg)
    with_text = args.to != 'hf' if args.text is None else args.text
    reset = args.reset_classifier and not names_classes_of(checkpoint['meta'], cfg)
    fitted = fit_to_model(conversion.state, cfg, path, reset, with_text)
    stored = {} if fitted.reset else checkpoint['meta']
    known = {key: checkpoint['meta'][key] for key in ('seed', 'iter', BUFFERS) if key in checkpoint['meta']}
    meta = {
        **(describe_conversion(known, conversion) if conversion.form != 'mm' else known),
        'model': find_config(args.model).stem,
        'source': path.name,
        'dataset_meta': dataset_meta(cfg, stored, cfg.model.head.num_classes),
    }
    if fitted.reset:
        meta.pop(BUFFERS, None)
    count = write(args, fitted.state, cfg, meta)
    print(f'{path}: {FORMS[conversion.form]}\n')
    print(format_report(conversion, fitted.model, fitted.dropped, fitted.reset))
    print(f'\n{args.out}: {count} tensors for {FORMS[args.to]}')


if __name__ == '__main__':
    main()
