"""Two models' answers about one photo in numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmengine.structures import BaseDataElement

from ...apis import OneFormerResult
from ...evaluation.ground_truth import panoptic_truth
from .differences import DifferingRegion, differences
from .quality import quality


@dataclass(frozen=True)
class Compared:
    """One task's answers about one photo."""

    task: str
    share: float
    """Of the pixels that differ, in 0..1."""
    regions: tuple[DifferingRegion, ...]
    qualities: tuple[float | None, float | None] | None
    """Of both models, 0-100; None without truth."""


def compare_photo(
    answers: Sequence[OneFormerResult],
    tasks: Sequence[str],
    truth: BaseDataElement | None = None,
    score_thr: float = 0.5,
) -> list[Compared]:
    """Compare two models' answers about one photo.

    Args:
        answers: Of the two.
        tasks: Those to compare; both have answered them.
        truth: A data sample with a panoptic annotation.
        score_thr: Instances below count as not found.

    Raises:
        ValueError: The sample has no panoptic annotation.
    """
    first, second = answers
    known = None if truth is None else panoptic_truth(truth.to_dict())
    compared = []
    for task in tasks:
        difference = differences(first, second, task, score_thr)
        qualities = None
        if known is not None:
            qualities = (
                quality(first, task, known, len(first.classes)),
                quality(second, task, known, len(first.classes)),
            )
        compared.append(Compared(task, difference.share, difference.regions, qualities))
    return compared
