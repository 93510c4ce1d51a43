"""The reference code's names ('shi': SHI-Labs/OneFormer) beside ours.

Its files hold text branch and losses too. A ResNet has either frozen batch norms, four buffers each, or synchronised
ones with a counter as the fifth; mmdet's always have the counter.
"""

from .keys import KeyMap, Rule, under
from .tensors import PATCH_MERGING

_PREDICTOR = 'sem_seg_head.predictor.'

HEAD = [
    *under(
        'head.pixel_decoder.',
        'sem_seg_head.pixel_decoder.',
        [
            'input_proj.{i}.{j}.{wb}',
            ('level_embed', 'transformer.level_embed'),
            ('layers.{i}.self_attn.{deform}', 'transformer.encoder.layers.{i}.self_attn.{deform}'),
            ('layers.{i}.norm{j}.{wb}', 'transformer.encoder.layers.{i}.norm{j}.{wb}'),
            ('layers.{i}.ffn.linear{j}.{wb}', 'transformer.encoder.layers.{i}.linear{j}.{wb}'),
            ('lateral.0.weight', 'adapter_1.weight'),
            ('lateral.1.{wb}', 'adapter_1.norm.{wb}'),
            ('output.0.weight', 'layer_1.weight'),
            ('output.1.{wb}', 'layer_1.norm.{wb}'),
            'mask_features.{wb}',
        ],
    ),
    *under('head.task_token.mlp.', 'task_mlp.', ['layers.{i}.{wb}']),
    *under(
        'head.query_initializer.',
        _PREDICTOR,
        [
            ('input_proj.{wb}', 'class_input_proj.{wb}'),
            ('layers.{i}.self_attn.{attn}', 'class_transformer.decoder.layers.{i}.self_attn.{attn}'),
            ('layers.{i}.cross_attn.{attn}', 'class_transformer.decoder.layers.{i}.multihead_attn.{attn}'),
            ('layers.{i}.ffn.linear{j}.{wb}', 'class_transformer.decoder.layers.{i}.linear{j}.{wb}'),
            ('layers.{i}.norm{j}.{wb}', 'class_transformer.decoder.layers.{i}.norm{j}.{wb}'),
            ('norm.{wb}', 'class_transformer.decoder.norm.{wb}'),
        ],
    ),
    *under('head.', _PREDICTOR, ['query_embed.weight']),
    *under(
        'head.decoder.',
        _PREDICTOR,
        [
            ('layers.{i}.cross_attn.{attn}', 'transformer_cross_attention_layers.{i}.multihead_attn.{attn}'),
            ('layers.{i}.cross_norm.{wb}', 'transformer_cross_attention_layers.{i}.norm.{wb}'),
            ('layers.{i}.self_attn.{attn}', 'transformer_self_attention_layers.{i}.self_attn.{attn}'),
            ('layers.{i}.self_norm.{wb}', 'transformer_self_attention_layers.{i}.norm.{wb}'),
            ('layers.{i}.ffn.linear{j}.{wb}', 'transformer_ffn_layers.{i}.linear{j}.{wb}'),
            ('layers.{i}.ffn_norm.{wb}', 'transformer_ffn_layers.{i}.norm.{wb}'),
            ('norm.{wb}', 'decoder_norm.{wb}'),
            'level_embed.weight',
            'class_embed.{wb}',
            'mask_embed.layers.{i}.{wb}',
        ],
    ),
]

TEXT_BRANCH = [
    *under(
        'text_mapper.encoder.',
        'text_encoder.',
        [
            'positional_embedding',
            'token_embedding.weight',
            'transformer.resblocks.{i}.attn.{attn}',
            'transformer.resblocks.{i}.ln_{j}.{wb}',
            'transformer.resblocks.{i}.mlp.c_fc.{wb}',
            'transformer.resblocks.{i}.mlp.c_proj.{wb}',
            'ln_final.{wb}',
        ],
    ),
    *under('text_mapper.projector.', 'text_projector.', ['layers.{i}.{wb}']),
    Rule('text_mapper.context.weight', ('prompt_ctx.weight',)),
    Rule('criterion.contrastive_loss.logit_scale', ('criterion.logit_scale',)),
]

SWIN = under(
    'backbone.',
    'backbone.',
    [
        ('patch_embed.projection.{wb}', 'patch_embed.proj.{wb}'),
        'patch_embed.norm.{wb}',
        ('stages.{i}.blocks.{j}.norm1.{wb}', 'layers.{i}.blocks.{j}.norm1.{wb}'),
        ('stages.{i}.blocks.{j}.norm2.{wb}', 'layers.{i}.blocks.{j}.norm2.{wb}'),
        ('stages.{i}.blocks.{j}.attn.w_msa.qkv.{wb}', 'layers.{i}.blocks.{j}.attn.qkv.{wb}'),
        ('stages.{i}.blocks.{j}.attn.w_msa.proj.{wb}', 'layers.{i}.blocks.{j}.attn.proj.{wb}'),
        *(
            (f'stages.{{i}}.blocks.{{j}}.attn.w_msa.{table}', f'layers.{{i}}.blocks.{{j}}.attn.{table}')
            for table in ('relative_position_bias_table', 'relative_position_index')
        ),
        ('stages.{i}.blocks.{j}.ffn.layers.0.0.{wb}', 'layers.{i}.blocks.{j}.mlp.fc1.{wb}'),
        ('stages.{i}.blocks.{j}.ffn.layers.1.{wb}', 'layers.{i}.blocks.{j}.mlp.fc2.{wb}'),
        ('stages.{i}.downsample.reduction.weight', 'layers.{i}.downsample.reduction.weight', PATCH_MERGING),
        ('stages.{i}.downsample.norm.{wb}', 'layers.{i}.downsample.norm.{wb}', PATCH_MERGING),
    ],
)

CONVNEXT = under(
    'backbone.',
    'backbone.',
    [
        ('stem.{j}.{wb}', 'downsample_layers.0.{j}.{wb}'),
        ('stages.{i}.downsample.{j}.{wb}', 'downsample_layers.{i}.{j}.{wb}'),
        ('stages.{i}.blocks.{j}.gamma', 'stages.{i}.{j}.gamma'),
        ('stages.{i}.blocks.{j}.conv_dw.{wb}', 'stages.{i}.{j}.dwconv.{wb}'),
        ('stages.{i}.blocks.{j}.norm.{wb}', 'stages.{i}.{j}.norm.{wb}'),
        ('stages.{i}.blocks.{j}.mlp.fc1.{wb}', 'stages.{i}.{j}.pwconv1.{wb}'),
        ('stages.{i}.blocks.{j}.mlp.fc2.{wb}', 'stages.{i}.{j}.pwconv2.{wb}'),
    ],
)

DINAT = under(
    'backbone.',
    'backbone.',
    [
        'patch_embed.proj.{i}.{wb}',
        'levels.{i}.blocks.{j}.norm1.{wb}',
        'levels.{i}.blocks.{j}.norm2.{wb}',
        'levels.{i}.blocks.{j}.attn.rpb',
        'levels.{i}.blocks.{j}.attn.qkv.{wb}',
        'levels.{i}.blocks.{j}.attn.proj.{wb}',
        'levels.{i}.blocks.{j}.mlp.fc1.{wb}',
        'levels.{i}.blocks.{j}.mlp.fc2.{wb}',
        'levels.{i}.downsample.reduction.weight',
        'levels.{i}.downsample.norm.{wb}',
    ],
)

RESNET = under(
    'backbone.',
    'backbone.',
    [
        ('conv1.weight', 'stem.conv1.weight'),
        ('bn1.{bn}', 'stem.conv1.norm.{bn}'),
        *(
            (f'layer{stage}.{{i}}.{ours}', f'res{stage + 1}.{{i}}.{theirs}')
            for stage in range(1, 5)
            for ours, theirs in (
                ('conv{j}.weight', 'conv{j}.weight'),
                ('bn{j}.{bn}', 'conv{j}.norm.{bn}'),
                ('downsample.0.weight', 'shortcut.weight'),
                ('downsample.1.{bn}', 'shortcut.norm.{bn}'),
            )
        ),
    ],
)

LEVEL_NORMS = under('backbone.', 'backbone.', ['norm{i}.{wb}'])
"""Behind the stages of Swin, ConvNeXt and DiNAT."""

REFERENCE = KeyMap([*HEAD, *TEXT_BRANCH, *SWIN, *CONVNEXT, *DINAT, *RESNET, *LEVEL_NORMS])

DROPPED = {
    'criterion.empty_weight': 'follows from the number of classes',
    'pixel_mean': 'the config states the mean colour',
    'pixel_std': 'the config states the spread of colours',
}
"""Tensors of their files that our model has no place for, and why."""
