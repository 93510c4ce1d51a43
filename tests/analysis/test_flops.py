"""What is counted of a model, and the reference code's share, against hand-written formulas and the paper's numbers."""

from collections import Counter

import pytest
from mmengine.config import ConfigDict
from PIL import Image

from mmseg_oneformer.analysis.flops import (
    Input,
    count_operations,
    crop_size,
    mean_flops,
    mean_operations,
    photo_inputs,
    reference_network,
    reference_postprocessing,
)
from mmseg_oneformer.models.skeleton import count_parameters, one_task_skeleton
from mmseg_oneformer.zoo.configs import read_config

SHAPES = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'


@pytest.fixture(scope='module')
def small():
    return one_task_skeleton(read_config(SHAPES))


def test_one_task_skeleton__has_no_values_and_no_text_branch(small):
    assert all(parameter.is_meta for parameter in small.parameters())
    assert small.text_mapper is None and small.test_cfg.tasks == ('panoptic',)
    assert count_parameters(small) == 2_105_088  # of the shipped weights


def test_count_operations__leaves_the_model_as_it_was(small):
    first, second = count_operations(small, (64, 96)), count_operations(small, (64, 96))
    assert first == second
    assert not first.unknown
    assert all(parameter.is_meta for parameter in small.parameters())


def test_mean_operations__weights_sizes(small):
    one, other = (count_operations(small, size) for size in ((64, 64), (64, 96)))
    mean = mean_operations(small, {(64, 64): 1, (64, 96): 3})
    assert mean.seen == pytest.approx((one.seen + 3 * other.seen) / 4)
    assert mean.all == pytest.approx((one.all + 3 * other.all) / 4)


def test_reference_network__by_hand(small):
    layers, queries, channels = len(small.head.decoder.layers), small.head.num_queries, small.head.channels
    levels = [2 * 3, 4 * 6, 8 * 12]  # 64 x 96 at strides 32, 16, 8
    cycled = sum(levels[layer % 3] for layer in range(layers))
    theirs = layers * queries * channels * 16 * 24 + 4 * queries * cycled
    ours = 4 * channels * sum(levels) + queries * channels * cycled
    area, depth = 16 * 24, len(small.head.query_initializer.layers)
    theirs += (1 + 2 * depth) * area * channels**2
    once = channels**3 + channels**2  # the product of both weights, and their bias
    ours += depth * (area * channels**2 + once + 2 * (16 + 24) * channels * channels // 2)
    assert reference_network(small, (64, 96)) == theirs - ours


def test_reference_postprocessing__by_hand(small):
    queries, classes, photo = small.head.num_queries, small.head.num_classes, 50 * 70
    resizing = 4 * queries * (64 * 96 + photo)
    assert reference_postprocessing(small, (64, 96), (50, 70)) == resizing + queries * classes * photo


def test_mean_flops__postprocessing_needs_every_photo(small):
    known, unknown = Input((64, 96), (50, 70)), Input((64, 96))
    flops = mean_flops(small, {known: 2})
    assert flops.seen == count_operations(small, (64, 96)).seen / 1e9
    assert flops.network == reference_network(small, (64, 96)) / 1e9
    assert flops.postprocessing == reference_postprocessing(small, (64, 96), (50, 70)) / 1e9
    assert mean_flops(small, {known: 2, unknown: 1}).postprocessing is None


def test_mean_flops__cityscapes_equals_the_paper():
    """543 G in Table 2: our operators, the reference code's masks, and its post-processing at 1024 x 2048."""
    cfg = read_config('oneformer_swin-l_8xb2-90k_cityscapes-512x1024')
    assert crop_size(cfg) == (512, 1024)
    flops = mean_flops(one_task_skeleton(cfg), {Input(crop_size(cfg), (1024, 2048)): 1})
    assert flops.seen + flops.network + flops.postprocessing == pytest.approx(543, abs=0.5)
    assert flops.seen < flops.all < 1.02 * flops.seen


def test_mask2former__is_computed_for_real():
    """mmdet's decoder looks at values; its parameters and masks count as ours do."""
    cfg = read_config('mask2former_r50_8xb2-160k_ade20k-512x512_joint')
    flops = mean_flops(one_task_skeleton(cfg), {Input((64, 64)): 1})
    assert flops.network is None and flops.postprocessing is None
    assert 0 < flops.seen < flops.all


def test_crop_size__none():
    with pytest.raises(ValueError, match='give --size H W'):
        crop_size(read_config(SHAPES))


@pytest.fixture
def coco_like():
    steps = [ConfigDict(type='ShortestEdge', size=800, max_size=1333)]
    return ConfigDict(
        test_dataloader={'dataset': {'pipeline': steps}}, model={'data_preprocessor': {'pad_size_divisor': 32}}
    )


def test_photo_inputs__resized_and_padded(tmp_path, coco_like):
    for name, size in {'a.jpg': (640, 480), 'b.png': (640, 480), 'c.jpg': (300, 1000)}.items():
        Image.new('RGB', size).save(tmp_path / name)
    (tmp_path / 'notes.txt').write_text('no photo')
    # 800 x 1066.67 and 1333 x 399.9, each side to the next multiple of 32
    assert photo_inputs([tmp_path], coco_like) == Counter(
        {Input((800, 1088), (480, 640)): 2, Input((1344, 416), (1000, 300)): 1}
    )


def test_photo_inputs__mistakes(tmp_path, coco_like):
    with pytest.raises(ValueError, match='has no photos'):
        photo_inputs([tmp_path], coco_like)
    coco_like.test_dataloader.dataset.pipeline = []
    with pytest.raises(ValueError, match='no ShortestEdge'):
        photo_inputs([tmp_path], coco_like)
