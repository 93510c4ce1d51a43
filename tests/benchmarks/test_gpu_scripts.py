"""gpu.sh and gpu_long.sh as far as a CPU can run them: every part with tiny inputs, and how parts end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmseg_oneformer.models.precision import SLOW_BF16, bf16_ratio
from mmseg_oneformer.zoo.configs import read_config

ROOT = Path(__file__).resolve().parents[2]
SWIN = 'oneformer_swin-t_8xb2-160k_ade20k-512x512'


def shell(command, folder, **environment):
    """Run bash in ``folder``; return the finished process and the lines of ``out/parts.jsonl``."""
    done = subprocess.run(
        ['bash', '-c', command], cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    parts = folder / 'out/parts.jsonl'
    return done, [json.loads(line) for line in parts.read_text().splitlines()] if parts.exists() else []


@pytest.mark.slow
@pytest.mark.parametrize('script', ['gpu.sh', 'gpu_long.sh'])
def test_script__runs_every_part_on_a_cpu(script, small_models, tmp_path):
    if bf16_ratio() > SLOW_BF16:
        pytest.skip('bf16, in which most parts compute, is rejected on this CPU')
    # transformers wants a text encoder as wide as the queries.
    wide = {'model.head.channels': 64, 'model.text_mapper.width': 64}
    options = small_models.command_line(small_models.small_model(read_config(SWIN)) | wide)
    # Compiling takes minutes on a CPU; the scripts only have to ask for it.
    environment = {'DEVICE': 'cpu', 'TINY': ' '.join(options), 'PYTHON': sys.executable, 'TORCH_COMPILE_DISABLE': '1'}
    command = f'bash {ROOT}/benchmarks/{script} out'
    done, parts = shell(command, tmp_path, **environment)
    ended = [part for part in parts if part['status'] != 'missing']
    assert {part['status'] for part in ended} == {'done'} and done.returncode == 0, done.stdout[-3000:] + done.stderr
    again, _ = shell(command, tmp_path, **environment)
    assert again.returncode == 0 and again.stdout.count(': done before') == len(ended)


@pytest.mark.parametrize('script', ['gpu.sh', 'gpu_long.sh'])
def test_script__without_its_device(script, tmp_path):
    environment = {'PYTHON': sys.executable, 'CUDA_VISIBLE_DEVICES': ''}
    done, parts = shell(f'bash {ROOT}/benchmarks/{script} out', tmp_path, **environment)
    assert done.returncode == 2 and not parts and 'cannot compute on cuda' in done.stderr


def test_part__how_it_ends(tmp_path):
    script = f"""
        OUT=$PWD/out PART_SECONDS=1 ALL_SECONDS=60 PYTHON=true
        . {ROOT}/benchmarks/parts.sh
        part good echo 'a "result"'
        part bad bash -c 'echo "the \\"reason\\""; exit 3'
        part slow sleep 20
        part good echo again
        ALL_SECONDS=5
        part late echo never
        exit $FAILED
    """
    done, parts = shell(script, tmp_path)
    assert done.returncode == 1
    assert [(part['part'], part['status'], part['note']) for part in parts] == [
        ('good', 'done', ''),
        ('bad', 'failed', 'the reason'),
        ('slow', 'cut', ''),
        ('late', 'not begun', 'the time is used up'),
    ]
    assert (tmp_path / 'out/good.log').read_text() == 'a "result"\n' and 'never' not in done.stdout
    done, _ = shell(script.replace('exit 3', 'exit 0'), tmp_path)
    assert done.returncode == 0 and 'good: done before' in done.stdout and 'bad: done (' in done.stdout


@pytest.mark.parametrize(
    ('logged', 'code'),
    [
        ('{"loss": 1.5, "d0.loss_mask": 2.0, "grad_norm": Infinity}', 0),
        ('{"loss": 1.5, "d0.loss_mask": NaN}', 1),
        ('{"loss": -Infinity}', 1),
        ('{"PQ": NaN}', 1),
    ],
)
def test_finite__all_losses_are_numbers(logged, code, tmp_path):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run/scalars.json').write_text('{"loss": 3.0, "step": 1}\n' * (code == 0) + logged + '\n')
    done, _ = shell(f'OUT=out PYTHON=true; . {ROOT}/benchmarks/parts.sh; finite run', tmp_path)
    assert done.returncode == code, done.stderr
