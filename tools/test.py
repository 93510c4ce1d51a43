"""Measure a checkpoint: PQ, AP and mIoU, each from its own task token, in one pass over the data.

python tools/test.py CONFIG CHECKPOINT
python tools/test.py NAME                                  # shipped or published weights, downloaded at first use
python tools/test.py CONFIG CHECKPOINT --tasks panoptic
python tools/test.py CONFIG CHECKPOINT --token-matrix      # every metric under every token (paper, Tables 8 and V)
python tools/test.py CONFIG CHECKPOINT --tta               # several sizes, each with its mirror image
python tools/test.py CONFIG CHECKPOINT --report D          # every matched, false and missed segment, and a page to view
python tools/test.py CONFIG CHECKPOINT --format-only --out answers   # files for a benchmark's server
bash tools/dist_test.sh CONFIG CHECKPOINT 8                # 8 processes: one GPU each, or the CPU if there is none
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmseg_oneformer.command_line import (
    Parser,
    add_checkpoint_arguments,
    add_common_arguments,
    add_speed_arguments,
    add_tasks_argument,
    add_token_argument,
    cli_errors,
    loading,
)
from mmseg_oneformer.errors import UserError

ONLY_MEASURED = ('token_matrix', 'show_dir', 'report', 'dtype', 'compile')
"""Options that have no meaning with --format-only."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        UserError: Options exclude each other.
    """
    parser = Parser(description='Measure a checkpoint in all three tasks.')
    add_checkpoint_arguments(parser)
    parser.add_argument('--data', metavar='PATH', help='own data: a panoptic JSON, or a folder that has one or two')
    parser.add_argument('--out', metavar='PATH', help='results file (default: results.json in the work dir)')
    add_tasks_argument(parser)
    add_token_argument(parser)
    parser.add_argument('--token-matrix', action='store_true', help='measure every prediction under every token')
    parser.add_argument('--per-class', action='store_true', help='also print the numbers of each class')
    parser.add_argument(
        '--format-only', action='store_true', help="write files for a benchmark's server to --out, and measure nothing"
    )
    parser.add_argument('--tta', action='store_true', help='predict from several sizes and mirror images of each photo')
    parser.add_argument('--show-dir', metavar='FOLDER', help='write a picture of every image there')
    parser.add_argument('--report', metavar='FOLDER', help='list every segment there, with a page of the worst images')
    parser.add_argument('--report-images', type=int, default=50, metavar='N', help='the page shows the N worst images')
    add_speed_arguments(parser)
    add_common_arguments(parser)
    args = parser.parse_args(argv)
    args.val = args.data
    for option in ONLY_MEASURED if args.format_only else ():
        if getattr(args, option):
            raise UserError(
                f'--format-only writes one set of predictions alone; leave out --{option.replace("_", "-")}.'
            )
    return args


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from mmengine.dist import is_main_process

    from mmseg_oneformer.command_line.config import prepare_config
    from mmseg_oneformer.engine.evaluating import run_evaluation, write_predictions
    from mmseg_oneformer.engine.data_config import check_classes
    from mmseg_oneformer.evaluation.results import format_classes, format_results
    from mmseg_oneformer.files import check_writable
    from mmseg_oneformer.zoo.configs import find_config
    from mmseg_oneformer.zoo.weights import resolve_weights


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Test."""
    args = parse_args(argv)
    cfg = prepare_config(args)
    checkpoint = resolve_weights(args.checkpoint or find_config(args.config).stem)
    if args.data:
        check_classes(checkpoint, cfg)
    shared = {'tasks': args.tasks, 'token': args.token, 'tta': args.tta}
    if args.format_only:
        folder = Path(args.out or Path(cfg.work_dir) / 'answers')
        num_images = write_predictions(cfg, checkpoint, folder, **shared)
        if is_main_process():
            print(f'The predictions for {num_images} images are in {folder}')
        return
    out = Path(args.out or Path(cfg.work_dir) / 'results.json')
    for path in filter(None, (out, args.report, args.show_dir)):
        check_writable(path)
    own = {name: getattr(args, name) for name in (*ONLY_MEASURED, 'report_images')}
    config_name = None if args.data else args.config
    results = run_evaluation(cfg, checkpoint, config_name=config_name, out=out, **shared, **own)
    if is_main_process():
        if args.per_class:
            print(f'\n{format_classes(results["per_class"])}')
        print(f'\n{format_results(results["metrics"])}\n')
        print(f'{results["num_images"]} images in {results["seconds"]:.1f} s; all numbers are in {out}')


if __name__ == '__main__':
    main()
