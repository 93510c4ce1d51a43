"""Inference split into what both sides of a comparison have: a network, and a function that predicts from logits."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mmdet.structures import DetDataSample
from torch import Tensor

from mmseg_oneformer.models.postprocess import ImageSize

from .stages import Part, no_part


class Logits(NamedTuple):
    """The output of a network for one image."""

    classes: Tensor  # (N, K+1)
    masks: Tensor  # (N, h, w)


class Side(NamedTuple):
    """A model to measure."""

    name: str
    network: Callable[[Tensor, Sequence[str]], Sequence[Sequence[Logits]]]
    """Logits of every image for every task, from images (B, 3, H, W) and T tasks."""
    predict: Callable[[str, Logits], object]
    """The prediction of one task for one image."""


def our_side(model: Any, size: tuple[int, int], name: str = 'ours') -> Side:
    """Return our model as a side; predictions have the ``size`` of the network's input."""

    def network(images: Tensor, tasks: Sequence[str]) -> list[list[Logits]]:
        classes, masks = model.predict_logits(images, tasks)
        return [[Logits(*pair) for pair in zip(*image)] for image in zip(classes, masks)]

    def predict(task: str, logits: Logits) -> DetDataSample:
        sample = DetDataSample()
        model.post_process.write(sample, task, *logits, ImageSize(size, size, size))
        return sample

    return Side(name, network, predict)


def predict(side: Side, images: Tensor, planted: Logits, tasks: Sequence[str], part: Part = no_part) -> list[object]:
    """Predict tasks for images: run the network, then make predictions from the ``planted`` logits.

    Random weights yield no segments, so the network's output is not used; shapes and types are the same.
    """
    side.network(images, tasks)
    made = []
    for task in tasks:
        with part(f'{task} answer'):
            made += [side.predict(task, planted) for _ in images]
    return made
