"""K = 1: losses of every task, with and without targets, compared with a model whose second class never occurs."""

import pytest
import torch

from mmseg_oneformer.tasks import TASKS


def one_class(batch):
    for sample in batch['data_samples']:
        count = len(sample.gt_instances.labels)
        sample.gt_instances.labels.zero_()
        text = {'texts': ('a photo with a cell',) if count else (), 'text_counts': (count,) if count else ()}
        sample.set_metainfo(text)
    return batch


@pytest.mark.parametrize('num_targets', [(3, 1, 2), (0, 2, 0), (0, 0, 0)])
def test_loss__every_task(build, make_batch, losses, num_targets):
    model = build(head__num_classes=1, thing_ids=(0,))
    batch = one_class(make_batch(num_targets))
    assert [sample.task for sample in batch['data_samples']] == list(TASKS)
    values = losses(model, batch)
    assert all(value.isfinite().all() for value in values.values())
    sum(value.sum() for value in values.values()).backward()
    gradients = [p.grad for p in model.head.decoder.class_embed.parameters()]
    assert gradients[0].shape[0] == 2 and all(g is not None and g.isfinite().all() and g.any() for g in gradients)


def test_class_loss__equals_that_with_a_class_that_cannot_be_chosen(build, make_batch, losses):
    """A second class whose logit is always -1e4 changes no probability, and so none of the losses."""
    one, two = build(head__num_classes=1, thing_ids=(0,)), build(head__num_classes=2, thing_ids=(0,))
    state = one.state_dict()
    for key, value in two.state_dict().items():
        if state[key].shape != value.shape and key.startswith('head.decoder.class_embed'):
            value[[0, 2]] = state[key]
            value[1] = -1e4 if key.endswith('bias') else 0
            state[key] = value
        elif state[key].shape != value.shape:  # the weights of the classes
            state[key] = value
    two.load_state_dict(state)
    found = []
    for model in (one, two):
        torch.manual_seed(3)
        found.append({key: value.item() for key, value in losses(model, one_class(make_batch((3, 1, 2)))).items()})
    assert found[0] == pytest.approx(found[1], rel=1e-5)
