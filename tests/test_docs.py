"""The documentation names files, flags, options and messages that exist, and its example works."""

import ast
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *sorted(ROOT.glob('*.md')),
    ROOT / 'data/README.md',
    ROOT / 'examples/README.md',
    *sorted((ROOT / 'docs').rglob('*.md')),
    *sorted((ROOT / 'dev').glob('*.md')),
]
PACKAGE = ROOT / 'projects/oneformer/mmseg_oneformer'
COMMAND_LINE = ROOT / 'projects/oneformer/mmseg_oneformer/command_line'
LIBRARIES = re.compile(r'MMCV==|No module named|libGL|address already|in the |registry; check|unexpected keyword')
"""Messages of the libraries under us."""


def page_id(path):
    return path.relative_to(ROOT).as_posix()


def code_blocks(path, language):
    return re.findall(rf'```{language}\n(.*?)```', path.read_text(), re.DOTALL)


@pytest.mark.parametrize('page', PAGES, ids=page_id)
def test_pages__links_and_paths_exist(page):
    text = page.read_text()
    links = [link for link in re.findall(r'\]\(([^)#]+)\)', text) if '://' not in link]
    assert not [link for link in links if not (page.parent / link).exists()]
    paths = {path.rstrip('.') for path in re.findall(r'(?<![\w/])(?:tools|configs|docs|requirements)/[\w./\-]+', text)}
    assert not [path for path in paths if 'garden' not in path and not (ROOT / path).exists()]


def anchors(page):
    """The anchors that GitHub and the site give to a page's headings."""
    text = re.sub(r'```.*?```', '', page.read_text(), flags=re.DOTALL)
    titles = [re.sub(r'[^\w\- ]', '', title.lower()) for title in re.findall(r'^#+ (.+)$', text, re.MULTILINE)]
    return {title.replace(' ', '-') for title in titles}


@pytest.mark.parametrize('page', PAGES, ids=page_id)
def test_pages__anchors_exist(page):
    for target, anchor in re.findall(r'\]\(([\w./-]*\.md|)#([^)]+)\)', page.read_text()):
        other = page.parent / target if target else page
        assert other.exists() and anchor in anchors(other), f'{target}#{anchor}'


@pytest.mark.parametrize('page', PAGES, ids=page_id)
def test_pages__flags_exist(page):
    common = ''.join(path.read_text() for path in COMMAND_LINE.glob('*.py'))
    for line in re.findall(r'.*tools/[\w/]+\.(?:py|sh).*', page.read_text()):
        tools = re.findall(r'tools/[\w/]+\.(?:py|sh)', line)
        scripts = [ROOT / re.sub(r'(?:dist|slurm)_(\w+)\.sh', r'\1.py', tool) for tool in tools]
        known = common + ''.join(script.read_text() for script in scripts)
        for shell in (ROOT / tool for tool in tools if tool.endswith('.sh')):
            known += ''.join(f"'{flag}'" for flag in re.findall(r'^ +(--[a-z-]+)\)', shell.read_text(), re.MULTILINE))
        if 'benchmark.py' in line:  # each subcommand has its own
            known += ''.join(path.read_text() for path in (ROOT / 'benchmarks').glob('*.py'))
        assert not [flag for flag in re.findall(r'(?<!\S)`?(--[a-z][a-z-]+)', line) if f"'{flag}'" not in known], line


def strings_of(path):
    """The texts between the placeholders of a Python file's strings."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def test_troubleshooting__messages_exist():
    files = [path for folder in (PACKAGE, COMMAND_LINE, ROOT / 'tools') for path in folder.rglob('*.py')]
    known = '\n'.join(text for file in files for text in strings_of(file)) + (ROOT / 'Makefile').read_text()
    rows = re.findall(r'^\| (`.*?) \|', (ROOT / 'docs/troubleshooting.md').read_text(), re.MULTILINE)
    messages = [message for row in rows for message in re.findall(r'`(.+?)`', row) if not LIBRARIES.search(message)]
    assert len(messages) > 50
    unknown = []
    for message in messages:
        # Names and numbers stand for what is filled in: the longest rest has to be a text of ours.
        pieces = re.split(
            r"; |\.\.\.|'|\"\w*|\d+|loss_|aphotowith|RANK|contrastive_weight|480x640|mmdet |is nan", message
        )
        longest = max((piece.strip(' "\'(') for piece in pieces), key=len)
        if longest not in known:
            unknown.append(message)
    assert not unknown


def test_own_data__example_works(tmp_path):
    page = ROOT / 'docs/own_data.md'
    (content,) = code_blocks(page, 'json')
    (config,) = [block for block in code_blocks(page, 'python') if '_base_ = ' in block]
    path = tmp_path / 'oneformer_r50_1xb4-10k_garden.py'
    path.write_text(config.replace('../../_base_', f'{ROOT}/configs/_base_').replace('data/garden/', f'{tmp_path}/'))

    ids = np.zeros((60, 80), np.int64)
    ids[:30], ids[40:, 20:50] = (segment['id'] for segment in json.loads(content)['annotations'][0]['segments_info'])
    bgr = np.stack([ids >> 16, ids >> 8 & 255, ids & 255], axis=-1).astype(np.uint8)
    for split in ('train', 'val'):
        (tmp_path / split).mkdir()
        (tmp_path / f'annotations/panoptic_{split}').mkdir(parents=True)
        (tmp_path / f'annotations/panoptic_{split}.json').write_text(content)
        cv2.imwrite(str(tmp_path / f'annotations/panoptic_{split}/0001.png'), bgr)
        cv2.imwrite(str(tmp_path / split / '0001.jpg'), np.full((60, 80, 3), 90, np.uint8))

    cfg = Config.fromfile(path)
    init_default_scope('mmdet')
    data = DATASETS.build(cfg.train_dataloader.dataset)
    assert data.metainfo['classes'] == cfg.classes and cfg.model.head.num_classes == 2
    assert cfg.param_scheduler[0].end == cfg.train_cfg.max_iters
    assert data[0, 0]['inputs'].shape == (3, 1024, 1024)
    assert DATASETS.build(cfg.test_dataloader.dataset)[0]['data_samples'].gt_sem_seg.sem_seg.unique().tolist() == [
        0,
        1,
        255,
    ]


def test_options__defaults_are_as_in_configs_md():
    """Every name in the first column of the tables of options is one of the base config or of its class."""
    cfg = Config.fromfile(ROOT / 'configs/_base_/models/oneformer_r50.py')
    classes = ('head', 'task_token', 'pixel_decoder')
    files = [*(PACKAGE / f'models/{name}.py' for name in classes), *(PACKAGE / 'models/losses').glob('*.py')]
    known = cfg.pretty_text + ''.join(file.read_text() for file in files)
    text = (ROOT / 'docs/configs.md').read_text()
    tables = text[text.index('## The model') : text.index('## Data')]
    first_columns = re.findall(r'^\| ([^|]*`[^|]*) \|', tables, re.MULTILINE)
    names = {name for cell in first_columns for name in re.findall(r'\w+', cell)}
    assert len(names) > 25 and not [name for name in names if not re.search(rf'\b{name}\b', known)]


def test_differences__switches_exist():
    """Every option in the last column of the first two tables is one of a config, of a class or of a tool."""
    cfg = Config.fromfile(ROOT / 'configs/oneformer/coco/oneformer_r50_8xb2-50e_coco-1024x1024.py')
    files = [*(PACKAGE / 'models').rglob('*.py'), *(PACKAGE / 'datasets').rglob('*.py'), ROOT / 'tools/test.py']
    known = cfg.pretty_text + ''.join(file.read_text() for file in files) + 'clip_grad load_from max_norm'
    text = (ROOT / 'docs/differences.md').read_text()
    rows = re.findall(r'^\| .* \| (.*) \|$', text[: text.index('## 3.')], re.MULTILINE)
    switches = [
        name for row in rows for code in re.findall(r'`(.+?)`', row) for name in re.findall(r'[a-zA-Z_]{4,}', code)
    ]
    assert len(switches) > 25
    assert not [name for name in switches if not re.search(rf'\b{name}\b', known)]
