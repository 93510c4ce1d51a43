from itertools import islice

import pytest

from mmseg_oneformer.datasets import samplers as module
from mmseg_oneformer.datasets.samplers import PassSampler


class Data(list):
    seed = 0


def take(sampler, count):
    return list(islice(iter(sampler), count))


def test_passes__each_is_a_new_permutation():
    stream = take(PassSampler(Data(range(10)), seed=4), 30)
    passes = [[index for number, index in stream if number == current] for current in range(3)]
    assert all(sorted(order) == list(range(10)) for order in passes)
    assert passes[0] != passes[1] != passes[2]
    assert stream == take(PassSampler(Data(range(10)), seed=4), 30)
    assert stream != take(PassSampler(Data(range(10)), seed=5), 30)


def test_passes__in_order_without_shuffle():
    assert take(PassSampler(Data(range(3)), shuffle=False, seed=0), 4) == [(0, 0), (0, 1), (0, 2), (1, 0)]


def test_seed__goes_to_the_data():
    data = Data(range(3))
    PassSampler(data, seed=11)
    assert data.seed == 11
    assert isinstance(PassSampler(data).seed, int)


@pytest.mark.parametrize('iteration', [0, 1, 7, 25])
def test_set_start__equals_replay(iteration):
    whole = take(PassSampler(Data(range(10)), seed=1), 200)
    sampler = PassSampler(Data(range(10)), seed=1)
    sampler.set_start(iteration, 4)
    assert take(sampler, 50) == whole[4 * iteration : 4 * iteration + 50]


@pytest.mark.parametrize('world_size', [2, 3, 4])
def test_ranks__share_global_batches(monkeypatch, world_size):
    total, batches = 12, 9
    alone = take(PassSampler(Data(range(10)), seed=1), total * batches)
    share = total // world_size
    streams = []
    for rank in range(world_size):
        monkeypatch.setattr(module, 'get_dist_info', lambda rank=rank: (rank, world_size))
        sampler = PassSampler(Data(range(10)), seed=1)
        sampler.set_start(2, share)
        streams.append(take(sampler, share * (batches - 2)))
    for batch in range(2, batches):
        part = slice((batch - 2) * share, (batch - 1) * share)
        together = sorted(key for stream in streams for key in stream[part])
        assert together == sorted(alone[batch * total : (batch + 1) * total])


def test_empty_data():
    with pytest.raises(ValueError, match='empty'):
        PassSampler(Data(), seed=0)
