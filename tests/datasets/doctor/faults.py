"""One fault for each rule of the doctor; a fault returns further arguments of `DoctorData.examine`."""

import json
import shutil

import cv2
import numpy as np
from PIL import Image, ImageOps

TREE, CAT, DOG = 2, 5, 9
PLANTED = {}


def plant(spoil):
    PLANTED[spoil.__name__.replace('_', '-')] = spoil
    return spoil


def save_turned(data, size):
    """A photo whose pixels are stored turned by 90 degrees; `size` is (height, width) as it is seen."""
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(data.photo(1), exif=exif)


@plant
def entry_incomplete(data):
    del data.segment(1, CAT)['category_id']


@plant
def image_id_twice(data):
    data.content['images'].append(dict(data.content['images'][0], file_name='2.jpg'))


@plant
def image_without_annotation(data):
    data.content['annotations'].pop()


@plant
def annotation_twice(data):
    data.content['annotations'].append(json.loads(json.dumps(data.annotation(1))))


@plant
def map_twice(data):
    image = dict(data.content['images'][0], id=3, file_name='3.jpg')
    data.write_photo(3, (image['height'], image['width']))
    data.content['images'].append(image)
    data.content['annotations'].append(dict(json.loads(json.dumps(data.annotation(1))), image_id=3))


@plant
def annotation_without_image(data):
    data.content['annotations'].append(dict(data.annotation(1), image_id=77))


@plant
def category_incomplete(data):
    del data.content['categories'][0]['isthing']


@plant
def category_id_twice(data):
    data.content['categories'].append(dict(id=CAT, name='lion', isthing=1))


@plant
def category_name_twice(data):
    data.content['categories'][0]['name'] = 'cat'


@plant
def class_mismatch(data):
    return dict(cfg=data.config(metainfo=dict(classes=['tree', 'dog', 'cat'], thing_ids=[1, 2])))


@plant
def kind_mismatch(data):
    return dict(cfg=data.config(metainfo=dict(classes=['tree', 'cat', 'dog'], thing_ids=[0, 1, 2])))


@plant
def val_categories(data):
    def spoil(content):
        content['categories'][0]['name'] = 'wolf'
        content['images'] = [dict(id=9, file_name='none.jpg'), dict(id=1, file_name='3.jpg')]

    path = data.write_val(spoil)
    data.write_photo(3, (20, 20), 'val')
    return dict(val=path)


@plant
def class_absent(data):
    data.content['categories'].append(dict(id=11, name='cow', isthing=1))


@plant
def unknown_category(data):
    data.annotation(1)['segments_info'][1]['category_id'] = 77


@plant
def segment_id_invalid(data):
    data.annotation(1)['segments_info'].append(dict(id=0, category_id=CAT))


@plant
def segment_id_twice(data):
    data.annotation(1)['segments_info'].append(dict(data.segment(1, CAT)))


@plant
def segment_kind(data):
    data.segment(1, CAT)['isthing'] = 0


@plant
def stuff_twice(data):
    ids = data.ids[1]
    ids[:10] = 3
    data.write_map(1, ids)
    data.segment(1, TREE).update(area=600, bbox=[0, 10, 60, 10])
    more = dict(id=3, category_id=TREE, iscrowd=0, area=600, bbox=[0, 0, 60, 10])
    data.annotation(1)['segments_info'].append(more)


@plant
def stuff_crowd(data):
    data.segment(1, TREE)['iscrowd'] = 1


@plant
def crowd(data):
    data.segment(1, CAT)['iscrowd'] = 1


@plant
def image_empty(data):
    data.annotation(1)['segments_info'] = []
    data.write_map(1, np.zeros((40, 60), np.int64))


@plant
def image_without_things(data):
    data.write_map(1, np.full((40, 60), 900_001))
    data.annotation(1)['segments_info'] = [dict(id=900_001, category_id=TREE)]


@plant
def map_missing(data):
    data.map(1).unlink()


@plant
def map_damaged(data):
    data.map(1).write_bytes(data.map(1).read_bytes()[:-30])


@plant
def map_form(data):
    grey = np.where(data.ids[1] == 900_001, 9, np.where(data.ids[1] == 7, 7, 8)).astype(np.uint8)
    cv2.imwrite(str(data.map(1)), grey)
    data.segment(1, TREE)['id'], data.segment(1, DOG)['id'] = 9, 8


@plant
def map_channels(data):
    Image.open(data.map(1)).convert('RGBA').save(data.map(1))


@plant
def map_size(data):
    data.write_photo(1, (41, 60))


@plant
def exif_turned(data):
    save_turned(data, (60, 40))


@plant
def id_not_in_json(data):
    ids = data.ids[1]
    ids[0, :3] = 12_345
    ids[0, 3] = 54_321
    data.write_map(1, ids)


@plant
def id_not_in_map(data):
    data.annotation(1)['segments_info'].append(dict(id=55, category_id=CAT))


@plant
def segment_covered(data):
    id_not_in_map(data)
    return dict(cfg=data.config(allow_absent=True))


@plant
def area_drift(data):
    data.segment(1, CAT)['area'] += 10


@plant
def box_drift(data):
    data.segment(1, CAT)['bbox'][2] += 2


@plant
def json_size(data):
    data.content['images'][0].update(height=60, width=40)


@plant
def void_share(data):
    ids = np.zeros((40, 60), np.int64)
    ids[:16], ids[16:18, :30], ids[16:18, 30:] = 900_001, 7, 70_000
    data.write_map(1, ids)
    for category, area, box in (
        (TREE, 960, [0, 0, 60, 16]),
        (CAT, 60, [0, 16, 30, 2]),
        (DOG, 60, [30, 16, 30, 2]),
    ):
        data.segment(1, category).update(area=area, bbox=box)


@plant
def segment_tiny(data):
    ids = data.ids[1]
    ids[0, :15] = 3
    data.write_map(1, ids)
    data.annotation(1)['segments_info'].append(dict(id=3, category_id=CAT))
    data.segment(1, TREE)['area'] -= 15


@plant
def photo_missing(data):
    data.photo(1).unlink()


@plant
def photo_damaged(data):
    data.photo(1).write_bytes(data.photo(1).read_bytes()[:-100])


@plant
def photo_exif(data):
    save_turned(data, (40, 60))


@plant
def photo_grey(data):
    Image.open(data.photo(1)).convert('L').save(data.photo(1))


@plant
def photo_cmyk(data):
    Image.open(data.photo(1)).convert('CMYK').save(data.photo(1))


@plant
def photo_16_bit(data):
    pixels = np.random.default_rng(1).integers(0, 2**16, (40, 60, 3), dtype=np.uint16)
    data.photo(1).write_bytes(cv2.imencode('.png', pixels)[1].tobytes())


@plant
def photo_alpha(data):
    Image.open(data.photo(1)).convert('RGBA').save(data.photo(1), format='PNG')


@plant
def photo_more(data):
    photo = Image.open(data.photo(1)).convert('RGB')
    photo.save(data.photo(1), format='WEBP', save_all=True, append_images=[ImageOps.mirror(photo)])


@plant
def photo_twice(data):
    data.add(3, (40, 60))
    shutil.copyfile(data.photo(1), data.photo(3))


@plant
def leak(data):
    def spoil(content):
        content['images'] = content['images'][1:]

    return dict(val=data.write_val(spoil))


@plant
def instance_merged(data):
    cat = data.ids[1] == 7
    left = np.zeros_like(cat)
    left[:, :8] = True
    masks = [(CAT, 0, cat & left), (CAT, 0, cat & ~left), (DOG, 0, data.ids[1] == 70_000)]
    return dict(against=data.write_instances(masks))


@plant
def instance_split(data):
    ids = data.ids[1]
    whole = ids == 70_000
    ids[20:, 38:42] = 0
    ids[20:, 42:] = 71_000
    data.write_map(1, ids)
    data.segment(1, DOG).update(area=18 * 20, bbox=[20, 20, 18, 20])
    more = dict(id=71_000, category_id=DOG, area=18 * 20, bbox=[42, 20, 18, 20])
    data.annotation(1)['segments_info'].append(more)
    return dict(against=data.write_instances([(CAT, 0, ids == 7), (DOG, 0, whole)]))


@plant
def instance_skipped(data):
    mask = np.zeros((40, 60), bool)
    mask[2:9, 3:9] = True
    return dict(against=data.write_instances([(CAT, 0, mask), (DOG, 0, data.ids[1] == 70_000)]))
