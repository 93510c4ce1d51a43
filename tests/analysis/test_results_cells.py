"""Cells of the tables, filled from results.json files."""

import json
import os
import statistics

import pytest

from mmseg_oneformer.analysis.results_cells import describe, fill, find_results
from mmseg_oneformer.errors import UserError
from mmseg_oneformer.evaluation.results import write_results

MODEL = 'oneformer_r50_8xb2-50e_coco-1024x1024'
IMAGES = 5000
OWN = {'PQ': 51.5, 'PQ_th': 58.0, 'AP': 42.5, 'AP_instance': 42.0, 'mIoU': float('nan')}


@pytest.fixture
def write(tmp_path):
    """Write results as tools/test.py does; each with weights of its own unless it names some."""

    def run(folder, metrics=OWN, token='own', weights=None, **settings):
        file = tmp_path / f'{weights or folder}.pth'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(weights or folder)
        metrics = metrics if token is None else {token: metrics}
        settings = {'config': f'configs/oneformer/{MODEL}.py', 'num_images': IMAGES, 'seconds': 1.0} | settings
        write_results(tmp_path / 'runs' / folder / 'results.json', weights=file, metrics=metrics, **settings)
        return tmp_path / 'runs'

    return run


def test_fill__one_run(write):
    results = find_results([write('a', seed=0)])[MODEL]
    assert str(fill(results, 'PQ', None, IMAGES)) == '51.5'
    assert fill(results, 'PQ', None, IMAGES).deviation is None
    assert str(fill(results, 'AP_instance', None, IMAGES)) == '42.0'
    assert fill(results, 'mIoU', None, IMAGES) is None  # null: not measured
    assert fill(results, 'PQ_st', None, IMAGES) is None  # absent


def test_fill__three_seeds(write):
    values = [51.0, 51.5, 52.6]
    for seed, value in enumerate(values):
        runs = write(f'seed{seed}', {'PQ': value}, seed=seed)
    cell = fill(find_results([runs])[MODEL], 'PQ', None, IMAGES)
    assert (cell.mean, cell.runs) == (pytest.approx(51.7), 3)
    assert cell.deviation == pytest.approx(statistics.stdev(values))
    assert str(cell) == '51.7 ± 0.8 (3)'


def test_fill__unknown_seeds_are_told_apart_by_weights(write):
    write('a', {'PQ': 50.0}, weights='same')
    write('b', {'PQ': 50.0}, weights='same')
    runs = write('c', {'PQ': 52.0}, weights='other')
    assert fill(find_results([runs])[MODEL], 'PQ', None, IMAGES).runs == 2


def test_fill__of_one_seed_the_longest_trained_then_the_newest(write):
    write('newer', {'PQ': 51.0}, seed=1, iteration=160000)
    write('older', {'PQ': 50.0}, seed=1, iteration=160000)
    runs = write('short', {'PQ': 10.0, 'AP': 9.0}, seed=1, iteration=5000)
    os.utime(runs / 'older/results.json', (1, 1))
    os.utime(runs / 'newer/results.json', (2, 2))
    results = find_results([runs])[MODEL]
    assert str(fill(results, 'PQ', None, IMAGES)) == '51.0'
    assert str(fill(results, 'AP', None, IMAGES)) == '9.0'  # nothing newer has it


def test_fill__options_make_another_experiment(write):
    write('lr', {'PQ': 1.0}, options={'optim_wrapper.optimizer.lr': 1e-3})
    runs = write('elsewhere', {'PQ': 51.0}, options={'test_dataloader.dataset.data_root': '/data/coco'})
    results = find_results([runs])[MODEL]
    assert str(fill(results, 'PQ', None, IMAGES)) == '51.0'
    lines = [describe(result, IMAGES) for result in results]
    assert [('left out' in line) for line in lines] == ['lr/' in line for line in lines]
    assert any('optim_wrapper.optimizer.lr=0.001' in line for line in lines)


def test_fill__other_images_make_another_experiment(write):
    """Such as a few photos to try the command with: only the folder of the data is another one."""
    options = {'test_dataloader.dataset.data_root': 'data/coco_mini/'}
    results = find_results([write('few', {'PQ': 99.0}, num_images=26, options=options)])[MODEL]
    assert fill(results, 'PQ', None, IMAGES) is None
    assert describe(results[0], IMAGES).endswith('26 images; left out, as the paper has 5000 images')


def test_fill__token_matrix(write):
    matrix = {
        'panoptic': {'PQ': 49.3, 'AP': 35.8, 'mIoU': 57.1},
        'instance': {'PQ': 33.1, 'AP': 35.9, 'mIoU': 26.4},
        'semantic': {'PQ': 40.4, 'AP': 25.3, 'mIoU': 57.0},
    }
    results = find_results([write('matrix', matrix, token=None, seed=0)])[MODEL]
    assert [fill(results, name, 'instance', IMAGES).mean for name in ('PQ', 'AP', 'mIoU')] == [33.1, 35.9, 26.4]
    assert [fill(results, name, None, IMAGES).mean for name in ('PQ', 'AP', 'mIoU')] == [49.3, 35.9, 57.0]


def test_fill__a_forced_token_is_not_the_papers_rule(write):
    results = find_results([write('forced', {'PQ': 49.3, 'AP': 35.8}, token='panoptic')])[MODEL]
    assert fill(results, 'PQ', None, IMAGES).mean == 49.3
    assert fill(results, 'AP', None, IMAGES) is None
    assert fill(results, 'AP', 'panoptic', IMAGES).mean == 35.8
    assert fill(results, 'AP', 'instance', IMAGES) is None


def test_find_results__strangers_and_mistakes(tmp_path):
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other/results.json').write_text('{"score": 3}')
    assert find_results([tmp_path]) == {}
    assert fill([], 'PQ', None, IMAGES) is None
    with pytest.raises(FileNotFoundError, match='There is no folder'):
        find_results([tmp_path / 'absent'])
    (tmp_path / 'results.json').write_text('{"model": ')
    with pytest.raises(ValueError, match='is not valid JSON'):
        find_results([tmp_path])


def test_find_results__reads_files_without_options(write):
    """Written before options were recorded."""
    runs = write('old', seed=0)
    path = runs / 'old/results.json'
    content = json.loads(path.read_text())
    del content['options']
    path.write_text(json.dumps(content))
    assert fill(find_results([runs])[MODEL], 'PQ', None, IMAGES).mean == 51.5


def test_fill__several_views_fill_the_multi_scale_column_alone(write):
    runs = write('a', {'PQ': 50.0, 'mIoU': 62.0}, options={'tta': {'sides': [512]}})
    results = find_results([runs])[MODEL]
    assert fill(results, 'mIoU_ms', None, IMAGES).mean == 62.0
    assert fill(results, 'mIoU', None, IMAGES) is None
    assert fill(results, 'PQ', None, IMAGES) is None


def test_fill__the_middle_of_a_training_run_is_left_out(write):
    runs = write('a', {'PQ': 50.0}, iteration=5000)
    (result,) = find_results([runs])[MODEL]
    assert fill([result], 'PQ', None, IMAGES, 160000) is None
    assert fill([result], 'PQ', None, IMAGES, 5000).mean == 50.0
    assert 'iteration 5000 of 160000' in describe(result, IMAGES, 160000)


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('model', ['m']),
        ('seed', 'x'),
        ('iteration', [1]),
        ('weights_sha256', None),
        ('num_images', 'all'),
        ('options', [1]),
        ('metrics', []),
        ('metrics', {'panoptic': 5.0}),
    ],
)
def test_find_results__another_form_is_named(tmp_path, key, value):
    content = {'model': 'm', 'metrics': {'panoptic': {'PQ': 1.0}}, 'weights_sha256': 'ab', key: value}
    (tmp_path / 'results.json').write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf'results\.json has .*{key}.*; remove it or measure again'):
        find_results([tmp_path])
