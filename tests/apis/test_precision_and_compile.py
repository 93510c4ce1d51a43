"""Half precision and torch.compile: the same predictions, one graph, and results that say so."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from benchmarks.device_equality import label_maps
from mmseg_oneformer import train
from mmseg_oneformer.apis import OneFormerInferencer
from mmseg_oneformer.checkpoints.checkpoint import for_inference
from mmseg_oneformer.datasets.drawing import draw_scene
from mmseg_oneformer.errors import UserError
from mmseg_oneformer.models import precision
from mmseg_oneformer.tasks import TASKS
from mmseg_oneformer.zoo.configs import read_config

MODEL = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
AGREEMENT = 0.995
MEASURED_RATIO = precision.bf16_ratio
"""Before the suite replaces it."""


@pytest.fixture(autouse=True)
def fresh_compiler():
    """No compiled code of another test."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture(scope='module')
def photos():
    """Drawn scenes, BGR."""
    return [np.ascontiguousarray(draw_scene(96, np.random.default_rng(seed)).image[..., ::-1]) for seed in range(24)]


@pytest.fixture(scope='module')
def plain(photos):
    """Predictions in fp32, not compiled."""
    return label_maps(
        OneFormerInferencer(MODEL, device='cpu')(photos, progress=False, mask_format='dense', channel_order='bgr')
    )


def assert_agree(plain, other):
    for task in TASKS:
        assert (plain[task] == other[task]).float().mean() >= AGREEMENT, task


def test_bf16__labels_of_all_predictions_agree(photos, plain):
    infer = OneFormerInferencer(MODEL, device='cpu', dtype='bf16')
    other = label_maps(infer(photos, progress=False, mask_format='dense', channel_order='bgr'))
    assert_agree(plain, other)
    assert any((plain[task] != other[task]).any() for task in TASKS), 'bf16 was not used'


@pytest.mark.slow
@pytest.mark.parametrize('dtype', ['fp32', 'bf16'])
def test_compile__labels_of_all_predictions_agree(photos, plain, dtype):
    infer = OneFormerInferencer(MODEL, device='cpu', dtype=dtype, compile=True)
    assert_agree(plain, label_maps(infer(photos, progress=False, mask_format='dense', channel_order='bgr')))


@pytest.mark.parametrize('dtype', ['fp32', 'bf16'])
@pytest.mark.parametrize('backbone', ['swin-t', 'r50'])
def test_network__is_one_graph(small_models, backbone, dtype):
    cfg = read_config(f'oneformer_{backbone}_8xb2-160k_ade20k-512x512')
    cfg.merge_from_dict(small_models.small_model(cfg))
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(for_inference(cfg).model).eval()
    model.test_cfg.dtype = dtype
    compiled = torch.compile(model.predict_logits, backend='eager', fullgraph=True)
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        for ours, plain in zip(compiled(images, TASKS), model.predict_logits(images, TASKS), strict=True):
            assert ours.dtype == torch.float32
            torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)


def test_dtype__mistakes_end_in_a_sentence():
    with pytest.raises(ValueError, match='no number format fp8; choose one of fp32, bf16, fp16'):
        OneFormerInferencer(MODEL, device='cpu', dtype='fp8')
    with pytest.raises(ValueError, match='fp16 is for GPUs only; choose bf16 on a CPU'):
        OneFormerInferencer(MODEL, device='cpu', dtype='fp16')


def test_dtype__of_the_config_is_kept():
    cfg: Config = read_config(MODEL, {'model.test_cfg.dtype': 'bf16'})
    assert (
        OneFormerInferencer(MODEL, device='cpu', cfg_options={'model.test_cfg.dtype': 'bf16'}).model.test_cfg.dtype
        == 'bf16'
    )
    assert for_inference(cfg).model.test_cfg.dtype == 'bf16'


def test_bf16__is_rejected_where_fp32_is_faster(monkeypatch):
    assert 0 < MEASURED_RATIO() < float('inf')
    monkeypatch.setattr(precision, 'bf16_ratio', lambda: 4.72)
    reason = r'in bf16 takes 4\.72 times as long as in fp32 on this CPU.*; leave bf16 or mixed precision out\.'
    for start in (
        lambda: OneFormerInferencer(MODEL, device='cpu', dtype='bf16'),
        lambda: train(MODEL, amp=True),
    ):
        with pytest.raises(UserError, match=reason):
            start()
