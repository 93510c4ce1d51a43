"""The names of Hugging Face's ``transformers`` ('hf') beside ours, as its files spell them.

Files on the hub, files from ``save_pretrained`` (4.x and 5.x alike) and those that we write have the same names; only
the modules of 5.x in memory spell Swin's differently, and these are read too. Published files have no text branch.
"""

from ..backbone_names import BackboneNames
from .keys import Rule, under

_PIXELS = 'model.pixel_level_module.'
_DECODER = 'model.transformer_module.decoder.'

BACKBONE = 'model.pixel_level_module.encoder.'
"""Prefix of its backbones' names."""

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

RULES = [*HEAD, *TEXT_BRANCH]

DROPPED = {'criterion.empty_weight': 'follows from the number of classes'}
"""Tensors of their files that our model does not have, and why they are dropped."""


def file_name(key: str, backbone: BackboneNames) -> str:
    """Return the name in files for a tensor that modules of transformers 5.x may call ``key``."""
    if not key.startswith(BACKBONE):
        return key
    name = key.removeprefix(BACKBONE)
    for memory, file in backbone.hub.in_memory:
        name = name.replace(memory, file)
    return BACKBONE + name
