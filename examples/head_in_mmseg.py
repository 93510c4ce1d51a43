"""OneFormer's head in a config of mmseg.

python examples/head_in_mmseg.py                  # trains the head from scratch: mIoU before and after
python examples/head_in_mmseg.py --from-oneformer # starts from a trained OneFormer: mIoU without further training

Shows: `OneFormerDecodeHead` works in mmseg's `EncoderDecoder` like any of its own heads, with mmseg's data sets,
transforms, loop and metric: configs/encoder-decoder_oneformer-head_shapes.py, beside this file. Its parts are named as
in OneFormer, so `init_cfg` with a prefix fills backbone and head from any OneFormer.
"""

import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from PIL import Image

from mmseg_oneformer.datasets.shapes import write_shapes
from mmseg_oneformer.command_line import cli_errors

CONFIG = Path(__file__).parent / 'configs/encoder-decoder_oneformer-head_shapes.py'
ONEFORMER = 'oneformer://oneformer_r18-narrow_1xb16-6k_shapes-96x96'


def write_label_maps(root: Path, split: str) -> None:
    """Turn the panoptic PNGs of drawn pictures into mmseg's label maps: each pixel has the number of its class."""
    content = json.loads((root / f'annotations/panoptic_{split}.json').read_bytes())
    numbers = {category['id']: number for number, category in enumerate(content['categories'])}
    out = root / f'labels/{split}'
    out.mkdir(parents=True, exist_ok=True)
    for annotation in content['annotations']:
        rgb = np.asarray(Image.open(root / f'annotations/panoptic_{split}' / annotation['file_name']), np.int32)
        ids = rgb @ (1, 256, 65536)
        labels = np.full(ids.shape, 255, np.uint8)
        for segment in annotation['segments_info']:
            labels[ids == segment['id']] = numbers[segment['category_id']]
        Image.fromarray(labels).save(out / annotation['file_name'])


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Draw, evaluate, train, evaluate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--from-oneformer', action='store_true', help='start from trained weights, without training')
    parser.add_argument('--iterations', type=int, default=200, help='training iterations (default: %(default)s)')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/head_in_mmseg'))
    args = parser.parse_args(argv)
    data = args.work_dir / 'data'
    write_shapes(data, train=64, val=16)
    for split in ('train', 'val'):
        write_label_maps(data, split)

    cfg = Config.fromfile(CONFIG)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(data)
    cfg.work_dir = str(args.work_dir / 'run')
    cfg.train_cfg.update(max_iters=args.iterations, val_interval=args.iterations)
    cfg.default_hooks.checkpoint.interval = args.iterations
    if args.from_oneformer:
        for part, prefix in ((cfg.model.backbone, 'backbone.'), (cfg.model.decode_head.head, 'head.')):
            part.init_cfg = {'type': 'Pretrained', 'checkpoint': ONEFORMER, 'prefix': prefix}
    runner = Runner.from_cfg(cfg)
    runner.model.init_weights()
    before = runner.test()['mIoU']
    if args.from_oneformer:
        print(f'mIoU of the OneFormer in EncoderDecoder: {before:.1f}')
        return
    runner.train()
    after = runner.test()['mIoU']
    losses = MessageHub.get_current_instance().get_scalar('train/loss').data[0]
    count = max(1, len(losses) // 10)
    print(
        f'loss: {losses[:count].mean():.1f} in the first {count} iterations, {losses[-count:].mean():.1f} in the last'
    )
    print(f'mIoU: {before:.1f} before, {after:.1f} after {args.iterations} iterations')


if __name__ == '__main__':
    main()
