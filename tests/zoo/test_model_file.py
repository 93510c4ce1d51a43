"""A .safetensors file that is a whole model: read without running anything of it."""

import json
import re

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mmseg_oneformer.apis import OneFormerInferencer
from mmseg_oneformer.checkpoints.checkpoint import read_checkpoint
from mmseg_oneformer.checkpoints.model_file import write_model_file
from mmseg_oneformer.safe.plain_config import parse_plain_config
from mmseg_oneformer.zoo.model_file import KEY, read_model_config


@pytest.fixture
def model_file(tiny_model, tmp_path):
    infer = OneFormerInferencer(*tiny_model, device='cpu')
    path = tmp_path / 'tiny.safetensors'
    write_model_file(path, infer.cfg, infer.model, infer.dataset_meta)
    return path, infer


def rewrite(path, change, key=KEY):
    """Change the config text, or another part of the description, inside of a file."""
    with safe_open(path, framework='pt') as file:
        meta = json.loads(file.metadata()['meta'])
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    meta[key] = change(meta[key])
    save_file(state, path, {'meta': json.dumps(meta)})


def test_model_file__config_comes_back(model_file):
    path, infer = model_file
    cfg = read_model_config(path)
    assert cfg.model.head.to_dict() == infer.cfg.model.head.to_dict()
    assert cfg.model.backbone.out_indices == (0, 1, 2, 3)
    assert cfg.test_dataloader.dataset.pipeline == infer.cfg.test_dataloader.dataset.pipeline
    assert 'ann_file' not in cfg.test_dataloader.dataset and 'init_cfg' not in cfg.pretty_text


def test_model_file__has_no_data_to_measure(model_file, call_tool, capsys):
    assert call_tool('test.py', model_file[0]) == 2
    assert 'is a model and does not define data; give a config first' in capsys.readouterr().err


@pytest.mark.parametrize('by_type', ['os.system', 'subprocess.check_output', 'mmengine.load', 'evil.OneFormer'])
def test_model_file__types_are_registered_ones(model_file, by_type):
    path, _ = model_file
    rewrite(path, lambda text: text.replace("type='OneFormerHead'", f"type='{by_type}'"))
    with pytest.raises(ValueError, match=f'it names {by_type}'):
        OneFormerInferencer(path, device='cpu')


def test_model_file__no_detector_that_runs_a_config(model_file, tmp_path):
    """A teacher's config is a path, and mmdet runs what is there."""
    path, _ = model_file
    (tmp_path / 'teacher.py').write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nmodel = dict(type='mmdet.ResNet', depth=18)\n"
    )
    detector = {
        'type': 'mmdet.KnowledgeDistillationSingleStageDetector',
        'backbone': {'type': 'mmdet.ResNet', 'depth': 18},
        'neck': {'type': 'mmdet.FPN', 'in_channels': [64, 128, 256, 512], 'out_channels': 8, 'num_outs': 5},
        'bbox_head': {'type': 'mmdet.FCOSHead', 'num_classes': 2, 'in_channels': 8},
        'teacher_config': str(tmp_path / 'teacher.py'),
    }

    def with_detector(text):
        settings = parse_plain_config(text)
        settings['model']['backbone'] = detector
        return '\n'.join(f'{key} = {value!r}' for key, value in settings.items())

    rewrite(path, with_detector)
    with pytest.raises(ValueError, match='KnowledgeDistillationSingleStageDetector'):
        OneFormerInferencer(path, device='cpu')
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize(
    'change', ['model = 3', 'test_dataloader = dict(dataset=dict(pipeline=[]))', 'x = ' + 99999 * '-' + '1']
)
def test_model_file__what_is_no_config_is_a_sentence(model_file, change):
    path, _ = model_file
    rewrite(path, lambda text: f'{text}\n{change}\n')
    with pytest.raises(ValueError, match='is rejected: it'):
        OneFormerInferencer(path, device='cpu')


@pytest.mark.parametrize(
    'dataset_meta, sentence',
    [
        (None, 'Neither the weights nor the config'),
        ({'classes': 3}, 'are not a list'),
        ({'classes': 'abc'}, 'are not a list'),
    ],
)
def test_model_file__classes_that_are_none_are_a_sentence(model_file, dataset_meta, sentence):
    path, _ = model_file
    rewrite(path, lambda _: dataset_meta, 'dataset_meta')
    with pytest.raises(ValueError, match=sentence):
        OneFormerInferencer(path, device='cpu')


@pytest.mark.parametrize('queries', [-1, 10**17])
def test_model_file__a_network_that_cannot_be_is_a_sentence(model_file, queries):
    path, _ = model_file
    rewrite(path, lambda text: re.sub(r'num_queries=\d+', f'num_queries={queries}', text))
    with pytest.raises(ValueError, match=r'The model of .*tiny\.safetensors cannot be built'):
        OneFormerInferencer(path, device='cpu')


def test_model_file__damaged_ones_are_a_sentence(model_file):
    path, _ = model_file
    whole = path.read_bytes()
    header = b'{"__metadata__":{"meta":"' + b'[' * 99999 + b'"}}'
    giant, nested = (2**62).to_bytes(8, 'little') + whole[8:], len(header).to_bytes(8, 'little') + header
    for content in (b'', whole[:5], whole[:300], whole[:-1], whole + b'x', bytes(9999), giant, nested):
        path.write_bytes(content)
        with pytest.raises(ValueError, match='is not a complete safetensors file'):
            OneFormerInferencer(path, device='cpu')


@pytest.mark.parametrize('line', ['import os', "x = open('/etc/passwd').read()", 'x = [1][0]', "x = '{{$HOME:}}'"])
def test_model_file__code_is_rejected(model_file, line):
    path, _ = model_file
    rewrite(path, lambda text: f'{text}\n{line}\n')
    with pytest.raises(ValueError, match='code, not plain settings'):
        OneFormerInferencer(path, device='cpu')


def test_model_file__weights_alone_need_a_config(model_file, tmp_path):
    path, _ = model_file
    rewrite(path, lambda text: None)
    with pytest.raises(ValueError, match='holds only weights'):
        OneFormerInferencer(path, device='cpu')
    (tmp_path / 'broken.safetensors').write_bytes(b'x' * 30)
    with pytest.raises(ValueError, match='not a complete safetensors file'):
        OneFormerInferencer(tmp_path / 'broken.safetensors', device='cpu')


def test_weights__config_texts_that_are_code_are_dropped(tmp_path):
    """mmengine's inferencers run the text they find under this name."""
    meta = {'cfg': 'import os', 'config': 'name'}
    save_file({'weight': torch.zeros(1)}, tmp_path / 'x.safetensors', {'meta': json.dumps(meta)})
    with pytest.warns(UserWarning, match='is code'):
        assert read_checkpoint(tmp_path / 'x.safetensors')['meta'] == {'config': 'name'}


def test_parse_plain_config__is_the_text_run():
    text = "a = dict(b=[1, -2.5, (3,)], c={'d': None, 5: True}, e=dict(f='x'))\nclasses = ('one', 'two')\n"
    run = {}
    exec(text, run)
    assert parse_plain_config(text) == {key: run[key] for key in ('a', 'classes')}
    for code in ('a = dict([1])', 'a = dict(**{})', 'a = tuple(1)', 'a = b'):
        with pytest.raises(ValueError):
            parse_plain_config(code)
