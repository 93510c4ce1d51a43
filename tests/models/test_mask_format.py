"""Dense masks and run-length codes of the same instances; memory of large photos."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import BaseDataElement
from pycocotools import mask as mask_api

from mmseg_oneformer.models.postprocess import ImageSize, PostProcessor, instance, instances, tiles
from mmseg_oneformer.run_lengths import decode_mask

SIZES = [
    ImageSize((64, 96), (64, 96), (64, 96)),
    ImageSize((64, 96), (61, 77), (131, 45)),
    ImageSize((32, 32), (3, 32), (1, 11)),
]


def random_logits(seed, size, num_queries=24, num_classes=5):
    """Smooth blobs with rough edges, some of them empty or full."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(num_queries, 1, 4, 4, generator=generator) * 4 - 2
    masks = F.interpolate(coarse, size=(size.padded[0] // 4, size.padded[1] // 4), mode='bicubic')[:, 0]
    masks = masks + torch.randn(masks.shape, generator=generator) * 0.3
    masks[0], masks[1] = -5, 5
    return torch.randn(num_queries, num_classes + 1, generator=generator) * 2, masks


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('working_elements', [1, 5000])
def test_instances__codes_equal_dense_masks(size, working_elements, monkeypatch):
    monkeypatch.setattr(tiles, 'WORKING_ELEMENTS', working_elements)
    for seed in range(3):
        logits = random_logits(seed, size)
        dense = instances(*logits, size, (0, 3), 60, 'dense')
        coded = instances(*logits, size, (0, 3), 60, 'rle')
        assert len(dense) == len(coded) > 10
        for name in ('labels', 'scores', 'bboxes'):
            assert torch.equal(dense[name], coded[name])
        for mask, code in zip(dense.masks.numpy(), coded.masks):
            # pycocotools' own way from the dense mask, byte for byte.
            assert code == mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
            assert np.array_equal(decode_mask(code), mask) and decode_mask(code).dtype == bool


@pytest.mark.parametrize('mask_format, pixels, is_dense', [
    ('auto', 64 * 96, True), ('auto', 64 * 96 - 1, False), ('rle', 10**9, False), ('dense', 0, True),
])  # fmt: skip
def test_post_processor__mask_format(mask_format, pixels, is_dense, monkeypatch):
    monkeypatch.setattr(instance, 'LARGE_PHOTO', pixels)
    sample = BaseDataElement()
    test_cfg = SimpleNamespace(object_mask_thr=0.8, overlap_thr=0.8, max_per_image=8, mask_format=mask_format)
    PostProcessor((0, 1), test_cfg).write(sample, 'instance', *random_logits(0, SIZES[0]), SIZES[0])
    assert isinstance(sample.pred_instances.masks, torch.Tensor if is_dense else list)
    assert len(sample.pred_instances) == len(sample.pred_instances.masks) > 0


def test_instances__no_things_as_codes():
    found = instances(torch.zeros(3, 4), torch.ones(3, 8, 8), ImageSize((32, 32), (32, 32), (20, 30)), (), 5, 'rle')
    assert len(found) == 0 and found.masks == []


def test_instances__unknown_mask_format():
    with pytest.raises(ValueError, match="not 'polygon'; choose"):
        instances(torch.zeros(3, 4), torch.ones(3, 8, 8), SIZES[0], (), 5, 'polygon')


def test_samples__codes_can_be_moved_and_chosen():
    found = instances(*random_logits(0, SIZES[0]), SIZES[0], (0, 3), 60, 'rle')
    best = found[found.scores > found.scores.median()]
    assert best.cpu().masks == found.masks[: len(best)] and 0 < len(best) < len(found)


LARGE = """
import mmseg_oneformer
import resource, torch
from mmengine.config import ConfigDict
from mmengine.structures import BaseDataElement
from mmseg_oneformer.models.postprocess import ImageSize, PostProcessor
planted, size = 40, ImageSize((800, 1088), (800, 1067), (3000, 4000))
masks, logits = torch.full((3, 250, 200, 272), -8.0), torch.full((3, 250, 134), -4.0)
logits[:, :, 133] = 9.0
for query in range(planted):
    top, left = query // 10 * 50, query % 10 * 26
    masks[:, query, top : top + 50, left : left + 26] = 8.0
    logits[:, query, query] = 20.0
test_cfg = ConfigDict(object_mask_thr=0.8, overlap_thr=0.8, max_per_image=planted, mask_format='auto')
sample = BaseDataElement()
def megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
peaks = [megabytes()]
for index, task in enumerate(('instance', 'semantic', 'panoptic')):
    PostProcessor(range(80), test_cfg).write(sample, task, logits[index], masks[index], size)
    peaks.append(megabytes())
print(len(sample.pred_instances), len(sample.pred_panoptic_seg.segments_info), peaks[1] - peaks[0], peaks[3] - peaks[0])
"""


@pytest.mark.slow
def test_large_photo__bounded_memory():
    """12 megapixels, 250 queries, 40 planted objects, three tasks."""
    run = subprocess.run([sys.executable, '-c', LARGE], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    num_instances, num_segments, for_instances, for_all = map(int, run.stdout.split())
    assert num_instances == num_segments == 40
    assert for_instances < 450  # dense masks are 480 MB, twice
    assert for_all < 1500
