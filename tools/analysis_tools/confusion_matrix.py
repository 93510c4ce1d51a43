"""Count which classes are confused: pixels of the semantic prediction, segments of the panoptic one.

python tools/analysis_tools/confusion_matrix.py CONFIG CHECKPOINT                # both, in one pass over the data
python tools/analysis_tools/confusion_matrix.py CONFIG --predictions FOLDER      # of tools/infer.py --out-dir FOLDER
python tools/analysis_tools/confusion_matrix.py CONFIG CHECKPOINT --kind panoptic --classes person rider

Writes confusion_<kind>.json (counts of all classes) and confusion_<kind>.png, and prints the most confused pairs.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmseg_oneformer.command_line import Parser, add_checkpoint_arguments, add_common_arguments, cli_errors, loading
from mmseg_oneformer.errors import UserError

KINDS = ('semantic', 'panoptic')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        UserError: Two sources of predictions are given.
    """
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_checkpoint_arguments(parser)
    parser.add_argument(
        '--predictions', metavar='FOLDER', help='predictions written by tools/infer.py, instead of a checkpoint'
    )
    parser.add_argument('--kind', nargs='+', choices=KINDS, default=KINDS, help='(default: both)')
    parser.add_argument('--token', metavar='TASK', help="make the predictions from this task's token")
    parser.add_argument('--out-dir', metavar='FOLDER', help='output folder (default: the work dir)')
    parser.add_argument('--classes', nargs='+', metavar='NAME', help='draw only these, and merge the others into one')
    parser.add_argument(
        '--normalize',
        choices=('truth', 'prediction', 'none'),
        default='truth',
        help='shares shown in the picture (default: truth)',
    )
    parser.add_argument(
        '--color-theme', default='Blues', metavar='NAME', help='colour map of matplotlib (default: Blues)'
    )
    parser.add_argument('--number', type=int, default=10, help='number of printed pairs (default: 10)')
    add_common_arguments(parser)
    args = parser.parse_args(argv)
    if args.predictions and args.checkpoint:
        raise UserError('give either a checkpoint or --predictions, not both.')
    return args


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    import numpy as np
    from mmengine.config import Config
    from mmengine.dist import is_main_process
    from mmengine.evaluator import Evaluator
    from mmengine.registry import DATASETS, init_default_scope
    from tqdm import tqdm

    from mmseg_oneformer.command_line.config import prepare_config
    from mmseg_oneformer.engine.evaluating import load_runner
    from mmseg_oneformer.engine.evaluation_config import for_testing, token_of
    from mmseg_oneformer.evaluation.confusion import keep_classes, most_confused
    from mmseg_oneformer.evaluation.saved_predictions import SavedPredictions
    from mmseg_oneformer.files import check_writable
    from mmseg_oneformer.text_table import format_table
    from mmseg_oneformer.visualization.matrix import save_matrix
    from mmseg_oneformer.zoo.configs import find_config
    from mmseg_oneformer.zoo.weights import resolve_weights
    from mmseg_oneformer.zoo.building import build_part


def count_by_model(cfg: Config, args: argparse.Namespace, metrics: list[dict[str, Any]]) -> None:
    """Predict for the test data and count."""
    weights = resolve_weights(args.checkpoint or find_config(args.config).stem)
    cfg.test_evaluator = metrics
    runner, _ = load_runner(for_testing(cfg, args.kind, args.token or token_of(cfg)), weights)
    runner.test()


def count_saved(cfg: Config, args: argparse.Namespace, metrics: list[dict[str, Any]]) -> None:
    """Read the predictions for the test data from disk and count."""
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    data = cfg.test_dataloader.dataset
    # The photo is not used: only annotations are loaded, at its size.
    steps = [step for step in data.pipeline if step['type'].rpartition('.')[2].startswith(('Load', 'Pack'))]
    dataset = build_part(DATASETS, {**data, 'pipeline': steps})
    predictions = SavedPredictions(args.predictions, dataset.metainfo['classes'])
    evaluator = Evaluator(metrics)
    evaluator.dataset_meta = dataset.metainfo
    for index in tqdm(range(len(dataset)), desc='counting', unit='image'):
        sample = dataset[index]['data_samples']
        predictions.add_to(sample, args.kind)
        evaluator.process([sample.to_dict()])
    evaluator.evaluate(len(dataset))


def describe(content: Mapping[str, Any], number: int) -> str:
    """Return the ``number`` most confused pairs as a table."""
    unit = 'pixels' if content['kind'] == 'semantic' else 'segments'
    pairs = most_confused(np.array(content['matrix']), content['classes'], number)
    rows: list[list[float | str | None]] = [[*names, str(count), 100 * share] for *names, count, share in pairs]
    return format_table([f'{content["kind"]}: annotated', 'predicted', unit, '% of annotated'], rows)


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Count, draw and print."""
    args = parse_args(argv)
    cfg = prepare_config(args)
    folder = Path(args.out_dir or cfg.work_dir)
    check_writable(folder)
    files = {kind: folder / f'confusion_{kind}.json' for kind in args.kind}
    metrics = [{'type': 'ConfusionMatrix', 'kind': kind, 'out': str(path)} for kind, path in files.items()]
    (count_saved if args.predictions else count_by_model)(cfg, args, metrics)
    if not is_main_process():
        return
    for kind, path in files.items():
        content = json.loads(path.read_bytes())
        matrix, names = np.array(content['matrix']), content['classes']
        if args.classes:
            matrix, names = keep_classes(matrix, names, args.classes)
        title = f'{find_config(args.config).stem}: {kind}, {content["num_images"]} images'
        save_matrix(path.with_suffix('.png'), matrix, names, title, args.normalize, args.color_theme)
        print(f'\n{describe(content, args.number)}\n{path}, {path.with_suffix(".png").name}')


if __name__ == '__main__':
    main()
