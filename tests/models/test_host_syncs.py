"""How often the host waits for the GPU, in a training step and in the network; it needs no GPU to be counted."""

import pytest
import torch
from mmdet.structures import DetDataSample
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.planted import planted_logits
from benchmarks.pretended_gpu import READS, PretendedTensor, counted_waits, move
from mmseg_oneformer.models.postprocess import ImageSize, PostProcessor, complete_test_cfg
from mmseg_oneformer.tasks import TASKS


def places(waits):
    return [(wait.reason, wait.place.partition(':')[0]) for wait in waits]


def training_waits(model, batch):
    """Waits of the network and its losses, and the losses' values."""
    move(model)
    with counted_waits() as waits:
        data = model.data_preprocessor(batch, training=True)
        del waits[:]  # the library flips BGR by a list of channels, once an image
        torch.manual_seed(1)
        _, logged = model.parse_losses(model(**data, mode='loss'))
    return waits, logged


@pytest.mark.parametrize('num_targets', [(3, 2), (0, 5, 1), (0,)], ids=str)
@pytest.mark.parametrize(
    'auxiliary',
    [
        {'type': 'ContrastiveLoss', 'level': 'image'},
        {'type': 'ContrastiveLoss', 'level': 'query'},
        {'type': 'QueryClassification'},
    ],
    ids=['image', 'query', 'classification'],
)
def test_training_step__waits_for_the_matching_and_for_the_log(build, make_batch, num_targets, auxiliary):
    waits, logged = training_waits(build(criterion__auxiliary=[auxiliary]), make_batch(num_targets))
    matched = 2 if auxiliary['type'] == 'QueryClassification' else 1  # it is matched by classes of its own
    matching = [('copy to the host', 'models/losses/matcher.py')] * matched
    assert places(waits) == [*matching, ('copy to the host', 'models/oneformer.py')]
    assert {value.device.type for value in logged.values()} == {'cpu'}


def test_training_step__pretended_values_are_the_real_ones(build, make_batch):
    model, batch = build(), make_batch()
    torch.manual_seed(1)
    expected = model(**model.data_preprocessor(batch, training=True), mode='loss')
    _, logged = training_waits(model, batch)
    for name, value in expected.items():
        torch.testing.assert_close(logged[name], value.detach(), rtol=1e-5, atol=1e-6)


def test_parse_losses__same_sum_and_log_as_the_library(build, make_batch):
    model = build()
    losses = model(**model.data_preprocessor(make_batch(), training=True), mode='loss')
    loss, logged = model.parse_losses(losses)
    expected_loss, expected = super(type(model), model).parse_losses(losses)
    assert torch.equal(loss, expected_loss) and loss.requires_grad
    assert list(logged) == list(expected)
    assert all(torch.equal(logged[name], expected[name]) for name in expected)


def test_backward__reads_nothing(build, make_batch):
    class Reads(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            read.append(function.overloadpacket)
            return function(*args, **(kwargs or {}))

    read = []
    model = build(head__pixel_decoder__with_cp=True)
    losses = model(**model.data_preprocessor(make_batch(), training=True), mode='loss')
    with Reads():
        sum(losses.values()).backward()
    assert len(read) > 100
    assert not READS.keys() & set(read)


def test_network__predicts_without_a_wait(build):
    model = build().eval()
    move(model)
    with counted_waits() as waits, torch.no_grad():
        images = torch.randn(2, 3, 64, 96).to('cuda', non_blocking=True)
        class_logits, mask_logits = model.predict_logits(images, TASKS)
        assert class_logits.is_cuda and mask_logits.is_cuda
    assert waits == []


def prediction_waits(task, num_segments, mask_format='dense'):
    """Waits of one prediction for an image, until it is on the host."""
    class_logits, mask_logits = planted_logits((64, 64), 60, 20, 12, num_segments)
    sample, size = DetDataSample(), ImageSize((256, 256), (256, 256), (300, 280))
    test_cfg = complete_test_cfg({'mask_format': mask_format}, 60)
    with counted_waits() as waits, torch.inference_mode():
        logits = PretendedTensor(class_logits), PretendedTensor(mask_logits)
        PostProcessor(range(12), test_cfg).write(sample, task, *logits, size)
        sample.cpu()
    return places(waits)


@pytest.mark.parametrize('mask_format', ['dense', 'rle'])
@pytest.mark.parametrize('task', TASKS)
def test_prediction__waits_do_not_grow_with_segments(task, mask_format):
    few, many = (prediction_waits(task, count, mask_format) for count in (2, 30))
    assert few == many
    assert len(many) <= {'semantic': 3, 'panoptic': 5, 'instance': 12}[task]
    assert 'copy to the GPU' not in {reason for reason, _ in many}
