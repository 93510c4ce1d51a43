"""Every switch of the ablations: builds, reaches all its parameters, and changes what its name says."""

import pytest
import torch

from mmseg_oneformer.tasks import TASKS

SWITCHES = {
    'default': {},
    'task token off': {'head__use_task_token': False},
    'task token off, zeros': {'head__use_task_token': False, 'head__query_initializer__start': 'zeros'},
    'linear task token': {'head__task_token': {'kind': 'linear'}},
    'queries start at zero': {'head__query_initializer__start': 'zeros'},
    'values are features': {'head__query_initializer__values': 'features'},
    'no context': {'text_mapper__num_context': 0},
    'context 8': {'text_mapper__num_context': 8},
    'context 16': {'text_mapper__num_context': 16, 'head__num_queries': 40},
    'context 32': {'text_mapper__num_context': 32, 'head__num_queries': 40},
    'contrast of queries': {'criterion__auxiliary': [{'type': 'ContrastiveLoss', 'level': 'query'}]},
    'query classification': {'criterion__auxiliary': [{'type': 'QueryClassification'}]},
    'no contrastive loss': {'criterion__auxiliary': []},
    'fewer queries': {'head__num_queries': 6},
    'as the paper': {
        'head__task_token': {'kind': 'linear'},
        'head__query_initializer__values': 'features',
        'criterion__auxiliary': [{'type': 'ContrastiveLoss', 'level': 'query'}],
    },
}


def total(named):
    return sum(value for name, value in named.items() if 'loss' in name)


@pytest.mark.parametrize('switch', SWITCHES)
def test_switch__builds_and_trains_every_parameter(build, make_batch, losses, switch):
    model = build(**SWITCHES[switch])
    named = losses(model, make_batch((3, 2)))
    assert all(value.isfinite() for value in named.values())
    total(named).backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]


@pytest.fixture
def start_queries(build):
    """Initial queries (T, N, C) of two images, under a switch."""

    @torch.no_grad()
    def run(**changes):
        head = build(**changes).eval().head
        features = torch.randn(2, 32, 16, 24, generator=torch.Generator().manual_seed(0))
        return head, head.initial_queries(features, [TASKS] * 2)

    return run


def test_task_token__off(start_queries):
    """Learned queries, the last slot learned too: the tasks can no longer differ."""
    head, queries = start_queries(head__use_task_token=False)
    assert head.task_token is None
    assert torch.equal(queries[:, 0], queries[:, 1])
    assert torch.equal(queries[0, 0, -1], head.learned_queries.weight[-1])
    _, default = start_queries()
    assert not torch.equal(default[:, 0], default[:, 1])


def test_query_initializer__start_zeros(start_queries):
    """All but the last query are the same for all tasks; the token is still appended."""
    _, queries = start_queries(head__query_initializer__start='zeros')
    _, default = start_queries()
    assert torch.equal(queries[:, 0, :-1], queries[:, 1, :-1])
    assert not torch.equal(default[:, 0, :-1], default[:, 1, :-1])
    assert torch.equal(queries[:, :, -1], default[:, :, -1])


def test_task_token__linear_has_its_own_norm(start_queries):
    head, queries = start_queries(head__task_token={'kind': 'linear'})
    assert len(head.task_token.mlp.layers) == 1
    assert head.task_token.norm is not None
    ids = head.task_token.ids.float()
    expected = head.task_token.norm(head.task_token.mlp.layers[0](ids))
    torch.testing.assert_close(queries[0, :, -1], expected)


def test_query_initializer__values_features(start_queries):
    _, default = start_queries()
    _, features = start_queries(head__query_initializer__values='features')
    assert not torch.allclose(default, features)


@pytest.mark.parametrize('number', [0, 4, 8])
def test_text_mapper__context_length(build, make_batch, number):
    """N - N_ctx texts are used, N_ctx learned vectors follow."""
    mapper = build(text_mapper__num_context=number).text_mapper
    assert mapper.num_texts == 12 - number
    assert (mapper.context is None) == (number == 0)
    assert number == 0 or mapper.context.weight.shape == (number, 32)


@pytest.mark.parametrize('auxiliary', [[{'type': 'QueryClassification'}], []], ids=['classification', 'none'])
def test_contrastive__off_leaves_no_text_branch(build, make_batch, losses, auxiliary):
    """The config's text mapper isn't built, since nothing would train it."""
    model = build(criterion__auxiliary=auxiliary)
    assert model.text_mapper is None
    named = losses(model, make_batch())
    assert 'loss_contrastive' not in named
    assert ('loss_query_cls' in named) == bool(auxiliary)


def test_contrastive__weight(build, make_batch, losses):
    values = []
    for weight in (0.5, 2.0):
        torch.manual_seed(1)
        model = build(criterion__auxiliary=[{'type': 'ContrastiveLoss', 'weight': weight}])
        values.append(losses(model, make_batch())['loss_contrastive'])
    torch.testing.assert_close(values[1], 4 * values[0])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'head__task_token': {'kind': 'mean'}}, "'mlp'"),
        ({'head__query_initializer__start': 'token'}, "'task' or 'zeros'"),
        ({'head__query_initializer__values': 'keys'}, "'position'"),
        ({'criterion__auxiliary': [{'type': 'ContrastiveLoss', 'level': 'pixel'}]}, "'image'"),
        ({'text_mapper__num_context': 12}, 'num_context'),
    ],
)
def test_switch__unknown_value_is_rejected_by_name(build, change, message):
    with pytest.raises(ValueError, match=message):
        build(**change)
