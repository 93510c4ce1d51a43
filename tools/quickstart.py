"""The quick start: draw data, train a small model, measure it and the shipped one in three tasks, draw pictures.

python tools/quickstart.py            # `make quickstart` installs everything first

Runs the commands that a user would type and prints them, so that the next steps are clear. Drawn data are kept, and an
interrupted training is resumed.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmseg_oneformer.command_line import Parser, cli_errors, loading
from mmseg_oneformer.errors import MissingFileError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description='Train, measure and look: one model, three tasks.')
    parser.add_argument(
        '--iterations', type=int, default=800, help='length of the training from scratch (default: %(default)s)'
    )
    parser.add_argument('--work-dir', default='work_dirs/quickstart', help='folder for results (default: %(default)s)')
    parser.add_argument('--install-seconds', type=float, help='duration of the installation, for the summary')
    return parser.parse_args(argv)


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    import cv2

    from mmseg_oneformer.apis import OneFormerInferencer
    from mmseg_oneformer.evaluation.results import format_results, own_token_metrics
    from mmseg_oneformer.evaluation.results import HEADLINES
    from mmseg_oneformer.files import write_atomic
    from mmseg_oneformer.tasks import TASKS
    from mmseg_oneformer.visualization.samples import draw_sample, draw_tokens
    from mmseg_oneformer.zoo.configs import find_config
    from mmseg_oneformer.zoo.weights import find_weights

MODEL = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
DATA = Path('data/shapes')
TOOLS = Path(__file__).resolve().parent


def run(title: str, script: str, *arguments: str | Path) -> float:
    """Run one of our tools as a user would and return its seconds; its failure ends the quick start."""
    command = [str(TOOLS / script), *map(str, arguments)]
    shown = [os.path.relpath(part) if isinstance(part, Path) else part for part in (TOOLS / script, *arguments)]
    print(f'\n=== {title}\n$ python {shlex.join(shown)}', flush=True)
    start = time.perf_counter()
    # One thread: such a small network gains nothing from more, and on a busy machine waiting threads cost ten times as
    # much.
    environment = {'OMP_NUM_THREADS': '1'} | os.environ
    with subprocess.Popen([sys.executable, *command], env=environment) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:  # The tool has received it too, and its workers exit with it; not after a kill.
            process.wait()
            raise
    if code:
        print(f'The quick start stopped in this step ({script}); run it again to continue.', file=sys.stderr)
        sys.exit(code)
    return time.perf_counter() - start


def train(config: Path, iterations: int, work_dir: Path) -> tuple[Path, float | None]:
    """Train for a few minutes; return the checkpoint and the seconds, None if a part was done in an earlier call."""
    went_on = any(work_dir.glob('iter_*.pth'))
    warm_up = max(1, min(300, iterations // 4))
    schedule = [
        f'train_cfg.max_iters={iterations}',
        f'param_scheduler.0.end={warm_up}',
        f'param_scheduler.1.begin={warm_up}',
        f'param_scheduler.1.end={iterations}',
        'default_hooks.checkpoint.interval=500',
    ]
    seconds = run(
        'Train a small model from scratch',
        'train.py',
        config,
        '--work-dir',
        work_dir,
        '--resume',
        '--cfg-options',
        *schedule,
        'default_hooks.logger.interval=25',
    )
    return work_dir / f'iter_{iterations}.pth', None if went_on else round(seconds, 1)


def measure(which: str, config: Path, weights: Path, work_dir: Path, train_seconds: float | None) -> dict[str, Any]:
    """Measure every metric under every token; return the entry of ``summary.json``."""
    title = f'Measure the {which} model under each task token'
    seconds = run(title, 'test.py', config, weights, '--work-dir', work_dir, '--token-matrix')
    matrix = json.loads((work_dir / 'results.json').read_text())['metrics']
    own = own_token_metrics(matrix)
    table = {token: {name: row[name] for name in HEADLINES if name in row} for token, row in matrix.items()}
    return {name: own[name] for name in HEADLINES if name in own} | {
        'token_matrix': table,
        'seconds': {'train': train_seconds, 'evaluate': round(seconds, 1)},
    }


def draw(photos: Sequence[Path], out: Path) -> None:
    """Draw the shipped model's predictions, and each prediction under each token."""
    infer = OneFormerInferencer(MODEL)
    by_token = {token: list(infer.stream(list(photos), token=token, progress=False)) for token in TASKS}
    own = infer.stream(list(photos), progress=False, out_dir=out / 'answers')
    out.mkdir(parents=True, exist_ok=True)
    for index, prediction in enumerate(own):
        image = cv2.cvtColor(prediction.image, cv2.COLOR_BGR2RGB)
        samples = {token: predictions[index].sample for token, predictions in by_token.items()}
        pages = {
            'three_tasks': draw_sample(image, prediction.sample, infer.dataset_meta),
            'tokens': draw_tokens(image, samples, infer.dataset_meta),
        }
        for kind, page in pages.items():
            cv2.imwrite(str(out / f'{kind}_{photos[index].stem}.png'), cv2.cvtColor(page, cv2.COLOR_RGB2BGR))


def report(summary: Mapping[str, Any], out: Path) -> None:
    """Print the results that a new user should see."""
    rows = {'trained here': summary['from_scratch'], 'shipped': summary['bundled']}
    print('\nOne model, three predictions, each from its own task token (0-100, higher is better):')
    print(format_results(rows))
    print('\nThe shipped model under each token: the token changes what the model does.')
    print(format_results(summary['bundled']['token_matrix']))
    print(f'\nnumbers: {out / "summary.json"}\npictures: {out / "pictures"}')


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the quick start."""
    args = parse_args(argv)
    out, config, weights = Path(args.work_dir), find_config(MODEL), find_weights(MODEL)
    if weights is None:
        raise MissingFileError(f'The shipped weights of {MODEL} are missing; clone or install the project again.')
    sizes = ('--train', '4000', '--val', '200')
    draw_seconds = run('Draw pictures with annotations', 'dataset_converters/make_shapes.py', '--out', DATA, *sizes)
    checkpoint, train_seconds = train(config, args.iterations, out / f'from_scratch_{args.iterations}')
    summary = {
        'from_scratch': measure('trained', config, checkpoint, checkpoint.parent, train_seconds),
        'bundled': measure('shipped', config, weights, out / 'bundled', None),
        'seconds': {'install': args.install_seconds, 'draw_data': round(draw_seconds, 1)},
    }
    write_atomic(out / 'summary.json', json.dumps(summary, indent=2) + '\n')
    print(f'\n=== Draw predictions to {out / "pictures"}', flush=True)
    draw(sorted((DATA / 'val').iterdir())[:6], out / 'pictures')
    report(summary, out)


if __name__ == '__main__':
    main()
