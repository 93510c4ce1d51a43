import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmseg_oneformer.apis import OneFormerInferencer, find_config
from mmseg_oneformer.datasets.shapes import ShapesPanoptic
from mmseg_oneformer.models.checkpoint import read_checkpoint

MODEL = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'


@pytest.fixture
def trained(tmp_path):
    """A checkpoint as training writes it, text branch and all."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(Config.fromfile(find_config(MODEL)).model)
    model.init_weights()
    meta = {'dataset_meta': ShapesPanoptic.METAINFO, 'seed': 3, 'iter': 5}
    torch.save({'state_dict': model.state_dict(), 'meta': meta, 'optimizer': {'state': {}}}, tmp_path / 'iter_5.pth')
    return model


def test_publish__small_and_ready_to_use(call_tool, trained, tmp_path):
    command = ('model_converters/publish_model.py', MODEL, 'iter_5.pth', 'out/small.safetensors', '--half')
    assert call_tool(*command, '--note', 'by hand') == 0
    published = read_checkpoint(tmp_path / 'out/small.safetensors')
    assert (published['meta']['seed'], published['meta']['iter'], published['meta']['note']) == (3, 5, 'by hand')
    assert not [key for key in published['state_dict'] if key.startswith(('text_mapper', 'criterion'))]
    weight = published['state_dict']['head.query_embed.weight']
    assert torch.equal(weight, trained.head.query_embed.weight.half())
    infer = OneFormerInferencer(MODEL, tmp_path / 'out/small.safetensors', device='cpu')
    assert infer.dataset_meta['classes'] == tuple(ShapesPanoptic.METAINFO['classes'])


def test_publish__mistakes(call_tool, trained, tmp_path, capsys):
    tool = 'model_converters/publish_model.py'
    assert call_tool(tool, MODEL, 'iter_5.pth', 'small.pth') == 2
    assert 'OUT has to end in .safetensors' in capsys.readouterr().err
    torch.save({'state_dict': trained.state_dict()}, tmp_path / 'bare.pth')
    assert call_tool(tool, MODEL, 'bare.pth', 'small.safetensors') == 2
    assert 'does not name its classes' in capsys.readouterr().err
    assert not list(tmp_path.glob('small*'))
