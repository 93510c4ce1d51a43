"""Two gloo processes give what one gives; no image counts twice. Run as a script, this file is one of the processes."""

import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import Evaluator

METRICS = [
    {'type': 'PanopticQuality'},
    {'type': 'InstanceAP', 'iou_types': ('segm', 'bbox')},
    {'type': 'mmseg.IoUMetric', 'collect_device': 'gpu'},
]


def measure(meta, samples):
    evaluator = Evaluator(METRICS)
    evaluator.dataset_meta = meta
    for index in DefaultSampler(samples, shuffle=False):  # fills up the shorter share with a repeated image
        evaluator.process([samples[index]])
    return evaluator.evaluate(len(samples))


def test_metrics__two_processes_equal_one_for_an_odd_number_of_images(drawn, photos, tmp_path):
    rng = np.random.default_rng(0)
    assert len(photos[0]) % 2
    samples = []
    for index, (image, instances) in enumerate(zip(*photos)):
        semantic = drawn.perfect(*image)['semantic']
        semantic[rng.random(semantic.shape) < 0.3] = 0
        answers = {'panoptic': drawn.disturb(rng, *image), 'instance': instances, 'semantic': semantic}
        samples.append(drawn.make_sample(index, *image, answers).to_dict())
    expected = measure(drawn.META, samples)
    assert all(1 < expected[name] < 99 for name in ('PQ', 'PQ_th', 'PQ_st', 'AP', 'box_AP', 'mIoU'))

    (tmp_path / 'samples.pkl').write_bytes(pickle.dumps((drawn.META, samples)))
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        address = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(free.getsockname()[1]), 'WORLD_SIZE': '2'}
    processes = [
        subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve())],
            cwd=tmp_path,
            env=os.environ | address | {'RANK': str(rank), 'OMP_NUM_THREADS': '1'},
        )
        for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    for rank in range(2):
        metrics = pickle.loads((tmp_path / f'rank{rank}.pkl').read_bytes())
        assert metrics == pytest.approx(expected, rel=0, abs=0, nan_ok=True)
    assert {p.name for p in tmp_path.iterdir()} == {'samples.pkl', 'rank0.pkl', 'rank1.pkl'}  # nothing is left behind


if __name__ == '__main__':
    from torch import distributed

    import mmseg_oneformer  # noqa: F401

    distributed.init_process_group('gloo')
    answer = measure(*pickle.loads(Path('samples.pkl').read_bytes()))
    Path(f'rank{distributed.get_rank()}.pkl').write_bytes(pickle.dumps(answer))
    distributed.destroy_process_group()
