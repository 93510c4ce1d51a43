"""Narrow models of every backbone family, as configs that a user could name."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmseg_oneformer.checkpoints.checkpoint import for_inference
from mmseg_oneformer.zoo.configs import read_config

FAMILIES = {
    'swin': 'oneformer_swin-t_8xb2-50e_coco-1024x1024',
    'r50': 'oneformer_r50_8xb2-90k_cityscapes-512x1024',
    'convnext': 'oneformer_convnext-l_8xb2-90k_cityscapes-512x1024',
    'dinat': 'oneformer_dinat-l_8xb2-90k_cityscapes-512x1024',
}


@pytest.fixture(scope='session')
def narrow(small_models, tmp_path_factory):
    """Write the config of a family's narrow model and return its path."""

    def write(family, **options):
        cfg = read_config(FAMILIES[family])
        cfg.merge_from_dict(small_models.small_model(cfg) | small_models.small_data(cfg) | options)
        path = tmp_path_factory.mktemp('configs') / f'narrow_{family}.py'
        cfg.dump(path)
        return path

    return write


@pytest.fixture(scope='session')
def build():
    """Build the model of a config file with random weights, as they may be after training."""

    def make(path, dtype=torch.float32, seed=0, text=True):
        torch.manual_seed(seed)
        cfg = Config.fromfile(path)
        with DefaultScope.overwrite_default_scope('mmdet'):
            model = MODELS.build((cfg if text else for_inference(cfg)).model).to(dtype)
        randomize(model, seed)
        return model.eval()

    return make


@pytest.fixture(name='randomize')
def randomize_fixture():
    """The function that does so."""
    return randomize


def randomize(model, seed=0):
    """Every parameter and statistic as far from its start as after training; activations neither dead nor huge."""
    generator = torch.Generator().manual_seed(seed)

    def noise(tensor):
        return torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.dtype)

    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith('running_var') or ('norm' in name and name.endswith('weight')):
                tensor.copy_(1 + 0.3 * noise(tensor).clamp(-2, 2))
            elif name.endswith('running_mean'):
                tensor.copy_(0.3 * noise(tensor))
            elif name.endswith('num_batches_tracked'):
                tensor.fill_(7)
            elif not isinstance(tensor, torch.nn.Parameter):
                continue
            elif tensor.dim() < 2:
                tensor.copy_(0.3 * noise(tensor))
            elif name.endswith(('level_embed', 'level_embed.weight', 'query_embed.weight', 'queries_embedder.weight')):
                tensor.copy_(noise(tensor))
            else:
                tensor.copy_(noise(tensor) / tensor[0].numel() ** 0.5)
