"""The rules of the doctor as data: what each means, how bad it is, what to do, and what ``--fix`` does about it.

An *error* stops training or evaluation, or makes their numbers wrong. A *warning* is probably not what was meant. A
*note* is worth knowing.
"""

from typing import Any, Literal, NamedTuple

__all__ = ['RULES', 'SEVERITIES', 'Finding', 'Rule', 'rules_table']

Severity = Literal['error', 'warning', 'note']
SEVERITIES: tuple[Severity, ...] = ('error', 'warning', 'note')

AREA_PIXELS, AREA_SHARE = 1, 0.01
"""The JSON's area may differ from the counted pixels by this many, or by this share of them."""
BOX_PIXELS = 1
"""Each edge of the JSON's box may be this far from the pixels: some tools count the last pixel, some do not."""
STRAY_SHARE = 0.01
"""Unknown ids in at most this share of a map are stray pixels; more look like another image's map."""
TINY_AREA = 16
"""Pixels of a segment below which it fills less than one cell of the mask features (stride 4)."""
VOID_SHARE = 0.5


class Rule(NamedTuple):
    """One thing that the doctor looks for."""

    name: str
    severity: Severity
    meaning: str
    remedy: str
    fix: str = ''
    """What ``--fix`` does; empty: nothing."""


class Finding(NamedTuple):
    """One place where a rule is broken."""

    rule: str
    text: str
    """What is wrong there; names ids, sizes and counts."""
    image_id: Any = None
    """Of the JSON; None for what concerns the whole file."""
    file: str = ''
    """The photo or the PNG, as the JSON calls it."""
    segment_id: Any = None


_ALL = (
    # ---- the JSON as a whole
    Rule(
        'entry-incomplete',
        'error',
        'An image, annotation or segment lacks a field that is read, or has it in another form.',
        'Write "id" and "file_name" of images, "image_id", "file_name" and "segments_info" of annotations, "id" and '
        '"category_id" of segments.',
    ),
    Rule('image-id-twice', 'error', 'Two images have the same id.', 'Give every image its own id.'),
    Rule(
        'image-without-annotation',
        'error',
        'An image has no annotation.',
        'Annotate it, or remove it from "images".',
        'takes the image out',
    ),
    Rule(
        'annotation-twice',
        'error',
        'An image has two annotations.',
        'Keep one of them.',
        'drops the second one if both are equal',
    ),
    Rule(
        'map-twice',
        'error',
        'Two images have the same PNG, as in merged data sets: one of them has the segments of the other.',
        'Give every image its own PNG.',
    ),
    Rule(
        'annotation-without-image',
        'warning',
        'An annotation belongs to no image of the list; it is never used.',
        'Add the image, or remove the annotation.',
        'takes the annotation out',
    ),
    # ---- classes
    Rule(
        'category-incomplete',
        'error',
        'A category lacks "id" (a number), "name" or "isthing".',
        'Write all three; "isthing" is 1 for countable objects and 0 for stuff.',
    ),
    Rule('category-id-twice', 'error', 'Two categories have the same id.', 'Give every category its own id.'),
    Rule(
        'category-name-twice',
        'warning',
        'Two categories have the same name: their texts and their rows in tables cannot be told apart.',
        'Give every category its own name.',
    ),
    Rule(
        'class-mismatch',
        'error',
        'The categories, sorted by id, are not the classes of the config: a model would learn permuted classes.',
        'State the classes in this order, or give the JSON they were made for.',
    ),
    Rule(
        'kind-mismatch',
        'error',
        '"isthing" of a category and thing_ids of the config disagree.',
        'Correct the one that is wrong.',
    ),
    Rule(
        'val-categories',
        'error',
        'The validation JSON has other categories than this one.',
        'Make both from one list of categories.',
    ),
    Rule(
        'class-absent',
        'warning',
        'A class has no segment that could be a target: the model cannot learn it.',
        'Add images with it, or remove the class.',
    ),
    # ---- segment tables
    Rule(
        'unknown-category',
        'error',
        'A segment has a category that "categories" does not list.',
        'Add the category, or correct the segment.',
    ),
    Rule(
        'segment-id-invalid',
        'error',
        'A segment has the id 0, which is void, or one that three bytes cannot hold: no pixel can have it.',
        'Give it an id from 1 to 16777215, in the PNG too.',
        'takes the segment out',
    ),
    Rule(
        'segment-id-twice',
        'error',
        'Two segments of an image have the same id.',
        'Give every segment of an image its own id, in the PNG too.',
        'drops the second one if both have the same category and crowd mark',
    ),
    Rule(
        'segment-kind',
        'warning',
        'A segment says of itself "isthing", and its category says otherwise; the category counts.',
        'Correct the one that is wrong.',
        "writes the category's",
    ),
    Rule(
        'stuff-twice',
        'warning',
        'A stuff class has several segments in one image: they are trained and measured as separate segments.',
        'Merge them; stuff has one segment a class and image.',
        'merges them in the PNG and the JSON',
    ),
    Rule(
        'stuff-crowd',
        'warning',
        'A stuff segment is marked as a crowd: it is no target and never missed.',
        'Set its "iscrowd" to 0, unless that is meant.',
    ),
    Rule('crowd', 'note', 'A thing segment is a crowd: no target in training, not counted when measured.', 'Nothing.'),
    Rule(
        'image-empty',
        'warning',
        'An image has no segment at all.',
        'Annotate it, or take it out.',
    ),
    Rule(
        'image-without-things',
        'note',
        'An image has stuff only: it gives no instance targets. filter_empty=True leaves it out of training.',
        'Nothing.',
    ),
    # ---- maps: the PNGs of segment ids
    Rule('map-missing', 'error', 'The PNG of an annotation does not exist.', 'Put it there, or correct the path.'),
    Rule('map-damaged', 'error', 'The PNG cannot be decoded: damaged or cut off.', 'Copy it again.'),
    Rule(
        'map-form',
        'error',
        'The ids cannot be read as R + 256 G + 65536 B: one channel, 16 bits, or no PNG.',
        'Write 8-bit RGB PNGs.',
        'rewrites a map of one channel whose values are the ids of the JSON',
    ),
    Rule(
        'map-channels',
        'warning',
        'The PNG has a palette or an alpha channel. It is read as RGB here; other tools may not.',
        'Write 8-bit RGB PNGs.',
        'rewrites it as RGB',
    ),
    Rule(
        'map-size',
        'error',
        'The PNG and its photo have different sizes.',
        'Scale the map by nearest neighbour, or find the right photo.',
    ),
    Rule(
        'exif-turned',
        'error',
        'The photo is turned by its EXIF orientation and the PNG is not.',
        'Save the photo without the orientation, or turn the PNG.',
    ),
    Rule(
        'id-not-in-json',
        'error',
        'Pixels of the PNG have an id that the JSON does not list for it.',
        'Add the segment, set the pixels to 0 (void), or find the right PNG. Smoothly scaled maps have such ids along '
        'the edges.',
        'sets them to void where they are at most 1 % of the image',
    ),
    Rule(
        'id-not-in-map',
        'error',
        'The JSON lists a segment that no pixel of the PNG has.',
        'Take the segment out, find the right PNG, or set allow_absent=True of LoadPanopticIds.',
        'takes the segment out, unless unknown ids cover more than 1 % of the image',
    ),
    Rule(
        'segment-covered',
        'note',
        'The JSON lists a segment that no pixel of the PNG has, which the config allows (allow_absent).',
        'Nothing.',
    ),
    Rule(
        'area-drift',
        'warning',
        '"area" differs from the pixels of the segment by more than 1 pixel and more than 1 %.',
        'Count it from the PNG.',
        'writes the counted area',
    ),
    Rule(
        'box-drift',
        'warning',
        'An edge of "bbox" is more than 1 pixel away from the pixels of the segment.',
        'Take it from the PNG; [left, top, width, height].',
        'writes the counted box',
    ),
    Rule(
        'json-size',
        'warning',
        '"width" and "height" of an image are not those of its files.',
        'Write the size of the PNG.',
        'writes it where photo and PNG agree',
    ),
    Rule('void-share', 'warning', 'More than half of an image is void.', 'Annotate more of it, or take it out.'),
    Rule(
        'segment-tiny',
        'note',
        'A segment has fewer than 16 pixels, less than one cell of the mask features.',
        'Nothing, or void where it is debris.',
    ),
    # ---- photos
    Rule('photo-missing', 'error', 'A photo does not exist.', 'Put it there, or correct the path.'),
    Rule(
        'photo-damaged',
        'error',
        'A photo cannot be read: it is damaged, cut off, or has values that no photo has.',
        'Copy it again, or save it with 8 bits in grey or RGB.',
    ),
    Rule(
        'photo-exif',
        'warning',
        'A photo has an EXIF orientation. It is turned when loaded here; other tools may not turn it.',
        'Save it upright.',
    ),
    Rule('photo-grey', 'note', 'A photo is greyscale; it is loaded as three equal channels.', 'Nothing.'),
    Rule(
        'photo-cmyk',
        'warning',
        'A photo is CMYK: its colours depend on the decoder.',
        'Save it as RGB.',
    ),
    Rule(
        'photo-16-bit',
        'warning',
        'A photo has more than 8 bits a channel; the upper 8 are loaded.',
        'Where the data use 12 bits of the 16, say bits=12 in LoadPhoto; or save it with 8 bits.',
    ),
    Rule('photo-alpha', 'warning', 'A photo has an alpha channel, which is ignored.', 'Save it over a background.'),
    Rule(
        'photo-more',
        'warning',
        'A photo has more than three bands, or its file holds several pictures; the first are loaded.',
        'Check that they are what is meant.',
    ),
    Rule(
        'photo-twice',
        'warning',
        'Two images of the list are the same photo.',
        'Keep one; with different annotations, the right one.',
    ),
    Rule(
        'leak',
        'error',
        'A photo of the validation data is in the training data too: what is measured there is not generalisation.',
        'Take it out of one of them.',
    ),
    # ---- the other annotation
    Rule(
        'instance-merged',
        'note',
        'Several instances of the instance JSON lie in one segment (or one in a crowd).',
        'Measure with both annotations; neither is wrong by itself.',
    ),
    Rule(
        'instance-split',
        'note',
        'One instance of the instance JSON is several segments.',
        'Measure with both annotations; neither is wrong by itself.',
    ),
    Rule(
        'instance-skipped',
        'note',
        'An instance of the instance JSON has no segment.',
        'Measure with both annotations; neither is wrong by itself.',
    ),
)
RULES: dict[str, Rule] = {rule.name: rule for rule in _ALL}


def rules_table() -> str:
    """All rules as a Markdown table, the one of docs/dataset_doctor.md."""
    lines = ['| rule | | what it means | what to do | `--fix` |', '|---|---|---|---|---|']
    for rule in _ALL:
        lines.append(f'| `{rule.name}` | {rule.severity} | {rule.meaning} | {rule.remedy} | {rule.fix or "-"} |')
    return '\n'.join(lines)
