"""The examples do what they say: in this process for speed, and one as a user calls it."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[2] / 'examples'


def test_readme__names_every_example_and_flags_that_exist():
    text = (EXAMPLES / 'README.md').read_text()
    scripts = {path.name: path.read_text() for path in EXAMPLES.glob('*.py')}
    assert set(re.findall(r'\| \[(\w+\.py)\]', text)) == set(re.findall(r'^python examples/(\S+)', text, re.MULTILINE))
    assert set(re.findall(r'\| \[(\w+\.py)\]', text)) == set(scripts)
    for name, rest in re.findall(r'^python examples/(\S+)(.*)', text, re.MULTILINE):
        assert not [flag for flag in re.findall(r'--[a-z-]+', rest) if f"'{flag}'" not in scripts[name]]


@pytest.fixture
def example(tmp_path, monkeypatch, capsys):
    """Call ``main`` of an example in an empty folder; returns what it printed."""
    monkeypatch.chdir(tmp_path)

    def call(name, *args):
        spec = importlib.util.spec_from_file_location(f'example_{name}', EXAMPLES / f'{name}.py')
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.main([str(arg) for arg in args])
        return capsys.readouterr().out

    return call


def before_and_after(output, what):
    """The two numbers of a line such as "loss: 44.2 in the first 5 iterations, 35.6 in the last"."""
    line = re.search(rf'^ *{what}: +([\d.]+) .*?, +([\d.]+) ', output, re.MULTILINE)
    return float(line.group(1)), float(line.group(2))


slow = pytest.mark.slow


@pytest.mark.parametrize('backbone', ['mit', *(pytest.param(name, marks=slow) for name in ('pvt', 'regnet', 'timm'))])
def test_other_backbone__learns(example, backbone):
    first, last = before_and_after(example('other_backbone', backbone, '--iterations', 12), 'loss')
    assert last < 0.95 * first


def test_other_backbone__says_what_does_not_fit():
    spec = importlib.util.spec_from_file_location('other_backbone', EXAMPLES / 'other_backbone.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(ValueError, match=r'TIMMBackbone gives maps of \[\(32, 32\).* choose out_indices'):
        module.widths({**module.BACKBONES['timm'], 'out_indices': (0, 1, 2, 3)})


def test_head_in_mmseg__a_trained_oneformer_needs_no_training(example):
    output = example('head_in_mmseg', '--from-oneformer')
    assert float(re.search(r'mIoU of the OneFormer in EncoderDecoder: ([\d.]+)', output).group(1)) > 90


@slow
def test_head_in_mmseg__learns_from_scratch(example):
    output = example('head_in_mmseg', '--iterations', 40)
    first, last = before_and_after(output, 'loss')
    before, after = before_and_after(output, 'mIoU')
    assert last < 0.85 * first and after > before + 5


@slow
def test_fine_tune__five_own_classes(example):
    output = example('fine_tune', '--iterations', 40)
    before, after = before_and_after(output, 'PQ')
    assert before < 10 and after > before + 15
    pictures = sorted(Path('work_dirs/fine_tune/fine_tuned/pictures').iterdir())
    assert len(pictures) == 4 and Image.open(pictures[0]).size[0] > 4 * 480


def test_library_inferencers__as_a_user_calls_it(tmp_path):
    command = [sys.executable, EXAMPLES / 'library_inferencers.py']
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r'^0000\d\d\.jpg: .*(?:ball|box|cone|star)', done.stdout, re.MULTILINE)) == 8
    assert len(list((tmp_path / 'work_dirs/library_inferencers').glob('mm*/vis/*.jpg'))) == 8


@slow
def test_fine_tune__to_the_end_beats_random_weights(example):
    tuned = before_and_after(example('fine_tune'), 'PQ')[1]
    scratch = before_and_after(example('fine_tune', '--from-scratch'), 'PQ')[1]
    assert tuned > 65 and tuned > scratch + 3
