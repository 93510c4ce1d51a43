"""Operations of one task's prediction: those of our code, and the additional ones of the reference code.

Ours are those of the network; post-processing is not counted. There is no text branch at inference.
"""

import copy
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from mmengine.config import Config
from torch import nn

from ..datasets.transforms.resize import shortest_edge_size
from ..errors import UserError
from ..models.masked_decoder import attention_mask
from ..models.oneformer import OneFormer
from ..models.skeleton import pretending
from ..photos.header import photo_size
from ..photos.suffixes import is_photo
from .operations import OperationCounter, Operations

Size = tuple[int, int]
"""Height and width in pixels; of the network's input, multiples of 32."""


class Input(NamedTuple):
    """The network's input: its size, and that of the photo on disk if it is known."""

    size: Size
    photo: Size | None = None


def crop_size(cfg: Config) -> Size:
    """Return the size of the training crops of ``cfg``, for which the paper states FLOPs.

    Raises:
        UserError: The training pipeline does not crop.
    """
    for step in (cfg.get('train_dataloader') or {}).get('dataset', {}).get('pipeline', ()):
        crop = step.get('crop', step)  # of ResizeAndCrop
        if 'size' in crop and 'Crop' in crop['type']:
            height, width = crop['size']
            return height, width
    raise UserError('the training pipeline of this config has no crop that states a size; give --size H W.')


def photo_inputs(folders: Sequence[Path], cfg: Config) -> Counter[Input]:
    """Return the sizes at which the photos of ``folders`` leave the test pipeline of ``cfg`` and enter the network.

    Only the sizes of the photos are read.

    Raises:
        UserError: A folder has no photos, or the pipeline does not resize by the shorter side.
    """
    steps = [step for step in cfg.test_dataloader.dataset.pipeline if step['type'] == 'ShortestEdge']
    if not steps:
        raise UserError('the test pipeline of this config has no ShortestEdge; give --size H W instead of --photos.')
    divisor = cfg.model.data_preprocessor.get('pad_size_divisor', 1)
    inputs: Counter[Input] = Counter()
    for folder in folders:
        paths = [path for path in folder.glob('*') if is_photo(path)]
        if not paths:
            raise UserError(f'{folder} has no photos; name a folder that has some.')
        for path in paths:
            photo = photo_size(path)
            resized = shortest_edge_size(photo, steps[0]['size'], steps[0]['max_size'])
            height, width = (-(-side // divisor) * divisor for side in resized)
            inputs[Input((height, width), photo)] += 1
    return inputs


def count_operations(model: nn.Module, size: Size) -> Operations:
    """Count the operations of one image.

    Nothing is computed for OneFormer. Other models are actually run, since mmdet's Mask2Former depends on values.

    Args:
        model: From ``one_task_skeleton``.
        size: Of the image.
    """
    sample = DetDataSample(metainfo={'img_shape': size, 'batch_input_shape': size, 'ori_shape': size})
    pretend = isinstance(model, OneFormer)
    model = copy.deepcopy(model)
    with pretending() if pretend else torch.no_grad():
        model.to_empty(device='cpu')
        for values in () if pretend else model.state_dict().values():
            values.zero_()
        with OperationCounter() as counter, counter.following(model):
            model(torch.zeros(1, 3, *size), [sample], mode='tensor')
    return counter.result()


def reference_network(model: OneFormer, size: Size) -> float:
    """Return what usual counters see of the reference code's network, beyond ours.

    * The reference code computes the masks of all queries at 1/4 of the image before every layer and resizes them. We
      resize the mask features once to each level and compute the masks there, which gives the same masks.
    * Its query initialiser projects the mask features, and then those and the position encoding once more in each
      layer. We apply the product of both projections, and project positions by rows and columns.

    Args:
        model: From ``one_task_skeleton``.
        size: Of the image.
    """
    height, width = size
    layers, channels = len(model.head.decoder.layers), model.head.channels
    levels = [(height // stride, width // stride) for stride in (32, 16, 8)]
    initializer = copy.deepcopy(model.head.query_initializer)
    with pretending():
        features = torch.zeros(1, channels, height // 4, width // 4)
        queries = torch.zeros(1, 1, model.head.num_queries, channels)
        initializer.to_empty(device='cpu')
        with OperationCounter() as theirs:
            for layer in range(layers):
                F.interpolate(
                    torch.einsum('btnc,bchw->btnhw', queries, features)[:, 0], size=levels[layer % 3], mode='bilinear'
                )
            rows = initializer.input_proj(features).flatten(2).transpose(1, 2)
            for layer in initializer.layers:
                for weight, bias in layer.cross_attn.projections()[1:]:
                    F.linear(rows, weight, bias)
        with OperationCounter() as ours:
            resized = [F.interpolate(features, size=level, mode='bilinear').flatten(2) for level in levels]
            for layer in range(layers):
                attention_mask(queries, resized[layer % 3])
            for layer in initializer.layers:
                initializer.keys_and_values(layer.cross_attn, features)
    return theirs.result().seen - ours.result().seen


def reference_postprocessing(model: OneFormer, size: Size, photo: Size) -> float:
    """Return what usual counters see of the reference code's post-processing.

    All masks are resized to the image's size and then to the photo's, where they become scores of all classes at once.

    Args:
        model: From ``one_task_skeleton``.
        size: Of the image.
        photo: Of the photo on disk.
    """
    with pretending(), OperationCounter() as counter:
        masks = torch.zeros(1, model.head.num_queries, size[0] // 4, size[1] // 4)
        for larger in (size, photo):
            masks = F.interpolate(masks, size=larger, mode='bilinear')
        torch.einsum('qk,qhw->khw', torch.zeros(model.head.num_queries, model.head.num_classes), masks[0])
    return counter.result().seen


@dataclass(frozen=True)
class Flops:
    """G multiply-adds of one image, or the mean over images.

    Attributes:
        seen: What usual counters see of our code.
        all: Every operation of our code.
        network: What usual counters see beyond ``seen`` in the reference code, which computes large attention masks
            and projects twice; None for a model that the reference code does not have.
        postprocessing: What they see of its post-processing; None if the size of the photo is not known.
    """

    seen: float
    all: float
    network: float | None
    postprocessing: float | None


def mean_operations(model: nn.Module, sizes: Mapping[Size, int]) -> Operations:
    """Return the mean over images, of which there are ``sizes[size]`` of each size."""
    total = sum(sizes.values())
    means: tuple[dict[str, float], ...] = (defaultdict(float), defaultdict(float), defaultdict(float))
    for size, number in sizes.items():
        counted = count_operations(model, size)
        for mean, counts in zip(means, (counted.usual, counted.other, counted.unknown)):
            for name, count in counts.items():
                mean[name] += count * number / total
    return Operations(*means)


def mean_flops(model: nn.Module, inputs: Mapping[Input, int]) -> Flops:
    """Return the mean over images, of which there are ``inputs[input]`` of each kind."""
    sizes: Counter[Size] = Counter()
    for image, number in inputs.items():
        sizes[image.size] += number
    operations = mean_operations(model, sizes)
    network = postprocessing = None
    if isinstance(model, OneFormer):
        total = sizes.total() * 1e9
        network = sum(reference_network(model, size) * number for size, number in sizes.items()) / total
        costs = [
            reference_postprocessing(model, image.size, image.photo) * number
            for image, number in inputs.items()
            if image.photo is not None
        ]
        postprocessing = sum(costs) / total if len(costs) == len(inputs) else None
    return Flops(operations.seen / 1e9, operations.all / 1e9, network, postprocessing)
