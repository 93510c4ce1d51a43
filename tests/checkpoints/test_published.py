"""Every published checkpoint: its keys and shapes fill the model of its config, and come back as they were.

``tests/data/checkpoint_keys.txt`` was made from the twenty lists of keys, shapes and types in the project's reference
notes (eight of them equal models built from the reference code). They differ in backbone, K and N only; what they share
is stored once. The COCO-pretrained DiNAT for ADE20K has no list: backbone and K are those of ADE20K's, N is COCO's.
"""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from mmseg_oneformer.checkpoints import backbone_names
from mmseg_oneformer.checkpoints.backbone_names import UNKNOWN, backbone_of, known_backbones, tensors_of_backbone
from mmseg_oneformer.checkpoints.checkpoint import TRAINING_ONLY, check_fit
from mmseg_oneformer.checkpoints.conversion.convert import backbone_in, from_ours, to_ours
from mmseg_oneformer.checkpoints.recognition import architecture_of
from mmseg_oneformer.models.skeleton import build_skeleton
from mmseg_oneformer.zoo.configs import read_config

KEYS = Path(__file__).parents[1] / 'data/checkpoint_keys.txt'
COCO_PRETRAINED = 'dinat_l_k11__ade20k_N150'
CONFIGS = {
    'convnext_l__ade20k_N250': 'oneformer_convnext-l_8xb2-160k_ade20k-640x640',
    'convnext_l__cityscapes_N250': 'oneformer_convnext-l_8xb2-90k_cityscapes-512x1024',
    'convnext_l__mapillary_N250': 'oneformer_convnext-l_8xb2-300k_mapillary-1024x1024',
    'convnext_xl__ade20k_N250': 'oneformer_convnext-xl_8xb2-160k_ade20k-640x640',
    'convnext_xl__cityscapes_N250': 'oneformer_convnext-xl_8xb2-90k_cityscapes-512x1024',
    'convnext_xl__mapillary_N250': 'oneformer_convnext-xl-all-tasks_8xb2-300k_mapillary-1024x1024',
    'dinat_l_k11__ade20k_N250': 'oneformer_dinat-l_8xb2-160k_ade20k-896x896',
    'dinat_l_k11__coco_N150': 'oneformer_dinat-l_8xb2-100e_coco-1024x1024',
    'dinat_l_k11__mapillary_N250': 'oneformer_dinat-l_8xb2-300k_mapillary-1024x1024',
    'dinat_l_k7__cityscapes_N250': 'oneformer_dinat-l_8xb2-90k_cityscapes-512x1024',
    COCO_PRETRAINED: 'oneformer_dinat-l-coco-pre_8xb2-160k_ade20k-1280x1280',
    'r50_frozenbn__ade20k_N150': 'oneformer_r50_8xb2-160k_ade20k-512x512',
    'r50_frozenbn__coco_N150': 'oneformer_r50_8xb2-50e_coco-1024x1024',
    'r50_syncbn__cityscapes_N150': 'oneformer_r50_8xb2-90k_cityscapes-512x1024',
    'r50_syncbn__mapillary_N150': 'oneformer_r50_8xb2-300k_mapillary-1024x1024',
    'swin_l__ade20k_N250': 'oneformer_swin-l_8xb2-160k_ade20k-640x640',
    'swin_l__cityscapes_N250': 'oneformer_swin-l_8xb2-90k_cityscapes-512x1024',
    'swin_l__coco_N150': 'oneformer_swin-l_8xb2-100e_coco-1024x1024',
    'swin_l__mapillary_N250': 'oneformer_swin-l_8xb2-300k_mapillary-1024x1024',
    'swin_t__ade20k_N150': 'oneformer_swin-t_8xb2-160k_ade20k-512x512',
    'swin_t__coco_N150': 'oneformer_swin-t_8xb2-50e_coco-1024x1024',
}


class Entry(NamedTuple):
    shape: tuple
    dtype: torch.dtype


def read_lists():
    """Name of a list -> key -> entry."""
    content, rows = {}, []
    for line in KEYS.read_text().splitlines():
        if line.startswith('['):
            rows = content.setdefault(line.strip('[]'), [])
        elif not line.startswith('#'):
            rows.append(line.split())
    headers = [*content.pop('lists')]
    same = next(header for header in headers if header[0] == 'dinat_l_k11__ade20k_N250')
    headers.append([COCO_PRETRAINED, *('N=150' if setting.startswith('N=') else setting for setting in same[1:])])
    lists = {}
    for name, backbone, *settings in headers:
        sizes = {key: int(value) for key, value in (setting.split('=') for setting in settings)}
        sizes['K+1'] = sizes['K'] + 1
        lists[name] = {}
        for key, shape, *kind in [*([f'backbone.{row[0]}', *row[1:]] for row in content[backbone]), *content['rest']]:
            numbers = () if shape == 'scalar' else tuple(int(sizes.get(part, part)) for part in shape.split('x'))
            lists[name][key] = Entry(numbers, torch.int64 if 'int64' in kind else torch.float32)
    return lists


LISTS = read_lists()


def swin_index(window):
    """Swin's table row for each pair of positions, by two loops."""
    places = [(row, column) for row in range(window) for column in range(window)]
    rows = [[(a - c + window - 1) * (2 * window - 1) + b - d + window - 1 for c, d in places] for a, b in places]
    return torch.tensor(rows)


@pytest.fixture(scope='module')
def random_state():
    """State dicts of real shapes; their tensors are windows into one pool of random numbers, so they cost nothing."""
    generator = torch.Generator().manual_seed(0)
    pool = torch.randn(49408 * 256 + 20_000_000, generator=generator)
    indices = {}

    def make(name):
        state = {}
        for number, (key, (shape, dtype)) in enumerate(LISTS[name].items()):
            size = torch.Size(shape).numel()
            if key.endswith('relative_position_index'):
                window = round(shape[0] ** 0.5)
                state[key] = indices.setdefault(window, swin_index(window))
            elif key == 'criterion.empty_weight':
                state[key] = torch.tensor([1.0] * (size - 1) + [0.1])
            elif dtype == torch.int64:
                state[key] = torch.tensor(1000 + number)
            else:
                start = (number * 104_729) % (len(pool) - size)
                state[key] = pool[start : start + size].view(shape)
        return state

    return make


def assert_equal(actual, expected):
    assert actual.keys() == expected.keys()
    different = [key for key in expected if not torch.equal(actual[key], expected[key])]
    assert not different
    assert all(actual[key].dtype == expected[key].dtype for key in expected)


def is_frozen(name):
    return 'frozenbn' in name


def test_lists__of_every_published_backbone_and_data_set():
    assert LISTS.keys() == CONFIGS.keys()
    assert {name: len(keys) for name, keys in LISTS.items()} == {
        name: {'conv': 766, 'dina': 831, 'r50_f': 683, 'r50_s': 736, 'swin_l': 775, 'swin_t': 607}[prefix]
        for name in CONFIGS
        for prefix in ('conv', 'dina', 'r50_f', 'r50_s', 'swin_l', 'swin_t')
        if name.startswith(prefix)
    }


@pytest.mark.parametrize('name', CONFIGS)
def test_reference__fills_the_model_and_comes_back(random_state, name):
    published = random_state(name)
    converted = to_ours(published, 'shi')
    model = build_skeleton(read_config(CONFIGS[name]).model).state_dict()
    check_fit(model, converted.state, name)
    assert {key: tensor.dtype for key, tensor in converted.state.items()} == {
        key: tensor.dtype for key, tensor in model.items()
    }
    assert converted.used.keys() | converted.dropped.keys() == published.keys()
    assert set(converted.dropped) == {'criterion.empty_weight'}
    assert len(converted.filled) == (53 if is_frozen(name) else 0)
    assert not converted.warnings
    back = from_ours(converted.state, 'shi', frozen_norms=is_frozen(name))
    assert_equal(back.state, published)


@pytest.mark.parametrize('name', {name.partition('__')[0]: name for name in CONFIGS}.values())
def test_transformers__holds_everything_of_the_reference(random_state, name):
    """From the reference's names to those of transformers and back: nothing is lost on the way."""
    published = random_state(name)
    ours = to_ours(published, 'shi').state
    again = to_ours(from_ours(ours, 'hf').state, 'hf')
    assert not again.warnings
    assert_equal(again.state, ours)


@pytest.mark.parametrize('name', ['swin_t__ade20k_N150', 'r50_syncbn__mapillary_N150'])
def test_transformers__files_without_text_branch_fill_the_inference_model(random_state, name):
    ours = to_ours(random_state(name), 'shi').state
    body = {key: tensor for key, tensor in ours.items() if not key.startswith(TRAINING_ONLY)}
    folder = from_ours(body, 'hf').state
    assert folder['criterion.logit_scale'].item() == pytest.approx(2.6592600)  # what transformers starts it at
    again = to_ours(folder, 'hf')
    assert 'criterion.logit_scale' in again.dropped
    assert_equal(again.state, body)


@pytest.mark.parametrize('name', {name.partition('__')[0]: name for name in CONFIGS}.values())
def test_family__no_file_is_of_two(random_state, monkeypatch, name):
    """So that it means nothing in which order families are tried."""
    published = random_state(name)
    ours = to_ours(published, 'shi').state
    files = {'shi': published, 'hf': from_ours(ours, 'hf').state}
    found = {form: [] for form in ('mm', *files)}
    for names in known_backbones():
        monkeypatch.setattr(backbone_names, '_ENTRIES', {names.family: names})
        found['mm'] += [backbone_of(tensors_of_backbone(ours))]
        for form, state in files.items():
            found[form] += [backbone_in(state, form)]
        monkeypatch.undo()
    family = {'conv': 'convnext', 'dina': 'dinat', 'r50_': 'resnet', 'swin': 'swin'}[name[:4]]
    for form, entries in found.items():
        assert [names.family for names in entries if names is not UNKNOWN] == [family], form


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('swin_l__ade20k_N250', 'swin-l with 150 classes and 250 queries'),
        ('swin_t__coco_N150', 'swin-t with 133 classes and 150 queries'),
        ('convnext_xl__mapillary_N250', 'convnext-xl with 65 classes and 250 queries'),
        ('dinat_l_k7__cityscapes_N250', 'dinat-l (kernel 7) with 19 classes and 250 queries'),
        ('dinat_l_k11__coco_N150', 'dinat-l (kernel 11) with 133 classes and 150 queries'),
        ('r50_frozenbn__ade20k_N150', 'r50 with 150 classes and 150 queries'),
    ],
)
def test_looks__of_published_files(random_state, name, expected):
    assert str(architecture_of(to_ours(random_state(name), 'shi').state)) == expected


BLOCK = 'model.pixel_level_module.encoder.encoder.layers.2.blocks.5.'
HEAD = 'sem_seg_head.predictor.'
BY_HAND = {
    'backbone.layers.2.blocks.5.norm1.weight': f'{BLOCK}layernorm_before.weight',
    'backbone.layers.2.blocks.5.attn.proj.bias': f'{BLOCK}attention.output.dense.bias',
    'backbone.layers.2.blocks.5.mlp.fc2.weight': f'{BLOCK}output.dense.weight',
    'backbone.layers.1.downsample.reduction.weight': (
        'model.pixel_level_module.encoder.encoder.layers.1.downsample.reduction.weight'
    ),
    'backbone.layers.1.downsample.norm.weight': (
        'model.pixel_level_module.encoder.encoder.layers.1.downsample.norm.weight'
    ),
    'backbone.norm3.bias': 'model.pixel_level_module.encoder.hidden_states_norms.stage4.bias',
    'sem_seg_head.pixel_decoder.adapter_1.norm.bias': 'model.pixel_level_module.decoder.adapter_1.1.bias',
    'sem_seg_head.pixel_decoder.transformer.encoder.layers.4.norm2.bias': (
        'model.pixel_level_module.decoder.encoder.layers.4.final_layer_norm.bias'
    ),
    'sem_seg_head.pixel_decoder.transformer.encoder.layers.4.linear1.weight': (
        'model.pixel_level_module.decoder.encoder.layers.4.fc1.weight'
    ),
    f'{HEAD}query_embed.weight': 'model.transformer_module.queries_embedder.weight',
    f'{HEAD}class_transformer.decoder.layers.1.multihead_attn.in_proj_weight': (
        'model.transformer_module.decoder.query_transformer.decoder.layers.1.multihead_attn.in_proj_weight'
    ),
    # Same shapes: here only the names tell them apart.
    'sem_seg_head.pixel_decoder.transformer.level_embed': 'model.pixel_level_module.decoder.level_embed',
    f'{HEAD}level_embed.weight': 'model.transformer_module.level_embed.weight',
    'sem_seg_head.pixel_decoder.mask_features.weight': 'model.pixel_level_module.decoder.mask_projection.weight',
    f'{HEAD}class_input_proj.weight': 'model.transformer_module.decoder.query_input_projection.weight',
    f'{HEAD}class_transformer.decoder.layers.1.norm2.bias': (
        'model.transformer_module.decoder.query_transformer.decoder.layers.1.norm2.bias'
    ),
    f'{HEAD}class_transformer.decoder.norm.bias': (
        'model.transformer_module.decoder.query_transformer.decoder.norm.bias'
    ),
    f'{HEAD}transformer_cross_attention_layers.8.norm.weight': (
        'model.transformer_module.decoder.layers.8.cross_attn.norm.weight'
    ),
    f'{HEAD}transformer_cross_attention_layers.8.multihead_attn.in_proj_weight': (
        'model.transformer_module.decoder.layers.8.cross_attn.multihead_attn.in_proj_weight'
    ),
    f'{HEAD}transformer_self_attention_layers.8.norm.weight': (
        'model.transformer_module.decoder.layers.8.self_attn.norm.weight'
    ),
    f'{HEAD}transformer_ffn_layers.8.norm.weight': 'model.transformer_module.decoder.layers.8.ffn.norm.weight',
    f'{HEAD}mask_embed.layers.1.weight': 'model.transformer_module.decoder.mask_embed.layers.1.0.weight',
    f'{HEAD}decoder_norm.bias': 'model.transformer_module.decoder.decoder_norm.bias',
    'task_mlp.layers.0.weight': 'model.task_encoder.task_mlp.layers.0.0.weight',
    'text_encoder.transformer.resblocks.3.ln_2.bias': (
        'model.text_mapper.text_encoder.transformer.layers.3.layer_norm2.bias'
    ),
}


def test_transformers__names_by_hand(random_state):
    """A sample of names, written down from both projects' modules and not made by our table."""
    published = random_state('swin_l__coco_N150')
    folder = from_ours(to_ours(published, 'shi').state, 'hf').state
    for theirs, hub in BY_HAND.items():
        assert torch.equal(folder[hub], published[theirs]), theirs
    queries, keys, values = published['backbone.layers.2.blocks.5.attn.qkv.weight'].chunk(3)
    for name, part in (('query', queries), ('key', keys), ('value', values)):
        assert torch.equal(folder[f'{BLOCK}attention.self.{name}.weight'], part)
    biases = published[f'{HEAD}transformer_self_attention_layers.0.self_attn.in_proj_bias'].chunk(3)
    for name, part in zip('qkv', biases):
        assert torch.equal(
            folder[f'model.transformer_module.decoder.layers.0.self_attn.self_attn.{name}_proj.bias'], part
        )


def test_derived_buffers__other_than_their_formula_are_kept_with_a_warning(random_state):
    published = random_state('swin_t__coco_N150')
    index = 'backbone.layers.1.blocks.0.attn.relative_position_index'
    published[index] = published[index].flip(0)
    published['criterion.empty_weight'] = published['criterion.empty_weight'] * 0.3
    converted = to_ours(published, 'shi')
    assert len(converted.warnings) == 2
    assert 'relative_position_index does not follow' in ' '.join(converted.warnings)
    assert torch.equal(
        converted.state['backbone.stages.1.blocks.0.attn.w_msa.relative_position_index'], published[index]
    )
    assert_equal(from_ours(converted.state, 'shi', buffers=converted.buffers).state, published)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_derived_buffers__of_another_precision_are_those_of_their_formula(random_state, dtype):
    published = random_state('swin_t__coco_N150')
    published['criterion.empty_weight'] = published['criterion.empty_weight'].to(dtype)
    converted = to_ours(published, 'shi')
    assert not converted.warnings
    assert not converted.buffers


TABLE = 'backbone.layers.0.blocks.0.attn.relative_position_bias_table'


@pytest.mark.parametrize(
    ('key', 'shape', 'sentence'),
    [
        ('backbone.layers.0.downsample.norm.weight', (383,), r'has an impossible shape \(\(383,\)\); the file is'),
        ('backbone.layers.0.downsample.norm.weight', (), 'has an impossible shape'),
        (TABLE, (), r'two dimensions, not the shape \(\)'),
        (TABLE, (0, 3), 'at least 1 wide, not 0'),
    ],
)
def test_reference__shape_that_cannot_be(random_state, key, shape, sentence):
    published = random_state('swin_t__coco_N150')
    published[key] = torch.zeros(shape)
    with pytest.raises(ValueError, match=sentence):
        to_ours(published, 'shi')


@pytest.mark.parametrize('shape', [(), (0, 256), (134,)])
def test_reference__class_head_of_another_shape_is_left_to_the_check_against_the_model(random_state, shape):
    published = random_state('swin_t__coco_N150')
    published[f'{HEAD}class_embed.weight'] = torch.zeros(shape)
    converted = to_ours(published, 'shi').state
    model = build_skeleton(read_config(CONFIGS['swin_t__coco_N150']).model).state_dict()
    with pytest.raises(ValueError, match=r'not a checkpoint of this model'):
        check_fit(model, converted, 'a.pth')


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        (
            lambda state: state.update({'sem_seg_head.static_query.weight': torch.ones(1)}),
            r'1 tensors \(such as sem_seg_',
        ),
        (lambda state: state.update({'model.other': torch.ones(1)}), 'match no rule'),
    ],
)
def test_reference__key_that_no_rule_knows(random_state, change, sentence):
    published = random_state('swin_t__coco_N150')
    change(published)
    with pytest.raises(ValueError, match=sentence):
        to_ours(published, 'shi')


def test_transformers__part_of_a_tensor_is_missing_or_there_twice(random_state):
    folder = from_ours(to_ours(random_state('swin_t__coco_N150'), 'shi').state, 'hf').state
    key = f'{BLOCK}attention.self.key.weight'
    with pytest.raises(ValueError, match=r'parts of 1 tensors .*qkv\.weight\) are missing'):
        to_ours({name: tensor for name, tensor in folder.items() if name != key}, 'hf')
    with pytest.raises(ValueError, match=r'attention\.self\.\w+\.weight has an impossible shape'):
        to_ours({**folder, key: torch.zeros(3, 5)}, 'hf')
    twice = BLOCK.replace('encoder.encoder', 'encoder.swin.encoder') + 'attention.k_proj.weight'
    with pytest.raises(ValueError, match='under two names'):
        to_ours({**folder, twice: folder[key]}, 'hf')


def test_ablation__has_no_place_in_the_other_forms():
    model = build_skeleton(read_config('table4_no-task-token').model).state_dict()
    for form, owner in (('shi', 'the reference code'), ('hf', 'transformers')):
        with pytest.raises(ValueError, match=rf'head\.learned_queries\.weight\) have no counterpart in {owner}'):
            from_ours(model, form)


@pytest.mark.slow
@pytest.mark.parametrize(
    'name', ['swin_l__ade20k_N250', 'convnext_l__mapillary_N250', COCO_PRETRAINED, 'r50_frozenbn__coco_N150']
)
def test_convert__whole_files_there_and_back(random_state, call_tool, tmp_path, name):
    """The tool on files of real size, one of each family."""
    published = random_state(name)
    torch.save({'model': published}, tmp_path / 'published.pth')
    command = ('model_converters/convert.py', 'published.pth', 'ours.safetensors', '--model', CONFIGS[name])
    assert call_tool(*command) == 0
    numbers = sum(tensor.nbytes for tensor in published.values())
    assert (tmp_path / 'ours.safetensors').stat().st_size == pytest.approx(numbers, rel=0.01)
    back = ('model_converters/convert.py', 'ours.safetensors', 'again.pth', '--model', CONFIGS[name], '--to', 'shi')
    assert call_tool(*back) == 0
    (tmp_path / 'ours.safetensors').unlink()
    assert_equal(torch.load(tmp_path / 'again.pth', weights_only=True)['model'], published)
