"""ImageNet weights in every naming they are published in: the same features as the network they are from."""

import pickle
import re
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from mmengine.config import Config
from mmengine.registry import MODELS
from timm.models.convnext import ConvNeXt as TimmConvNeXt
from timm.models.swin_transformer import SwinTransformer as TimmSwin
from torch.testing import assert_close

from mmseg_oneformer.checkpoints import backbone_names
from mmseg_oneformer.checkpoints.backbone_names import BackboneNames, backbone_of, published_files, register_backbone
from mmseg_oneformer.models.backbones.initial_weights import BackboneWeights, backbone_state
from mmseg_oneformer.models.skeleton import build_skeleton

ROOT = Path(__file__).parents[2]
EXACT = {'rtol': 1e-9, 'atol': 1e-9}
SWIN = {'embed_dims': 8, 'depths': [2, 1, 2, 1], 'num_heads': [1, 2, 2, 4], 'window_size': 2}
CONVNEXT = {'depths': [1, 1, 2, 1], 'channels': [8, 16, 24, 32]}
DINAT = {
    'embed_dims': 8,
    'depths': [1, 1, 2, 1],
    'num_heads': [1, 2, 2, 4],
    'mlp_ratio': 2.0,
    'kernel_size': 3,
    'dilations': [[2], [1], [1, 2], [1]],
}
OURS = {
    'swin': {'type': 'SwinBackbone', **SWIN},
    'convnext': {'type': 'ConvNeXt', **CONVNEXT},
    'dinat': {'type': 'DiNAT', **DINAT},
    'resnet': {'type': 'ResNetBackbone', 'depth': 18, 'norm_cfg': {'type': 'BN', 'requires_grad': False}},
}


def build(family, **changes):
    return MODELS.build({**OURS[family], **changes}).double()


def randomize(module, seed=0):
    """Numbers of a trained network's size, different in every tensor."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            noise = 0.1 * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
            tensor.copy_(1 + noise.abs() if 'running_var' in name else noise)
    return module.double().eval()


@pytest.fixture
def classifiers():
    """A classifier of each family, in the code of its authors or timm's."""
    swin = TimmSwin(*(128, 4), window_size=2, embed_dim=8, depths=(2, 1, 2, 1), num_heads=(1, 2, 2, 4), num_classes=5)
    convnext = TimmConvNeXt(depths=(1, 1, 2, 1), dims=(8, 16, 24, 32), ls_init_value=1.0, num_classes=5)
    return {
        'swin': randomize(swin),
        'convnext': randomize(convnext),
        'resnet': randomize(torchvision.models.resnet18(num_classes=5)),
    }


def features(network, image):
    """Levels of a classifier, before any norm."""
    if isinstance(network, TimmSwin | TimmConvNeXt):
        return network.forward_intermediates(image, indices=4, intermediates_only=True)
    levels, x = [], network.maxpool(network.relu(network.bn1(network.conv1(image))))
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        x = stage(x)
        levels.append(x)
    return levels


def rename(state, *rules):
    """Keys after regular expressions, one after the other."""
    renamed = {}
    for key, tensor in state.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        renamed[key] = tensor
    return renamed


def swin_of_its_authors(state):
    """They merge patches at the end of a stage, have no 'fc', and store what follows from the window."""
    state = rename(state, (r'^head\.fc', 'head'))
    for stage in (1, 2, 3):
        state = rename(state, (rf'^layers\.{stage}\.downsample', f'layers.{stage - 1}.downsample'))
    buffers = {'layers.0.blocks.1.attn_mask': torch.zeros(256, 4, 4)}
    return state | buffers | {'layers.0.blocks.0.attn.relative_position_index': torch.zeros(4, 4).long()}


def convnext_of_its_authors(state):
    return rename(
        state,
        (r'^stages\.(\d)\.blocks\.', r'stages.\1.'),
        (r'^stages\.(\d)\.downsample', r'downsample_layers.\1'),
        (r'^stem', 'downsample_layers.0'),
        ('conv_dw', 'dwconv'),
        (r'mlp\.fc', 'pwconv'),
        (r'^head\.norm', 'norm'),
        (r'^head\.fc', 'head'),
    )


def resnet_of_detectron2(state):
    """The names its converter makes of torchvision's, frozen norms without counters."""
    state = {key: tensor for key, tensor in state.items() if not key.endswith('num_batches_tracked')}
    return rename(
        state,
        (r'^(conv1|bn1|fc)\b', r'stem.\1'),
        (r'^layer(\d)', lambda found: f'res{int(found[1]) + 1}'),
        (r'\bbn(\d)', r'conv\1.norm'),
        (r'downsample\.0', 'shortcut'),
        (r'downsample\.1', 'shortcut.norm'),
    )


NAMINGS = {
    'swin-authors': ('swin', swin_of_its_authors),
    'swin-timm': ('swin', dict),
    'convnext-authors': ('convnext', convnext_of_its_authors),
    'convnext-timm': ('convnext', dict),
    'resnet-torchvision': ('resnet', dict),
    'resnet-detectron2': ('resnet', resnet_of_detectron2),
}


@pytest.mark.parametrize('naming', NAMINGS)
def test_backbone_weights__same_features_as_the_classifier(classifiers, tmp_path, naming):
    family, named = NAMINGS[naming]
    torch.save({'model': named(classifiers[family].state_dict())}, tmp_path / 'a.pth')
    backbone = build(family)
    BackboneWeights(str(tmp_path / 'a.pth'))(backbone)
    backbone.eval()
    image = torch.randn(2, 3, 128, 128, dtype=torch.float64)
    with torch.no_grad():
        levels, expected = backbone(image), features(classifiers[family], image)
    for level, wanted in zip(levels, expected, strict=True):
        if family != 'resnet':  # the norms behind the levels start as they are built
            epsilon = 1e-6 if family == 'convnext' else 1e-5
            wanted = F.layer_norm(wanted.permute(0, 2, 3, 1), wanted.shape[1:2], eps=epsilon).permute(0, 3, 1, 2)
        assert_close(level, wanted, **EXACT)


@pytest.fixture
def dinat_file(tmp_path):
    """A classifier's file for the small DiNAT, and its tensors; its authors' names are ours."""
    torch.manual_seed(1)
    state = {key: torch.randn_like(tensor) for key, tensor in build('dinat').state_dict().items()}
    state = {key: tensor for key, tensor in state.items() if not re.match(r'norm\d', key)}
    whole = {**state, 'norm.weight': torch.ones(64), 'head.weight': torch.ones(5, 64), 'head.bias': torch.ones(5)}
    torch.save(whole, tmp_path / 'dinat.pth')
    return tmp_path / 'dinat.pth', whole, state


def assert_filled(backbone, state):
    own = backbone.state_dict()
    assert {key for key in own if key not in state} == {
        f'norm{i}.{name}' for i in range(4) for name in ('weight', 'bias')
    }
    for key, tensor in state.items():
        assert_close(own[key], tensor, rtol=0, atol=0)


@pytest.mark.parametrize('prefix', ['', 'backbone.', 'module.backbone.'])
def test_backbone_weights__prefixes_and_what_is_left_out(dinat_file, prefix):
    _, whole, expected = dinat_file
    prefixed = {prefix + key: tensor for key, tensor in whole.items()}
    state, left_out = backbone_state(prefixed, build('dinat').state_dict(), 'x')
    assert state.keys() == expected.keys()
    assert left_out == ["the classifier's norm", 'the classifier']


def test_backbone_weights__pickle_of_detectron2(dinat_file, tmp_path):
    _, whole, expected = dinat_file
    arrays = {key: tensor.numpy() for key, tensor in whole.items()}
    content = {'model': arrays, '__author__': 'third_party', 'matching_heuristics': True}
    (tmp_path / 'dinat.pkl').write_bytes(pickle.dumps(content))
    backbone = build('dinat')
    BackboneWeights(str(tmp_path / 'dinat.pkl'))(backbone)
    assert_filled(backbone, expected)


def change(whole, how):
    changed = dict(whole)
    if how == 'missing':
        del changed['levels.2.blocks.1.attn.qkv.bias']
    elif how == 'left over':
        changed['levels.4.blocks.0.norm1.weight'] = torch.ones(3)
    else:
        changed['levels.0.blocks.0.attn.rpb'] = torch.ones(1, 13, 13)
    return changed


@pytest.mark.parametrize(
    ('how', 'message'),
    [
        ('missing', r'1 tensors are missing \(such as levels\.2\.blocks\.1\.attn\.qkv\.bias\)'),
        ('left over', r'1 tensors are left over \(such as levels\.4\.blocks\.0\.norm1\.weight\)'),
        ('shape', r'levels\.0\.blocks\.0\.attn\.rpb is \(1, 13, 13\) in the file and \(1, 5, 5\) in the backbone'),
    ],
)
def test_backbone_weights__are_strict(dinat_file, tmp_path, how, message):
    torch.save(change(dinat_file[1], how), tmp_path / 'other.pth')
    backbone = build('dinat')
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    with pytest.raises(ValueError, match=r'other\.pth do not belong to this backbone: ' + message) as error:
        BackboneWeights(str(tmp_path / 'other.pth'))(backbone)
    assert '\n' not in str(error.value)
    assert all(torch.equal(tensor, before[key]) for key, tensor in backbone.state_dict().items())


@pytest.mark.parametrize(
    ('source', 'message'),
    [
        ('swin_large', 'no backbone weights called swin_large; give a path, .* one of .*swin_tiny_patch4_window7_224'),
        ('swin_tiny_patch4_window7_224', 'is Swin-T, ImageNet-1k, 224 pixels, but the backbone is a DiNAT'),
        ('timm://no_such_network', 'timm has no weights called no_such_network'),
        ('torchvision://resnet51', 'torchvision has no weights called resnet51'),
    ],
)
def test_backbone_weights__unknown_names(source, message):
    with pytest.raises(ValueError, match=message):
        BackboneWeights(source)(build('dinat'))


@pytest.fixture
def downloads(monkeypatch, dinat_file):
    """Addresses that are requested; each gets the small DiNAT's file."""
    requested = []

    def resolve(source):
        requested.append(str(source))
        return dinat_file[0]

    monkeypatch.setattr('mmseg_oneformer.models.backbones.initial_weights.resolve_weights', resolve)
    return requested


@pytest.mark.parametrize(
    ('source', 'address'),
    [
        (
            'dinat_large_in22k_in1k_384_11x11',
            'https://shi-labs.com/projects/dinat/checkpoints/imagenet1k/dinat_large_in22k_in1k_384_11x11.pth',
        ),
        ('https://example.org/dinat.pth', 'https://example.org/dinat.pth'),
        ('torchvision://resnet50', 'https://download.pytorch.org/models/resnet50-0676ba61.pth'),
    ],
)
def test_backbone_weights__names_stand_for_addresses(downloads, dinat_file, source, address):
    backbone = build('dinat')
    BackboneWeights(source)(backbone)
    assert downloads == [address]
    assert_filled(backbone, dinat_file[2])


def test_published_files__have_the_name_of_the_same_file_in_timm(monkeypatch):
    named = [file for file in published_files().values() if file.timm is not None]
    assert len(named) == 4  # timm has no DiNAT
    for file in named:
        assert timm.get_pretrained_cfg(file.timm).url == file.url

    def offline(source):
        raise ConnectionError(f'{source} could not be downloaded.')

    monkeypatch.setattr('mmseg_oneformer.models.backbones.initial_weights.resolve_weights', offline)
    with pytest.raises(ConnectionError, match=r'downloaded\. The same .*=timm://convnext_large\.fb_in22k_ft_in1k_384'):
        BackboneWeights('convnext_large_22k_1k_384')(build('convnext'))
    with pytest.raises(ConnectionError, match=r'could not be downloaded\.$'):
        BackboneWeights('dinat_large_in22k_224')(build('dinat'))


def test_backbone_weights__by_the_name_timm_has_for_them(monkeypatch, classifiers):
    requested = []

    def create_model(name, pretrained):
        requested.append((name, pretrained))
        return classifiers['convnext']

    monkeypatch.setattr(timm, 'create_model', create_model)
    backbone = build('convnext')
    BackboneWeights('timm://convnext_large.fb_in22k_ft_in1k_384')(backbone)
    assert requested == [('convnext_large.fb_in22k_ft_in1k_384', True)]
    assert torch.equal(backbone.stem[0].weight, classifiers['convnext'].stem[0].weight)

    def offline(*args, **kwargs):
        raise OSError('no route')

    monkeypatch.setattr(timm, 'create_model', offline)
    with pytest.raises(ConnectionError, match=r'timm cannot download convnext_large.*no route.*a file.s path'):
        BackboneWeights('timm://convnext_large.fb_in22k_ft_in1k_384')(backbone)


WRAPPED = {
    'resnet18': {
        'layers': (1, 1, 1, 1),
        'channels': (8, 16, 24, 32),
        'out_indices': (1, 2, 3, 4),
    },
    'convnext_atto': {'depths': (1, 1, 2, 1), 'dims': (8, 16, 24, 32)},  # features under `stages_0` and so on
    'vit_tiny_patch16_224': {'embed_dim': 24, 'depth': 4, 'num_heads': 2, 'img_size': 64, 'out_indices': (0, 1, 2, 3)},
}


def of_timm(name, **changes):
    """mmseg's wrapper of a network of timm."""
    options = {'out_indices': (0, 1, 2, 3), **WRAPPED[name], **changes}
    return MODELS.build({'type': 'mmseg.TIMMBackbone', 'model_name': name, 'pretrained': False, **options}).double()


@pytest.fixture
def timm_file(tmp_path):
    """A classifier of timm with random weights, and the file of its state dict."""

    def write(name, prefix=''):
        options = {key: value for key, value in WRAPPED[name].items() if key != 'out_indices'}
        classifier = randomize(timm.create_model(name, num_classes=5, **options))
        state = {prefix + key: tensor for key, tensor in classifier.state_dict().items()}
        torch.save(state, tmp_path / f'{name}.pth')
        return classifier, state, tmp_path / f'{name}.pth'

    return write


@pytest.mark.parametrize('name', WRAPPED)
def test_backbone_weights__of_a_network_in_a_wrapper(timm_file, name):
    classifier, _, path = timm_file(name)
    backbone = of_timm(name)
    BackboneWeights(str(path))(backbone)
    backbone.eval()
    image = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        indices = WRAPPED[name].get('out_indices', 4)
        expected = classifier.forward_intermediates(image, indices=indices, norm=False, intermediates_only=True)
        levels = backbone(image)
    assert len(levels) == 4
    for level, wanted in zip(levels, expected, strict=True):
        assert_close(level, wanted, **EXACT)


def test_backbone_weights__wrapper_with_names_of_other_authors(timm_file, tmp_path):
    """timm's ResNet in a wrapper has the names of mmdet's, and so detectron2's are known."""
    _, state, _ = timm_file('resnet18')
    torch.save(resnet_of_detectron2(state), tmp_path / 'detectron2.pth')
    backbone = of_timm('resnet18')
    BackboneWeights(str(tmp_path / 'detectron2.pth'))(backbone)
    assert torch.equal(backbone.timm_model.layer4[0].bn2.running_mean, state['layer4.0.bn2.running_mean'])


def test_backbone_weights__file_and_backbone_in_wrappers(timm_file):
    _, state, path = timm_file('resnet18', prefix='module.')
    backbone = of_timm('resnet18')
    backbone.inner = backbone.timm_model
    del backbone.timm_model
    BackboneWeights(str(path))(backbone)
    assert torch.equal(backbone.inner.conv1.weight, state['module.conv1.weight'])


def test_backbone_weights__entry_of_a_wrapper(timm_file, tmp_path, monkeypatch):
    """Names in an entry are those of the class it is for, prefix and all."""
    monkeypatch.setattr(backbone_names, '_ENTRIES', {})
    register_backbone(
        BackboneNames(
            family='wrapped',
            block='timm_model.layer{i}.{j}.conv1.weight',
            left_out={'mask_token': 'what only its training needs'},
            start_new=['timm_model.layer4.{any}'],
        )
    )
    _, state, _ = timm_file('resnet18')
    file = {key: tensor for key, tensor in state.items() if not key.startswith('layer4')} | {
        'mask_token': torch.ones(1)
    }
    own = of_timm('resnet18').state_dict()
    filled, left_out = backbone_state(file, own, 'x')
    assert {key for key in own if key not in filled} == {key for key in own if 'layer4' in key}
    assert left_out == ['what only its training needs', 'the classifier']


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'layers': (1, 1, 1, 2)}, r'tensors are missing \(such as timm_model\.layer4\.1\.conv1\.weight\)'),
        ({'out_indices': (1, 2, 3)}, r'tensors are left over \(such as layer4\.0\.conv1\.weight\)'),
        ({'channels': (8, 16, 24, 40)}, r'layer4\.0\.conv1\.weight is \(32, 24, 3, 3\) in the file and \(40, 24'),
    ],
)
def test_backbone_weights__wrapper_is_filled_strictly(timm_file, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        BackboneWeights(str(timm_file('resnet18')[2]))(of_timm('resnet18', **changes))


def backbone_lists():
    """Keys and shapes of the published models' backbones, by section of the list."""
    sections, rows = {}, {}
    for line in (ROOT / 'tests/data/checkpoint_keys.txt').read_text().splitlines():
        if line.startswith('['):
            rows = sections.setdefault(line.strip('[]'), {})
        elif not line.startswith('#') and len(line.split()) > 1:
            key, shape, *_ = line.split()
            rows[key] = shape
    return sections


@pytest.mark.parametrize(
    ('name', 'section', 'changes'),
    [
        ('swin-t', 'swin_t', {}),
        ('swin-l', 'swin_l', {}),
        ('convnext-l', 'convnext_l', {}),
        ('convnext-xl', 'convnext_xl', {}),
        ('dinat-l', 'dinat_l_k11', {}),
        ('dinat-l', 'dinat_l_k7', {'kernel_size': 7}),
        ('r50', 'r50_frozenbn', {}),
    ],
)
def test_backbone_weights__published_names_and_sizes_fill_every_backbone(name, section, changes):
    """The published models have their backbone's names from the classifier they started from."""
    config = Config.fromfile(ROOT / f'configs/_base_/models/oneformer_{name}.py').model.backbone
    known = config.init_cfg.checkpoint
    config.update(changes)
    own = build_skeleton(config)
    assert known == 'torchvision://resnet50' or known in backbone_of(own.state_dict()).files
    theirs = {
        key: torch.empty([int(size) for size in shape.split('x')] if shape != 'scalar' else [], device='meta')
        for key, shape in backbone_lists()[section].items()
        if not re.match(r'norm\d\.', key)
    }
    assert len(theirs) > 150
    state, left_out = backbone_state(theirs, own.state_dict(), section)
    assert left_out == ['tensors that follow from the size of the windows'] * name.startswith('swin')
    filled = {key for key, _ in own.named_parameters() if not re.match(r'norm\d\.', key)}
    assert filled <= state.keys()


@pytest.mark.parametrize('family', ['swin', 'dinat', 'convnext'])
def test_init_weights__of_the_whole_model(tmp_path, classifiers, family):
    """What was loaded is not drawn anew, also in mmdet's Swin, which would read the file itself."""
    torch.manual_seed(2)
    state = {key: torch.randn_like(tensor) for key, tensor in build(family).state_dict().items() if 'index' not in key}
    torch.save(state, tmp_path / 'whole.pth')
    config = Config.fromfile(ROOT / 'configs/_base_/models/oneformer_r50.py').model
    source = {'type': 'BackboneWeights', 'checkpoint': str(tmp_path / 'whole.pth')}
    widths = CONVNEXT['channels'] if family == 'convnext' else [8, 16, 32, 64]
    parts = {'num_layers': 1, 'num_heads': 4, 'ffn_channels': 32}
    config.backbone = {**OURS[family], 'init_cfg': source}
    config.thing_ids, config.text_mapper, config.criterion = (), None, None
    config.head.update(num_classes=3, num_queries=4, channels=32, query_initializer=parts, decoder=parts)
    config.head.pixel_decoder = {'in_channels': widths, **parts}
    model = MODELS.build(config)
    model.init_weights()
    for key, tensor in model.backbone.state_dict().items():
        assert 'index' in key or torch.equal(tensor, state[key].to(tensor.dtype)), key
    assert model.head.pixel_decoder.level_embed.any()  # built as zeros: the other parts are initialised as ever


@pytest.mark.parametrize('name', published_files())
def test_published_files__are_what_some_model_starts_from(name):
    configs = [path.read_text() for path in (ROOT / 'configs').rglob('*.py')]
    assert any(f"checkpoint='{name}'" in text for text in configs)
    assert published_files()[name].url.startswith('https://')
