"""The JSON files beside the weights in a folder of ``transformers``: the network, and the preprocessing of photos."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import Tensor

from ...errors import UserError
from ...files import read_json
from ..backbone_names import backbone_of, tensors_of_backbone
from .keys import keys_like

UNKNOWN_KINDS = {'pre_norm': True, 'use_task_norm': False, 'enforce_input_proj': True}
"""Settings of transformers that change the network, and their values without a counterpart in ours."""

CLASS_INFO = 'class_info.json'


def model_config(state: Mapping[str, Tensor], cfg: Config, classes: Sequence[str]) -> dict[str, Any]:
    """Return ``config.json``: sizes are read off our state dict; what no tensor shows comes from our config.

    With a text branch it sets ``is_training``: transformers builds the branch only then. The setting also switches on
    dropout in its pixel decoder, even after ``eval()``.

    Args:
        state: Weights under our names.
        cfg: Config of the model.
        classes: K names.

    Raises:
        UserError: transformers cannot express the model.
    """
    head = cfg.model.head
    heads = {head.get(part, {}).get('num_heads', 8) for part in ('pixel_decoder', 'query_initializer', 'decoder')}
    initializer = head.get('query_initializer') or {}
    if len(heads) != 1:
        raise UserError(
            f'transformers has one number of attention heads, but the config has {sorted(heads)}; write mm instead.'
        )
    names = {str(label): name.strip() for label, name in enumerate(classes)}
    has_text = any(key.startswith('text_mapper.') for key in state)
    num_queries, channels = state['head.query_embed.weight'].shape
    return {
        'architectures': ['OneFormerForUniversalSegmentation'],
        'model_type': 'oneformer',
        'dtype': 'float32',
        'torch_dtype': 'float32',
        'backbone_config': backbone_config(state, cfg.model.backbone),
        'id2label': names,
        'label2id': {name: int(label) for label, name in names.items()},
        'num_queries': num_queries,
        'conv_dim': channels,
        'mask_dim': channels,
        'hidden_dim': channels,
        'num_attention_heads': heads.pop(),
        'encoder_layers': len(keys_like(state, 'head.pixel_decoder.layers.{i}.norm1.weight')),
        'encoder_feedforward_dim': len(state['head.pixel_decoder.layers.0.ffn.linear1.weight']),
        'decoder_layers': len(keys_like(state, 'head.decoder.layers.{i}.ffn_norm.weight')) + 1,
        'dim_feedforward': len(state['head.decoder.layers.0.ffn.linear1.weight']),
        'query_dec_layers': len(keys_like(state, 'head.query_initializer.layers.{i}.norm1.weight')),
        'dropout': initializer.get('dropout', 0.1),
        'is_training': has_text,
        **(_text_branch(state) if has_text else {}),
        **_losses(cfg),
        'norm': 'GN',
        'use_task_norm': True,
        'pre_norm': False,
        'enforce_input_proj': False,
        'common_stride': 4,
        'strides': [4, 8, 16, 32],
        'task_seq_len': state['head.task_token.mlp.layers.0.weight'].shape[1],
    }


def backbone_config(state: Mapping[str, Tensor], backbone: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``backbone_config``; the names in ``state`` show the family."""
    own = tensors_of_backbone(state)
    config = backbone_of(own).hub.config(own, backbone)
    if config is None:
        raise UserError('transformers does not support this backbone in OneFormer; write mm instead.')
    return config


def preprocessor_config(cfg: Config, num_classes: int, num_texts: int) -> dict[str, Any]:
    """Return ``preprocessor_config.json``: sizes and colours of our test pipeline.

    Differences remain: transformers truncates sizes where we round, and does not pad to a multiple of 32.
    """
    steps = [step for step in cfg.test_dataloader.dataset.pipeline if step['type'] == 'ShortestEdge']
    size = {'shortest_edge': steps[0]['size'], 'longest_edge': steps[0]['max_size']} if steps else None
    colours = cfg.model.data_preprocessor
    return {
        'image_processor_type': 'OneFormerImageProcessor',
        'processor_class': 'OneFormerProcessor',
        'do_resize': size is not None,
        **({'size': size} if size else {}),
        'resample': 2,
        'do_rescale': True,
        'rescale_factor': 1 / 255,
        'do_normalize': True,
        'image_mean': [value / 255 for value in colours.mean],
        'image_std': [value / 255 for value in colours.std],
        'do_reduce_labels': False,
        'ignore_index': 255,
        'num_labels': num_classes,
        'num_text': num_texts,
        'class_info_file': CLASS_INFO,
    }


def class_info(classes: Sequence[str], thing_ids: Sequence[int]) -> dict[str, Any]:
    """Return ``class_info.json``, from which transformers' image processor takes names and things."""
    return {
        str(label): {'name': name.strip(), 'isthing': int(label in thing_ids)} for label, name in enumerate(classes)
    }


def check_hub_config(folder: Path, cfg: Config) -> list[str]:
    """Compare a folder's ``config.json`` with our config, as far as no tensor shows the settings; return warnings.

    Raises:
        UserError: The folder's network has a structure that ours cannot have.
    """
    path = folder / 'config.json'
    if not path.is_file():
        return []
    theirs = read_json(path, 'get it again')
    if not isinstance(theirs, dict):
        raise UserError(f'{path} is not the config of a model, which has settings by name; get it again.')
    for name, value in UNKNOWN_KINDS.items():
        if theirs.get(name) == value:
            raise UserError(f'{path} has {name} = {value}, which is unsupported; convert another model.')
    backbone = cfg.model.backbone
    settings = theirs.get('backbone_config')
    dilations = settings.get('dilations') if isinstance(settings, dict) else None
    if dilations and [list(stage) for stage in backbone.get('dilations', ())] != dilations:
        return [f'the dilations in {path} are {dilations}, but the config has others; is it another model?']
    return []


def _text_branch(state: Mapping[str, Tensor]) -> dict[str, int]:
    length, width = state['text_mapper.encoder.positional_embedding'].shape
    context = state.get('text_mapper.context.weight')
    if context is not None and context.shape[1] != width:
        raise UserError(
            f'transformers needs context vectors as wide as its text encoder, but here they are {context.shape[1]} and '
            f'{width} wide; leave out the text branch (--no-text).'
        )
    return {
        'text_encoder_width': width,
        'text_encoder_context_length': length,
        'text_encoder_num_layers': len(keys_like(state, 'text_mapper.encoder.transformer.resblocks.{i}.ln_1.weight')),
        'text_encoder_vocab_size': len(state['text_mapper.encoder.token_embedding.weight']),
        'text_encoder_proj_layers': len(keys_like(state, 'text_mapper.projector.layers.{i}.weight')),
        'text_encoder_n_ctx': 0 if context is None else len(context),
    }


def _losses(cfg: Config) -> dict[str, Any]:
    """Settings of the losses, for further training with transformers."""
    names = {
        **{name: name for name in ('class_weight', 'mask_weight', 'dice_weight', 'contrastive_weight')},
        'no_object_weight': 'no_object_weight',
        'num_points': 'train_num_points',
        'oversample': 'oversample_ratio',
        'importance': 'importance_sample_ratio',
    }
    criterion = cfg.model.get('criterion') or {}
    weights = {term['type']: term.get('weight') for term in criterion.get('auxiliary') or ()}
    ours = {**criterion, 'contrastive_weight': weights.get('ContrastiveLoss')}
    return {theirs: ours[name] for name, theirs in names.items() if ours.get(name) is not None}
