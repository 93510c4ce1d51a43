import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mmseg_oneformer.analysis.curves import USUAL
from mmseg_oneformer.checkpoints.conversion.convert import FORMS
from mmseg_oneformer.command_line import DTYPES, TASKS, add_options_argument, add_tasks_argument, add_token_argument
from mmseg_oneformer.deploy.formats import FORMATS
from mmseg_oneformer.evaluation.confusion import KINDS
from mmseg_oneformer.models import precision
from mmseg_oneformer.preparation import ade20k, cityscapes, coco, mapillary
from mmseg_oneformer.visualization.matrix import NORMALIZE

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
SLOW = ('torch', 'mmcv', 'mmdet', 'mmseg', 'cv2', 'PIL')
RUN = f"""
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name='__main__')
finally:
    slow = [name for name in {SLOW} if name in sys.modules]
    if slow:
        print('slow to import:', *slow, file=sys.stderr)
"""
QUICK = sorted(path for path in TOOLS.rglob('*.py') if path.name != 'benchmark.py')  # Its subcommands bring the flags.


def run_without_libraries(path, *arguments):
    """What a process said that has imported nothing slow."""
    command = [sys.executable, '-c', RUN, path, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert 'slow to import' not in done.stderr, done.stderr
    return done


@pytest.mark.parametrize('path', QUICK, ids=lambda path: path.name)
def test_tools__help_and_misspelt_flags_need_nothing_slow(path):
    done = run_without_libraries(path, '--help')
    assert done.returncode == 0 and done.stdout.startswith(f'usage: {path.name}') and done.stderr == ''
    done = run_without_libraries(path, '--misspelt')
    assert done.returncode == 2 and f'{path.name}: error: ' in done.stderr and 'Traceback' not in done.stderr


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (['infer.py'], 'error: INPUT, --model, --out-dir missing; see tools/infer.py --help'),
        (['infer.py', 'a.jpg', '--tasks', 'depth'], "error: unknown task 'depth'; choose from semantic, "),
        (['infer.py', 'a.jpg', '--model', 'x', '--dtype', 'int8'], 'argument --dtype: invalid choice'),
        (
            ['infer.py', 'a.jpg', '--cfg-options', 'a', '=', '3'],
            "error: --cfg-options takes KEY=VALUE, not 'a'; put a pair",
        ),
        (['demo.py', '--model', 'x', '--max-megabytes', 'nan'], 'error: --max-megabytes is nan; give more than 0.'),
        (['serve.py', '--model', 'x', '--max-batch', '0'], 'error: --max-batch is 0; give 1 or more.'),
        (['sweep.py'], 'error: a sweep needs at least one config'),
    ],
)
def test_tools__mistakes_are_told_before_anything_slow(arguments, sentence):
    done = run_without_libraries(TOOLS / arguments[0], *arguments[1:])
    assert done.returncode == 2 and sentence in done.stderr and 'Traceback' not in done.stderr


def test_names__are_those_of_the_package():
    assert tuple(precision.DTYPES) == DTYPES


@pytest.mark.parametrize(
    ('tool', 'arguments', 'names'),
    [
        ('export.py', ['x', '--out', 'x', '--format', '?'], [*FORMATS, 'safetensors']),
        ('analysis_tools/confusion_matrix.py', ['x', '--kind', '?'], KINDS),
        ('analysis_tools/confusion_matrix.py', ['x', '--normalize', '?'], NORMALIZE),
        ('model_converters/convert.py', ['x', 'y', '--model', 'x', '--to', '?'], sorted(FORMS)),
        ('dataset_converters/ade20k.py', ['--splits', '?'], ade20k.FOLDERS),
        ('dataset_converters/mapillary.py', ['--splits', '?'], mapillary.FOLDERS),
        ('dataset_converters/cityscapes.py', ['--splits', '?'], cityscapes.SPLITS),
        ('dataset_converters/coco.py', ['--splits', '?'], coco.SPLITS),
    ],
)
def test_choices__are_those_of_the_package(tool, arguments, names):
    error = run_without_libraries(TOOLS / tool, *arguments).stderr
    assert re.findall(r'[\w-]+', error.partition('choose from ')[2]) == list(names)


def test_analyze_logs__names_the_usual_curves():
    done = run_without_libraries(TOOLS / 'analysis_tools/analyze_logs.py', 'plot_curve', '--help')
    assert ', '.join(USUAL) in ' '.join(done.stdout.split())


def read(add, *words):
    parser = argparse.ArgumentParser()
    add(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ('words', 'chosen'),
    [
        ([], TASKS),
        (['--tasks', 'panoptic', 'semantic'], ('panoptic', 'semantic')),
        (['--tasks', 'panoptic,semantic'], ('panoptic', 'semantic')),
        (['--tasks', 'panoptic,', 'semantic', 'panoptic'], ('panoptic', 'semantic')),
    ],
)
def test_tasks__between_blanks_or_commas(words, chosen):
    assert read(add_tasks_argument, *words).tasks == chosen


@pytest.mark.parametrize('words', [['depth'], ['panoptic,depth'], [''], [',']])
def test_tasks__unknown_or_none(words):
    with pytest.raises(ValueError, match=r"unknown task '(depth)?'; choose from semantic, instance"):
        read(add_tasks_argument, '--tasks', *words)


def test_token__is_a_task():
    assert read(add_token_argument).token is None
    assert read(add_token_argument, '--token', 'instance').token == 'instance'
    with pytest.raises(ValueError, match="unknown task 'all'; choose from semantic, instance, panoptic"):
        read(add_token_argument, '--token', 'all')


def test_options__are_read_as_by_mmengine():
    options = read(add_options_argument, '--cfg-options', 'a.b=[1,2]', 'c=None', 'd=1e-4', 'e=x=y').cfg_options
    assert options == {'a.b': [1, 2], 'c': None, 'd': 1e-4, 'e': 'x=y'}
    assert read(add_options_argument).cfg_options is None
