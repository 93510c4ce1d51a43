"""The JSON as a whole: its images with their annotations, and its classes."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ...annotations.coco import Category, Image
from ...annotations.coco_panoptic import PanopticAnnotation, PanopticFile
from ...annotations.faults import Fault
from ..categories import category_faults
from .rules import Finding
from .source import Expected
from .tables import Classes

__all__ = ['Item', 'as_finding', 'check_categories', 'compare_categories', 'pair_up', 'read_classes', 'split_faults']

OF_TABLES = ('entry-incomplete', 'unknown-category', 'segment-id-invalid', 'segment-id-twice')
"""Rules that entries of a segment table can break."""


class Item(NamedTuple):
    """An image and its annotation."""

    image: Image
    annotation: PanopticAnnotation


def read_classes(categories: Sequence[Category]) -> Classes:
    """Return the classes of categories that are sorted by id."""
    return Classes(
        {category['id']: label for label, category in enumerate(categories)},
        [category['name'] for category in categories],
        frozenset(label for label, category in enumerate(categories) if category['isthing']),
    )


def check_categories(file: PanopticFile, expected: Expected) -> Iterator[Finding]:
    """Check the categories among themselves, and with what a config expects of them."""
    categories = file.categories
    for name, count in Counter(category['name'] for category in categories).items():
        if count > 1:
            yield Finding('category-name-twice', f'{count} categories with the name {name!r}')
    if any(fault.rule.startswith('category') for fault in file.faults):
        return  # Which class is which number is not known.
    for rule, sentence in category_faults(categories, expected.classes, expected.thing_ids):
        yield Finding(rule, sentence)
    if expected.num_classes is not None and expected.num_classes != len(categories):
        text = f'it has {len(categories)} categories, the model {expected.num_classes} classes'
        yield Finding('class-mismatch', text)


def compare_categories(ours: Sequence[Category], theirs: Sequence[Category]) -> Iterator[Finding]:
    """Compare the categories of two files by id; ``theirs`` are those of the validation JSON."""
    one, other = ({entry['id']: (entry['name'], entry['isthing']) for entry in entries} for entries in (ours, theirs))
    for number in sorted(one.keys() | other.keys()):
        if one.get(number) != other.get(number):
            here, there = (
                f'{value[0]!r} ({"thing" if value[1] else "stuff"})' if value else 'not listed'
                for value in (one.get(number), other.get(number))
            )
            yield Finding('val-categories', f'category {number}: {here} here, {there} in the validation JSON')


def pair_up(file: PanopticFile) -> list[Item]:
    """Return the images that have an annotation, in the order of ``images``."""
    return [Item(image, file.annotations[image['id']]) for image in file.images if image['id'] in file.annotations]


def split_faults(file: PanopticFile) -> tuple[list[Fault], dict[int | str, list[Fault]]]:
    """Return the faults of the JSON as a whole, and those of segment tables by image."""
    of_file: list[Fault] = []
    of_tables: dict[int | str, list[Fault]] = {image['id']: [] for image in file.images}
    for fault in file.faults:
        in_table = fault.rule in OF_TABLES and fault.image_id in of_tables
        (of_tables[fault.image_id] if in_table else of_file).append(fault)
    return of_file, of_tables


def as_finding(fault: Fault) -> Finding:
    """Return a fault in the form of the doctor."""
    return Finding(fault.rule, f'{fault.entry} {fault.what}', fault.image_id, fault.file, fault.segment_id)
