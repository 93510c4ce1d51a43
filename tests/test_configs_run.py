"""Every shipped config can be read by people, and builds a model that learns and predicts.

It does with its own pipelines, drawn data of its form and small widths.
"""

import ast
import json

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope

from mmseg_oneformer.analysis.paper import load_paper
from mmseg_oneformer.checkpoints.checkpoint import for_inference
from mmseg_oneformer.datasets.shapes import write_shapes
from mmseg_oneformer.zoo.configs import find_config
from mmseg_oneformer.zoo.metafile import read_zoo

ROWS = {row.config for table in load_paper() for row in table.rows} - {None}
UNLISTED = {'as_paper', 'oneformer_r50-scratch_1xb4-800_coco-mini-192x192'}
"""What neither the metafile nor the paper has."""
EXPERIMENTS = sorted(read_zoo().keys() | ROWS | UNLISTED)
"""All that is shipped: whatever else lies in configs/ is somebody's own."""


def files_of(path):
    """The files that make a config: itself and all that it inherits from."""
    bases = [path.parent / base for base in Config._get_base_files(str(path))]
    return {path.resolve()}.union(*map(files_of, bases))


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_config__is_four_files_to_read(name):
    """Itself, its network, what all networks share, its data."""
    assert len(files_of(find_config(name))) <= 4


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_config__header_says_how_to_run_it(name):
    header = ast.get_docstring(ast.parse(find_config(name).read_text())).splitlines()
    labels = {line.split(':')[0] for line in header}
    assert 'Command' in labels and labels & {'Reproduces', 'Expect'}
    assert all(name in line for line in header if line.startswith('Command:'))


@pytest.fixture(scope='session')
def drawn(drawn_benchmarks, tmp_path_factory):
    """A folder with drawn data wherever a config looks for some."""
    folder = tmp_path_factory.mktemp('drawn')
    for name in drawn_benchmarks.BENCHMARKS:
        drawn_benchmarks.draw_benchmark(name, folder, train=2, val=1)
    write_shapes(folder / 'data/shapes', train=2, val=1)
    (folder / 'data/coco_mini').symlink_to('coco')
    return folder


@pytest.fixture
def run(drawn, monkeypatch):
    """Build the model of a config, and return its loss for two training images and its predictions for a test image."""
    monkeypatch.chdir(drawn)
    init_default_scope('mmdet')

    def make(cfg):
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        train, test = (DATASETS.build(cfg[f'{split}_dataloader'].dataset) for split in ('train', 'test'))
        batch = model.data_preprocessor(pseudo_collate([train[0], train[1]]), training=True)
        loss, _ = model.parse_losses(model.train()(**batch, mode='loss'))
        loss.backward()
        return model, loss, model.eval().test_step(pseudo_collate([test[0]]))[0]

    return make


def check_prediction(cfg, prediction):
    height, width = prediction.ori_shape
    tasks = cfg.model.test_cfg.tasks
    for task, key in (('semantic', 'pred_sem_seg'), ('panoptic', 'pred_panoptic_seg')):
        assert (key in prediction) == (task in tasks)
        assert task not in tasks or prediction.get(key).sem_seg.shape == (1, height, width)
    assert ('pred_instances' in prediction) == ('instance' in tasks)
    assert 'instance' not in tasks or set(prediction.pred_instances.labels.tolist()) <= set(cfg.model.thing_ids)


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_config__learns_and_predicts(run, small_models, name):
    cfg = Config.fromfile(find_config(name))
    cfg.merge_from_dict(small_models.small_model(cfg) | small_models.small_data(cfg))
    model, loss, prediction = run(cfg)
    assert torch.isfinite(loss) and loss > 0
    assert not [key for key, value in model.named_parameters() if value.requires_grad and value.grad is None]
    check_prediction(cfg, prediction)


def distinct_models():
    """One config for each model that differs in more than what it is called: by backbone, head, classes."""
    found = {}
    for name in EXPERIMENTS:
        model = Config.fromfile(find_config(name)).model
        model.backbone.pop('init_cfg', None)
        parts = ('type', 'backbone', 'head', 'panoptic_head', 'num_classes')
        found.setdefault(json.dumps({key: model.get(key) for key in parts}, sort_keys=True), name)
    return list(found.values())


@pytest.fixture
def unset(monkeypatch):
    """Leave out torch's random numbers, which take longer than building."""
    for name in ('kaiming_uniform_', 'kaiming_normal_', 'xavier_uniform_', 'uniform_', 'normal_', 'trunc_normal_'):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)


@pytest.mark.slow
@pytest.mark.parametrize('name', distinct_models())
def test_config__predicts_at_full_width(drawn, unset, small_models, monkeypatch, name):
    monkeypatch.chdir(drawn)
    init_default_scope('mmdet')
    cfg = for_inference(Config.fromfile(find_config(name)))
    cfg.merge_from_dict(small_models.small_data(cfg))
    model = MODELS.build(cfg.model).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.02)
    prediction = model.test_step(pseudo_collate([DATASETS.build(cfg.test_dataloader.dataset)[0]]))[0]
    check_prediction(cfg, prediction)
    assert 'pred_instances' not in prediction or torch.isfinite(prediction.pred_instances.scores).all()
