"""Another OpenMMLab backbone in OneFormer.

python examples/other_backbone.py mit            # mmseg's Mix Vision Transformer (SegFormer)
python examples/other_backbone.py pvt            # mmdet's Pyramid Vision Transformer
python examples/other_backbone.py regnet         # mmdet's RegNet
python examples/other_backbone.py timm           # any network of timm: here a MobileNetV4

Shows: a backbone is one entry of the config, and its widths are another. Any module that turns images (B, 3, H, W) into
four levels (B, C_i, H/s, W/s), s = 4, 8, 16, 32, will do. The script builds it, reads the widths off a forward pass,
trains the small OneFormer of the quick start with it on 16 drawn pictures, and prints how the loss fell.
"""

import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner

from mmseg_oneformer.zoo.configs import find_config
from mmseg_oneformer.datasets.shapes import write_shapes
from mmseg_oneformer.command_line import cli_errors
from mmseg_oneformer.errors import UserError

BASE = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
STRIDES = (4, 8, 16, 32)

# As in any config of OpenMMLab, the library's name precedes its class. `mmpretrain.` works likewise, if installed.
BACKBONES = {
    'mit': {
        'type': 'mmseg.MixVisionTransformer',
        'embed_dims': 32,
        'num_layers': [1, 1, 1, 1],
        'num_heads': [1, 2, 4, 8],
    },
    'pvt': {
        'type': 'mmdet.PyramidVisionTransformerV2',
        'embed_dims': 32,
        'num_layers': [1, 1, 1, 1],
    },
    'regnet': {
        'type': 'mmdet.RegNet',
        'arch': 'regnetx_400mf',
        'out_indices': (0, 1, 2, 3),
        'norm_cfg': {'type': 'BN'},
        'norm_eval': False,
    },
    'timm': {
        'type': 'mmseg.TIMMBackbone',
        'model_name': 'mobilenetv4_conv_small_050',
        'out_indices': (1, 2, 3, 4),  # timm's first level has stride 2
        'pretrained': False,  # True downloads timm's weights
    },
}


def widths(backbone: dict) -> list[int]:
    """Return the channels of each level, after checking the levels' strides."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        module = MODELS.build(backbone)
    module.eval()  # On a line of its own, since mmdet's ResNets return None.
    levels = module(torch.zeros(1, 3, 64, 64))
    sizes = [tuple(level.shape[2:]) for level in levels]
    if sizes != [(64 // stride, 64 // stride) for stride in STRIDES]:
        raise UserError(
            f'{backbone["type"]} gives maps of {sizes} for 64 x 64 pixels; four levels (B, C, H/s, W/s) with s = 4, 8, '
            '16, 32 are needed: choose out_indices, or permute (B, H, W, C).'
        )
    return [level.shape[1] for level in levels]


def with_backbone(backbone: dict, data: Path, iterations: int) -> Config:
    """Return the quick start's config with another backbone, for a short training on 16 pictures."""
    cfg = Config.fromfile(find_config(BASE))
    cfg.model.backbone = backbone
    cfg.model.head.pixel_decoder.in_channels = widths(backbone)
    # The rest only shortens the run.
    cfg.train_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset.data_root = f'{data}/'
    cfg.train_cfg.max_iters = iterations
    cfg.param_scheduler = None
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.default_hooks.logger.interval = max(1, iterations // 5)
    cfg.default_hooks.checkpoint.update(interval=iterations, save_best=None)
    return cfg


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Build, train, and print how the loss fell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('backbone', choices=list(BACKBONES))
    parser.add_argument('--iterations', type=int, default=60, help='training iterations (default: %(default)s)')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/other_backbone'))
    args = parser.parse_args(argv)
    write_shapes(args.work_dir / 'shapes', train=16, val=1)
    cfg = with_backbone(BACKBONES[args.backbone], args.work_dir / 'shapes', args.iterations)
    cfg.work_dir = str(args.work_dir / args.backbone)
    runner = Runner.from_cfg(cfg)
    runner.train()
    losses = MessageHub.get_current_instance().get_scalar('train/loss').data[0]
    count = max(1, len(losses) // 6)
    levels = list(zip(STRIDES, cfg.model.head.pixel_decoder.in_channels, strict=True))
    print(f'{cfg.model.backbone.type}: levels (stride, channels) {levels}')
    print(
        f'loss: {losses[:count].mean():.1f} in the first {count} iterations, {losses[-count:].mean():.1f} in the last'
    )


if __name__ == '__main__':
    main()
