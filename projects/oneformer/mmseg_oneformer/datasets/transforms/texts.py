"""The text list that describes an image's targets (paper §3.1, "text list")."""

from collections.abc import Collection, Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from ...errors import UserError
from ...tasks import FILLERS

__all__ = ['TEMPLATES', 'DescribeTargets', 'target_texts']

TEMPLATES = {
    'photo': 'a photo with a {name}',
    'name': '{name}',
    'photo_type': 'a photo with a {name} {kind}',
}
"""Forms of a text, by the name a config gives: the command line cannot carry blanks. ``kind`` is 'thing' or 'stuff'."""


@TRANSFORMS.register_module()
class DescribeTargets(BaseTransform):
    """Add the texts of the targets, as different strings and how often each stands in the list.

    The text encoder sees each string once; the model repeats them, fills up with the filler and cuts what is too long,
    since only it knows the number of queries.

    Args:
        template: A key of ``TEMPLATES``.
    """

    def __init__(self, template: str = 'photo') -> None:
        if template not in TEMPLATES:
            raise UserError(f'unknown text template {template!r}: choose from {", ".join(TEMPLATES)}.')
        self.template = template

    def transform(self, results: dict) -> dict:
        """Add ``texts``, ``text_counts`` and ``filler`` to ``results``."""
        if 'gt_labels' not in results:
            raise UserError('DescribeTargets needs targets: put TaskTargets before it in the pipeline.')
        # Under the semantic task all masks are amorphous, so to the paper (Table 6) none is a thing.
        thing_ids = () if results['task'] == 'semantic' else results['thing_ids']
        results['texts'], results['text_counts'] = target_texts(
            results['gt_labels'], results['classes'], thing_ids, self.template
        )
        results['filler'] = FILLERS[results['task']]
        return results


def target_texts(
    labels: np.ndarray, classes: Sequence[str], thing_ids: Collection[int], template: str = 'photo'
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Texts in the order of class indices, and how many targets each stands for.

    Targets are counted by class *index*. The reference counts by name, so that two classes of one name each get the
    sum; here each keeps its own count, and then the string appears twice among the texts.

    Args:
        labels: (M,) class indices of the targets.
        classes: Names, as the reference spells them (blanks at the end included).
        thing_ids: Class indices whose targets are things.
        template: A key of ``TEMPLATES``.

    Returns:
        The texts and their counts; the counts sum to M.
    """
    present, counts = np.unique(labels, return_counts=True)
    texts = tuple(
        TEMPLATES[template].format(name=classes[label], kind='thing' if label in thing_ids else 'stuff')
        for label in present
    )
    return texts, tuple(int(count) for count in counts)
