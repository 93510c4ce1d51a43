"""The JSON as a whole: its lists, what refers to what, and its classes."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..faults import category_faults
from .rules import Finding
from .source import Expected
from .tables import Classes

__all__ = [
    'Item',
    'check_categories',
    'check_lists',
    'compare_categories',
    'pair_up',
    'read_classes',
    'whole_annotation',
    'whole_image',
]


class Item(NamedTuple):
    """An image and its annotation."""

    image: Mapping[str, Any]
    annotation: Mapping[str, Any]


def read_classes(categories: Sequence[Any]) -> Classes:
    """The classes of the categories that have an id and a name; the first one of each id."""
    usable: dict[int, Mapping[str, Any]] = {}
    for category in categories:
        if _is_whole(category, {'id', 'name'}):
            usable.setdefault(category['id'], category)
    ordered = sorted(usable.values(), key=lambda category: category['id'])
    return Classes(
        {category['id']: label for label, category in enumerate(ordered)},
        [str(category['name']) for category in ordered],
        frozenset(label for label, category in enumerate(ordered) if category.get('isthing')),
    )


def check_categories(categories: Sequence[Any], expected: Expected) -> Iterator[Finding]:
    """Check the categories among themselves, and with what a config expects of them."""
    whole = []
    for category in categories:
        if _is_whole(category, {'id', 'name', 'isthing'}):
            whole.append(category)
        else:
            yield Finding('category-incomplete', f'category {category}')
    for key in ('id', 'name'):
        for value, count in Counter(category[key] for category in whole).items():
            if count > 1:
                yield Finding(f'category-{key}-twice', f'{count} categories with the {key} {value!r}')
    if len(whole) < len(categories):
        return  # Which class is which number is not known.
    whole.sort(key=lambda category: category['id'])
    for rule, sentence in category_faults(whole, expected.classes, expected.thing_ids):
        yield Finding(rule, sentence)
    if expected.num_classes is not None and expected.num_classes != len(whole):
        yield Finding('class-mismatch', f'it has {len(whole)} categories, the model {expected.num_classes} classes')


def compare_categories(ours: Sequence[Any], theirs: Sequence[Any]) -> Iterator[Finding]:
    """Compare the categories of two files by id; ``theirs`` are those of the validation JSON."""
    one, other = (
        {entry['id']: (entry.get('name'), bool(entry.get('isthing'))) for entry in entries if _is_whole(entry, {'id'})}
        for entries in (ours, theirs)
    )
    for number in sorted(one.keys() | other.keys(), key=str):
        if one.get(number) != other.get(number):
            here, there = (
                f'{value[0]!r} ({"thing" if value[1] else "stuff"})' if value else 'not listed'
                for value in (one.get(number), other.get(number))
            )
            yield Finding('val-categories', f'category {number}: {here} here, {there} in the validation JSON')


def pair_up(content: Mapping[str, Any]) -> list[Item]:
    """Images with the first of their annotations, in the order of ``images``; without those that lack either."""
    annotations: dict[Any, Mapping[str, Any]] = {}
    for annotation in filter(whole_annotation, content['annotations']):
        annotations.setdefault(annotation['image_id'], annotation)
    images: dict[Any, Mapping[str, Any]] = {}
    for image in filter(whole_image, content['images']):
        images.setdefault(image['id'], image)
    return [Item(image, annotations[number]) for number, image in images.items() if number in annotations]


def check_lists(content: Mapping[str, Any]) -> Iterator[Finding]:
    """Check that images and annotations are whole, unique, and belong together."""
    images, annotations = [], []
    for entry in content['images']:
        if whole_image(entry):
            images.append(entry)
        else:
            yield Finding('entry-incomplete', f'image {_short(entry)}')
    for entry in content['annotations']:
        if whole_annotation(entry):
            annotations.append(entry)
        else:
            yield Finding('entry-incomplete', f'annotation {_short(entry)}')
    names = {image['id']: image['file_name'] for image in images}
    for number, count in Counter(image['id'] for image in images).items():
        if count > 1:
            yield Finding('image-id-twice', f'{count} images with the id {number}', number, names[number])
    counts = Counter(annotation['image_id'] for annotation in annotations)
    for number, name in names.items():
        if number not in counts:
            yield Finding('image-without-annotation', 'it has no annotation', number, name)
        elif counts[number] > 1:
            yield Finding('annotation-twice', f'it has {counts[number]} annotations', number, name)
    for annotation in annotations:
        number = annotation['image_id']
        if number not in names:
            yield Finding('annotation-without-image', f'no image has the id {number}', number, annotation['file_name'])


def whole_image(entry: Any) -> bool:
    """Whether an entry of "images" has what is read of it."""
    return isinstance(entry, Mapping) and _is_key(entry.get('id')) and isinstance(entry.get('file_name'), str)


def whole_annotation(entry: Any) -> bool:
    """Whether an entry of "annotations" has what is read of it; its segments are another matter."""
    return (
        isinstance(entry, Mapping)
        and _is_key(entry.get('image_id'))
        and isinstance(entry.get('file_name'), str)
        and isinstance(entry.get('segments_info'), list)
    )


def _is_whole(category: Any, fields: set[str]) -> bool:
    return isinstance(category, Mapping) and fields <= category.keys() and isinstance(category['id'], int)


def _is_key(value: Any) -> bool:
    return isinstance(value, int | str)


def _short(entry: Any) -> str:
    text = str(entry)
    return text if len(text) < 100 else f'{text[:97]}...'
