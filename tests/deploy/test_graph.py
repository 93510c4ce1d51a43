"""Graphs of each backbone: which can be traced, and that they predict as the model at other sizes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from mmseg_oneformer.checkpoints.checkpoint import for_inference
from mmseg_oneformer.deploy import formats
from mmseg_oneformer.deploy.dinat import traceable_dinat
from mmseg_oneformer.deploy.formats import FORMATS
from mmseg_oneformer.deploy.graph import EXAMPLE_SIZE, OneFormerGraph, example_inputs, trace
from mmseg_oneformer.models.backbones.dinat import NeighborhoodAttention
from mmseg_oneformer.models.backbones.swin import SwinBackbone
from mmseg_oneformer.zoo.configs import read_config

SWIN = 'oneformer_swin-t_8xb2-160k_ade20k-512x512'
DINAT = 'oneformer_dinat-l_8xb2-160k_ade20k-640x640'


@pytest.fixture
def small(small_models):
    """Build a shipped config as a small model with random weights, none of them zero."""

    def build(name, **changes):
        cfg = for_inference(read_config(name))
        cfg.merge_from_dict({**{k: v for k, v in small_models.small_model(cfg).items() if v is not None}, **changes})
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope('mmdet'):
            model = MODELS.build(cfg.model)
        for parameter in model.parameters():
            if not parameter.any() or (parameter == 1).all():
                torch.nn.init.normal_(parameter, std=0.5)
        return model.eval()

    return build


@pytest.mark.parametrize('kernel_size', [3, 7])
@pytest.mark.parametrize('dilation', [1, 2, 5])
@pytest.mark.parametrize('size', [(1, 1), (3, 4), (8, 9), (14, 37), (41, 70)])
def test_dinat__traceable_form_is_the_same(kernel_size, dilation, size):
    """On maps that are smaller than a neighbourhood, than a tile, and of several tiles, whole ones or not."""
    rng = torch.Generator().manual_seed(0)
    attention = NeighborhoodAttention(8, 2, kernel_size, dilation)
    x = torch.randn(2, *size, 8, generator=rng)
    with torch.no_grad():
        attention.rpb.normal_(generator=rng)
        expected = attention(x)
        with traceable_dinat():
            found = attention(x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_graph__predicts_as_the_model(small):
    model = small('oneformer_r50_8xb2-160k_ade20k-512x512').double()  # In which rounding moves no query's gaze.
    image, task = example_inputs((64, 96), batch=2, tasks=3)
    image = image.double()
    with torch.no_grad():
        ours = OneFormerGraph(model).eval()(image, task[[2, 0]])
        normalised = (image - model.data_preprocessor.mean) / model.data_preprocessor.std
        theirs = model.predict_logits(normalised, ('panoptic', 'semantic'))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_graph__a_model_of_before_is_traced_with_our_swin(small):
    """Which computes the same, unless mmdet's has parts of its own; then it stays."""
    model = small(SWIN, **{'model.backbone.type': 'mmdet.SwinTransformer'})
    graph, image = OneFormerGraph(model), torch.rand(2, 3, 96, 160)
    assert type(model.backbone).__name__ == 'SwinTransformer' and type(graph.backbone) is SwinBackbone
    with torch.no_grad():
        for ours, theirs in zip(graph.backbone(image), model.backbone(image), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    other = small(SWIN, **{'model.backbone.type': 'mmdet.SwinTransformer', 'model.backbone.qkv_bias': False})
    assert OneFormerGraph(other).backbone is other.backbone


@pytest.mark.parametrize(
    'changes, sentence',
    [
        ({'head.use_task_token': False}, 'no task token'),
        ({'data_preprocessor.bgr_to_rgb': False}, 'bgr_to_rgb=True'),
        ({'data_preprocessor.pad_size_divisor': 1}, 'pad_size_divisor=32'),
    ],
)
def test_graph__rejects(small, changes, sentence):
    model = small(SWIN, **{f'model.{key}': value for key, value in changes.items()})
    with pytest.raises(ValueError, match=sentence):
        OneFormerGraph(model)


@pytest.mark.parametrize('size', [(48, 64), (64, 100), (32, 64), (-64, 64)])
def test_trace__sizes_are_multiples(small, size):
    with pytest.raises(ValueError, match='multiples of 32 from 64 on'):
        trace(OneFormerGraph(small(SWIN)), size)


@pytest.mark.parametrize('size, remedy', [(None, 'try a fixed size'), ((64, 96), 'use Swin, ResNet or ConvNeXt')])
def test_trace__a_backbone_that_cannot_be_traced(small, size, remedy):
    model = small('oneformer_r50_8xb2-160k_ade20k-512x512')

    class Branches(torch.nn.Module):
        def forward(self, image):
            if image.sum() > 0:
                return [image]
            return []

    model.backbone = Branches()
    with pytest.raises(ValueError, match=f'^Branches cannot be exported at .* size .*; {remedy}'):
        trace(OneFormerGraph(model).eval(), size)


@pytest.mark.parametrize('window', [7, 12])
def test_trace__example_has_several_windows_along_each_side(window):
    for stride in (4, 8, 16, 32):
        rows, columns = (-(-side // stride // window) for side in EXAMPLE_SIZE)
        assert 1 < rows < columns


@pytest.mark.slow
@pytest.mark.parametrize(
    'name', [SWIN, DINAT, 'oneformer_r50_8xb2-160k_ade20k-512x512', 'oneformer_convnext-l_8xb2-160k_ade20k-640x640']
)
def test_formats__any_size_and_number(small, name, tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    graph = OneFormerGraph(small(name)).eval()
    program = trace(graph)
    for kind, file in (('onnx', 'model.onnx'), ('torch', 'model.pt2')):
        FORMATS[kind](program, tmp_path / file)
    session = onnxruntime.InferenceSession(tmp_path / 'model.onnx', providers=['CPUExecutionProvider'])
    assert [value.shape for value in (*session.get_inputs(), *session.get_outputs())] == [
        ['batch', 3, 'height', 'width'],
        ['tasks'],
        ['batch', 'tasks', graph.head.num_queries, graph.head.num_classes + 1],
        ['batch', 'tasks', graph.head.num_queries, 'height/4', 'width/4'],
    ]
    network = torch.export.load(tmp_path / 'model.pt2').module()
    for batch, size, tasks in ((1, (64, 64), 3), (3, (160, 224), 1), (1, (224, 448), 2), (1, (64, 800), 1)):
        image, task = example_inputs(size, batch, tasks)
        with torch.no_grad():
            expected = graph(image, task)
            by_torch = network(image, task)
        by_onnx = session.run(None, {'image': image.numpy(), 'task': task.numpy()})
        for ours, again, theirs in zip(by_onnx, by_torch, expected, strict=True):
            # Rounding moves the gaze of a query here and there: not all are close.
            assert (np.abs(ours - theirs.numpy()) < 0.01).mean() > 0.97
            assert ((again - theirs).abs() < 0.01).float().mean() > 0.97


def test_write_folder__a_new_graph_never_stands_beside_the_description_of_an_old_one(tmp_path, monkeypatch):
    def full_disk(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(formats, 'trace', lambda graph, size: None)
    monkeypatch.setattr(formats, 'OneFormerGraph', lambda model: torch.nn.Identity())
    monkeypatch.setattr(formats.shutil, 'copyfile', full_disk)
    monkeypatch.setitem(FORMATS, 'onnx', lambda program, path: path.write_bytes(b'new'))
    (tmp_path / 'model.json').write_text('{}')
    model = SimpleNamespace(data_preprocessor=SimpleNamespace(mean=torch.zeros(1)))
    with pytest.raises(ValueError, match='No space left on device'):
        formats.write_folder('onnx', model, {}, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ['model.onnx']
