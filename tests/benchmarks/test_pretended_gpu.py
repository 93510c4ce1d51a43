"""The instrument: what makes the host wait for a GPU is noted, with its place, on tensors that only pretend."""

import inspect
import warnings

import pytest
import torch

from benchmarks.pretended_gpu import GPU, PretendedTensor, counted_waits
from benchmarks.syncs import warned_syncs


def on_gpu(*values):
    return PretendedTensor(torch.tensor(values))


WAITS = {
    'item': (lambda x: x.sum().item(), 'value read'),
    'truth': (lambda x: bool((x > 1).any()), 'value read'),
    'number': (lambda x: float(x[0]), 'value read'),
    'equal': (lambda x: torch.equal(x, x), 'value read'),
    'nonzero': (lambda x: x.nonzero(), 'size from values'),
    'where': (lambda x: torch.where(x > 1), 'size from values'),
    'mask': (lambda x: x[x > 1], 'size from values'),
    'mask assigned': (lambda x: x.__setitem__(x > 1, on_gpu(5)), 'size from values'),
    'unique': (lambda x: x.unique(), 'size from values'),
    'repeat': (lambda x: torch.repeat_interleave(x, x.abs()), 'size from values'),
    'cpu': (lambda x: x.cpu(), 'copy to the host'),
    'to cpu': (lambda x: x.to('cpu', non_blocking=True), 'copy to the host'),
    'to': (lambda x: torch.ones(2).to(x.device), 'copy to the GPU'),
    'to like': (lambda x: torch.ones(2).to(x), 'copy to the GPU'),
    'tensor': (lambda x: torch.tensor([1, 2], device=x.device), 'copy to the GPU'),
    'new tensor': (lambda x: x.new_tensor([1, 2]), 'copy to the GPU'),
    'list': (lambda x: x[[0, 1]], 'copy to the GPU'),
    'index': (lambda x: x[torch.tensor([0])], 'copy to the GPU'),
}
NO_WAITS = {
    'arithmetic': lambda x: (x + 1).relu().sum() * 2.0,
    'in place': lambda x: x.add_(1).mul_(2),
    'view': lambda x: x[1:].view(2, 1).expand(2, 3).flatten(),
    'made there': lambda x: torch.zeros(3, device=x.device) + torch.arange(3, device=GPU) + x.new_full((3,), 2),
    'not waited for': lambda x: torch.ones(2).to(x.device, non_blocking=True),
    'type': lambda x: x.to(torch.float64).to(GPU),
    'integer index': lambda x: x[on_gpu(0, 2)],
    'masked fill': lambda x: x.masked_fill(x > 1, 0),
    'where with values': lambda x: torch.where(x > 1, x, 0),
    'repeat of known size': lambda x: torch.repeat_interleave(x, x.abs(), output_size=6),
    'host only': lambda x: (torch.ones(2).sum().item(), torch.ones(3).nonzero()),
}


@pytest.mark.parametrize('mode', [torch.enable_grad, torch.inference_mode])
@pytest.mark.parametrize('name', WAITS)
def test_counted_waits__one(name, mode):
    call, reason = WAITS[name]
    with counted_waits() as waits, mode():
        call(on_gpu(1, 2, 3))
    assert [wait.reason for wait in waits] == [reason]
    assert waits[0].place.startswith('tests/analysis/test_pretended_gpu.py:') or 'torch' not in waits[0].place


@pytest.mark.parametrize('mode', [torch.enable_grad, torch.inference_mode])
@pytest.mark.parametrize('name', NO_WAITS)
def test_counted_waits__none(name, mode):
    with counted_waits() as waits, mode():
        NO_WAITS[name](on_gpu(1, 2, 3))
    assert waits == []


def test_pretended_tensor__has_the_values_and_the_device():
    with counted_waits():
        x = on_gpu(1.0, 2.0, 3.0)
        y = torch.stack((x, x * 2)).t().contiguous()
        y[0] = 7
        assert (y.device, y.is_cuda) == (GPU, True)
    assert y.content.tolist() == [[7, 7], [2, 4], [3, 6]]


def test_warned_syncs__each_time_and_place(monkeypatch):
    modes = []
    monkeypatch.setattr(torch.cuda, 'set_sync_debug_mode', modes.append)

    def call():
        for _ in range(2):
            warnings.warn('called a synchronizing CUDA operation (Triggered internally at ...)', stacklevel=1)
        warnings.warn('something else', stacklevel=1)

    waits = warned_syncs(call)
    line = inspect.getsourcelines(call)[1] + 2
    assert [wait.place for wait in waits] == [f'tests/benchmarks/test_pretended_gpu.py:{line}'] * 2
    assert modes == ['warn', 'default']
