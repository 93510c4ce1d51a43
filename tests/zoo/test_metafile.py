"""The metafile: OpenMMLab's form, the published files and numbers, and that all that is made from it says the same."""

import re
from pathlib import Path

import mmengine
import pytest
from mmengine.config import Config

from mmseg_oneformer.checkpoints.checkpoint import for_inference
from mmseg_oneformer.evaluation.zoo_tables import format_zoo, markdown_zoo
from mmseg_oneformer.models.skeleton import build_skeleton, count_parameters
from mmseg_oneformer.zoo.configs import config_root, find_config, list_models
from mmseg_oneformer.zoo.metafile import read_zoo
from mmseg_oneformer.zoo.weights import weights_states

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = mmengine.load(config_root() / 'oneformer/metafile.yml')
TASKS = {'Panoptic Segmentation', 'Instance Segmentation', 'Semantic Segmentation'}
SETTINGS = {  # by what a name calls the data: the metafile's word for it, and K
    'ade20k': ('ADE20K', 150),
    'cityscapes': ('Cityscapes', 19),
    'coco': ('COCO', 133),
    'mapillary': ('Mapillary Vistas', 65),
    'shapes': ('Shapes', 7),
}
# The first table of the reference's README as (PQ, AP, mIoU), and the paper for ResNet-50; typed again.
PUBLISHED = {
    'r50_8xb2-160k_ade20k-512x512': (41.9, 27.3, 47.3),
    'swin-l_8xb2-160k_ade20k-640x640': (49.8, 35.9, 57.0),
    'swin-l_8xb2-160k_ade20k-896x896': (51.1, 37.6, 57.4),
    'swin-l_8xb2-160k_ade20k-1280x1280': (51.4, 37.8, 57.0),
    'convnext-l_8xb2-160k_ade20k-640x640': (50.0, 36.2, 56.6),
    'convnext-xl_8xb2-160k_ade20k-640x640': (50.1, 36.3, 57.4),
    'dinat-l_8xb2-160k_ade20k-640x640': (50.5, 36.0, 58.3),
    'dinat-l_8xb2-160k_ade20k-896x896': (51.2, 36.8, 58.1),
    'dinat-l_8xb2-160k_ade20k-1280x1280': (51.5, 37.1, 58.3),
    'dinat-l-coco-pre_8xb2-160k_ade20k-1280x1280': (53.4, 40.2, 58.4),
    'swin-l_8xb2-90k_cityscapes-512x1024': (67.2, 45.6, 83.0),
    'convnext-l_8xb2-90k_cityscapes-512x1024': (68.5, 46.5, 83.0),
    'convnext-l-mapillary-pre_8xb2-90k_cityscapes-512x1024': (70.1, 48.7, 84.6),
    'dinat-l_8xb2-90k_cityscapes-512x1024': (67.6, 45.6, 83.1),
    'convnext-xl_8xb2-90k_cityscapes-512x1024': (68.4, 46.7, 83.6),
    'convnext-xl-mapillary-pre_8xb2-90k_cityscapes-512x1024': (69.7, 48.9, 84.5),
    'r50_8xb2-50e_coco-1024x1024': (51.5, 42.5, 61.2),
    'swin-l_8xb2-100e_coco-1024x1024': (57.9, 49.0, 67.4),
    'dinat-l_8xb2-100e_coco-1024x1024': (58.0, 49.2, 68.1),
    'swin-l_8xb2-300k_mapillary-1024x1024': (46.7, None, 62.9),
    'convnext-l_8xb2-300k_mapillary-1024x1024': (47.9, None, 63.2),
    'dinat-l_8xb2-300k_mapillary-1024x1024': (47.8, None, 64.0),
}
# Millions at inference, as the reference's README and the paper state them.
MILLIONS = {'swin-l': 219, 'convnext-l': 220, 'convnext-xl': 372, 'dinat-l': 223, 'r50': 47}


def by_name(entry):
    return entry['Name']


def parts(name):
    """Return backbone, variant, schedule, data and crop of a model's name."""
    match = re.fullmatch(
        r'oneformer_([a-z\d-]+?)(?:-([a-z]+-pre|all-tasks))?_\d+xb\d+-(\w+)_([a-z\d-]+)-(\d+x\d+)', name
    )
    assert match is not None, name
    return match.groups()


def test_metafile__names_each_model_once():
    names = [entry['Name'] for entry in ENTRIES['Models']]
    assert names and len(names) == len(set(names)) and set(names) <= set(list_models())


def test_model_index__imports_the_metafile():
    files = mmengine.load(ROOT / 'model-index.yml')['Import']
    assert [config_root().parent / file for file in files] == [config_root() / 'oneformer/metafile.yml']


def test_collection__is_whole():
    (collection,) = ENTRIES['Collections']
    assert collection['Name'] == 'OneFormer' and collection['Code']['URL'].startswith('https://')
    assert collection['Paper']['URL'] == 'https://arxiv.org/abs/2211.06220' and collection['Paper']['Title']
    assert (config_root() / 'oneformer' / collection['README']).is_file()


@pytest.mark.parametrize('entry', ENTRIES['Models'], ids=by_name)
def test_metafile__openmmlabs_form(entry):
    """What model-index and openmim read: names, types, and files that are there."""
    assert set(entry) <= {
        *('Name', 'In Collection', 'Config', 'Metadata', 'Measured By', 'Results', 'Weights', 'Converted From'),
    }
    assert entry['In Collection'] == 'OneFormer'
    assert config_root().parent / entry['Config'] == find_config(entry['Name'])
    metadata = entry['Metadata']
    assert {'Training Data', 'Iterations', 'Batch Size', 'Training Resources', 'Parameters'} <= set(metadata)
    assert ('Results' in entry) == ('Measured By' in entry)
    for result in entry.get('Results', ()):
        assert set(result) == {'Task', 'Dataset', 'Metrics'} and result['Task'] in TASKS
        assert result['Dataset'] == metadata['Training Data']
        assert all(isinstance(value, float) and 0 < value < 100 for value in result['Metrics'].values())
    if '://' in entry.get('Weights', ''):
        origin = entry['Converted From']
        assert origin['Code'].startswith('https://github.com/SHI-Labs/OneFormer/blob/main/configs/')
        assert re.fullmatch(r'md5:[\da-f]{32}|sha256:[\da-f]{64}', origin.get('Checksum', 'md5:' + 32 * '0'))


@pytest.mark.parametrize('entry', ENTRIES['Models'], ids=by_name)
def test_metafile__agrees_with_the_config(entry):
    cfg = Config.fromfile(find_config(entry['Name']))
    _, _, _, data, _ = parts(entry['Name'])
    name, num_classes = SETTINGS[data]
    assert (entry['Metadata']['Training Data'], cfg.model.head.num_classes) == (name, num_classes)
    assert entry['Metadata']['Iterations'] == cfg.train_cfg.max_iters
    processes, images = map(int, re.search(r'_(\d+)xb(\d+)-', entry['Name']).groups())
    assert entry['Metadata']['Batch Size'] == processes * images
    assert cfg.train_dataloader.batch_size == images


@pytest.mark.parametrize('model', [model for model in read_zoo().values() if model.urls], ids=lambda model: model.name)
def test_published_files__are_those_of_the_config(model):
    """The authors' names say crop, N, N_ctx, backbone, data set and schedule."""
    backbone, variant, schedule, data, crop = parts(model.name)
    cfg = Config.fromfile(find_config(model.name))
    if model.file_name == 'pytorch_model.bin':
        assert f'oneformer_{data}_swin_tiny/' in model.urls[0] and backbone == 'swin-t'
        return
    form = r'((?:coco|mapillary)_pretrain_)?(?:(\d+x\d+)_)?(\d+)_16_(\w+)_oneformer_(\w+)_(\d+k|100ep)\.pth'
    file = re.fullmatch(form, model.file_name)
    pretrain, size, queries, name, file_data, iterations = file.groups()
    assert model.urls[0] == f'https://shi-labs.com/projects/oneformer/{data}/{model.file_name}' and file_data == data
    assert name.replace('_', '-') == backbone and int(queries) == cfg.model.head.num_queries
    assert iterations.replace('ep', 'e') == schedule
    assert (size or '640x640') == crop or data != 'ade20k'
    assert pretrain == {'coco-pre': 'coco_pretrain_', None: None}.get(variant, 'mapillary_pretrain_')
    assert cfg.model.text_mapper.num_context == 16
    for mirror in model.urls[1:]:
        assert mirror.startswith(f'https://huggingface.co/shi-labs/oneformer_{data}_{name.replace("_l", "_large")}/')
        assert mirror.endswith(f'/resolve/main/{model.file_name}')


def test_published_files__of_the_pretrained_models_are_in_the_zoo():
    """A config that starts from another model of the zoo names one whose weights can be had."""
    starts = {}
    for name, model in read_zoo().items():
        init = Config.fromfile(find_config(name)).model.get('init_cfg')
        if init:
            starts[name] = init['checkpoint']
            assert read_zoo()[init['checkpoint']].urls and model.urls
    assert starts


def test_results__are_the_published_ones():
    zoo = {name.removeprefix('oneformer_'): model for name, model in read_zoo().items()}
    found = {
        name: tuple(model.metrics.get(metric) for metric in ('PQ', 'AP', 'mIoU'))
        for name, model in zoo.items()
        if model.metrics and model.measured_by == 'the authors of OneFormer'
    }
    assert found == PUBLISHED


@pytest.mark.parametrize('model', list(read_zoo().values()), ids=lambda model: model.name)
def test_parameters__are_those_of_the_model_and_as_published(model):
    cfg = for_inference(Config.fromfile(find_config(model.name)))
    assert count_parameters(build_skeleton(cfg.model)) == model.parameters
    millions = round(model.parameters / 1e6)
    assert millions == MILLIONS.get(parts(model.name)[0], millions)


def test_format_zoo__a_line_for_each_model_and_where_its_weights_are():
    states = weights_states()
    assert states['oneformer_r18-narrow_1xb16-6k_shapes-96x96'] == 'included'
    assert states['oneformer_swin-t_8xb2-50e_coco-1024x1024'] == '-'
    lines = format_zoo(states).splitlines()
    (line,) = [line for line in lines if line.startswith('oneformer_swin-l_8xb2-100e_coco-1024x1024')]
    assert re.split(r'\s{2,}', line)[1:6] == ['COCO', '57.9', '49.0', '67.4', '218.8 M']
    names = [line.split('  ')[0] for line in lines[2 : lines.index('')]]
    assert sorted(names) == list_models() and names[: len(read_zoo())] == list(read_zoo())


def test_docs__tables_are_made_from_the_metafile():
    """Written by ``python tools/infer.py --list markdown``."""
    assert markdown_zoo() in (ROOT / 'docs/zoo.md').read_text()
