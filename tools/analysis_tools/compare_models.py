"""Put two models side by side on the same photos, with boxes where their predictions differ (paper, Figure 5).

python tools/analysis_tools/compare_models.py FIRST SECOND --photos PHOTO FOLDER --out-dir compared
python tools/analysis_tools/compare_models.py FIRST SECOND --data CONFIG --num 100 --out-dir compared
python tools/analysis_tools/compare_models.py CONFIG CONFIG --weights old.pth new.pth --data CONFIG --out-dir compared

FIRST and SECOND are names of models or config files with the same classes. --data uses the test data of a config, whose
annotation is shown in another column. The tool writes index.html, with the most different photos first, its pictures,
and comparison.json.
"""

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mmseg_oneformer.command_line import Parser, add_options_argument, add_tasks_argument, cli_errors, loading
from mmseg_oneformer.errors import UserError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('models', nargs=2, metavar='MODEL', help='FIRST and SECOND: names of models, or config files')
    parser.add_argument('--weights', nargs=2, metavar='FILE', help='checkpoints of both (default: those of the models)')
    parser.add_argument(
        '--names', nargs=2, metavar='TEXT', help='titles of the columns (default: what distinguishes the two)'
    )
    photos = parser.add_mutually_exclusive_group(required=True)
    photos.add_argument('--photos', nargs='+', metavar='INPUT', help='photos and folders of photos')
    photos.add_argument('--data', metavar='CONFIG', help='test data of this config, with annotations')
    add_tasks_argument(parser)
    parser.add_argument('--num', type=int, metavar='N', help='the first N photos of --data (default: all)')
    parser.add_argument('--shown', type=int, default=30, metavar='N', help='photos on the page (default: %(default)s)')
    parser.add_argument('--score-thr', type=float, default=0.5, help='minimum score of instances (%(default)s)')
    parser.add_argument('--device', help='such as cpu or cuda:1 (default: a GPU if there is one)')
    parser.add_argument('--out-dir', default='work_dirs/compared', help='folder of the page (default: %(default)s)')
    add_options_argument(parser, 'override --data')
    return parser.parse_args(argv)


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from mmengine.registry import DATASETS, init_default_scope
    from mmengine.structures import BaseDataElement
    from tqdm import tqdm

    from mmseg_oneformer.analysis.comparison import Gallery, compare_photo, describe_quality, draw_compared
    from mmseg_oneformer.apis import OneFormerInferencer, OneFormerResult
    from mmseg_oneformer.files import check_writable
    from mmseg_oneformer.text_table import format_table
    from mmseg_oneformer.zoo.configs import find_config, read_config
    from mmseg_oneformer.zoo.building import build_part


def column_names(args: argparse.Namespace) -> tuple[str, str]:
    """Return two names that differ: those given, of the models, of the weights, or numbered ones."""
    choices = [args.names, [find_config(model).stem for model in args.models]]
    choices.append(args.weights and [Path(path).stem for path in args.weights])
    for names in choices:
        if names and names[0] != names[1]:
            return names[0], names[1]
    return f'{choices[1][0]} 1', f'{choices[1][0]} 2'


def load_models(args: argparse.Namespace) -> list[OneFormerInferencer]:
    """Load both.

    Raises:
        UserError: Their classes differ.
    """
    pairs = zip(args.models, args.weights or (None, None))
    models = [OneFormerInferencer(model, weights, args.device) for model, weights in pairs]
    first, second = (model.dataset_meta['classes'] for model in models)
    if first != second:
        raise UserError(
            f'{args.models[0]} has {len(first)} classes and {args.models[1]} {len(second)}, or their names differ; '
            'give two models of the same classes.'
        )
    return models


def predicted(
    models: Sequence[OneFormerInferencer], args: argparse.Namespace
) -> Iterator[tuple[list[OneFormerResult], BaseDataElement | None]]:
    """Yield both models' predictions for each photo, and the annotation if there is one.

    Raises:
        UserError: ``--num`` is not a number of photos.
    """
    if args.data is None:
        streams = [model.stream(args.photos, args.tasks, progress=False) for model in models]
        for predictions in zip(*streams):
            yield list(predictions), None
        return
    cfg = read_config(args.data, args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    data: Any = build_part(DATASETS, cfg.test_dataloader.dataset)
    if args.num is not None and args.num < 1:
        raise UserError(f'--num is {args.num}; give 1 or more, or leave it out for all photos.')
    for index in range(min(len(data), args.num or len(data))):
        truth = data[index]['data_samples']
        yield [model(truth.img_path, args.tasks, progress=False) for model in models], truth


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Compare."""
    args = parse_args(argv)
    check_writable(args.out_dir)
    names, models = column_names(args), load_models(args)
    gallery = Gallery(names, args.shown)
    for predictions, truth in tqdm(predicted(models, args), desc='comparing', unit='photo'):
        compared = compare_photo(predictions, args.tasks, truth, args.score_thr)
        draw = partial(draw_compared, predictions, names, truth=truth, score_thr=args.score_thr)
        gallery.add(predictions[0].source.file_name, compared, draw)
    page, summary = gallery.write(Path(args.out_dir)), gallery.summary()
    rows = [
        (task, f'{one["share"]:.1%}', *(describe_quality(task, value) for value in one['qualities'] or (None, None)))
        for task, one in summary['tasks'].items()
    ]
    print(format_table(('', 'pixels that differ', *names), rows))
    print(f'{page}: {summary["num_photos"]} photos, the most different first')


if __name__ == '__main__':
    main()
