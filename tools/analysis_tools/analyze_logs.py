"""Analyse the logs of training runs: curves and training times.

python tools/analysis_tools/analyze_logs.py plot_curve WORK_DIR --out curves.png
python tools/analysis_tools/analyze_logs.py plot_curve RUN OTHER_RUN --keys loss PQ --legend a-loss a-PQ b-loss b-PQ
python tools/analysis_tools/analyze_logs.py plot_curve RUN --keys all.loss_mask aux.loss_mask "d*.loss_mask" --smooth 9
python tools/analysis_tools/analyze_logs.py cal_train_time RUN

A run is a scalars.json or a work dir; entries before and after resuming are one run.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmseg_oneformer.command_line import Parser, cli_errors, loading
from mmseg_oneformer.errors import UserError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)
    plot = commands.add_parser('plot_curve', help='draw logged numbers over iterations')
    plot.add_argument('runs', nargs='+', metavar='RUN', help='scalars.json or work dir')
    plot.add_argument(
        '--keys',
        nargs='+',
        metavar='NAME',
        help='names, patterns, all.LOSS, aux.LOSS (default: loss, PQ, AP, mIoU if logged)',
    )
    plot.add_argument('--legend', nargs='+', metavar='TEXT', help='names of the curves (default: run and key)')
    plot.add_argument('--title', default='', help='title of the picture')
    plot.add_argument('--smooth', type=int, default=1, metavar='N', help='mean over N logged points of the training')
    plot.add_argument('--out', metavar='FILE', help='picture (.png, .svg, .pdf) to write instead of opening a window')
    times = commands.add_parser('cal_train_time', help='print seconds per iteration')
    times.add_argument('runs', nargs='+', metavar='RUN', help='scalars.json or work dir')
    times.add_argument('--include-outliers', action='store_true', help='include the first logging step')
    return parser.parse_args(argv)


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    import numpy as np

    from mmseg_oneformer.analysis.curves import figure_size, in_panels, save_curves, usual_curves
    from mmseg_oneformer.analysis.logs import Curve, Run, TrainTime, find_curves, read_run, train_time
    from mmseg_oneformer.visualization.curves import draw_curves


def chosen_curves(run: Run, keys: Sequence[str] | None) -> list[Curve]:
    """Return the curves of the keys, or the usual ones that the run has."""
    if keys:
        return [curve for key in keys for curve in find_curves(run, key)]
    return usual_curves(run, parts=False)


def plot_curve(args: argparse.Namespace) -> None:
    """Draw.

    Raises:
        UserError: The legend has too few or too many names, or there is no window to draw in.
    """
    found = [(run, curve) for run in map(read_run, args.runs) for curve in chosen_curves(run, args.keys)]
    names = args.legend or [curve.key if len(args.runs) == 1 else f'{run.name} {curve.key}' for run, curve in found]
    if len(names) != len(found):
        raise UserError(
            f'--legend has {len(names)} names for {len(found)} curves: {", ".join(c.key for _, c in found)}.'
        )
    curves = [(name, curve) for name, (_, curve) in zip(names, found)]
    if args.out is None:
        _show(curves, args.title, args.smooth)
        return
    save_curves(args.out, curves, args.title, args.smooth)
    print(f'{args.out}: {len(curves)} curves')


def _show(curves: Sequence[tuple[str, Curve]], title: str, window: int) -> None:
    from matplotlib import pyplot

    if pyplot.get_backend().lower() == 'agg':
        raise UserError('there is no display to open a window on; write a picture with --out.')
    drawn = in_panels(curves, window)
    draw_curves(pyplot.figure(figsize=figure_size(drawn), layout='constrained'), drawn, title)
    pyplot.show()


def describe(name: str, times: TrainTime) -> str:
    """Return the times of a run as text."""
    hours = times.mean * times.iterations / 3600
    lines = [
        f'{name}: {times.iterations} iterations, {hours:.2f} h at the average speed',
        f'  average {times.mean:.4f} s/iter, median {times.median:.4f}, standard deviation {times.deviation:.4f}',
        f'  slowest {times.slowest[1]:.4f} at iteration {times.slowest[0]}, '
        f'fastest {times.fastest[1]:.4f} at iteration {times.fastest[0]}',
    ]
    if not np.isnan(times.waiting):
        lines.append(f'  {times.waiting:.1%} of the time waiting for data')
    if times.memory is not None:
        lines.append(f'  {times.memory} MiB of GPU memory at most')
    return '\n'.join(lines)


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Draw or print."""
    args = parse_args(argv)
    if args.command == 'plot_curve':
        plot_curve(args)
    else:
        for path in args.runs:
            run = read_run(Path(path))
            print(describe(run.name, train_time(run, args.include_outliers)))


if __name__ == '__main__':
    main()
