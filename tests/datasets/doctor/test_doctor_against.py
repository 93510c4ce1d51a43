import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmseg_oneformer.annotations.id_maps import decode_ids
from mmseg_oneformer.datasets.doctor import examine, open_source

TREE, CAT, DOG = 2, 5, 9


def box(top, left, bottom, right, size=(40, 60)):
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def compare(data, masks):
    return data.examine(against=data.write_instances(masks)).tally.comparisons


@pytest.fixture
def cat(data):
    """Mask of the cat: 20 x 20 pixels."""
    return data.ids[1] == 7


@pytest.fixture
def dog(data):
    return data.ids[1] == 70_000


def test_own_segments__nothing_to_tell(data, cat, dog):
    eaten = cat & ~box(20, 0, 28, 20)  # IoU 0.6
    assert compare(data, [(CAT, 0, eaten), (DOG, 0, dog)]) == []


def test_merged__numbers(data, dog):
    """Two cats, 8 and 12 of the 20 columns; the second one reaches out of the segment."""
    masks = [(CAT, 0, box(20, 0, 40, 8)), (CAT, 0, box(10, 8, 40, 20)), (DOG, 0, dog)]
    one, other = compare(data, masks)
    assert (one.fate, one.segment_ids, one.with_instances) == ('merged', (7,), (2,))
    assert (one.iou, one.covered) == (160 / 400, 1.0)
    assert (other.instance_id, other.with_instances) == (2, (1,))
    assert (other.iou, other.covered) == (pytest.approx(240 / 520, abs=1e-4), pytest.approx(240 / 360, abs=1e-4))


def test_merged__into_a_crowd(data, cat):
    data.segment(1, CAT)['iscrowd'] = 1
    found = data.examine(against=data.write_instances([(CAT, 0, cat)]))
    (one,) = found.tally.comparisons
    assert (one.fate, one.segment_ids, one.with_instances) == ('merged', (7,), ())
    assert 'lies in segment 7 with a crowd' in found.tally.rules['instance-merged'].findings[0].text


def test_merged__into_a_crowd_in_spite_of_a_segment_of_its_own(data, dog):
    """Crowds come last: an instance beside a crowd of its class keeps its segment."""
    data.segment(1, CAT)['iscrowd'] = 1
    assert compare(data, [(DOG, 0, dog)]) == []


def test_split__numbers(data, planted, cat):
    against = planted['instance-split'](data)['against']
    (one,) = data.examine(against=against).tally.comparisons
    assert (one.instance_id, one.fate, one.segment_ids) == (2, 'split', (70_000, 71_000))
    assert (one.iou, one.covered) == (360 / 800, 720 / 800)


def test_split__parts_of_other_instances_do_not_count(data):
    """A polygon drawn around three dogs that have segments of their own: it has none, and is not split."""
    ids = data.ids[1]
    ids[20:, 33:46], ids[20:, 46:] = 71_000, 72_000
    data.write_map(1, ids)
    data.segment(1, DOG).update(area=260, bbox=[20, 20, 13, 20])
    table = data.annotation(1)['segments_info']
    table.append(dict(id=71_000, category_id=DOG, area=260, bbox=[33, 20, 13, 20]))
    table.append(dict(id=72_000, category_id=DOG, area=280, bbox=[46, 20, 14, 20]))
    masks = [(DOG, 0, ids == number) for number in (70_000, 71_000, 72_000)]
    (one,) = compare(data, [*masks, (DOG, 0, box(20, 20, 40, 60))])
    assert (one.instance_id, one.fate, one.covered) == (4, 'skipped', 1.0)


def test_skipped__another_class_in_its_place(data, cat):
    """Where the instance is, the panoptic annotation has a cat; classes are told apart by name, not by id."""
    (one,) = compare(data, [(DOG, 0, cat)])
    assert (one.category, one.fate, one.iou, one.covered) == ('dog', 'skipped', 0.0, 0.0)


def test_crowds_of_the_instances__are_none(data):
    assert compare(data, [(CAT, 1, box(0, 0, 9, 9))]) == []


def test_images_without_instances(data, dog):
    path = data.write_instances([(DOG, 0, dog)])
    content = json.loads(path.read_text())
    content['annotations'][0]['image_id'] = 99
    content['images'].append(dict(id=99, file_name='99.jpg'))
    path.write_text(json.dumps(content))
    assert data.examine(against=path).tally.comparisons == []


def test_images_without_things(data, planted):
    planted['image-without-things'](data)
    (one,) = compare(data, [(CAT, 0, box(0, 0, 9, 9))])
    assert one.fate == 'skipped'


@pytest.mark.parametrize('form', ['polygons', 'counts', 'compressed'])
def test_masks__in_each_of_the_three_forms(data, form):
    path = data.write_instances([(CAT, 0, box(20, 0, 40, 20))])
    content = json.loads(path.read_text())
    counts = [20, 20] + [20, 20] * 19 + [40 * 40]  # Down the columns, starting outside.
    forms = {
        'polygons': [[0, 20, 20, 20, 20, 30, 0, 30], [0, 30, 20, 30, 20, 40, 0, 40]],
        'counts': dict(size=[40, 60], counts=counts),
        'compressed': content['annotations'][0]['segmentation'],
    }
    content['annotations'][0]['segmentation'] = forms[form]
    path.write_text(json.dumps(content))
    assert data.examine(against=path).tally.comparisons == []


def test_masks__of_another_size(data):
    with pytest.raises(
        ValueError, match=r'Instance 1 of 1\.jpg has a mask of 20x20, but its photo is 60x40.*same photos'
    ):
        compare(data, [(CAT, 0, np.ones((20, 20), bool))])


@pytest.mark.parametrize(
    ('content', 'error', 'match'),
    [
        (None, FileNotFoundError, 'does not exist'),
        ('{', ValueError, 'not valid JSON'),
        ('[]', ValueError, 'not a COCO instance JSON'),
        ('{"annotations": [{"segments_info": []}], "categories": []}', ValueError, 'not a COCO instance JSON'),
        (
            '{"images": [{"id": 1, "file_name": "1.jpg"}], "categories": [{"id": 1, "name": "ship"}], '
            '"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": []}]}',
            ValueError,
            'annotation 1 has no segmentation',
        ),
        (
            '{"images": [{"id": 1, "file_name": "1.jpg"}], "categories": [{"id": 1, "name": "ship"}]}',
            ValueError,
            'no class of the panoptic JSON',
        ),
        (
            '{"images": [{"id": 9, "file_name": "9.jpg"}], "categories": [{"id": 1, "name": "cat"}]}',
            ValueError,
            'instances.json has none of these photos',
        ),
    ],
)
def test_read_instances__mistakes(data, content, error, match):
    path = data.folder / 'instances.json'
    if content is not None:
        path.write_text(content)
    with pytest.raises(error, match=match):
        data.examine(against=path)


def test_split__debris_is_no_part(data, planted, dog):
    against = planted['instance-split'](data)['against']
    ids = data.ids[1]
    ids[20:39, 42:] = 0  # Leaves a row: 18 of 800 pixels, and a segment that is less than half of the instance.
    data.write_map(1, ids)
    (one,) = data.examine(against=against).tally.comparisons
    assert (one.instance_id, one.fate) == (2, 'skipped')


def as_instance(number, image, category, mask):
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    shape = dict(size=rle['size'], counts=rle['counts'].decode())
    return dict(id=number, image_id=image, category_id=category, segmentation=shape)


def test_real_photos__planted_fates(coco_mini, tmp_path):
    """Instances made of panoptic segments have their own; then some are merged, some split, and some left out."""
    path = coco_mini / 'annotations/panoptic_val2017.json'
    source = open_source(path)
    things = {entry['id']: entry['name'] for entry in source.file.categories if entry['isthing']}
    masks, planted = [], []
    for annotation in source.file.annotations.values():
        ids = decode_ids((path.with_suffix('') / annotation['file_name']).read_bytes())
        table = [entry for entry in annotation['segments_info'] if entry['category_id'] in things]
        table = [entry for entry in table if not entry['iscrowd']]
        for place, segment in enumerate(table):
            mask, category = ids == segment['id'], segment['category_id']
            same = [entry for entry in table if entry['category_id'] == category]
            cut = [(mask, None)]
            if place == 0:  # The upper and the lower half of its pixels are two instances.
                upper = mask & (np.cumsum(mask).reshape(mask.shape) <= mask.sum() // 2)
                cut = [(upper, 'merged'), (mask & ~upper, 'merged')]
            elif len(same) == 2 and same[0] is not table[0] and 0.2 < same[0]['area'] / same[1]['area'] < 5:
                both = mask | (ids == same[0]['id'])
                cut = [(both, 'split')] if segment is same[1] else []
            for region, fate in cut:
                masks.append(as_instance(len(masks) + 1, annotation['image_id'], category, region))
                planted.append(fate)
        masks.append(as_instance(len(masks) + 1, annotation['image_id'], next(iter(things)), ids == 0))
        planted.append('skipped')
    categories = [dict(id=number, name=name) for number, name in things.items()]
    against = tmp_path / 'instances.json'
    against.write_text(json.dumps(dict(images=source.file.images, annotations=masks, categories=categories)))
    found = {one.instance_id: one.fate for one in examine(source, against=against).tally.comparisons}
    assert min(planted.count(fate) for fate in ('merged', 'split', 'skipped')) > 5
    assert [found.get(number) for number in range(1, len(masks) + 1)] == planted
