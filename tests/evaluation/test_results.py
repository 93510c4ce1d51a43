import hashlib
import json
import math

import numpy as np
import pytest

from mmseg_oneformer.evaluation.results import (
    METRICS_OF_TASK,
    format_results,
    own_token_metrics,
    task_of_metric,
    write_results,
)

NUMBERS = {'PQ': 1 / 3, 'PQ_th': math.nan, 'mIoU': np.float32(57.03), 'AP': 12}


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / 'model.safetensors'
    path.write_bytes(b'weights' * 300_000)
    return path


def write(path, weights, **changes):
    settings = {'config': 'configs/oneformer_r50.py', 'weights': weights, 'metrics': {'own': NUMBERS}} | changes
    return write_results(path, num_images=7, seconds=1.2345, seed=3, iteration=100, **settings)


def test_write_results__has_the_whole_schema(tmp_path, weights):
    path = tmp_path / 'deep' / 'results.json'
    returned = write(path, weights)
    results = json.loads(path.read_text(), parse_constant=pytest.fail)  # NaN is not JSON
    assert results == returned
    assert list(results) == [
        *('model', 'config', 'weights', 'weights_sha256', 'data', 'data_sha256', 'seed', 'iteration', 'options'),
        *('versions', 'num_images', 'seconds', 'metrics', 'miou_average', 'per_class'),
    ]
    assert results['model'] == 'oneformer_r50'
    assert results['weights_sha256'] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (results['data'], results['data_sha256'], results['miou_average']) == (None, None, None)
    assert results['metrics'] == {'own': {'PQ': 1 / 3, 'PQ_th': None, 'mIoU': 57.03, 'AP': 12.0}}
    assert {'python', 'torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmseg_oneformer'} <= set(results['versions'])


def test_write_results__names_the_data(tmp_path, weights):
    data = tmp_path / 'panoptic_val.json'
    data.write_text('{}')
    results = write(tmp_path / 'results.json', weights, data=data, miou_average='all')
    digest = hashlib.sha256(b'{}').hexdigest()
    assert (results['data'], results['data_sha256'], results['miou_average']) == (str(data), digest, 'all')
    remote = write(tmp_path / 'results.json', weights, data='s3://bucket/panoptic_val.json')
    assert (remote['data'], remote['data_sha256']) == ('s3://bucket/panoptic_val.json', None)


def test_write_results__failure_leaves_the_old_file(tmp_path, weights):
    path = tmp_path / 'results.json'
    path.write_text('old')
    with pytest.raises(TypeError):
        write(path, weights, config='a.py', metrics={'own': {object(): 1.0}})
    with pytest.raises(FileNotFoundError):
        write(path, tmp_path / 'absent.pth')
    assert path.read_text() == 'old'
    assert sorted(p.name for p in tmp_path.iterdir()) == ['model.safetensors', 'results.json']


def test_task_of_metric__every_name_has_one_task():
    names = [name for task in METRICS_OF_TASK.values() for name in task]
    assert len(names) == len(set(names))
    assert task_of_metric('PQ_st') == 'panoptic'
    assert task_of_metric('val/box_AP50') == 'instance'
    assert task_of_metric('aAcc') == 'semantic'
    assert task_of_metric('loss') is None


def test_own_token_metrics__takes_the_diagonal():
    matrix = {
        'semantic': {'PQ': 1.0, 'AP': 2.0, 'mIoU': 3.0},
        'instance': {'PQ': 4.0, 'AP': 5.0, 'mIoU': 6.0},
        'panoptic': {'PQ': 7.0, 'AP': 8.0, 'mIoU': 9.0},
    }
    assert own_token_metrics(matrix) == {'mIoU': 3.0, 'AP': 5.0, 'PQ': 7.0}


def test_format_results__layout_of_table_8():
    matrix = {'panoptic': {'AP': 45.3, 'PQ': 67.16, 'SQ': 1.0}, 'instance': {'PQ': 25.6, 'AP': None}}
    assert format_results(matrix).splitlines() == [
        'token       PQ    AP',
        '--------  ----  ----',
        'panoptic  67.2  45.3',
        'instance  25.6     -',
    ]
