"""Draw the attention of queries: masked attention of the decoder, and the sampling points of the pixel decoder.

python tools/analysis_tools/attention.py PHOTO --model NAME_OR_CONFIG --out-dir attention
python tools/analysis_tools/attention.py PHOTO --model NAME --at 40 60          # the query of the segment at this pixel
python tools/analysis_tools/attention.py PHOTO --model NAME --queries 3 17      # by number

PHOTO_masked.png has a row per query and a column per layer of the decoder; PHOTO_points.png has a row per query, for a
place inside its mask, and a column per layer of the pixel decoder. Without --at and --queries it shows the queries of
the panoptic segments, the largest first.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mmseg_oneformer.command_line import TASKS, Parser, add_options_argument, cli_errors, loading
from mmseg_oneformer.errors import UserError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('photo', metavar='PHOTO', help='a photo')
    parser.add_argument('--model', required=True, metavar='NAME_OR_CONFIG', help='name of a model, or a config file')
    parser.add_argument('--weights', metavar='FILE', help='a checkpoint (default: that of the model)')
    parser.add_argument('--token', choices=TASKS, default='panoptic', help='task token (default: %(default)s)')
    which = parser.add_mutually_exclusive_group()
    which.add_argument('--queries', nargs='+', type=int, metavar='N', help='queries by number')
    which.add_argument('--at', nargs=2, type=int, metavar=('X', 'Y'), help='the query of the segment at this pixel')
    parser.add_argument('--device', help='such as cpu or cuda:1 (default: a GPU if there is one)')
    parser.add_argument(
        '--height', type=int, default=240, help='height of each picture in pixels (default: %(default)s)'
    )
    parser.add_argument('--out-dir', default='work_dirs/attention', help='folder of the PNGs (default: %(default)s)')
    add_options_argument(parser)
    return parser.parse_args(argv)


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    import numpy as np
    import torch
    from PIL import Image

    from mmseg_oneformer.analysis.attention import RecordedAttention, query_at, segment_queries, watched
    from mmseg_oneformer.apis import OneFormerInferencer, PhotoLogits
    from mmseg_oneformer.photos.decoding import read_photo
    from mmseg_oneformer.files import atomic_path
    from mmseg_oneformer.models.mask_resize import resize_masks
    from mmseg_oneformer.visualization.overlay import Segment, draw_segments
    from mmseg_oneformer.visualization.panel import grid
    from mmseg_oneformer.visualization.attention_maps import draw_heat, draw_points
    from mmseg_oneformer.visualization.samples import display_names
    from mmseg_oneformer.visualization.text import widest_place

MOST = 8
"""Segments that are drawn unless queries are chosen."""


class Chosen(NamedTuple):
    """A query to draw."""

    query: int
    mask: np.ndarray
    """(H, W) bool."""
    label: int
    score: float
    place: tuple[int, int]
    """(x, y) in pixels of the photo: where its points are drawn."""


def choose(photo: PhotoLogits, args: argparse.Namespace) -> list[Chosen]:
    """Return the requested queries.

    Raises:
        UserError: There is no such query, the pixel is outside the photo, or no segment was found.
    """
    count = len(photo.class_logits[args.token])
    if args.queries is not None:
        if not all(0 <= query < count for query in args.queries):
            raise UserError(f'--queries are 0 to {count - 1} for this model, not {" ".join(map(str, args.queries))}.')
        return [describe(photo, args.token, query, None) for query in args.queries]
    if args.at is not None:
        return [describe(photo, args.token, query_at(photo, args.token, *args.at), tuple(args.at))]
    prediction = photo.predict('panoptic', args.token)
    assert prediction.panoptic is not None
    found = segment_queries(photo, prediction, args.token)
    if not found:
        raise UserError('The model found no segment in this photo; choose queries with --queries or --at.')
    chosen = [describe(photo, args.token, query, None) for query in found.values()]
    return sorted(chosen, key=lambda one: -int(one.mask.sum()))


@torch.inference_mode()
def describe(photo: PhotoLogits, token: str, query: int, place: tuple[int, int] | None) -> Chosen:
    """Return what is drawn of a query; its place, unless given, is where its mask has the most room."""
    score, label = photo.class_logits[token][query].softmax(-1)[:-1].max(-1)
    (logits,) = resize_masks(photo.mask_logits[token][query : query + 1].float(), photo.size).cpu().numpy()
    mask = logits >= 0
    if place is None:
        # A query with an empty mask has its place at its largest logit.
        x, y, _ = widest_place(mask, 1.0) if mask.any() else (*np.unravel_index(logits.argmax(), logits.shape)[::-1], 0)
        place = (min(int(x), mask.shape[1] - 1), min(int(y), mask.shape[0] - 1))
    return Chosen(query, mask, int(label), float(score), place)


def draw_pages(
    photo: PhotoLogits,
    recorded: RecordedAttention,
    chosen: Sequence[Chosen],
    infer: OneFormerInferencer,
    token: str,
    height: int,
) -> Mapping[str, np.ndarray]:
    """Return the two pages, (H, W, 3) uint8 RGB."""
    image, size = np.ascontiguousarray(photo.image[:, :, ::-1]), photo.size
    covered = size.image[0] / size.padded[0], size.image[1] / size.padded[1]
    names = display_names(infer.dataset_meta['classes'])
    masked: dict[str, dict[str, np.ndarray]] = {}
    points: dict[str, dict[str, np.ndarray]] = {}
    for one in chosen:
        is_token = one.query == len(photo.class_logits[token]) - 1  # the head puts it last
        title = f'query {one.query}{" (token)" if is_token else ""}'
        text = f'{names[one.label]} {one.score:.0%}'
        segment = draw_segments(image, [Segment(one.mask, text, infer.colors[one.label], True)])
        masked[title], points[title] = {'its mask': segment}, {'its mask': segment}
        for number, layer in enumerate(recorded.decoder, start=1):
            weights, allowed = layer.weights([one.query]).mean(0)[0], layer.allowed([one.query])[0]
            stride = round(size.padded[0] / layer.shape[0])
            heat = draw_heat(image, weights.cpu().numpy(), allowed.cpu().numpy(), covered)
            masked[title][f'layer {number}, stride {stride}'] = heat
        x, y = ((pixel + 0.5) / total for pixel, total in zip(one.place, size.original[::-1]))
        for number, sampled in enumerate(recorded.pixel_decoder, start=1):
            position = sampled.token(len(sampled.shapes) - 1, x * covered[1], y * covered[0])
            locations, weights = sampled.points([position])
            pixels = locations[0].cpu().numpy() / covered[::-1] * size.original[::-1]
            strides = [f'1/{round(size.padded[0] / shape[0])}' for shape in sampled.shapes]
            picture = draw_points(image, (one.place[0], one.place[1]), pixels, weights[0].cpu().numpy(), strides)
            points[title][f'layer {number}'] = picture
    return {'masked': grid(masked, height), 'points': grid(points, height)}


@cli_errors
@torch.inference_mode()
def main(argv: Sequence[str] | None = None) -> None:
    """Draw the two pages."""
    args = parse_args(argv)
    image = read_photo(args.photo)
    infer = OneFormerInferencer(args.model, args.weights, args.device, args.cfg_options, dtype='fp32')
    with watched(infer.model) as recorded:
        (photo,) = infer.logits([infer.prepare(image)], [args.token])
    chosen = choose(photo, args)
    for kind, page in draw_pages(photo, recorded, chosen[:MOST], infer, args.token, args.height).items():
        path = Path(args.out_dir) / f'{Path(args.photo).stem}_{kind}.png'
        with atomic_path(path) as temporary:
            Image.fromarray(page).save(temporary)
        print(path)
    if len(chosen) > MOST:
        print(f'{MOST} of {len(chosen)} segments are drawn; choose others with --at or --queries.')


if __name__ == '__main__':
    main()
