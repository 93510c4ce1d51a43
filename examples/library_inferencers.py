"""mmdet's DetInferencer and mmseg's MMSegInferencer with a OneFormer.

python examples/library_inferencers.py                       # on drawn pictures, with the shipped model
python examples/library_inferencers.py PHOTO FOLDER --model oneformer_swin-t_8xb2-160k_ade20k-512x512

Shows: both take our models by name (or config and weights by path), run batches, and write pictures and predictions as
for their own models. mmdet's gives boxes, masks and the panoptic PNG, mmseg's the label map.
"""

import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmdet.apis import DetInferencer
from mmseg.apis import MMSegInferencer

from mmseg_oneformer.datasets.shapes import write_shapes
from mmseg_oneformer.command_line import cli_errors

MODEL = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Predict for photos with both, and print what they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('photos', nargs='*', type=Path, help='photos or folders (default: four drawn pictures)')
    parser.add_argument('--model', default=MODEL, help='name of a model (default: %(default)s)')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/library_inferencers'))
    args = parser.parse_args(argv)
    if not args.photos:
        write_shapes(args.work_dir / 'shapes', train=1, val=4)
        args.photos = [args.work_dir / 'shapes/val']
    photos = [path for given in args.photos for path in (sorted(given.iterdir()) if given.is_dir() else [given])]
    paths = [str(path) for path in photos]

    detector = DetInferencer(args.model, show_progress=False)
    classes = detector.model.dataset_meta['classes']
    found = detector(paths, batch_size=2, out_dir=str(args.work_dir / 'mmdet'), no_save_pred=False)['predictions']
    for photo, prediction in zip(photos, found, strict=True):
        sure = [
            classes[label]
            for label, score in zip(prediction['labels'], prediction['scores'], strict=True)
            if score > 0.5
        ]
        print(f'{photo.name}: {", ".join(sure) or "nothing"}; panoptic map {prediction["panoptic_seg_path"]}')

    segmentor = MMSegInferencer(args.model)
    maps = segmentor(paths, batch_size=2, out_dir=str(args.work_dir / 'mmseg'))['predictions']
    for photo, labels in zip(photos, maps if len(photos) > 1 else [maps], strict=True):
        shares = np.bincount(labels.ravel(), minlength=len(classes)) / labels.size
        largest = ', '.join(f'{classes[k]} {shares[k]:.0%}' for k in shares.argsort()[::-1][:3] if shares[k])
        print(f'{photo.name}: {largest}')


if __name__ == '__main__':
    main()
