"""A backbone of one's own, with the names of its tensors, from a file outside of the package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from timm.models import VisionTransformer

from mmseg_oneformer.checkpoints.checkpoint import read_checkpoint

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / 'configs/oneformer/quickstart/oneformer_r18-narrow_1xb16-6k_shapes-96x96.py'
CONFIG = f"""
_base_ = '{QUICKSTART}'
custom_imports = dict(imports=['plain_vit'])
model = dict(
    backbone=dict(
        _delete_=True, type='PlainViT', init_cfg=dict(type='BackboneWeights', checkpoint='classifier.pth')),
    head=dict(pixel_decoder=dict(in_channels=[32, 32, 32, 32])),
)
"""


def test_own_backbone__starts_converts_and_is_recognised(tmp_path, randomize):
    shutil.copy(ROOT / 'tests/toy/plain_vit.py', tmp_path)
    (tmp_path / 'mine.py').write_text(CONFIG)
    classifier = VisionTransformer(*(64, 16, 3, 5, 'avg', 32, 2, 2), class_token=False, fc_norm=False)
    randomize(classifier)
    torch.save(classifier.state_dict(), tmp_path / 'classifier.pth')
    paths = [str(tmp_path), os.environ.get('PYTHONPATH', '')]
    tool = ROOT / 'tools/model_converters/convert.py'
    run = subprocess.run(
        [sys.executable, ROOT / 'tests/toy/own_backbone.py', 'mine.py', tool],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(paths), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert '29 tensors of the backbone are from classifier.pth' in run.stdout + run.stderr
    assert 'looks like plain-vit-xs with 7 classes and 20 queries, but the model is plain-vit-xs with 4' in run.stdout
    # Here no code has imported its file.
    with pytest.raises(ValueError, match=r'backbone\.\S+\) of the reference code match no rule'):
        read_checkpoint(tmp_path / 'published.pth')
