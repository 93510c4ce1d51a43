"""Gradient accumulation: when two images in turn equal two at once, and when not."""

import pytest
import torch
from mmengine.optim import OptimWrapper


def same_points(rows, points, device):
    """Points that are the same for all images and masks, so that they don't depend on how images are batched."""
    return torch.rand(1, points, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).expand(
        rows, -1, -1
    )


def update(model, batches):
    """Weights after one update by plain gradient descent from these batches."""
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=len(batches))
    forward = model.criterion.forward
    model.criterion.forward = lambda *args: forward(*args, draw=same_points)
    for batch in batches:
        data = model.data_preprocessor(batch, training=True)
        with wrapper.optim_context(model):
            losses = model(data['inputs'].double(), data['data_samples'], mode='loss')
        wrapper.update_params(model.parse_losses(losses)[0])
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def largest_difference(build, make_batch, num_targets, **changes):
    """Between the updates from two images at once and from one after the other, relative to the largest change."""
    batch = make_batch(num_targets)
    parts = [{key: values[i : i + 1] for key, values in batch.items()} for i in range(2)]
    start = dict(build(**changes).double().named_parameters())
    whole, parts = (update(build(**changes).double(), batches) for batches in ([batch], parts))
    change = max((whole[name] - start[name]).abs().max() for name in start)
    return max((whole[name] - parts[name]).abs().max() for name in start) / change


@pytest.mark.parametrize('auxiliary', [[], [{'type': 'QueryClassification'}]], ids=['none', 'classification'])
def test_two_images_in_turn__equal_two_at_once_with_as_many_targets(build, make_batch, auxiliary):
    assert largest_difference(build, make_batch, (3, 3), criterion__auxiliary=auxiliary) < 1e-10


@pytest.mark.parametrize(('num_targets', 'auxiliary'), [((4, 1), []), ((3, 3), [{'type': 'ContrastiveLoss'}])])
def test_two_images_in_turn__differ_by_normalisation_and_contrast(build, make_batch, num_targets, auxiliary):
    """As the page says: so that no user has to find out."""
    assert largest_difference(build, make_batch, num_targets, criterion__auxiliary=auxiliary) > 1e-3
