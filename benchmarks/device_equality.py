"""Whether a device computes what the CPU does: logits in fp32, and the labels of all predictions in fp32 and bf16.

python -m benchmarks.device_equality --device cuda --out equality.json
python -m benchmarks.device_equality --device cuda --model CONFIG --weights CHECKPOINT --size 256

A trained model predicts drawn pictures on both; random weights would leave the labels to rounding.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmseg_oneformer.apis import OneFormerInferencer, OneFormerResult
from mmseg_oneformer.command_line import Parser, cli_errors
from mmseg_oneformer.datasets.drawing import draw_scene
from mmseg_oneformer.errors import UserError
from mmseg_oneformer.files import write_atomic
from mmseg_oneformer.tasks import TASKS

from .settings import machine

MODEL = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
LOGITS = 1e-3
"""Largest difference of fp32 logits; rounding of the CPU alone makes 4e-5 (against fp64)."""
LABELS = 0.995
"""Least share of pixels with the same label."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cuda', help='to compare with the CPU (default: %(default)s)')
    parser.add_argument('--model', default=MODEL, metavar='NAME_OR_CONFIG', help='(default: %(default)s)')
    parser.add_argument('--weights', metavar='FILE', help='checkpoint (default: those of the model)')
    parser.add_argument('--photos', type=int, default=24, help='pictures to draw (default: %(default)s)')
    parser.add_argument('--size', type=int, default=96, help='their height and width (default: %(default)s)')
    parser.add_argument('--out', metavar='FILE', help='write the numbers as JSON')
    return parser.parse_args(argv)


def predict(infer: OneFormerInferencer, photos: Sequence[np.ndarray]) -> dict[str, Tensor]:
    """Return ``class_logits`` (B, T, N, K+1), ``mask_logits`` (B, T, N, h, w) and labels by task, on the CPU."""
    pixels = [torch.from_numpy(photo).permute(2, 0, 1) for photo in photos]
    with torch.inference_mode():
        images = infer.model.data_preprocessor({'inputs': pixels}, False)['inputs']
        class_logits, mask_logits = infer.model.predict_logits(images, TASKS)
    results = infer(list(photos), progress=False, mask_format='dense', channel_order='bgr')
    return {'class_logits': class_logits.cpu(), 'mask_logits': mask_logits.cpu()} | label_maps(results)


def label_maps(results: Sequence[OneFormerResult]) -> dict[str, Tensor]:
    """Return the label of every pixel (B, H, W) by task; instances lie on each other, the surest on top."""
    maps: dict[str, list[Tensor]] = {task: [] for task in TASKS}
    for sample in (result.sample for result in results):
        maps['semantic'].append(sample.pred_sem_seg.sem_seg[0])
        maps['panoptic'].append(sample.pred_panoptic_seg.sem_seg[0] % 1000)
        instances = sample.pred_instances[sample.pred_instances.scores > 0.5]
        painted = torch.full_like(maps['semantic'][-1], -1)
        for i in instances.scores.argsort():
            painted[instances.masks[i]] = instances.labels[i]
        maps['instance'].append(painted)
    return {task: torch.stack(parts) for task, parts in maps.items()}


def compare(exact: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, float]:
    """Return the largest difference of the logits, and the share of pixels with the same label by task."""
    logits = {name: float((exact[name] - other[name]).abs().max()) for name in ('class_logits', 'mask_logits')}
    return logits | {task: float((exact[task] == other[task]).float().mean()) for task in TASKS}


def failures(found: dict[str, dict[str, float]]) -> list[str]:
    """Return what misses its bound; the logits of half precision have none."""
    # 'not ... <=', so that NaN misses it.
    apart = [f'fp32 {name} by {x:.1e}' for name, x in found['fp32'].items() if name not in TASKS and not x <= LOGITS]
    return apart + [
        f'{dtype} {task} labels on {1 - values[task]:.2%} of the pixels'
        for dtype, values in found.items()
        for task in TASKS
        if not values[task] >= LABELS
    ]


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Compare, print, write.

    Raises:
        UserError: The device computes something else.
    """
    args = parse_args(argv)
    # cuDNN's convolutions round fp32 to 10 bits by default, which would hide an error of that size.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    scenes = [draw_scene(args.size, np.random.default_rng(seed)).image for seed in range(args.photos)]
    photos = [np.ascontiguousarray(image[..., ::-1]) for image in scenes]

    def on(device: str, dtype: str) -> dict[str, Tensor]:
        return predict(OneFormerInferencer(args.model, args.weights, device, dtype=dtype), photos)

    exact = on('cpu', 'fp32')
    found = {dtype: compare(exact, on(args.device, dtype)) for dtype in ('fp32', 'bf16')}
    for dtype, values in found.items():
        print(f'{args.device} in {dtype} against the CPU:', ', '.join(f'{k} {v:.5g}' for k, v in values.items()))
    if args.out is not None:
        content: dict[str, Any] = {'machine': machine(args.device), 'torch': torch.__version__, **found}
        write_atomic(args.out, json.dumps(content, indent=1) + '\n')
    if missed := failures(found):
        raise UserError(f'{args.device} does not compute what the CPU does: {", ".join(missed)} differ.')


if __name__ == '__main__':
    main()
