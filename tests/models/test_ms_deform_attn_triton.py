"""Deformable attention on a GPU, as far as one can see without: the kernels interpreted, and which form is taken."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

module = importlib.import_module('mmseg_oneformer.models.ops.ms_deform_attn')  # the package has a function of this name

needs_triton = pytest.mark.skipif(not module.HAS_TRITON, reason='this build of PyTorch comes without Triton')


@needs_triton
def test_kernels__in_the_interpreter():
    """In a process of its own, since Triton decides when it is imported."""
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', 'tests/models/triton_interpreter.py']
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        env={**os.environ, 'TRITON_INTERPRET': '1', 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


class Names(TorchDispatchMode):
    """Keeps the names of the operators that ran."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def operators(dtype, trained=False):
    """Names of the operators of deformable attention of values on a GPU that only pretends to be there."""
    with FakeTensorMode(), Names() as seen:
        value = torch.empty(2, 20, 2, 8, dtype=dtype, device='cuda', requires_grad=trained)
        locations = torch.empty(2, 7, 2, 2, 4, 2, device='cuda')
        out = module.ms_deform_attn(value, [(4, 4), (2, 2)], locations, torch.empty(2, 7, 2, 2, 4, device='cuda'))
        assert (out.shape, out.dtype, out.device.type) == ((2, 7, 16), dtype, 'cuda')
        assert (out.grad_fn is not None) == trained
    return seen.names


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_gpu__takes_the_kernels(monkeypatch, dtype):
    """Without mmcv's operator; values stay in their dtype."""
    monkeypatch.setattr(module, 'HAS_TRITON', True)
    names = operators(dtype, trained=True)
    assert 'ms_deform_attn' in names
    assert 'grid_sampler_2d' not in names


def test_gpu__without_triton(monkeypatch):
    monkeypatch.setattr(module, 'HAS_TRITON', False)
    assert 'grid_sampler_2d' in operators(torch.bfloat16, trained=True)


def test_gpu__deterministic(monkeypatch):
    """Sums in no fixed order are left to ``grid_sample``, which says what it thinks of them; inference has none."""
    monkeypatch.setattr(module, 'HAS_TRITON', True)
    monkeypatch.setattr(torch, 'are_deterministic_algorithms_enabled', lambda: True)
    assert 'ms_deform_attn' not in operators(torch.float32, trained=True)
    assert 'ms_deform_attn' in operators(torch.float32)


def test_gpu__mmcv_operator_is_for_fp32(monkeypatch):
    """It is requested in fp32 only, and gives way to ours for bf16."""
    calls = []

    class Compiled:
        @staticmethod
        def apply(value, sizes, starts, locations, weights, step):
            calls.append((value.dtype, len(sizes), step))
            return value.new_empty((*locations.shape[:2], value.shape[2] * value.shape[3]))

    monkeypatch.setattr(module, 'compiled_ms_deform_attn', lambda: Compiled)
    monkeypatch.setattr(module, 'HAS_TRITON', True)
    assert 'ms_deform_attn' not in operators(torch.float32)
    assert calls == [(torch.float32, 2, 64)]
    assert 'ms_deform_attn' in operators(torch.bfloat16)
    monkeypatch.setattr(module, 'HAS_TRITON', False)
    operators(torch.bfloat16)
    assert calls == [(torch.float32, 2, 64)] * 2
