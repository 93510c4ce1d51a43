"""Draw every prediction under every task token: the effect of the token (paper, Table 8 and Figure II).

python tools/analysis_tools/token_swap.py PHOTO --model NAME_OR_CONFIG --out-dir tokens

Rows are tokens, columns are predictions; the diagonal is what the model is trained for. Backbone and pixel decoder run
once per photo. For metrics under each token, use tools/test.py CONFIG CHECKPOINT --token-matrix.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmseg_oneformer.command_line import Parser, add_options_argument, cli_errors, loading
from mmseg_oneformer.errors import UserError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('photos', nargs='+', metavar='PHOTO', help='photos')
    parser.add_argument('--model', required=True, metavar='NAME_OR_CONFIG', help='name of a model, or a config file')
    parser.add_argument('--weights', metavar='FILE', help='a checkpoint (default: that of the model)')
    parser.add_argument('--device', help='such as cpu or cuda:1 (default: a GPU if there is one)')
    parser.add_argument(
        '--score-thr', type=float, default=0.5, help='minimum score of instances (default: %(default)s)'
    )
    parser.add_argument(
        '--height', type=int, default=360, help='height of each picture in pixels (default: %(default)s)'
    )
    parser.add_argument('--out-dir', default='work_dirs/tokens', help='folder of the PNGs (default: %(default)s)')
    add_options_argument(parser)
    return parser.parse_args(argv)


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from PIL import Image

    from mmseg_oneformer.apis import OneFormerInferencer, OneFormerResult
    from mmseg_oneformer.photos.decoding import read_photo
    from mmseg_oneformer.files import atomic_path
    from mmseg_oneformer.tasks import TASKS
    from mmseg_oneformer.text_table import format_table
    from mmseg_oneformer.visualization.samples import draw_tokens

HEADER = ('token', 'semantic', 'instances', 'panoptic')


def describe(prediction: OneFormerResult, score_thr: float) -> tuple[str, str, str]:
    """Return the three predictions in numbers."""
    assert prediction.semantic is not None and prediction.instances is not None and prediction.panoptic is not None
    things = sum(segment.is_thing for segment in prediction.panoptic.segments)
    return (
        f'{len(set(prediction.semantic.ravel().tolist()))} classes',
        f'{int((prediction.instances.scores >= score_thr).sum())}',
        f'{things} things, {len(prediction.panoptic.segments) - things} stuff',
    )


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Draw a page for each photo."""
    args = parse_args(argv)
    photos = {Path(path).stem: read_photo(path) for path in args.photos}
    if len(photos) < len(args.photos):
        raise UserError('Two photos have the same name, and so would their pictures; rename one.')
    infer = OneFormerInferencer(args.model, args.weights, args.device, args.cfg_options)
    for name, photo in photos.items():
        (logits,) = infer.logits([infer.prepare(photo)])
        predictions = {token: logits.predict(TASKS, token) for token in TASKS}
        samples = {token: prediction.sample for token, prediction in predictions.items()}
        page = draw_tokens(photo[:, :, ::-1].copy(), samples, infer.dataset_meta, args.score_thr, args.height)
        path = Path(args.out_dir) / f'{name}.png'
        with atomic_path(path) as temporary:
            Image.fromarray(page).save(temporary)
        rows = [(token, *describe(prediction, args.score_thr)) for token, prediction in predictions.items()]
        print(f'{path}\n{format_table(HEADER, rows)}')


if __name__ == '__main__':
    main()
