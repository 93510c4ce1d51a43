"""Every command and every Python block of the documentation runs, or says above it why it is not run here.

A page is gone through as a reader would, in an empty folder with links to the checkout, a few drawn pictures and no
network: its bash blocks as they stand, its Python blocks as one program, its configs by loading them. Words in capitals
stand for the reader's own files there, and for small ones here: ``WORDS``. So does the port of a service.
"""

import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from markdown_it import MarkdownIt
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[1]
TOY = ROOT / 'tests/toy'
PAGES = [
    ROOT / 'README.md',
    ROOT / 'CONTRIBUTING.md',
    ROOT / 'data/README.md',
    ROOT / 'examples/README.md',
    *sorted((ROOT / 'docs').rglob('*.md')),
    ROOT / 'docs/notebooks/first_steps.ipynb',
]
MODEL = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
WEIGHTS = ROOT / f'projects/oneformer/mmseg_oneformer/weights/{MODEL}.safetensors'
CONFIG = f'own/{MODEL}.py'
"""The model of the shipped weights, trained for two iterations."""

SHORT = f"""
_base_ = '../configs/oneformer/quickstart/{MODEL}.py'
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=1), logger=dict(interval=1))
"""


def free_port():
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        return taken.getsockname()[1]


WORDS = {
    'CONFIG': CONFIG,
    'CHECKPOINT': str(WEIGHTS),
    'WEIGHTS': str(WEIGHTS),
    'NAME_OR_CONFIG': MODEL,
    'NAME': MODEL,
    'PHOTO': 'photo.jpg',
    'PHOTOS': 'data/shapes/train',
    'FOLDER': 'data/shapes/val',
    'MAPS': 'data/shapes/annotations/panoptic_train',
    'PANOPTIC_JSON': 'data/shapes/annotations/panoptic_train.json',
    'PANOPTIC_JSON_OF_VAL': 'data/shapes/annotations/panoptic_val.json',
    'WORK_DIR': f'work_dirs/{MODEL}',
    'RUN': f'work_dirs/{MODEL}',
    'OTHER': 'other_run',
    r'iter_\d+\.pth': 'iter_2.pth',
    '8017': str(free_port()),
}
SECONDS = 900
"""Longer than that no block takes, on a slow and busy machine."""

NOT_RUN, SLOW = re.compile(r'<!-- not run: \S.* -->'), '<!-- slow -->'
"""What stands directly above a block that no test runs, or that takes more than some seconds."""


class Block(NamedTuple):
    language: str
    code: str
    line: int
    comment: str

    @property
    def runs(self):
        return not NOT_RUN.fullmatch(self.comment)

    @property
    def slow(self):
        return self.comment == SLOW


def blocks_of(page):
    """Return the blocks of a page that a reader would run."""
    if page.suffix == '.ipynb':
        cells = json.loads(page.read_text())['cells']
        return [
            Block('python', ''.join(cell['source']), number, '')
            for number, cell in enumerate(cells)
            if cell['cell_type'] == 'code'
        ]
    tokens = MarkdownIt('commonmark').parse(page.read_text())
    found = []
    for before, token in zip([None, *tokens], tokens):
        if token.type == 'fence' and token.info.strip() in ('bash', 'console', 'python'):
            comment = before.content.strip() if before is not None and before.type == 'html_block' else ''
            found.append(Block(token.info.strip(), token.content, token.map[0] + 1, comment))
    return found


WITH_BLOCKS = [page for page in PAGES if any(block.runs for block in blocks_of(page))]
WITH_SLOW_BLOCKS = [page for page in PAGES if any(block.runs and block.slow for block in blocks_of(page))]


def page_id(path):
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


@pytest.fixture(scope='session')
def environment(tmp_path_factory, warm_python):
    """A shell whose ``python`` is ours and warm, and that has no network but this machine's own."""
    home = tmp_path_factory.mktemp('home')
    start = f'exec {sys.executable} -ISE {TOY}/warm_python.py {warm_python} "$@"'
    (home / 'python').write_text(f'#!/bin/sh\ncase "$1" in *.py) {start} ;; *) exec {sys.executable} "$@" ;; esac\n')
    (home / 'python').chmod(0o755)
    return {
        **os.environ,
        **{f'{scheme}_proxy': 'http://127.0.0.1:9' for scheme in ('http', 'https', 'all')},
        'no_proxy': '127.0.0.1,localhost',
        'PATH': os.pathsep.join([str(home), str(Path(sys.executable).parent), os.environ['PATH']]),
        'PYTHON': sys.executable,
        'HOME': str(home),
        'XDG_CACHE_HOME': str(home / 'cache'),
        'OMP_NUM_THREADS': '1',
        'CUDA_VISIBLE_DEVICES': '',
        'MPLBACKEND': 'Agg',
    }


@pytest.fixture(scope='session')
def first_checkout(tmp_path_factory, environment):
    """A folder that looks like a checkout, with a few drawn pictures and a finished run."""
    folder = tmp_path_factory.mktemp('first') / 'checkout'
    kept = ('data', 'configs', 'work_dirs', 'site', 'build', 'dist')
    folder.mkdir()
    for path in ROOT.iterdir():
        if not path.name.startswith('.') and path.name not in kept:
            (folder / path.name).symlink_to(path)
    shutil.copytree(ROOT / 'configs', folder / 'configs', ignore=shutil.ignore_patterns('__pycache__'))
    (folder / 'own').mkdir()
    (folder / CONFIG).write_text(SHORT)
    for command in ('tools/dataset_converters/make_shapes.py --train 4 --val 4', f'tools/train.py {CONFIG}'):
        subprocess.run(f'python {command}', shell=True, cwd=folder, env=environment, check=True, capture_output=True)
    shutil.copytree(folder / 'work_dirs' / MODEL, folder / 'other_run')
    shutil.copy(folder / 'data/shapes/val/000002.jpg', folder / 'photo.jpg')
    return folder


@pytest.fixture
def checkout(tmp_path, first_checkout):
    """A copy of it for one page."""
    return Path(shutil.copytree(first_checkout, tmp_path / 'checkout', symlinks=True))


def in_own_words(code):
    """Put files that are there in the place of words like CONFIG."""
    for word, own in WORDS.items():
        code = re.sub(rf'(?<![\w$./-]){word}(?![\w=])|(?<=/){word}(?=[/.\s])', lambda _, own=own: own, code)
    return code


def run_bash(block, folder, environment):
    """Return what is wrong: the end of what a failing block prints, or None."""
    code = block.code
    if block.language == 'console':  # Commands behind a prompt, their output below.
        code = '\n'.join(line[2:] for line in code.splitlines() if line.startswith('$ '))
    shell = ['bash', '-euo', 'pipefail', '-c', in_own_words(code)]
    with (folder.parent / 'output').open('w+') as output:
        process = subprocess.Popen(
            shell,
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            status = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            status = f'no end within {SECONDS} s'
        with contextlib.suppress(
            ProcessLookupError
        ):  # A service that the block started in the background ends with it.
            os.killpg(process.pid, signal.SIGTERM)
        output.seek(0)
        return None if status == 0 else f'status {status}\n{output.read()[-3000:]}'


def load_config(block, folder):
    """Read a block that is a config, from the place that it names or that its base is in."""
    named = re.match(r'# (configs/\S+\.py)\n', block.code)
    base = re.search(r"_base_ = '\./(.+\.py)'", block.code)
    if named:
        path = folder / named[1]
    elif base:
        path = next((folder / 'configs/oneformer').rglob(base[1])).with_name('block.py')
    else:
        path = folder / 'configs/oneformer/own/block.py'
    path.parent.mkdir(exist_ok=True)
    path.write_text(block.code)
    Config.fromfile(path)


class PythonBlocks:
    """Runs the Python blocks of a page one after the other in one process."""

    def __init__(self, page, folder, environment):
        self.page, self.errors = page_id(page), folder.parent / 'python_output'
        command = ['python', str(TOY / 'doc_session.py')]
        with self.errors.open('w') as errors:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def run(self, block):
        names = {'CONFIG': CONFIG, 'CHECKPOINT': str(WEIGHTS), 'WEIGHTS': str(WEIGHTS)}
        request = {'page': self.page, 'line': block.line, 'code': block.code, 'names': names}
        self.process.stdin.write(json.dumps(request) + '\n')
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], SECONDS)
        reply = self.process.stdout.readline() if ready else ''
        return (
            json.loads(reply) if reply else f'no end within {SECONDS} s, or a crash\n{self.errors.read_text()[-3000:]}'
        )

    def close(self):
        self.process.stdin.close()
        self.process.wait(SECONDS)


def walk(page, folder, environment, slow):
    """Run the blocks of a page; return what went wrong, by line."""
    faults, program = {}, PythonBlocks(page, folder, environment)
    for block in blocks_of(page):
        if not block.runs or (block.slow and not slow):
            continue
        start = time.monotonic()
        if block.language != 'python':
            fault = run_bash(block, folder, environment)
        elif re.search(r'^_base_ = ', block.code, re.MULTILINE):
            fault = load_config(block, folder)
        else:
            fault = program.run(block)
        print(f'{page_id(page)}:{block.line}: {time.monotonic() - start:.1f} s')
        if fault:
            faults[block.line] = fault
    program.close()
    return ''.join(f'\n{page_id(page)}:{line}: {fault}' for line, fault in faults.items())


PAGE = """
```bash
python tools/infer.py nowhere.jpg --model NAME --out-dir answers
```

<!-- not run: the reader sees why -->
```bash
false
```

```python
first = 1
```

```bash
python tools/infer.py --list > list.txt &
wait $!
grep NAME list.txt
```

<!-- slow -->
```python
assert first == 2
```
"""


def test_walk__tells_what_fails(tmp_path, checkout, environment):
    page = tmp_path / 'page.md'
    page.write_text(PAGE)
    faults = walk(page, checkout, environment, slow=True)
    assert re.findall(r'page\.md:(\d+): ', faults) == ['2', '22']
    assert 'nowhere.jpg does not exist' in faults and 'line 23' in faults and 'AssertionError' in faults
    assert 'page.md:22' not in walk(page, checkout, environment, slow=False)


@pytest.mark.parametrize('page', [page for page in PAGES if page.suffix == '.md'], ids=page_id)
def test_pages__no_block_escapes(page):
    """A block in another spelling of these languages would not be run."""
    languages = {
        token.info.strip() for token in MarkdownIt('commonmark').parse(page.read_text()) if token.type == 'fence'
    }
    assert not languages & {'sh', 'shell', 'zsh', 'shell-session', 'py', 'python3', 'pycon', 'ipython'}


@pytest.mark.parametrize('page', WITH_BLOCKS, ids=page_id)
def test_pages__commands_run(page, checkout, environment):
    faults = walk(page, checkout, environment, slow=False)
    assert not faults, faults


@pytest.mark.slow
@pytest.mark.parametrize('page', WITH_SLOW_BLOCKS, ids=page_id)
def test_pages__slow_commands_run(page, checkout, environment):
    faults = walk(page, checkout, environment, slow=True)
    assert not faults, faults
