"""A tiny model of the real classes, and batches for it."""

import json
from pathlib import Path

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from mmengine.structures import InstanceData, PixelData

from mmseg_oneformer.tasks import FILLERS, TASKS

CLASSES, QUERIES, CHANNELS = 5, 12, 32


@pytest.fixture(scope='session')
def golden():
    """Inputs and outputs of the reference code."""
    return json.loads((Path(__file__).parents[1] / 'data/golden.json').read_text())


def tiny_config(**changes):
    """Config of the tiny model; ``changes`` are merged into it by dotted keys with ``__`` for the dot."""
    group_norm = {'type': 'GN', 'num_groups': 4}
    config = ConfigDict(
        type='OneFormer',
        data_preprocessor={
            'type': 'mmdet.DetDataPreprocessor',
            'mean': [120.0, 115.0, 105.0],
            'std': [58.0, 57.0, 57.0],
            'bgr_to_rgb': True,
            'pad_size_divisor': 32,
            'non_blocking': True,
        },
        backbone={
            'type': 'mmdet.ResNet',
            'depth': 18,
            'base_channels': 8,
            'norm_cfg': group_norm,
            'norm_eval': False,
        },
        head={
            'num_classes': CLASSES,
            'num_queries': QUERIES,
            'channels': CHANNELS,
            'pixel_decoder': {
                'in_channels': (8, 16, 32, 64),
                'num_layers': 1,
                'num_heads': 4,
                'ffn_channels': 48,
                'dropout': 0.0,
            },
            'query_initializer': {'num_layers': 1, 'num_heads': 4, 'ffn_channels': 48, 'dropout': 0.0},
            'decoder': {'num_layers': 3, 'num_heads': 4, 'ffn_channels': 48},
        },
        thing_ids=(0, 1, 2),
        text_mapper={'num_context': 4, 'width': 64, 'num_layers': 1},
        criterion={'num_points': 64},
    )
    for key, value in changes.items():
        *path, last = key.split('__')
        node = config
        for name in path:
            node = node.setdefault(name, ConfigDict())
        node[last] = ConfigDict(value) if isinstance(value, dict) else value
    return config


@pytest.fixture(autouse=True)
def quiet(fresh_logger):
    """Without mmengine's page about the initialisation of every parameter."""
    MMLogger.get_current_instance().setLevel('WARNING')


@pytest.fixture(name='tiny_config')
def make_tiny_config():
    """The function that returns the tiny model's config with changes."""
    return tiny_config


@pytest.fixture
def build():
    """Build the tiny model, initialised, with a fixed seed."""

    def make(seed=0, **changes):
        torch.manual_seed(seed)
        model = MODELS.build(tiny_config(**changes))
        model.init_weights()
        return model.train()

    return make


def make_sample(index, size, num_targets, task, classes=CLASSES):
    """Image (3, H, W) uint8 and data sample of a training image; the same for the same ``index``."""
    generator = torch.Generator().manual_seed(1000 + index)
    labels = torch.randint(classes, (num_targets,), generator=generator).sort().values
    index_map = torch.randint(-1, max(num_targets, 1), (1, size[0] // 8, size[1] // 8), generator=generator)
    if not num_targets:
        index_map.fill_(-1)
    index_map = index_map.repeat_interleave(8, 1).repeat_interleave(8, 2).to(torch.int16)
    present, counts = labels.unique(return_counts=True)
    sample = DetDataSample(
        metainfo={
            'img_id': index,
            'img_path': f'{index}.jpg',
            'img_shape': size,
            'ori_shape': (size[0] + 7, size[1] - 5),
            'scale_factor': (1.0, 1.0),
            'flip': False,
            'flip_direction': None,
            'task': task,
            'texts': tuple(f'a photo with a thing{label}' for label in present.tolist()),
            'text_counts': tuple(counts.tolist()),
            'filler': FILLERS[task],
        }
    )
    sample.gt_instances = InstanceData(labels=labels)
    sample.gt_targets = PixelData(index_map=index_map)
    return torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8), sample


@pytest.fixture
def make_batch():
    """Make a raw training batch; one image for each number of targets, tasks in turn."""

    def make(num_targets=(3, 2), size=(64, 96), first=0):
        pairs = [
            make_sample(first + i, size, count, TASKS[(first + i) % len(TASKS)]) for i, count in enumerate(num_targets)
        ]
        return {'inputs': [image for image, _ in pairs], 'data_samples': [sample for _, sample in pairs]}

    return make


@pytest.fixture
def losses():
    """Losses of a model for a raw batch."""

    def run(model, batch):
        return model(**model.data_preprocessor(batch, training=True), mode='loss')

    return run
