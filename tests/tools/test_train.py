import os

import pytest
import torch


def losses(work_dir):
    """Losses by iteration; a resumed run overwrites what the killed one computed after its last checkpoint."""
    lines = (work_dir / 'losses.txt').read_text().splitlines()
    return {int(line.split()[0]): line.split()[1] for line in lines}


def weights(work_dir):
    return torch.load(work_dir / 'iter_7.pth', weights_only=False)['state_dict']


def assert_same_run(one, two):
    assert losses(one) == losses(two)
    assert len(losses(one)) == 7
    expected, actual = weights(one), weights(two)
    assert expected.keys() == actual.keys()
    assert all(torch.equal(expected[key], actual[key]) for key in expected)


@pytest.mark.parametrize(('stop', 'workers'), [(1, 0), (2, 2), (3, 0), (4, 1), (5, 2), (6, 0)])
def test_train__stopped_anywhere_and_resumed_is_equal(call_tool, toy_config, tmp_path, stop, workers):
    options = ('--cfg-options', f'train_dataloader.num_workers={workers}')
    assert call_tool('train.py', toy_config, '--work-dir', 'whole') == 0
    assert (
        call_tool('train.py', toy_config, '--work-dir', 'parts', *options, f'custom_hooks.0.raise_after={stop}') == 130
    )
    assert len(list((tmp_path / 'parts').glob('iter_*.pth'))) == (stop >= 2)
    assert call_tool('train.py', toy_config, '--work-dir', 'parts', '--resume', *options) == 0
    assert_same_run(tmp_path / 'whole', tmp_path / 'parts')


def test_train__without_a_seed_the_drawn_one_is_resumed(call_tool, toy_config, tmp_path):
    options = ('--cfg-options', 'randomness.seed=None', 'custom_hooks.0.raise_after=5')
    assert call_tool('train.py', toy_config, '--work-dir', 'parts', *options) == 130
    (checkpoint,) = (tmp_path / 'parts').glob('iter_*.pth')
    seed = torch.load(checkpoint, weights_only=False)['meta']['seed']
    assert call_tool('train.py', toy_config, '--work-dir', 'parts', '--resume', *options[:2]) == 0
    assert call_tool('train.py', toy_config, '--work-dir', 'whole', '--seed', seed) == 0
    assert_same_run(tmp_path / 'whole', tmp_path / 'parts')


@pytest.mark.slow
def test_train__killed_process_resumes_equal(run_tool, toy_config, tmp_path):
    done = run_tool('train.py', toy_config, '--work-dir', 'whole')
    assert done.returncode == 0, done.stderr
    killed = run_tool('train.py', toy_config, '--work-dir', 'parts', '--cfg-options', 'custom_hooks.0.die_after=5')
    assert killed.returncode == 9, killed.stderr
    resumed = run_tool(
        *('train.py', toy_config, '--work-dir', 'parts', '--resume', '--cfg-options', 'train_dataloader.num_workers=2'),
    )
    assert resumed.returncode == 0, resumed.stderr
    assert_same_run(tmp_path / 'whole', tmp_path / 'parts')


def test_train__amp_on_the_cpu_and_seed(call_tool, toy_config, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert call_tool('train.py', toy_config, '--work-dir', 'w', '--amp', '--seed', 5) == 0
    assert 'CpuAmpOptimWrapper' in (tmp_path / 'w/losses.txt').read_text()
    assert torch.load(tmp_path / 'w/iter_7.pth', weights_only=False)['meta']['seed'] == 5


def test_train__what_overrode_the_config_is_in_the_checkpoint(call_tool, toy_config, tmp_path):
    assert call_tool('train.py', toy_config, '--work-dir', 'w', '--cfg-options', 'optim_wrapper.optimizer.lr=0.5') == 0
    assert torch.load(tmp_path / 'w/iter_7.pth', weights_only=False)['meta']['options'] == {
        'optim_wrapper.optimizer.lr': 0.5
    }


def test_train__deterministic_warns_where_a_gpu_has_no_such_algorithm(call_tool, toy_config, monkeypatch):
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG', raising=False)
    try:
        assert call_tool('train.py', toy_config, '--deterministic', '--cfg-options', 'train_cfg.max_iters=1') == 0
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':4096:8'
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False
        os.environ.pop('CUBLAS_WORKSPACE_CONFIG', None)


def error_of(status, capsys):
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert status == 2
    assert len(errors) == 1
    return errors[0]


@pytest.mark.parametrize(
    ('args', 'sentence'),
    [
        (('nothing_like_it',), '"nothing_like_it" is neither a config file nor the name of a model'),
        (('toy', '--resume', 'nope.pth'), 'There is no checkpoint at nope.pth'),
        (('toy', '--auto-scale-lr'), 'needs auto_scale_lr.base_batch_size'),
        (('toy', '--launcher', 'slurm'), 'SLURM_PROCID of the launcher is not set'),
        (('toy', '--launcher', 'pytorch'), 'RANK of the launcher is not set'),
        (('toy', '--cfg-options', 'model.depth=3'), 'ToyModel has no setting "depth"'),
        (('toy', '--cfg-options', 'model.type=ToyModle'), 'there is no model "ToyModle" (did you mean "ToyModel"?)'),
        (('toy', '--cfg-options', 'custom_hooks.4.a=3'), 'is not an index of a list'),
        (('toy', '--amp', '--cfg-options', 'optim_wrapper.type=Other'), 'mixed precision replaces'),
        (('toy', '--cfg-options', 'train_dataloader.dataset.broken=True'), 'photo5.jpg is corrupt; get it again.'),
        (('toy', '--cfg-options', 'train_dataloader.sampler.type=InfiniteSampler'), "dict(type='PassSampler')"),
        (('toy', '--cfg-options', 'optim_wrapper.paramwise_cfg.x=1'), 'has no key "x"'),
    ],
)
def test_train__mistake_is_one_sentence(call_tool, toy_config, capsys, args, sentence):
    args = [toy_config if arg == 'toy' else arg for arg in args]
    assert sentence in error_of(call_tool('train.py', *args), capsys)


def test_train__error_in_a_worker_is_one_sentence(call_tool, toy_config, capsys):
    options = ('--cfg-options', 'train_dataloader.dataset.broken=True', 'train_dataloader.num_workers=1')
    assert (
        error_of(call_tool('train.py', toy_config, *options), capsys) == 'error: photo5.jpg is corrupt; get it again.'
    )


def test_train__broken_config_is_one_sentence(call_tool, tmp_path, capsys):
    (tmp_path / 'broken.py').write_text('model = dict(')
    assert 'broken.py cannot be read as a config' in error_of(call_tool('train.py', 'broken.py'), capsys)


def test_train__resume_from_another_model(call_tool, toy_config, capsys):
    assert call_tool('train.py', toy_config, '--work-dir', 'w') == 0
    options = ('--resume', 'w/iter_7.pth', '--cfg-options', 'model.width=16')
    assert 'not a checkpoint of this model' in error_of(
        call_tool('train.py', toy_config, '--work-dir', 'v', *options), capsys
    )


def test_train__a_second_run_says_what_it_replaces(call_tool, toy_config, capsys):
    said = []
    for flags in ((), (), ('--resume',)):
        assert call_tool('train.py', toy_config, '--work-dir', 'w', *flags) == 0
        said.append('w holds a run, whose checkpoints this one replaces' in capsys.readouterr().out)
    assert said == [False, True, False]


def test_train__developers_see_the_traceback(call_tool, toy_config):
    with pytest.raises(ValueError, match='base_batch_size'):
        call_tool('train.py', toy_config, '--auto-scale-lr', '--traceback')
