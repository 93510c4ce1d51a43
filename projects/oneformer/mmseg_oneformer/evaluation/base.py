"""What our metrics have in common."""

import numpy as np
from mmengine.evaluator import BaseMetric

__all__ = ['Metric']


class Metric(BaseMetric):
    """A metric with plain names, whose results are gathered from several processes through the process group.

    Attributes:
        class_values: Arrays (K,) by name, 0-100, of the last evaluation; empty if there are no numbers per class.

    Args:
        collect_device: How several processes combine their results. 'gpu' gathers through the process group,
            gloo included, and leaves no folder behind; 'cpu' goes through files.
        prefix: Put before the names of the metrics, with a slash.
        collect_dir: Folder for ``collect_device='cpu'``.
    """

    default_prefix = ''  # plain names; mmengine warns about None

    def __init__(self, collect_device: str = 'gpu', prefix: str | None = None, collect_dir: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.class_values: dict[str, np.ndarray] = {}
