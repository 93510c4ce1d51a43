"""mmdet's and mmseg's own functions work with our configs and give our predictions."""

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmseg.apis import MMSegInferencer, inference_model, init_model, show_result_pyplot

from mmseg_oneformer.apis import OneFormerInferencer
from mmseg_oneformer.checkpoints.checkpoint import for_inference
from mmseg_oneformer.datasets.shapes import ShapesPanoptic
from mmseg_oneformer.zoo.configs import find_config


@pytest.fixture
def photo(make_photo, tmp_path):
    path = tmp_path / 'photo.png'
    cv2.imwrite(str(path), make_photo())
    return str(path)


@pytest.fixture
def expected(tiny_model, photo):
    return OneFormerInferencer(*tiny_model, device='cpu')(photo).sample


@pytest.fixture
def red_photo(tmp_path):
    path = tmp_path / 'red.png'
    cv2.imwrite(str(path), np.full((64, 64, 3), (0, 0, 255), np.uint8))
    return str(path)


def first_pixel(model, run):
    """The normalised pixel that the backbone gets while ``run`` is called."""
    seen = []
    handle = model.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0][0, :, 0, 0].tolist()))
    run()
    handle.remove()
    return pytest.approx(seen[-1], abs=1e-4)


def assert_same(one, other):
    assert torch.equal(one.pred_sem_seg.data, other.pred_sem_seg.data)
    assert torch.equal(one.pred_panoptic_seg.sem_seg, other.pred_panoptic_seg.sem_seg)
    assert torch.equal(one.pred_instances.masks, other.pred_instances.masks)
    assert torch.equal(one.pred_instances.scores, other.pred_instances.scores)


def test_colours__red_is_red_everywhere(tiny_model, red_photo):
    config, weights = tiny_model
    expected = [(255 - 123.675) / 58.395, -116.28 / 57.12, -103.53 / 57.375]
    infer = OneFormerInferencer(config, weights, device='cpu')
    detector, segmentor = (init(str(config), str(weights), device='cpu') for init in (init_detector, init_model))
    for image in (red_photo, cv2.imread(red_photo)):
        assert first_pixel(infer.model, lambda image=image: infer(image, channel_order='bgr')) == expected
        assert first_pixel(detector, lambda image=image: inference_detector(detector, image)) == expected
        assert first_pixel(segmentor, lambda image=image: inference_model(segmentor, image)) == expected


@pytest.mark.parametrize('prepare', [str, lambda path: for_inference(Config.fromfile(path))], ids=['path', 'config'])
@pytest.mark.parametrize('form', ['path', 'array'])
def test_mmdet__init_detector_inference_detector(tiny_model, photo, expected, prepare, form):
    config, weights = tiny_model
    model = init_detector(prepare(config), str(weights), device='cpu')
    assert_same(inference_detector(model, photo if form == 'path' else cv2.imread(photo)), expected)


@pytest.mark.parametrize('prepare', [str, lambda path: for_inference(Config.fromfile(path))], ids=['path', 'config'])
@pytest.mark.parametrize('form', ['path', 'array'])
def test_mmseg__init_model_inference_model(tiny_model, photo, expected, prepare, form):
    config, weights = tiny_model
    model = init_model(prepare(config), str(weights), device='cpu')
    assert_same(inference_model(model, photo if form == 'path' else cv2.imread(photo)), expected)


def test_mmseg__show_result_pyplot(tiny_model, photo, tmp_path):
    model = init_model(str(tiny_model[0]), str(tiny_model[1]), device='cpu')
    out = tmp_path / 'shown.png'
    picture = show_result_pyplot(model, photo, inference_model(model, photo), show=False, out_file=str(out))
    assert picture.shape[2] == 3 and np.ptp(picture) > 0
    assert out.exists()


@pytest.fixture(scope='module')
def shipped(tmp_path_factory):
    """A shipped config as it is, text branch and all, with weights for inference."""
    config = str(find_config('oneformer_r18-narrow_1xb16-6k_shapes-96x96'))
    with DefaultScope.overwrite_default_scope('mmdet'):
        state = MODELS.build(for_inference(Config.fromfile(config)).model).state_dict()
    weights = tmp_path_factory.mktemp('shipped') / 'weights.pth'
    meta = {key: ShapesPanoptic.METAINFO[key] for key in ('classes', 'thing_ids', 'palette')}
    torch.save({'state_dict': state, 'meta': {'dataset_meta': meta}}, weights)
    return config, str(weights)


def test_shipped_config__mmseg_and_mmdet(shipped, photo, tmp_path):
    ours = OneFormerInferencer(*shipped, device='cpu')(photo).sample
    assert_same(inference_model(init_model(*shipped, device='cpu'), photo), ours)
    assert_same(inference_detector(init_detector(*shipped, device='cpu'), photo), ours)
    infer = MMSegInferencer(*shipped, device='cpu')
    assert_same(infer(photo, return_datasamples=True, out_dir=str(tmp_path / 'mmseg')), ours)
    assert list((tmp_path / 'mmseg').rglob('*.png'))
