import re

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmseg_oneformer.apis import OneFormerInferencer
from mmseg_oneformer.checkpoints.checkpoint import for_inference
from mmseg_oneformer.datasets.drawing import draw_scene
from mmseg_oneformer.models.decode_head import OneFormerDecodeHead
from mmseg_oneformer.zoo.configs import find_config

NAME = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
NUM_CLASSES = 7


@pytest.fixture(scope='module')
def infer():
    return OneFormerInferencer(NAME, device='cpu')


@pytest.fixture(scope='module')
def segmentor():
    """mmseg's EncoderDecoder with backbone and head of the shipped model."""
    cfg = for_inference(Config.fromfile(find_config(NAME)))
    head = {key: value for key, value in cfg.model.head.items() if key not in ('type', 'num_classes')}
    start = {'type': 'Pretrained', 'checkpoint': f'oneformer://{NAME}'}
    preprocessor = {key: cfg.model.data_preprocessor[key] for key in ('mean', 'std', 'bgr_to_rgb')}
    config = {
        'type': 'EncoderDecoder',
        'data_preprocessor': {'type': 'SegDataPreProcessor', 'test_cfg': {'size_divisor': 32}, **preprocessor},
        'backbone': {**cfg.model.backbone, 'init_cfg': {**start, 'prefix': 'backbone.'}},
        'decode_head': {
            'type': 'OneFormerDecodeHead',
            'num_classes': NUM_CLASSES,
            'head': {**head, 'init_cfg': {**start, 'prefix': 'head.'}},
            'criterion': {'num_points': 64},
        },
        'test_cfg': {'mode': 'whole'},
    }
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(ConfigDict(config))
    model.init_weights()
    return model.eval()


def scene(size, seed=0):
    """A photo (size, size, 3) BGR and its class map."""
    drawn = draw_scene(size, np.random.default_rng(seed))
    classes = ['sky', 'grass', 'water', 'ball', 'box', 'cone', 'star']
    labels = np.array([255, *(classes.index(name) for name in drawn.names)])[drawn.segment_map]
    return np.ascontiguousarray(drawn.image[:, :, ::-1]), torch.from_numpy(labels)


def batch(photos):
    """What mmseg's pipelines hand to the model."""
    samples = []
    for photo in photos:
        height, width = photo.shape[:2]
        metainfo = {'ori_shape': (height, width), 'img_shape': (height, width), 'pad_shape': (height, width)}
        samples.append(SegDataSample(metainfo=metainfo))
    return {'inputs': [torch.from_numpy(photo).permute(2, 0, 1) for photo in photos], 'data_samples': samples}


def predict(model, photos):
    with torch.no_grad():
        return [sample.pred_sem_seg.data[0].numpy() for sample in model.test_step(batch(photos))]


@pytest.mark.parametrize('width', [96, 110], ids=['exact', 'padded'])
def test_predict__equals_the_semantic_prediction_of_oneformer(segmentor, infer, width):
    photos = [scene(width, seed)[0][:96].copy() for seed in range(2)]
    assert infer.cfg.test_dataloader.dataset.pipeline[1].size == 96  # So both networks get the photos as they are.
    for found, photo in zip(predict(segmentor, photos), photos, strict=True):
        assert np.array_equal(found, infer(photo, 'semantic', channel_order='bgr').semantic)


def test_predict__windows(segmentor, monkeypatch):
    photo = scene(96)[0]
    (whole,) = predict(segmentor, [photo])
    monkeypatch.setattr(segmentor, 'test_cfg', ConfigDict(mode='slide', crop_size=(96, 96), stride=(64, 64)))
    assert np.array_equal(predict(segmentor, [photo])[0], whole)
    monkeypatch.setattr(segmentor, 'test_cfg', ConfigDict(mode='slide', crop_size=(64, 64), stride=(32, 32)))
    (windows,) = predict(segmentor, [photo])
    assert 0.7 < (windows == whole).mean() < 1


def test_scores__are_class_probabilities_times_mask_probabilities(segmentor):
    data = segmentor.data_preprocessor(batch([scene(96)[0]]), False)
    with torch.no_grad():
        features = segmentor.extract_feat(data['inputs'])
        scores = segmentor.decode_head.predict(features, [data['data_samples'][0].metainfo], None)
        output = segmentor.decode_head(features)
    masks = torch.nn.functional.interpolate(output.mask_logits()[0], size=(96, 96), mode='bilinear').sigmoid()
    plain = torch.einsum('nk,nhw->khw', output.class_logits[-1, 0, 0].softmax(-1)[:, :-1], masks[0])
    assert scores.shape == (1, NUM_CLASSES, 96, 96)
    torch.testing.assert_close(scores[0], plain, atol=1e-5, rtol=1e-4)


def test_loss__of_the_truth_is_below_that_of_a_wrong_map(segmentor):
    photo, labels = scene(96)
    data = segmentor.data_preprocessor(batch([photo]), False)
    losses = []
    for truth in (labels, (labels + 1) % NUM_CLASSES):
        data['data_samples'][0].gt_sem_seg = PixelData(data=truth[None])
        torch.manual_seed(0)
        found = segmentor(data['inputs'], data['data_samples'], mode='loss')
        assert {'decode.loss_cls', 'decode.loss_mask', 'decode.loss_dice', 'decode.d0.loss_cls'} <= found.keys()
        losses.append(segmentor.parse_losses(found)[0])
    assert losses[0] < losses[1] / 3
    losses[0].backward()
    unused = [name for name, parameter in segmentor.named_parameters() if parameter.grad is None]
    segmentor.zero_grad(set_to_none=True)
    assert not unused


def test_targets__one_for_each_class():
    head = object.__new__(OneFormerDecodeHead)
    head.__dict__.update(num_classes=4, ignore_index=255)
    labels = torch.tensor([[[3, 3, 255], [1, 3, 1]], [[255, 255, 255]] * 2])
    targets = head.targets(labels)
    assert [found.tolist() for found in targets.labels] == [[1, 3], []]
    assert targets.index_map.tolist() == [[[1, 1, -1], [0, 1, 0]], [[-1, -1, -1]] * 2]
    with pytest.raises(ValueError, match=re.escape('has the value 4, but the head has 4 classes; set num_classes')):
        head.targets(labels.clamp(max=4))


def test_one_class__is_rejected():
    with pytest.raises(ValueError, match='num_classes=1; count the background'):
        OneFormerDecodeHead(1, {})
