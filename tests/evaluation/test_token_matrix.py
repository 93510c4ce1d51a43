"""The loop and tools/test.py on a model that knows the annotations."""

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from mmengine.structures import InstanceData, PixelData

from mmseg_oneformer.engine.evaluating import run_evaluation
from mmseg_oneformer.engine.evaluation_config import for_testing, select_metrics
from mmseg_oneformer.evaluation.token_matrix import split_tokens
from mmseg_oneformer.files import file_digest
from mmseg_oneformer.tasks import TASKS

K = 5


@MODELS.register_module(force=True)
class KnowingModel(BaseModel):
    """Perfect under the right token; finds no things under "semantic", no stuff under "instance"."""

    def __init__(self, test_cfg, text_mapper=None, criterion=None, data_preprocessor=None):
        super().__init__(data_preprocessor)
        assert text_mapper is None, 'the text branch is for training only'
        self.test_cfg = test_cfg
        self.weight = torch.nn.Parameter(torch.zeros(3))
        self.passes = []

    def forward(self, inputs, data_samples, mode):
        assert mode == 'predict'
        self.passes.append('own')
        for sample in data_samples:
            for task in self.test_cfg['tasks']:
                self.predict_task(sample, task, self.test_cfg['token'] or task)
        return data_samples

    def predict_tokens(self, inputs, data_samples, tokens):
        assert not torch.is_grad_enabled()
        self.passes.append(tuple(tokens))
        copies = {token: [sample.clone() for sample in data_samples] for token in tokens}
        for token, samples in copies.items():
            for sample in samples:
                for task in self.test_cfg['tasks']:
                    self.predict_task(sample, task, token)
        return copies

    def predict_task(self, sample, task, token):
        hidden = {'panoptic': None, 'instance': False, 'semantic': True}[token]
        index_map, segments = sample.gt_panoptic_seg.sem_seg, sample.segments_info
        seen = [(k, s) for k, s in enumerate(segments, start=1) if s['isthing'] is not hidden]
        if task == 'panoptic':
            values = torch.full_like(index_map, K)
            for k, segment in seen:
                values[index_map == k] = segment['label'] + 1000 * k
            table = [{'id': s['label'] + 1000 * k, 'category_id': s['label'], 'isthing': s['isthing']} for k, s in seen]
            sample.pred_panoptic_seg = PixelData(sem_seg=values, metainfo={'segments_info': table})
        elif task == 'instance':
            things = [(k, s) for k, s in seen if s['isthing']]
            sample.pred_instances = InstanceData(
                labels=torch.tensor([s['label'] for _, s in things], dtype=torch.int64),
                scores=torch.ones(len(things)),
                masks=torch.cat(
                    [torch.zeros(0, *index_map.shape[1:], dtype=bool), *[index_map == k for k, _ in things]]
                ),
            )
        else:
            values = torch.zeros_like(index_map, dtype=torch.int64)
            for k, segment in seen:
                values[index_map == k] = segment['label']
            sample.pred_sem_seg = PixelData(sem_seg=values, data=values)


@DATASETS.register_module(force=True)
class DrawnDataset(BaseDataset):
    """Samples of the ``drawn`` fixture from a file."""

    METAINFO = {
        'classes': ('sky', 'cat', 'grass', 'dog', 'road'),
        'thing_ids': (1, 3),
        'palette': [(k * 50, 90, 200 - k * 30) for k in range(K)],
    }

    def load_data_list(self):
        return torch.load(self.ann_file, weights_only=False)

    def prepare_data(self, idx):
        sample = DetDataSample(metainfo=self.get_data_info(idx)['metainfo'])
        for name, kind in (('gt_panoptic_seg', torch.int32), ('gt_sem_seg', torch.int64)):
            values = self.get_data_info(idx)[name].to(kind)
            setattr(sample, name, PixelData(sem_seg=values, data=values))
        return {'inputs': torch.zeros(3, 8, 8, dtype=torch.uint8), 'data_samples': sample}


@pytest.fixture
def experiment(drawn, tmp_path):
    """A config file, weights and data, all in ``tmp_path``."""
    rng, data = np.random.default_rng(0), []
    for img_id in range(3):
        gt_map, segments = drawn.random_truth(rng, shape=(48, 60), void=False, crowds=False, num_segments=14)
        path = tmp_path / f'photo_{img_id}.jpg'
        cv2.imwrite(str(path), rng.integers(0, 255, (48, 60, 3), dtype=np.uint8))
        sample = drawn.make_sample(img_id, gt_map, segments, {})
        sample.set_metainfo({'img_path': str(path)})
        maps = {'gt_panoptic_seg': sample.gt_panoptic_seg.sem_seg, 'gt_sem_seg': sample.gt_sem_seg.sem_seg}
        data.append({'metainfo': dict(sample.metainfo), **maps})
    torch.save(data, tmp_path / 'data.pth')
    state = {'state_dict': {'weight': torch.ones(3)}, 'meta': {'seed': 5, 'iter': 42}}
    torch.save(state, tmp_path / 'weights.pth')
    loader = {
        'batch_size': 2,
        'num_workers': 0,
        'sampler': {'type': 'DefaultSampler', 'shuffle': False},
        'dataset': {'type': 'DrawnDataset', 'ann_file': str(tmp_path / 'data.pth'), 'test_mode': True},
    }
    config = {
        'default_scope': 'mmdet',
        'model': {'type': 'KnowingModel', 'text_mapper': {'type': 'TextMapper'}, 'test_cfg': {'max_per_image': 9}},
        'train_dataloader': {'dataset': {'type': 'NotThere'}},
        'optim_wrapper': {'type': 'NotThere'},
        'test_dataloader': loader,
        'test_evaluator': [{'type': 'PanopticQuality'}, {'type': 'InstanceAP'}, {'type': 'MeanIoU'}],
        'work_dir': str(tmp_path / 'work'),
    }
    path = tmp_path / 'oneformer_toy.py'
    Config(config).dump(path)
    return path


@pytest.fixture
def tool():
    path = Path(__file__).parents[2] / 'tools/test.py'
    spec = importlib.util.spec_from_file_location('tools_test', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(folder):
    return json.loads((folder / 'work/results.json').read_text())


def test_tool__own_tokens_in_one_pass(tool, experiment, capsys):
    tool.main([str(experiment), str(experiment.parent / 'weights.pth')])
    results = read(experiment.parent)
    assert list(results['metrics']) == ['own']
    # Each prediction from its own token; the instance prediction is complete under 'instance' and so on.
    for name in ('PQ_th', 'PQ_st', 'AP', 'SQ'):
        assert results['metrics']['own'][name] == pytest.approx(100)
    assert (results['model'], results['seed'], results['iteration'], results['num_images']) == (
        'oneformer_toy',
        5,
        42,
        3,
    )
    data = experiment.parent / 'data.pth'
    assert (results['miou_average'], results['data'], results['data_sha256']) == (
        *('annotated', str(data)),
        file_digest(data),
    )
    assert 'PQ_th  PQ_st     AP' in capsys.readouterr().out


def test_tool__token_matrix(tool, experiment, capsys):
    tool.main([str(experiment), str(experiment.parent / 'weights.pth'), '--token-matrix'])
    results = read(experiment.parent)
    matrix = results['metrics']
    assert list(matrix) == list(TASKS) and results['miou_average'] == 'annotated'
    assert [matrix['panoptic'][name] for name in ('PQ_th', 'PQ_st', 'AP', 'mIoU')] == pytest.approx([100] * 4)
    assert [matrix['instance'][name] for name in ('PQ_th', 'PQ_st', 'AP')] == pytest.approx([100, 0, 100])
    assert [matrix['semantic'][name] for name in ('PQ_th', 'PQ_st', 'AP')] == pytest.approx([0, 100, 0])
    assert matrix['instance']['mIoU'] < 90
    assert 'instance  ' in capsys.readouterr().out


def test_tool__numbers_of_each_class(tool, experiment, capsys, drawn):
    command = [str(experiment), str(experiment.parent / 'weights.pth'), '--per-class']
    tool.main(command)
    printed = capsys.readouterr().out
    header = ['class', 'PQ', 'SQ', 'RQ', 'AP', 'AP50', 'AP75', 'IoU', 'Acc']
    assert [line.split() for line in printed.splitlines()].count(header) == 1
    results = read(experiment.parent)
    numbers = results['per_class']['own']
    assert list(numbers) == list(drawn.CLASSES)
    assert list(numbers['cat']) == list(numbers['sky']) == header[1:]
    assert numbers['cat']['AP'] == pytest.approx(100) and numbers['sky']['AP'] is None  # stuff has no AP
    for name, average in (('PQ', 'PQ'), ('AP', 'AP'), ('IoU', 'mIoU')):
        values = [row[name] for row in numbers.values() if row[name] is not None]
        assert np.mean(values) == pytest.approx(results['metrics']['own'][average])

    tool.main([*command, '--token-matrix'])
    matrix = read(experiment.parent)
    assert list(matrix['per_class']) == list(TASKS)
    assert matrix['per_class']['semantic']['cat']['PQ'] == 0 and matrix['per_class']['panoptic']['cat']['PQ'] == 100
    assert 'instance\nclass' in capsys.readouterr().out


def test_for_testing__annotations_of_other_tasks_need_not_be_there(experiment):
    cfg = Config.fromfile(experiment)
    cfg.test_dataloader.dataset.data_prefix = dict(img='a', sem='b', instance='c')
    left = {
        tasks: dict(for_testing(cfg, tasks).test_dataloader.dataset.data_prefix)
        for tasks in (('panoptic',), ('semantic',), ('instance', 'panoptic'), TASKS)
    }
    assert list(left.values()) == [
        dict(img='a'),
        dict(img='a', sem='b'),
        dict(img='a', instance='c'),
        dict(img='a', sem='b', instance='c'),
    ]


def test_tool__one_token_for_one_task_with_pictures(tool, experiment, tmp_path):
    out, pictures = tmp_path / 'deep/numbers.json', tmp_path / 'pictures'
    flags = ['--tasks', 'panoptic', '--token', 'instance', '--out', str(out), '--show-dir', str(pictures)]
    tool.main([str(experiment), str(experiment.parent / 'weights.pth'), *flags])
    metrics = json.loads(out.read_text())['metrics']
    assert list(metrics) == ['instance']
    assert not {'AP', 'mIoU'} & set(metrics['instance'])
    assert (metrics['instance']['PQ_th'], metrics['instance']['PQ_st']) == pytest.approx((100, 0))
    assert sorted(p.name for p in pictures.iterdir()) == ['photo_0.png', 'photo_1.png', 'photo_2.png']
    picture = cv2.imread(str(pictures / 'photo_1.png'))
    assert picture.std() > 10


def test_tool__token_of_the_config(tool, experiment):
    """A model that was trained for one task says so; the flags have the last word."""
    command = [str(experiment), str(experiment.parent / 'weights.pth')]
    config = ['--cfg-options', 'model.test_cfg.token=instance']
    tool.main(command + config)
    metrics = read(experiment.parent)['metrics']
    assert list(metrics) == ['instance'] and metrics['instance']['PQ_st'] == pytest.approx(0)
    tool.main([*command, '--token', 'semantic', *config])
    assert list(read(experiment.parent)['metrics']) == ['semantic']
    tool.main([*command, '--token-matrix', *config])
    assert list(read(experiment.parent)['metrics']) == list(TASKS)


def test_tool__pictures_of_the_token_matrix(tool, experiment, tmp_path):
    pictures = tmp_path / 'pictures'
    tool.main([str(experiment), str(experiment.parent / 'weights.pth'), '--token-matrix', '--show-dir', str(pictures)])
    assert len(list(pictures.iterdir())) == 3


@pytest.mark.parametrize(
    ('flags', 'sentence'),
    [
        (['absent.py', '{}/weights.pth'], 'absent'),
        (['{}/oneformer_toy.py', '{}/absent.pth'], 'There is no checkpoint at'),
        (['{}/oneformer_toy.py', '{}/other.pth'], 'other.pth is not a checkpoint of this model'),
        (['{}/oneformer_toy.py', '{}/weights.pth', '--tasks', 'depth'], "unknown task 'depth'"),
        (['{}/oneformer_toy.py', '{}/weights.pth', '--token', 'depth'], "unknown task 'depth'"),
        (['{}/oneformer_toy.py', '{}/weights.pth', '--token', 'instance', '--token-matrix'], 'leave out either'),
        (['{}/oneformer_toy.py', '{}/weights.pth', '--cfg-options', 'test_evaluator=None'], 'no "test_evaluator"'),
    ],
)
def test_tool__a_mistake_is_one_sentence(tool, experiment, capsys, flags, sentence):
    torch.save({'state_dict': {'weight': torch.ones(4)}}, experiment.parent / 'other.pth')
    with pytest.raises(SystemExit) as stop:
        tool.main([flag.format(experiment.parent) for flag in flags])
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert sentence in error
    assert 'Traceback' not in error
    assert not (experiment.parent / 'work/results.json').exists()


def test_token_matrix_loop__one_pass_a_batch(experiment):
    from mmengine.runner import Runner

    runner = Runner.from_cfg(for_testing(Config.fromfile(experiment), token_matrix=True))
    metrics = runner.test()
    assert runner.model.passes == [TASKS, TASKS]  # 3 images in batches of 2
    assert set(split_tokens(metrics)) == set(TASKS)


def test_evaluate__leaves_the_config_alone(experiment):
    cfg = Config.fromfile(experiment)
    before = cfg.pretty_text
    results = run_evaluation(cfg, experiment.parent / 'weights.pth', config_name=experiment, tasks=('semantic',))
    assert cfg.pretty_text == before
    assert set(results['metrics']['own']) == {'mIoU', 'fwIoU', 'mAcc', 'aAcc'}


def test_select_metrics__keeps_what_fits():
    metrics = [{'type': 'PanopticQuality'}, {'type': 'mmseg.IoUMetric'}, {'type': 'DumpResults'}]
    assert select_metrics(metrics, ['semantic']) == metrics[1:]
    assert select_metrics({'type': 'InstanceAP'}, TASKS) == [{'type': 'InstanceAP'}]
    assert select_metrics({'type': 'Evaluator', 'metrics': metrics}, ['panoptic']) == [metrics[0], metrics[2]]
    with pytest.raises(ValueError, match='no metric for instance'):
        select_metrics(metrics[:2], ['instance'])
