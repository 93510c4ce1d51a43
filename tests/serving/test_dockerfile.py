"""The Dockerfile cannot be built in the suite; what can be checked without Docker is."""

import fnmatch
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mmseg_oneformer.zoo.weights import find_weights

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / 'Dockerfile').read_text()
LINES = [line for line in re.sub(r'\\\n', ' ', TEXT).splitlines() if line and not line.startswith('#')]


def instructions(name):
    return [line.split(None, 1)[1] for line in LINES if line.startswith(f'{name} ')]


def copied():
    return [source for line in instructions('COPY') for source in line.split()[:-1]]


def test_copy__sources_exist_and_are_let_through():
    ignored = (ROOT / '.dockerignore').read_text().split('\n')
    let_through = {line[1:] for line in ignored if line.startswith('!')}
    assert '*' in ignored
    for source in copied():
        assert (ROOT / source).exists() and source.split('/')[0] in let_through
    assert not [name for name in let_through if not any(source.split('/')[0] == name for source in copied())]


def test_copy__all_that_the_packaging_reads():
    packaging = (ROOT / 'setup.py').read_text()
    read = set(re.findall(r"(?<!_)ROOT / '([\w.\-/]+)'", packaging)) | {'pyproject.toml', 'MANIFEST.in'}
    assert len(read) > 3
    assert not [path for path in read if not any(fnmatch.fnmatch(path, f'{source}*') for source in copied())]


def test_install__extras_and_constraints_exist():
    run = ' '.join(instructions('RUN'))
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", run)
    assert all(f"'{extra}'" in (ROOT / 'setup.py').read_text() for extra in extras.split(','))
    assert run.count('--constraint requirements/constraints.txt') == 2


@pytest.mark.parametrize('index', ['', 'https://example.org/cpu'])
def test_install__the_index_is_optional(index):
    (words,) = set(re.findall(r'\$\{TORCH_INDEX:\+.*?"\}', ' '.join(instructions('RUN'))))
    script = f'TORCH_INDEX={index}; printf "%s|" {words}'
    done = subprocess.run(['sh', '-c', script], capture_output=True, text=True, check=True)
    assert done.stdout.strip('|') == (f'--extra-index-url|{index}' if index else '')


def test_entrypoint__is_a_command_of_ours():
    entry, arguments = (json.loads(instructions(name)[0]) for name in ('ENTRYPOINT', 'CMD'))
    assert entry[0] == 'python' and (ROOT / entry[1]).exists()
    spec = importlib.util.spec_from_file_location('tool_serve', ROOT / entry[1])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    args = module.parse_args([*entry[2:], *arguments])
    assert (args.host, str(args.port)) == ('0.0.0.0', instructions('EXPOSE')[0])
    assert find_weights(args.model) is not None  # shipped: the image answers without a download


def test_healthcheck__fails_where_nothing_answers():
    (line,) = instructions('HEALTHCHECK')
    command = json.loads(line[line.index('[') :])
    assert command[0] == 'python'
    code = command[2].replace('8000', '9')  # where nothing listens
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 1 and 'ConnectionRefusedError' in done.stderr


def test_user__is_nobody_in_particular():
    assert instructions('USER') == ['oneformer'] and LINES.index('USER oneformer') < LINES.index('EXPOSE 8000')
