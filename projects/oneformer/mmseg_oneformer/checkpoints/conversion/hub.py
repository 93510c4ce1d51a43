"""The names of Hugging Face's ``transformers`` ('hf') beside ours, as its files spell them.

Files on the hub, files of ``save_pretrained`` (4.x and 5.x alike) and ours have the same names; only the modules of
5.x in memory spell Swin differently, which is read too. Published files have no text branch.
"""

from .keys import KeyMap, Rule, under
from .tensors import PATCH_MERGING

_PIXELS = 'model.pixel_level_module.'
_DECODER = 'model.transformer_module.decoder.'
_ENCODER = 'model.pixel_level_module.encoder.'
_LAST_NORM = f'{_ENCODER}swin.layernorm'

HEAD = [
    *under(
        'head.pixel_decoder.',
        f'{_PIXELS}decoder.',
        [
            ('input_proj.{i}.{j}.{wb}', 'input_projections.{i}.{j}.{wb}'),
            'level_embed',
            ('layers.{i}.self_attn.{deform}', 'encoder.layers.{i}.self_attn.{deform}'),
            ('layers.{i}.norm1.{wb}', 'encoder.layers.{i}.self_attn_layer_norm.{wb}'),
            ('layers.{i}.norm2.{wb}', 'encoder.layers.{i}.final_layer_norm.{wb}'),
            ('layers.{i}.ffn.linear{j}.{wb}', 'encoder.layers.{i}.fc{j}.{wb}'),
            ('lateral.{i}.{wb}', 'adapter_1.{i}.{wb}'),
            ('output.{i}.{wb}', 'layer_1.{i}.{wb}'),
            ('mask_features.{wb}', 'mask_projection.{wb}'),
        ],
    ),
    *under('head.task_token.mlp.', 'model.task_encoder.task_mlp.', [('layers.{i}.{wb}', 'layers.{i}.0.{wb}')]),
    *under(
        'head.query_initializer.',
        _DECODER,
        [
            ('input_proj.{wb}', 'query_input_projection.{wb}'),
            ('layers.{i}.self_attn.{attn}', 'query_transformer.decoder.layers.{i}.self_attn.{attn}'),
            ('layers.{i}.cross_attn.{attn}', 'query_transformer.decoder.layers.{i}.multihead_attn.{attn}'),
            ('layers.{i}.ffn.linear{j}.{wb}', 'query_transformer.decoder.layers.{i}.linear{j}.{wb}'),
            ('layers.{i}.norm{j}.{wb}', 'query_transformer.decoder.layers.{i}.norm{j}.{wb}'),
            ('norm.{wb}', 'query_transformer.decoder.norm.{wb}'),
        ],
    ),
    Rule('head.query_embed.weight', ('model.transformer_module.queries_embedder.weight',)),
    Rule('head.decoder.level_embed.weight', ('model.transformer_module.level_embed.weight',)),
    *under(
        'head.decoder.',
        _DECODER,
        [
            ('layers.{i}.cross_attn.{attn}', 'layers.{i}.cross_attn.multihead_attn.{attn}'),
            ('layers.{i}.cross_norm.{wb}', 'layers.{i}.cross_attn.norm.{wb}'),
            (
                'layers.{i}.self_attn.in_proj_{wb}',
                tuple(f'layers.{{i}}.self_attn.self_attn.{part}_proj.{{wb}}' for part in 'qkv'),
            ),
            ('layers.{i}.self_attn.out_proj.{wb}', 'layers.{i}.self_attn.self_attn.out_proj.{wb}'),
            ('layers.{i}.self_norm.{wb}', 'layers.{i}.self_attn.norm.{wb}'),
            'layers.{i}.ffn.linear{j}.{wb}',
            ('layers.{i}.ffn_norm.{wb}', 'layers.{i}.ffn.norm.{wb}'),
            ('norm.{wb}', 'decoder_norm.{wb}'),
            'class_embed.{wb}',
            ('mask_embed.layers.{i}.{wb}', 'mask_embed.layers.{i}.0.{wb}'),
        ],
    ),
]

TEXT_BRANCH = [
    *under(
        'text_mapper.encoder.',
        'model.text_mapper.text_encoder.',
        [
            'positional_embedding',
            'token_embedding.weight',
            ('transformer.resblocks.{i}.attn.{attn}', 'transformer.layers.{i}.self_attn.{attn}'),
            ('transformer.resblocks.{i}.ln_{j}.{wb}', 'transformer.layers.{i}.layer_norm{j}.{wb}'),
            ('transformer.resblocks.{i}.mlp.c_fc.{wb}', 'transformer.layers.{i}.mlp.fc1.{wb}'),
            ('transformer.resblocks.{i}.mlp.c_proj.{wb}', 'transformer.layers.{i}.mlp.fc2.{wb}'),
            'ln_final.{wb}',
        ],
    ),
    *under('text_mapper.projector.', 'model.text_mapper.text_projector.', [('layers.{i}.{wb}', 'layers.{i}.0.{wb}')]),
    Rule('text_mapper.context.weight', ('model.text_mapper.prompt_ctx.weight',)),
    Rule('criterion.contrastive_loss.logit_scale', ('criterion.logit_scale',)),
]

_QKV = tuple(f'attention.self.{part}.{{wb}}' for part in ('query', 'key', 'value'))

SWIN = [
    *under(
        'backbone.',
        _ENCODER,
        [
            ('patch_embed.projection.{wb}', 'embeddings.patch_embeddings.projection.{wb}'),
            ('patch_embed.norm.{wb}', 'embeddings.norm.{wb}'),
            ('stages.{i}.downsample.reduction.weight', 'encoder.layers.{i}.downsample.reduction.weight', PATCH_MERGING),
            ('stages.{i}.downsample.norm.{wb}', 'encoder.layers.{i}.downsample.norm.{wb}', PATCH_MERGING),
        ],
    ),
    *under(
        'backbone.stages.{i}.blocks.{j}.',
        f'{_ENCODER}encoder.layers.{{i}}.blocks.{{j}}.',
        [
            ('norm1.{wb}', 'layernorm_before.{wb}'),
            ('norm2.{wb}', 'layernorm_after.{wb}'),
            ('attn.w_msa.qkv.{wb}', _QKV),
            ('attn.w_msa.proj.{wb}', 'attention.output.dense.{wb}'),
            ('attn.w_msa.relative_position_bias_table', 'attention.self.relative_position_bias_table'),
            ('attn.w_msa.relative_position_index', 'attention.self.relative_position_index'),
            ('ffn.layers.0.0.{wb}', 'intermediate.dense.{wb}'),
            ('ffn.layers.1.{wb}', 'output.dense.{wb}'),
        ],
    ),
]

DINAT = [
    *under(
        'backbone.',
        _ENCODER,
        [
            ('patch_embed.proj.{i}.{wb}', 'embeddings.patch_embeddings.projection.{i}.{wb}'),
            ('levels.{i}.downsample.reduction.weight', 'encoder.levels.{i}.downsample.reduction.weight'),
            ('levels.{i}.downsample.norm.{wb}', 'encoder.levels.{i}.downsample.norm.{wb}'),
        ],
    ),
    *under(
        'backbone.levels.{i}.blocks.{j}.',
        f'{_ENCODER}encoder.levels.{{i}}.layers.{{j}}.',
        [
            ('norm1.{wb}', 'layernorm_before.{wb}'),
            ('norm2.{wb}', 'layernorm_after.{wb}'),
            ('attn.rpb', 'attention.self.rpb'),
            ('attn.qkv.{wb}', _QKV),
            ('attn.proj.{wb}', 'attention.output.dense.{wb}'),
            ('mlp.fc1.{wb}', 'intermediate.dense.{wb}'),
            ('mlp.fc2.{wb}', 'output.dense.{wb}'),
        ],
    ),
]

CONVNEXT = [
    *under(
        'backbone.',
        _ENCODER,
        [
            ('stem.0.{wb}', 'embeddings.patch_embeddings.{wb}'),
            ('stem.1.{wb}', 'embeddings.layernorm.{wb}'),
            ('stages.{i}.downsample.{j}.{wb}', 'encoder.stages.{i}.downsampling_layer.{j}.{wb}'),
        ],
    ),
    *under(
        'backbone.stages.{i}.blocks.{j}.',
        f'{_ENCODER}encoder.stages.{{i}}.layers.{{j}}.',
        [
            ('gamma', 'layer_scale_parameter'),
            ('conv_dw.{wb}', 'dwconv.{wb}'),
            ('norm.{wb}', 'layernorm.{wb}'),
            ('mlp.fc1.{wb}', 'pwconv1.{wb}'),
            ('mlp.fc2.{wb}', 'pwconv2.{wb}'),
        ],
    ),
]

RESNET = under(
    'backbone.',
    _ENCODER,
    [
        ('conv1.weight', 'embedder.embedder.convolution.weight'),
        ('bn1.{bn}', 'embedder.embedder.normalization.{bn}'),
        *(
            (f'layer{stage + 1}.{{i}}.{ours}', f'encoder.stages.{stage}.layers.{{i}}.{theirs}')
            for stage in range(4)
            for ours, theirs in (
                *((f'conv{n + 1}.weight', f'layer.{n}.convolution.weight') for n in range(3)),
                *((f'bn{n + 1}.{{bn}}', f'layer.{n}.normalization.{{bn}}') for n in range(3)),
                ('downsample.0.weight', 'shortcut.convolution.weight'),
                ('downsample.1.{bn}', 'shortcut.normalization.{bn}'),
            )
        ),
    ],
)

LEVEL_NORMS = under(
    'backbone.', _ENCODER, [(f'norm{i}.{{wb}}', f'hidden_states_norms.stage{i + 1}.{{wb}}') for i in range(4)]
)

HUB = KeyMap([*HEAD, *TEXT_BRANCH, *SWIN, *DINAT, *CONVNEXT, *RESNET, *LEVEL_NORMS])

UNREAD_NORM = (f'{_LAST_NORM}.weight', f'{_LAST_NORM}.bias')
"""Swin's norm behind the last stage, which transformers 5.x keeps and only its classifier reads."""

DROPPED = {
    'criterion.empty_weight': 'follows from the number of classes',
    **dict.fromkeys(UNREAD_NORM, "only transformers' classifier reads it"),
}
"""Tensors of their files that our model has no place for, and why."""

_IN_MEMORY = (
    ('encoder.swin.', 'encoder.'),
    ('.attention.q_proj.', '.attention.self.query.'),
    ('.attention.k_proj.', '.attention.self.key.'),
    ('.attention.v_proj.', '.attention.self.value.'),
    ('.attention.o_proj.', '.attention.output.dense.'),
    ('.attention.relative_position_bias.relative_position_bias_table', '.attention.self.relative_position_bias_table'),
    ('.mlp.fc1.', '.intermediate.dense.'),
    ('.mlp.fc2.', '.output.dense.'),
)
"""How modules of transformers 5.x spell Swin, and how its files do."""


def file_name(key: str) -> str:
    """Return the name a file has for a tensor that modules of transformers 5.x may call ``key``."""
    if not key.startswith(_ENCODER) or key.startswith(_LAST_NORM):
        return key
    for memory, file in _IN_MEMORY:
        key = key.replace(memory, file)
    return key
