"""The comparison of devices: it agrees with itself, and sees what a broken device does."""

import json

import pytest
import torch

from benchmarks import device_equality

FEW = ['--device', 'cpu', '--photos', '2']
EQUAL = {'class_logits': 0.0, 'mask_logits': 1e-4, 'semantic': 1.0, 'instance': 1.0, 'panoptic': 0.996}


def test_main__cpu_with_itself(tmp_path, capsys):
    device_equality.main([*FEW, '--out', str(tmp_path / 'equality.json')])
    found = json.loads((tmp_path / 'equality.json').read_text())
    assert found['fp32'] == dict.fromkeys(('class_logits', 'mask_logits'), 0.0) | dict.fromkeys(
        device_equality.TASKS, 1.0
    )
    assert found['bf16']['mask_logits'] > 0.01 and found['bf16']['panoptic'] > 0.99
    assert 'cpu in bf16 against the CPU: class_logits' in capsys.readouterr().out


def test_main__another_result_is_an_error_after_it_is_written(monkeypatch, tmp_path, capsys):
    exact, calls = device_equality.predict, []

    def broken(infer, photos):
        calls.append(infer)
        found = exact(infer, photos)
        return found | {'mask_logits': found['mask_logits'] + 2e-3 * (len(calls) == 2)}

    monkeypatch.setattr(device_equality, 'predict', broken)
    with pytest.raises(SystemExit):
        device_equality.main([*FEW, '--out', str(tmp_path / 'equality.json')])
    assert 'cpu does not compute what the CPU does: fp32 mask_logits by 2.0e-03 differ' in capsys.readouterr().err
    assert (tmp_path / 'equality.json').exists()


@pytest.mark.parametrize(
    ('dtype', 'change', 'message'),
    [
        ('fp32', {'class_logits': float('nan')}, ['fp32 class_logits by nan']),
        ('bf16', {'class_logits': 3.0}, []),
        ('bf16', {'semantic': 0.99}, ['bf16 semantic labels on 1.00% of the pixels']),
        ('fp32', {'instance': float('nan')}, ['fp32 instance labels on nan% of the pixels']),
    ],
)
def test_failures__bounds(dtype, change, message):
    assert device_equality.failures({'fp32': EQUAL, 'bf16': EQUAL} | {dtype: EQUAL | change}) == message


def test_compare__logits_and_labels():
    exact = {name: torch.zeros(1, 2, 2) for name in EQUAL}
    other = exact | {'mask_logits': torch.tensor([[[0.0, -3.0], [1.0, 0.0]]]), 'panoptic': torch.eye(2)[None]}
    assert device_equality.compare(exact, other) == {
        'class_logits': 0.0,
        'mask_logits': 3.0,
        'semantic': 1.0,
        'instance': 1.0,
        'panoptic': 0.5,
    }
