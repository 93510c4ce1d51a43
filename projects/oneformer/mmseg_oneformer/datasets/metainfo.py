"""What a data set's config says about its classes, without its files."""

from collections.abc import Mapping
from typing import Any

from mmengine.registry import DATASETS


def metainfo_of(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Return the meta information of a data set ('classes', 'thing_ids', 'palette'), as far as its config states it.

    Args:
        dataset: Config of a data set, maybe wrapped in others; its annotations need not be at hand.
    """
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    return dict(DATASETS.build({**dataset, 'pipeline': [], 'lazy_init': True}).metainfo)
