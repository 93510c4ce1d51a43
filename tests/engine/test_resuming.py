import pytest

from mmseg_oneformer.engine.resuming import check_optimizer, check_schedule, describe_changes
from mmseg_oneformer.errors import UserError

FACTS = {'images per iteration': 16, 'processes': 2, 'training photos': 100, 'optimizer': 'AdamW'}
GROUP = {'params': [0, 1], 'lr': 0.1, 'betas': (0.9, 0.999), 'amsgrad': False}


def test_describe_changes__of_what_is_known():
    assert describe_changes(FACTS, FACTS) == describe_changes(FACTS, {}) == ''
    assert describe_changes(FACTS, FACTS | {'processes': 4, 'training photos': 90}) == (
        'This run has 2 processes instead of 4, 100 training photos instead of 90 in the checkpoint'
    )


def test_check_optimizer__same():
    check_optimizer([GROUP], [GROUP | {'lr': 0.2, 'initial_lr': 0.2, 'decoupled_weight_decay': True}], FACTS, {})


@pytest.mark.parametrize(
    ('saved', 'before', 'words'),
    [
        ([GROUP], {'optimizer': 'Adam'}, r'another optimiser \(Adam\) than the config \(AdamW\)'),
        ([{'params': [0, 1], 'lr': 0.1, 'momentum': 0.9, 'nesterov': False}], {}, 'another optimiser'),
        ([GROUP | {'amsgrad': True}], {}, 'another optimiser'),
        ([GROUP | {'params': [0]}], FACTS, r'groups of \[2\] parameters and that of the checkpoint had \[1\]'),
        ([GROUP, GROUP], FACTS, r'had \[2, 2\]'),
    ],
)
def test_check_optimizer__another(saved, before, words):
    with pytest.raises(UserError, match=words):
        check_optimizer([GROUP], saved, FACTS, before)


def test_check_schedule__another_is_rejected():
    states = [{'begin': 0, 'end': 300, 'last_step': 7}, {'begin': 300, 'end': 800, 'power': 0.9}]
    check_schedule([{'begin': 0, 'end': 300, 'last_step': 0}, {'begin': 300, 'end': 800, 'power': 0.9}], states)
    for changed, words in (
        ({'end': 900}, 'ends at iteration 800, that of the config at 900'),
        ({'power': 1.0}, 'param_scheduler.1 has power 1.0 in the config and 0.9 in the checkpoint'),
        ({'milestones': [5]}, 'has milestones'),
    ):
        with pytest.raises(UserError, match=words):
            check_schedule([states[0], states[1] | changed], states)
    with pytest.raises(UserError, match='The checkpoint has 2 schedulers and param_scheduler of the config 1'):
        check_schedule(states[:1], states)
