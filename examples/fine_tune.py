"""Fine-tuning on five classes of your own, from labelme files to pictures.

python examples/fine_tune.py                    # two minutes on two CPU cores
python examples/fine_tune.py --from-scratch     # the same without trained weights, to compare
python examples/fine_tune.py --iterations 40    # a quick look

Shows the whole path: photos and labelme files (drawn here: coins, pencils and leaves on a wooden desk with a cloth) are
converted to panoptic files, ``train`` starts from the shipped weights, which know none of these classes, and PQ, AP and
mIoU are measured after the first iteration and after the last. Predictions for photos that were not trained on are
drawn in the work dir.
"""

import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from mmseg_oneformer import OneFormerInferencer, train
from mmseg_oneformer.command_line import cli_errors
from mmseg_oneformer.engine.training import TrainResult
from mmseg_oneformer.preparation.formats import LabelmeFormat
from mmseg_oneformer.preparation.own_data import write_panoptic

MODEL = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
OPTIONS = {
    'optim_wrapper.optimizer.lr': 5e-4,
    'train_dataloader.batch_size': 8,
    **{f'{split}_dataloader.num_workers': 0 for split in ('train', 'val')},
    **{f'{split}_dataloader.persistent_workers': False for split in ('train', 'val')},
}
"""Such small photos are read faster than worker processes start."""
SIZE = 96
METRICS = ('PQ', 'PQ_th', 'PQ_st', 'AP', 'mIoU')
Point = tuple[float, float]


def texture(rng: np.random.Generator, color: np.ndarray, cell: tuple[int, int]) -> Image.Image:
    """Return a square of one colour whose brightness varies in cells of (height, width) pixels."""
    rows, columns = (-(-SIZE // side) for side in cell)
    light = Image.fromarray(rng.uniform(90, 165, (rows, columns)).astype(np.uint8)).resize(
        (SIZE, SIZE), Image.Resampling.BICUBIC
    )
    return Image.fromarray((np.asarray(light)[..., None] / 128 * np.array(color)).clip(0, 255).astype(np.uint8))


def outline(kind: str, rng: np.random.Generator) -> list[Point]:
    """Return the corners of a thing somewhere on the desk, rotated by any angle."""
    if kind == 'coin':
        radius, angles = rng.uniform(8, 14), np.linspace(0, 2 * np.pi, 24, endpoint=False)
        shape = radius * np.stack([np.cos(angles), np.sin(angles)], 1)
    elif kind == 'pencil':
        length, width = rng.uniform(20, 30), rng.uniform(3, 4)
        shape = np.array([(-length, -width), (length - 8, -width), (length, 0), (length - 8, width), (-length, width)])
    else:
        length, bow = rng.uniform(12, 20), np.linspace(-1, 1, 12)
        edge = np.stack([length * bow, 0.45 * length * (1 - bow**2)], 1)
        shape = np.concatenate([edge, edge[::-1] * (1, -1)])
    turn = rng.uniform(0, 2 * np.pi)
    rotation = np.array([(np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn))])
    return [(float(x), float(y)) for x, y in shape @ rotation + rng.uniform(12, SIZE - 12, 2)]


def area(corners: Sequence[Point]) -> float:
    """Return the area of a polygon in pixels (shoelace formula)."""
    x, y = np.array(corners).T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def draw_desk(rng: np.random.Generator) -> tuple[Image.Image, list[tuple[str, list[Point]]]]:
    """Return a photo (RGB) and its labelled outlines, from the bottom to the top."""
    edge = rng.uniform(25, 70, 2)
    shapes: list[tuple[str, list[Point]]] = [
        ('wood', [(0, 0), (SIZE, 0), (SIZE, SIZE), (0, SIZE)]),
        ('cloth', [(0, float(edge[0])), (SIZE, float(edge[1])), (SIZE, SIZE), (0, SIZE)]),
    ]
    kinds = rng.choice(['coin', 'pencil', 'leaf'], rng.integers(2, 5)).tolist()
    # As in the converter: smaller ones lie on top of larger ones.
    shapes += sorted(((kind, outline(kind, rng)) for kind in kinds), key=lambda shape: -area(shape[1]))
    photo = Image.new('RGB', (SIZE, SIZE))
    for kind, corners in shapes:
        tint = rng.uniform(0.8, 1.2, 3)
        color, cell = {
            'wood': ((150, 100, 60), (4, 60)),
            'cloth': ((70, 90, 150), (3, 3)),
            'coin': ((200, 170, 80), (20, 20)),
            'pencil': (rng.uniform(60, 230, 3), (40, 40)),
            'leaf': ((70, 140, 50), (10, 10)),
        }[kind]
        mask = Image.new('L', (SIZE, SIZE))
        ImageDraw.Draw(mask).polygon(corners, fill=255)
        photo.paste(texture(rng, np.array(color) * tint, cell), mask=mask)
    noise = rng.normal(0, 4, (SIZE, SIZE, 3))
    pixels = (np.asarray(photo.filter(ImageFilter.GaussianBlur(0.6))) + noise).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels), shapes


def write_labelme(folder: Path, split: str, count: int, seed: int) -> None:
    """Draw photos and write them, each with the JSON that labelme would save."""
    photos, labels = folder / 'photos' / split, folder / 'labels' / split
    for path in (photos, labels):
        path.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        photo, shapes = draw_desk(rng)
        photo.save(photos / f'{number:04}.png')
        content = {
            'imagePath': f'{number:04}.png',
            'imageHeight': SIZE,
            'imageWidth': SIZE,
            'shapes': [{'label': label, 'points': points, 'shape_type': 'polygon'} for label, points in shapes],
        }
        (labels / f'{number:04}.json').write_text(json.dumps(content))


def prepare_data(data: Path) -> None:
    """Draw, and convert as ``tools/dataset_converters/to_panoptic.py labelme`` does."""
    for split, count, seed in (('train', 200, 0), ('val', 40, 1)):
        write_labelme(data, split, count, seed)
        photos = data / 'photos' / split
        source = LabelmeFormat(data / 'labels' / split, photos, ['coin', 'pencil', 'leaf'], ['wood', 'cloth'])
        write_panoptic(source, photos, data / 'annotations', split)


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Prepare, train, predict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--iterations', type=int, default=300, help='training iterations (default: %(default)s)')
    parser.add_argument('--from-scratch', action='store_true', help='start from random weights instead')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/fine_tune'))
    args = parser.parse_args(argv)
    data, weights = args.work_dir / 'data', None if args.from_scratch else MODEL
    prepare_data(data)

    def run(folder: str, iterations: int) -> TrainResult:
        options = {**OPTIONS, 'train_cfg.max_iters': iterations, 'train_cfg.val_interval': iterations}
        return train(MODEL, data=data, work_dir=args.work_dir / folder, fine_tune_from=weights, options=options)

    start, end = run('start', 1), run('from_scratch' if args.from_scratch else 'fine_tuned', args.iterations)
    pictures = end.work_dir / 'pictures'
    pictures.mkdir(exist_ok=True)
    infer = OneFormerInferencer(end.config, end.weights)
    for result in infer(sorted((data / 'photos/val').iterdir())[:4], progress=False):
        Image.fromarray(result.plot()).save(pictures / f'{result.source.name}.png')
    for name in METRICS:
        before, after = start.results[name], end.results[name]
        print(f'{name:>6}: {before:5.1f} at the start, {after:5.1f} after {args.iterations} iterations')
    print(f'pictures: {pictures}')


if __name__ == '__main__':
    main()
