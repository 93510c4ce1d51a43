"""The reference code's names ('shi': SHI-Labs/OneFormer) beside ours.

Its files hold the text branch and the losses too. The names in backbones are in ``backbone_names``.
"""

from .keys import Rule, under

_PREDICTOR = 'sem_seg_head.predictor.'

BACKBONE = 'backbone.'
"""Prefix of its backbones' names."""

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

RULES = [*HEAD, *TEXT_BRANCH]

DROPPED = {
    'criterion.empty_weight': 'follows from the number of classes',
    'pixel_mean': 'the config states the mean colour',
    'pixel_std': 'the config states the standard deviation of colours',
}
"""Tensors of their files that our model does not have, and why they are dropped."""
