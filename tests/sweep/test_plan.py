from pathlib import Path

import pytest

from mmseg_oneformer.sweep import plan_runs, read_run
from mmseg_oneformer.sweep.plan import combine_options, folder_name, write_run


def test_plan__configs_times_options_times_seeds(config, tmp_path):
    other = tmp_path / 'other.py'
    other.write_text('train_cfg = dict(max_iters=9)\n')
    options = ('lr=1', 'lr=2', 'train_cfg.max_iters=7 end=7')
    runs = plan_runs([str(config), str(other), str(config)], [3, 5, 3], options, 'w')
    assert len(runs) == 2 * 2 * 2
    assert [run.folder for run in runs[:3]] == [
        Path('w/small/lr=1,train_cfg.max_iters=7,end=7/seed3'),
        Path('w/small/lr=1,train_cfg.max_iters=7,end=7/seed5'),
        Path('w/small/lr=2,train_cfg.max_iters=7,end=7/seed3'),
    ]
    assert {run.max_iters for run in runs} == {7}
    assert len({run.folder for run in runs}) == 8
    assert len({run.fingerprint for run in runs}) == 4
    (plain,) = plan_runs([str(other)], [0], (), 'w')
    assert (plain.folder, plain.options, plain.max_iters) == (Path('w/other/default/seed0'), (), 9)


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ((), [()]),
        (('a=1', 'a=2', 'a=1'), [('a=1',), ('a=2',)]),
        (('a=1', 'b=1', 'a=2', 'b=2'), [('a=1', 'b=1'), ('a=1', 'b=2'), ('a=2', 'b=1'), ('a=2', 'b=2')]),
        (('a=1 b=1', 'a=2 b=2'), [('a=1', 'b=1'), ('a=2', 'b=2')]),
        (("k=[1,2] n='x=y'",), [('k=[1,2]', 'n=x=y')]),
    ],
)
def test_combine_options(options, expected):
    assert combine_options(options) == expected


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('lr',), 'takes KEY=VALUE, not "lr"'),
        (('a=1 b',), 'not "b"'),
        (('',), 'not ""'),
        (('a=1 b=1', 'a=2'), 'sets a together with different keys'),
    ],
)
def test_combine_options__mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        combine_options(options)


def test_folder_name__readable_legal_and_unique():
    assert folder_name(()) == 'default'
    assert folder_name(('model.head.num_queries=100', 'lr=1e-4')) == 'model.head.num_queries=100,lr=1e-4'
    odd = [
        folder_name((text,))
        for text in ('a=x/y', 'a=x y', 'a=x_y', 'a="x"', 'default', 'k=' + 'v' * 300, 'k=' + 'v' * 301)
    ]
    assert len(set(odd)) == len(odd)
    assert all(len(name) <= 120 and '/' not in name and ' ' not in name for name in odd)


def test_plan__two_configs_of_one_name(config, tmp_path):
    twin = tmp_path / 'twin/small.py'
    twin.parent.mkdir()
    twin.write_text('')
    with pytest.raises(ValueError, match='two configs are named small'):
        plan_runs([str(config), str(twin)], [0], (), 'w')


def test_plan__unknown_config():
    with pytest.raises(ValueError, match='neither a config file nor the name'):
        plan_runs(['nothing_like_it'], [0], (), 'w')


def test_plan__options_that_do_not_fit(config):
    with pytest.raises(ValueError, match=r'option model.type.x'):
        plan_runs([str(config)], [0], ('model.type.x=1',), 'w')


def test_run__is_read_back(plan):
    (run,) = plan(options=('lr=0.1', 'x=[1,2]'))
    write_run(run)
    assert read_run(run.folder) == run
    with pytest.raises(FileNotFoundError, match='not a run of a sweep'):
        read_run(run.folder.parent)


def test_run__of_a_changed_config_is_rejected(plan, config):
    (run,) = plan()
    write_run(run)
    write_run(run)
    config.write_text(config.read_text() + 'extra = 1\n')
    with pytest.raises(ValueError, match=r'has changed since the run in .* began'):
        plan()
    assert plan(seeds=(1,))[0].folder != run.folder
