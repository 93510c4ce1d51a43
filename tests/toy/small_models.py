"""What makes a shipped config small enough for a test: widths, depths and image sizes, nothing of its structure."""

RESNET = ({'base_channels': 8}, [32, 64, 128, 256])
SWIN = ({'embed_dims': 24, 'depths': [1, 1, 2, 1], 'num_heads': [1, 2, 4, 8]}, [24, 48, 96, 192])
BACKBONES = {
    'ResNetBackbone': RESNET,
    'SwinBackbone': SWIN,
    'mmdet.ResNet': RESNET,
    'mmdet.SwinTransformer': SWIN,
    'ConvNeXt': ({'depths': [1, 1, 2, 1], 'channels': [16, 32, 64, 128]}, [16, 32, 64, 128]),
    'DiNAT': ({'embed_dims': 16, 'num_heads': [1, 2, 4, 8]}, [16, 32, 64, 128]),
}
HEADS = {
    'head': {
        'channels': 32,
        'pixel_decoder.num_layers': 1,
        'pixel_decoder.num_heads': 4,
        'pixel_decoder.ffn_channels': 32,
        'query_initializer.num_layers': 1,
        'query_initializer.num_heads': 4,
        'query_initializer.ffn_channels': 32,
        'decoder.num_layers': 3,
        'decoder.num_heads': 4,
        'decoder.ffn_channels': 32,
    },
    'text_mapper': {'width': 64, 'num_layers': 1},
    'criterion': {'num_points': 64},
    'panoptic_head': {'pixel_decoder.encoder.num_layers': 1, 'transformer_decoder.num_layers': 2},
    'train_cfg': {'num_points': 64},
}
SIZES = {
    'RandomShortestEdgeCrop': {'size': (64, 64), 'edge': 64},
    'PadTo': {'size': (64, 64)},
    'RandomScaleResize': {'size': (64, 64)},
    'FixedSizeCrop': {'size': (64, 64)},
    'ShortestEdge': {'size': 64, 'max_size': 128},
}


def small_model(cfg):
    """Options by dotted key that cut the model of ``cfg`` and start it from random weights."""
    model = cfg.model
    widths, channels = BACKBONES[model.backbone.type]
    if model.backbone.get('depth') in (18, 34):
        channels = [channel // 4 for channel in channels]
    options = {f'model.backbone.{key}': value for key, value in widths.items()} | {'model.backbone.init_cfg': None}
    if model.backbone.type == 'DiNAT':  # two blocks a stage: the second has the stage's first dilation
        options |= {
            'model.backbone.depths': [2] * 4,
            'model.backbone.dilations': [d[:2] for d in model.backbone.dilations],
        }
    if model.get('init_cfg'):
        options['model.init_cfg'] = None
    for part, values in HEADS.items():
        if part in model:
            options |= {f'model.{part}.{key}': value for key, value in values.items()}
    inputs = 'panoptic_head.in_channels' if 'panoptic_head' in model else 'head.pixel_decoder.in_channels'
    return options | {f'model.{inputs}': channels}


def small_data(cfg):
    """Options by dotted key that cut the images of ``cfg`` and load them in the same process."""
    options = {}
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        options |= {f'{name}.num_workers': 0, f'{name}.persistent_workers': False}
        options[f'{name}.dataset.serialize_data'] = False  # ends with a garbage collection, slower than all the rest
        for place, transform in enumerate(cfg[name].dataset.pipeline):
            parts = {'': transform, 'resize.': transform.get('resize'), 'crop.': transform.get('crop')}
            for part, config in parts.items():
                for key, value in SIZES.get(config['type'] if config else None, {}).items():
                    options[f'{name}.dataset.pipeline.{place}.{part}{key}'] = value
    return options


def command_line(options):
    """``options`` as they are typed behind --cfg-options."""
    return [f'{key}={value}'.replace(' ', '') for key, value in options.items()]
