"""Draw the input of the network for each sample, and the targets and texts of every task that it supports.

python tools/analysis_tools/browse_dataset.py CONFIG --output-dir work_dirs/browse --num 8
"""

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mmseg_oneformer.command_line import Parser, add_options_argument, cli_errors, loading
from mmseg_oneformer.errors import UserError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        UserError: A number is invalid.
    """
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, or the name of a model')
    parser.add_argument(
        '--output-dir', default='work_dirs/browse', help='folder for the pictures (default: %(default)s)'
    )
    parser.add_argument('--num', type=int, default=8, help='samples to draw (default: %(default)s)')
    parser.add_argument(
        '--pass', dest='pass_number', type=int, default=0, help='number of the pass, which sets the augmentation'
    )
    add_options_argument(parser)
    args = parser.parse_args(argv)
    if args.num < 1:
        raise UserError(f'--num is {args.num}; give 1 or more.')
    return args


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    import numpy as np
    from mmdet.structures import DetDataSample
    from mmengine.config import Config
    from mmengine.registry import DATASETS, init_default_scope
    from PIL import Image, ImageDraw
    from tqdm import tqdm

    from mmseg_oneformer.datasets.mixed import MixedDataset
    from mmseg_oneformer.datasets.transforms.targets import target_masks
    from mmseg_oneformer.datasets.base import SegmentationDataset
    from mmseg_oneformer.files import atomic_path
    from mmseg_oneformer.tasks import TASKS
    from mmseg_oneformer.visualization.overlay import Segment, draw_segments, enlarge
    from mmseg_oneformer.visualization.colors import class_colors, instance_color
    from mmseg_oneformer.visualization.panel import panel
    from mmseg_oneformer.visualization.text import font
    from mmseg_oneformer.zoo.configs import read_config
    from mmseg_oneformer.zoo.building import build_part

LINE = 24
"""Height of a line of text in pixels."""


def datasets_by_task(cfg: Config) -> dict[str, SegmentationDataset | MixedDataset]:
    """The training data of ``cfg`` three times, each with a single task, whether it is supported or not.

    Raises:
        UserError: If the data set has no pipeline that draws tasks.
    """
    data = cfg.train_dataloader.dataset
    nodes = [data, *data.get('sources', ())]
    if not any(step['type'] == 'SampleTask' for node in nodes for step in node.get('pipeline', ())):
        raise UserError(
            'train_dataloader.dataset has no SampleTask in its pipeline; give a config that trains OneFormer.'
        )
    return {task: build_part(DATASETS, with_task(data, task)) for task in TASKS}


def with_task(data: Mapping[str, Any], task: str) -> dict[str, Any]:
    """The config of a data set, including its sources, with ``task`` in place of ``SampleTask``."""
    changed = dict(data)
    if 'pipeline' in data:
        given = partial(set_task, task=task)
        changed['pipeline'] = [given if step['type'] == 'SampleTask' else step for step in data['pipeline']]
    if 'sources' in data:
        changed['sources'] = [with_task(source, task) for source in data['sources']]
    return changed


def set_task(results: dict, task: str) -> dict:
    """Stand in for ``SampleTask``."""
    return {**results, 'task': task}


def draw_targets(image: np.ndarray, sample: DetDataSample, meta: Mapping[str, Any]) -> np.ndarray:
    """The targets over ``image`` (h, w, 3) uint8 RGB; other pixels stay as they are."""
    labels = sample.gt_instances.labels.tolist()
    masks = target_masks(sample.gt_targets.index_map, len(labels)).numpy()
    colors = class_colors(len(meta['classes']), meta.get('palette'))
    segments = []
    for place, (label, mask) in enumerate(zip(labels, masks)):
        color = instance_color(colors[label], labels[:place].count(label))
        segments.append(Segment(mask, meta['classes'][label], color, label in meta['thing_ids']))
    return draw_segments(image, segments)


def text_lines(sample: DetDataSample) -> list[str]:
    """The prompt of the task token, and the text list with counts in place of repeats, if the sample has one."""
    lines = [f'token: "the task is {sample.task}"']
    if 'texts' in sample:
        lines += [f'{count} x "{text}"' for text, count in zip(sample.texts, sample.text_counts)]
        lines.append(f'then "{sample.filler}"')
    return lines


def input_lines(sample: DetDataSample, image: np.ndarray) -> list[str]:
    """The name of the photo, and the sizes before and after the augmentation."""
    sizes = [f'{width} x {height}' for height, width in (sample.get('ori_shape', image.shape)[:2], image.shape[:2])]
    return [Path(sample.img_path).name, f'{sizes[0]} pixels, fed as {sizes[1]}']


def with_lines(picture: np.ndarray, lines: Sequence[str], room: int) -> np.ndarray:
    """``picture`` (h, w, 3) uint8 RGB with ``lines`` below it, in a strip for ``room`` lines."""
    strip = Image.new('RGB', (picture.shape[1], room * LINE + 8), 'white')
    pen = ImageDraw.Draw(strip)
    for number, line in enumerate(lines):
        pen.text((6, 4 + number * LINE), line, fill=(28, 32, 40), font=font(LINE - 8))
    return np.concatenate([picture, np.asarray(strip)])


def draw_page(samples: Mapping[str, Mapping[str, Any]], meta: Mapping[str, Any]) -> np.ndarray:
    """Input and targets of one image under each task, side by side.

    Args:
        samples: What the pipeline returned, by task: the same augmentation, three tasks.
        meta: Of the data set.
    """
    image = np.ascontiguousarray(next(iter(samples.values()))['inputs'].numpy()[::-1].transpose(1, 2, 0))
    lines = {task: text_lines(sample['data_samples']) for task, sample in samples.items()}
    facts = input_lines(next(iter(samples.values()))['data_samples'], image)
    room = max(map(len, (facts, *lines.values())))
    pictures = {'input': with_lines(enlarge(image)[0], facts, room)}
    for task, sample in samples.items():
        pictures[task] = with_lines(draw_targets(image, sample['data_samples'], meta), lines[task], room)
    return panel(pictures)


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Draw the first samples of a pass."""
    args = parse_args(argv)
    cfg = read_config(args.config, args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    built = datasets_by_task(cfg)
    first = built[TASKS[0]]
    out = Path(args.output_dir)
    out.mkdir(parents=True, exist_ok=True)
    count = min(args.num, len(first))
    # The samples of a mix are listed source by source: take some of each.
    step = len(first) / count if isinstance(first, MixedDataset) else 1
    drawn: set[str] = set()
    for number in tqdm(range(count), desc='drawing', unit='sample'):
        key = args.pass_number, int(number * step)
        samples = {task: built[task][key] for task in first.tasks_of(key)}
        stem = Path(next(iter(samples.values()))['data_samples'].img_path).stem
        stem = f'{stem}_{key[1]}' if stem in drawn else stem  # Two sources may have photos of the same name.
        drawn.add(stem)
        with atomic_path(out / f'{stem}.png') as path:
            Image.fromarray(draw_page(samples, first.metainfo)).save(path)
    print(f'{out}: {count} pictures')


if __name__ == '__main__':
    main()
