"""Train the model of a config.

python tools/train.py CONFIG
python tools/train.py CONFIG --resume                  # from the latest checkpoint, if there is one
python tools/train.py CONFIG --fine-tune-from MODEL    # from other weights, which may have other classes
python tools/train.py CONFIG --data FOLDER             # on own data, with their classes (docs/own_data.md)
python tools/train.py CONFIG --replay FILE             # compute the batch in which a loss became NaN again
bash tools/dist_train.sh CONFIG 8                      # 8 processes: one GPU each, or the CPU if there is none
"""

import argparse
from collections.abc import Sequence

from mmseg_oneformer.command_line import Parser, add_common_arguments, cli_errors, loading


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description='Train the model of a config.')
    parser.add_argument('config', help='config file, or the name of a model')
    parser.add_argument('--data', metavar='PATH', help='own data: a panoptic JSON, or a folder that has one or two')
    parser.add_argument(
        '--val', metavar='PATH', help='own data to validate on (default: from --data, or every fifth photo)'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const=True,
        metavar='CHECKPOINT',
        help='continue from this checkpoint, or from the latest one in the work dir',
    )
    parser.add_argument(
        '--fine-tune-from',
        metavar='MODEL',
        help='start from these weights: a file, an https address or the name of a model; its classes may differ',
    )
    parser.add_argument(
        '--replay',
        metavar='FILE',
        help='train nothing; show which losses of a stored batch are not finite (batch_iter_*.pt in the work dir)',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision: float16 on a GPU, bfloat16 on the CPU')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate with the number of images per iteration'
    )
    add_common_arguments(parser)
    return parser.parse_args(argv)


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from mmseg_oneformer.command_line.config import prepare_config
    from mmseg_oneformer.engine.non_finite import replay
    from mmseg_oneformer.engine.training import run_training
    from mmseg_oneformer.engine.training_config import use_mixed_precision


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Train."""
    args = parse_args(argv)
    cfg = prepare_config(args)
    if args.replay is not None:
        if args.amp:
            use_mixed_precision(cfg)
        print('\n'.join(replay(cfg, args.replay)))
        return
    run_training(
        cfg,
        fine_tune_from=args.fine_tune_from,
        resume=args.resume or False,
        amp=args.amp,
        auto_scale_lr=args.auto_scale_lr,
    )


if __name__ == '__main__':
    main()
