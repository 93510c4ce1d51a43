"""Draw the pictures of docs/three_tasks.md: predictions, what single queries see, and each prediction under each token.

python docs/draw_three_tasks.py data/shapes/val/000001.jpg --out work_dirs/three_tasks
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mmseg_oneformer.apis import OneFormerInferencer, OneFormerResult, PhotoLogits
from mmseg_oneformer.command_line import cli_errors
from mmseg_oneformer.models.postprocess import resize_masks
from mmseg_oneformer.tasks import TASKS
from mmseg_oneformer.visualization.overlay import enlarge
from mmseg_oneformer.visualization.panel import panel
from mmseg_oneformer.visualization.samples import draw_tokens

MODEL = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
HEIGHT = 200
BEST = 5
"""Queries drawn under each token."""


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('photo')
    parser.add_argument('--model', default=MODEL, help='name of a model or config (default: the shipped one)')
    parser.add_argument('--weights', help="a checkpoint; by default those of the model's name")
    parser.add_argument('--out', default='work_dirs/three_tasks', help='folder for the pictures (default: %(default)s)')
    return parser.parse_args(argv)


def queries_under(photo: PhotoLogits, token: str) -> np.ndarray:
    """Put a token's prediction, and the queries that are surest of a class under it, in a row.

    Returns:
        (H, W, 3) uint8 RGB. A query's picture is the photo as bright as its mask is probable.
    """
    result, rgb = photo.predict(token), cv2.cvtColor(photo.image, cv2.COLOR_BGR2RGB)
    probabilities = photo.class_logits[token].softmax(-1)[:, :-1]
    scores, labels = probabilities.max(-1)
    pictures = {f'{token} token': result.plot(token)}
    for query in scores.argsort(descending=True)[:BEST].tolist():
        mask = resize_masks(photo.mask_logits[token][[query]], photo.size).sigmoid().numpy()[0, ..., None]
        title = f'query {query}: {result.classes[labels[query]]} {scores[query]:.2f}'
        pictures[title] = enlarge((rgb * (0.15 + 0.85 * mask)).astype(np.uint8))[0]
    return panel(pictures, height=HEIGHT)


def tokens_page(photo: PhotoLogits) -> np.ndarray:
    """Draw each prediction under each token, (H, W, 3) uint8 RGB."""
    results = {token: photo.predict(token=token) for token in TASKS}
    rgb = cv2.cvtColor(photo.image, cv2.COLOR_BGR2RGB)
    samples = {token: result.sample for token, result in results.items()}
    return draw_tokens(rgb, samples, photo.dataset_meta, height=HEIGHT)


def predictions_page(result: OneFormerResult) -> np.ndarray:
    """Put photo and predictions in a row, (H, W, 3) uint8 RGB."""
    pictures = {'photo': enlarge(cv2.cvtColor(result.image, cv2.COLOR_BGR2RGB))[0]}
    return panel(pictures | {task: result.plot(task) for task in TASKS}, height=HEIGHT)


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Draw the pictures of a photo."""
    args = parse_args(argv)
    infer = OneFormerInferencer(args.model, args.weights)
    image = cv2.imread(args.photo)
    if image is None:
        raise ValueError(f'Image {args.photo} cannot be read; give the path of a photo.')
    (photo,) = infer.logits([infer.prepare(image)])
    pages = {
        'predictions': predictions_page(photo.predict()),
        'queries': np.vstack([queries_under(photo, token) for token in TASKS]),
        'tokens': tokens_page(photo),
    }
    Path(args.out).mkdir(parents=True, exist_ok=True)
    for name, page in pages.items():
        cv2.imwrite(f'{args.out}/{name}.jpg', cv2.cvtColor(page, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    print(f'{", ".join(pages)}: {args.out}')


if __name__ == '__main__':
    main()
