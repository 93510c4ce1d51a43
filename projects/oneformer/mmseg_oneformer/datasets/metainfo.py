"""What a data set's config states about its classes, without reading its files."""

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.registry import DATASETS

from ..errors import UserError
from ..zoo.building import build_part


def metainfo_of(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Return the meta information of a data set ('classes', 'thing_ids', 'palette'), as far as its config states it.

    Args:
        dataset: Config of a data set, possibly wrapped in others; its annotations need not exist.
    """
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    return dict(build_part(DATASETS, {**dataset, 'pipeline': [], 'lazy_init': True}).metainfo)


def check_class_names(names: Iterable[str], source: str) -> None:
    """Raise a ValueError for a name that cannot be written on one line: pictures, tables and logs could not show it.

    Args:
        names: Names of the classes.
        source: Where they come from, for the message.
    """
    for name in names:
        # Control characters (line breaks, terminal escapes), surrogates, line separators.
        if any(unicodedata.category(letter) in ('Cc', 'Cs', 'Zl', 'Zp') for letter in name):
            raise UserError(
                f'{source}: the class name {ascii(name)[:80]} has a line break or a control character; correct it.'
            )
