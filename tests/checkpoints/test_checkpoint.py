import json

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner.checkpoint import load_checkpoint
from safetensors import SafetensorError
from torch import nn

from mmseg_oneformer.checkpoints import files
from mmseg_oneformer.checkpoints.checkpoint import for_inference, load_weights, read_checkpoint, save_safetensors

META = {'config': 'toy', 'seed': 3, 'dataset_meta': {'classes': ['a', 'ä'], 'palette': [[1, 2, 3], [4, 5, 6]]}}


class Toy(nn.Module):
    """Keys like ours: a head with or without the text branch."""

    def __init__(self, width=4, text=False):
        super().__init__()
        self.head = nn.Module()
        self.head.decoder = nn.Linear(3, width)
        self.head.norm = nn.BatchNorm1d(width)
        if text:
            self.text_mapper = nn.Linear(2, 2)
            self.criterion = nn.Module()
            self.criterion.contrastive_loss = nn.Linear(1, 1)


def equal(one, two, **tolerance):
    assert one.keys() == two.keys()
    for key in one:
        assert one[key].dtype == two[key].dtype
        torch.testing.assert_close(one[key], two[key], **(tolerance or {'rtol': 0, 'atol': 0}))


@pytest.mark.parametrize('half', [False, True])
def test_safetensors__round_trip(tmp_path, half):
    source, target = Toy(), Toy()
    save_safetensors(source.state_dict(), tmp_path / 'new/toy.safetensors', META, half=half)
    assert load_weights(target, tmp_path / 'new/toy.safetensors') == META
    equal(source.state_dict(), target.state_dict(), **({'rtol': 1e-3, 'atol': 1e-4} if half else {}))
    stored = read_checkpoint(tmp_path / 'new/toy.safetensors')['state_dict']
    assert stored['head.decoder.weight'].dtype == (torch.float16 if half else torch.float32)
    assert stored['head.norm.num_batches_tracked'].dtype == torch.int64
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['toy.safetensors']


def test_safetensors__views_and_shared_tensors(tmp_path):
    weight = torch.arange(6.0).view(2, 3)
    save_safetensors({'a': weight, 'b': weight, 'c': weight.T, 'd': weight[0]}, tmp_path / 'a.safetensors', {})
    state = read_checkpoint(tmp_path / 'a.safetensors')['state_dict']
    equal(state, {'a': weight, 'b': weight, 'c': weight.T, 'd': weight[0]})


def test_safetensors__full_disk_is_a_sentence(tmp_path, monkeypatch):
    def full(*args):
        raise SafetensorError('I/O error: No space left on device (os error 28)')

    monkeypatch.setattr(files, 'save_file', full)
    with pytest.raises(OSError, match=r'a\.safetensors cannot be written .*No space left'):
        save_safetensors({'a': torch.zeros(2)}, tmp_path / 'a.safetensors', {})
    assert not list(tmp_path.iterdir())


def test_safetensors__is_read_by_the_libraries_loader(tmp_path):
    source, target = Toy(), Toy()
    save_safetensors(source.state_dict(), tmp_path / 'toy.safetensors', META)
    checkpoint = load_checkpoint(target, str(tmp_path / 'toy.safetensors'), map_location='cpu')
    equal(source.state_dict(), target.state_dict())
    assert checkpoint['meta']['dataset_meta'] == META['dataset_meta']


def test_save_safetensors__what_cannot_be_stored_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match='a overflows float16'):
        save_safetensors({'a': torch.tensor([1e6])}, tmp_path / 'a.safetensors', {}, half=True)
    with pytest.raises(ValueError, match='must be JSON'):
        save_safetensors({'a': torch.zeros(1)}, tmp_path / 'a.safetensors', {'classes': {1, 2}})
    assert not list(tmp_path.iterdir())


def test_load_weights__drops_the_text_branch_with_a_line_for_developers(tmp_path, capsys):
    source, target = Toy(text=True), Toy()
    torch.save({'state_dict': source.state_dict(), 'meta': {'iter': 5}}, tmp_path / 'iter_5.pth')
    assert load_weights(target, tmp_path / 'iter_5.pth') == {'iter': 5}
    assert not capsys.readouterr().out
    MMLogger.get_instance('run', log_level='DEBUG')
    load_weights(target, tmp_path / 'iter_5.pth')
    assert '4 tensors of the text branch are left out' in capsys.readouterr().out
    assert torch.equal(source.head.decoder.weight, target.head.decoder.weight)
    whole = Toy(text=True)
    load_weights(whole, tmp_path / 'iter_5.pth')
    equal(source.state_dict(), whole.state_dict())


def change(state, how):
    if how == 'missing':
        del state['head.decoder.bias']
    elif how == 'left over':
        state['head.other'] = torch.zeros(1)
    elif how == 'shape':
        state['head.decoder.bias'] = torch.zeros(9)
    return state


@pytest.mark.parametrize(
    ('how', 'sentence'),
    [
        ('missing', r'1 tensors are missing \(such as head\.decoder\.bias\)'),
        ('left over', r'1 tensors are left over \(such as head\.other\)'),
        ('shape', r'head\.decoder\.bias is \(9,\) in the file and \(4,\) in the model'),
    ],
)
def test_load_weights__anything_else_is_an_error_and_changes_nothing(tmp_path, how, sentence):
    torch.save(change(Toy().state_dict(), how), tmp_path / 'a.pth')
    target = Toy()
    before = {key: value.clone() for key, value in target.state_dict().items()}
    with pytest.raises(ValueError, match=rf'a\.pth is not a checkpoint of this model: {sentence}'):
        load_weights(target, tmp_path / 'a.pth')
    equal(before, target.state_dict())


def test_load_weights__training_model_and_weights_for_inference(tmp_path):
    save_safetensors(Toy().state_dict(), tmp_path / 'a.safetensors', {})
    with pytest.raises(ValueError, match='without the text branch'):
        load_weights(Toy(text=True), tmp_path / 'a.safetensors')


def test_read_checkpoint__missing_broken_or_no_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'There is no checkpoint at .*none\.pth'):
        read_checkpoint(tmp_path / 'none.pth')
    save_safetensors({'a': torch.zeros(100)}, tmp_path / 'a.safetensors', {})
    whole = (tmp_path / 'a.safetensors').read_bytes()
    (tmp_path / 'a.safetensors').write_bytes(whole[:200])
    with pytest.raises(ValueError, match='is not a complete safetensors file'):
        read_checkpoint(tmp_path / 'a.safetensors')
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(ValueError, match='holds a list, not a state dict'):
        read_checkpoint(tmp_path / 'list.pth')


def test_for_inference__is_a_copy_without_text_branch():
    model = {
        'backbone': {'type': 'B', 'init_cfg': {'checkpoint': 'x'}},
        'head': {'n': 1},
        'text_mapper': {'type': 'T'},
        'criterion': {},
    }
    cfg = Config({'model': model})
    assert for_inference(cfg).model == {'backbone': {'type': 'B'}, 'head': {'n': 1}}
    assert json.loads(json.dumps(cfg.model)) == model


def test_for_inference__no_backbone_is_downloaded():
    for backbone, expected in (
        ({'type': 'mmdet.ResNet', 'pretrained': 'torchvision://resnet50'}, {'type': 'mmdet.ResNet'}),
        ({'type': 'mmseg.TIMMBackbone'}, {'type': 'mmseg.TIMMBackbone', 'pretrained': False}),
        ({'type': 'mmseg.TIMMBackbone', 'pretrained': True}, {'type': 'mmseg.TIMMBackbone', 'pretrained': False}),
    ):
        assert for_inference(Config({'model': {'backbone': backbone}})).model.backbone == expected


def test_save_safetensors__others_can_read_the_file(tmp_path):
    (tmp_path / 'plain').touch()
    save_safetensors({'a': torch.ones(2)}, tmp_path / 'a.safetensors', {})
    assert (tmp_path / 'a.safetensors').stat().st_mode == (tmp_path / 'plain').stat().st_mode
