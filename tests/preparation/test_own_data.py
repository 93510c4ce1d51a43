"""Own annotations of each format through the tool, to maps worked out by hand."""

import base64
import json

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS
from PIL import Image
from pycocotools import mask as mask_api

SIZE = (20, 30)
VOID = 0


@pytest.fixture
def convert(tmp_path, call_tool, capsys, downloads, read_panoptic):
    """Two photos, a.jpg and sub/b.png, and the tool on them."""
    downloads.photo(tmp_path / 'photos/a.jpg', SIZE)
    downloads.photo(tmp_path / 'photos/sub/b.png', SIZE)
    photos = {path: path.read_bytes() for path in (tmp_path / 'photos').rglob('*.*')}

    def run(kind, annotations, *args, status=0):
        arguments = [kind, tmp_path / annotations, '--images', tmp_path / 'photos', '--out', tmp_path / 'out', *args]
        assert call_tool('dataset_converters/to_panoptic.py', *arguments) == status
        assert {path: path.read_bytes() for path in photos} == photos
        output = capsys.readouterr()
        if status:
            assert not list((tmp_path / 'out').rglob('*.json'))
            return output.err
        maps, content = read_panoptic(tmp_path / 'out/panoptic_train.json')
        names = {category['id']: category['name'] for category in content['categories']}
        named = {}
        for name, (ids, segments) in maps.items():
            index = np.full(ids.shape, VOID)
            for number, segment in enumerate(segments, start=1):
                index[ids == segment['id']] = number
                rows, columns = np.nonzero(ids == segment['id'])
                box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
                assert segment['area'] == len(rows) and segment['bbox'] == box
            assert ((index == 0) == (ids == 0)).all()
            named[name] = [names[s['category_id']] + '*' * s['iscrowd'] for s in segments], index
        return named, content, output.out

    run.folder = tmp_path
    return run


def square(left, top, side):
    return [left, top, left + side, top, left + side, top + side, left, top + side]


def semantic(convert, values_a, values_b=None, folder='semantic'):
    for name, values in (('a.png', values_a), ('sub/b.png', values_a if values_b is None else values_b)):
        path = convert.folder / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), values.astype(np.uint8))


def coco_json(convert, instances, /, **changes):
    content = dict(
        images=[
            dict(id=7, file_name='a.jpg', height=20, width=30),
            dict(id=3, file_name='sub/b.png', height=20, width=30),
        ],
        annotations=[dict(id=number, image_id=7, **entry) for number, entry in enumerate(instances, start=1)],
        categories=[dict(id=18, name='dog'), dict(id=5, name='cat')],
    )
    (convert.folder / 'instances.json').write_text(json.dumps(content | changes))


def counts(mask):
    """Uncompressed run lengths, column by column, beginning with zeros."""
    flat = np.asarray(mask).T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff([0, *edges, len(flat)]).tolist()
    return lengths if flat[0] == 0 else [0, *lengths]


def test_coco__polygons_codes_crowds_and_stuff(convert):
    crowd = np.zeros(SIZE, np.uint8)
    crowd[15:, :] = 1
    ring = np.zeros(SIZE, np.uint8, order='F')
    ring[0:8, 20:28], ring[2:6, 22:26] = 1, 0
    code = mask_api.encode(ring)
    coco_json(
        convert,
        [
            dict(category_id=18, segmentation=[square(2, 2, 4)], iscrowd=0),
            dict(category_id=5, segmentation=[square(0, 0, 10), square(12, 0, 3)], iscrowd=0),
            dict(category_id=18, segmentation=dict(size=SIZE, counts=counts(crowd)), iscrowd=1),
            dict(category_id=5, segmentation=dict(size=SIZE, counts=code['counts'].decode()), iscrowd=0),
            dict(category_id=18, segmentation=[square(0, 14, 4)]),
        ],
    )
    lawn = np.full(SIZE, 255)
    lawn[:12], lawn[12:15, :15] = 1, 9
    semantic(convert, lawn)
    arguments = ('--semantic', convert.folder / 'semantic', '--stuff', 'lawn=1', '--things', 'dog=9')
    maps, content, out = convert('coco', 'instances.json', *arguments)
    assert [category['name'] for category in content['categories']] == ['cat', 'dog', 'lawn']
    assert [category['isthing'] for category in content['categories']] == [1, 1, 0]
    assert [(image['id'], image['file_name']) for image in content['images']] == [(7, 'a.jpg'), (3, 'sub/b.png')]
    assert content['info'] == {'photos': '../photos'}
    names, index = maps['a.png']
    expected = np.zeros(SIZE, int)
    expected[12:15, :15] = 1
    expected[:12] = 2
    expected[15:] = 3
    expected[:10, :10] = expected[:3, 12:15] = 4
    expected[ring > 0] = 5
    expected[2:6, 2:6] = 7
    expected[14:18, :4] = 6
    assert names == ['dog*', 'lawn', 'dog*', 'cat', 'cat', 'dog', 'dog']
    # Two dogs of 16 pixels: the first in the file was painted first.
    assert (np.where(index == 6, 7, np.where(index == 7, 6, index)) == expected).all()
    assert maps['sub/b.png'][0] == ['dog*', 'lawn']
    assert '2 photos, 9 segments, 3 of them crowds; 0 hidden' in out


def test_coco__mistakes(convert):
    def error(*annotations, args=(), **changes):
        coco_json(convert, annotations, **changes)
        return convert('coco', 'instances.json', *args, status=2)

    good = dict(category_id=5, segmentation=[square(0, 0, 10)])
    assert 'annotation 2 has category 6, which "categories" does not list' in error(good, {**good, 'category_id': 6})
    assert 'annotation 1 has no segmentation' in error(dict(category_id=5, bbox=[0, 0, 4, 4], segmentation=[]))
    assert 'has an outline of 4 numbers' in error({**good, 'segmentation': [[0, 0, 4, 4]]})
    assert 'one flat list of numbers' in error({**good, 'segmentation': square(0, 0, 4)})
    assert 'has a mask of 9x9, but its photo is 30x20' in error(
        {**good, 'segmentation': dict(size=[9, 9], counts=[81])}
    )
    assert "has no category 'cow'" in error(good, args=('--things', 'cow'))
    assert 'semantic/a.png does not exist' in error(good, args=('--semantic', convert.folder / 'semantic'))
    values = np.full(SIZE, 255)
    values[3, 4] = 77
    semantic(convert, values)
    assert 'pixels of value 77, which stands for no class; name it with --stuff NAME=77' in error(
        good, args=('--semantic', convert.folder / 'semantic')
    )
    cv2.imwrite(str(convert.folder / 'semantic/a.png'), np.full((20, 30, 3), (1, 2, 3), np.uint8))
    assert 'has colours' in error(good, args=('--semantic', convert.folder / 'semantic'))
    assert '"images" does not list' in error(good, images=[dict(id=8, file_name='a.jpg')])
    assert 'says a.jpg is 31x20, the photo is 30x20' in error(
        good, images=[dict(id=7, file_name='a.jpg', height=20, width=31)]
    )
    assert 'no.jpg does not exist' in error(good, images=[dict(id=7, file_name='no.jpg')])
    assert 'which leads out of its folder' in error(good, images=[dict(id=7, file_name='../a.jpg')])
    assert 'differ in their suffix only' in error(
        good, images=[dict(id=7, file_name='a.jpg'), dict(id=8, file_name='a.png')]
    )
    (convert.folder / 'instances.json').write_text('{"images": [')
    assert 'is not valid JSON' in convert('coco', 'instances.json', status=2)
    (convert.folder / 'instances.json').write_text('')
    assert 'is not valid JSON' in convert('coco', 'instances.json', status=2)


def test_coco__panoptic_json_is_told_apart(convert):
    coco_json(convert, [], info={})
    content = json.loads((convert.folder / 'instances.json').read_text())
    content['annotations'] = [dict(image_id=7, file_name='a.png', segments_info=[])]
    (convert.folder / 'instances.json').write_text(json.dumps(content))
    assert 'is a panoptic JSON' in convert('coco', 'instances.json', status=2)


def test_coco__a_changed_json_is_read_again(convert, tree):
    coco_json(convert, [dict(category_id=5, segmentation=[square(0, 0, 10)])])
    convert('coco', 'instances.json')
    first = tree(convert.folder / 'out')
    convert('coco', 'instances.json')
    assert tree(convert.folder / 'out') == first
    coco_json(convert, [dict(category_id=5, segmentation=[square(0, 0, 9)])])
    maps, _, _ = convert('coco', 'instances.json')
    assert (maps['a.png'][1] == 1).sum() == 81


def test_coco__what_was_finished_before_the_json_changed_is_done_again(convert):
    good = dict(category_id=5, segmentation=[square(0, 0, 10)])
    broken = dict(id=9, image_id=3, category_id=5, segmentation=[[0, 0, 4, 4]])
    coco_json(convert, [], annotations=[dict(id=1, image_id=7, **good), broken])
    assert 'has an outline of 4 numbers' in convert('coco', 'instances.json', '--strict', status=2)
    assert (convert.folder / 'out/panoptic_train/a.png').is_file(), 'the first photo was finished'
    coco_json(convert, [dict(category_id=5, segmentation=[square(0, 0, 9)])])
    maps, _, _ = convert('coco', 'instances.json')
    assert (maps['a.png'][1] == 1).sum() == 81


def palette_png(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(values.astype(np.uint8), mode='P')
    picture.putpalette(list(range(256)) * 3)
    picture.save(path)


def voc(convert, objects, classes, names=('a',)):
    for name in names:
        palette_png(convert.folder / f'voc/SegmentationObject/{name}.png', objects)
        palette_png(convert.folder / f'voc/SegmentationClass/{name}.png', classes)


def test_voc__objects_borders_and_groups(convert):
    objects, classes = np.zeros(SIZE), np.zeros(SIZE)
    objects[2:8, 2:8], classes[2:8, 2:8] = 1, 12  # a dog
    objects[2:8, 8:10], classes[2:8, 8:10] = 255, 255  # its border
    objects[12:18, 2:8], classes[12:18, 2:8] = 5, 15  # a person
    classes[12:18, 20:25] = 15  # persons that are not told apart
    voc(convert, objects, classes)
    maps, content, out = convert('voc', 'voc')
    assert '3 segments, 1 of them crowds; 0 hidden' in out, 'the class of the dog is covered by the dog, not lost'
    assert len(content['categories']) == 20 and list(maps) == ['a.png'], 'the photo without a class PNG is left out'
    names, index = maps['a.png']
    assert names == ['person*', 'dog', 'person']
    expected = np.zeros(SIZE, int)
    expected[12:18, 20:25], expected[2:8, 2:8], expected[12:18, 2:8] = 1, 2, 3
    assert (index == expected).all()

    maps, content, _ = convert('voc', 'voc', '--things', 'dog=12', 'person=15', '--stuff', 'background=0')
    names, index = maps['a.png']
    assert names == ['person*', 'background', 'dog', 'person'] and (index[objects == 255] == 0).all()
    assert (index == 2).sum() == (classes == 0).sum()


def test_voc__mistakes(convert):
    objects, classes = np.zeros(SIZE), np.zeros(SIZE)
    objects[2:8, 2:8], classes[2:8, 2:8] = 1, 12
    classes[2:8, 5:8] = 15
    voc(convert, objects, classes)
    assert 'object 1 lies on dog, person in' in convert('voc', 'voc', status=2)
    classes[2:8, 2:8] = 0
    voc(convert, objects, classes)
    assert 'object 1 lies on void in' in convert('voc', 'voc', status=2)
    classes[0, 0] = 33
    voc(convert, objects, classes)
    assert 'pixels of value 33' in convert('voc', 'voc', status=2)
    assert 'No photo of' in convert('voc', 'other', status=2)


def test_voc__list_of_a_split(convert):
    voc(convert, np.zeros(SIZE), np.zeros(SIZE), names=('a', 'sub/b'))
    (convert.folder / 'val.txt').write_text('sub/b\n\n')
    maps, _, _ = convert('voc', 'voc', '--list', convert.folder / 'val.txt')
    assert list(maps) == ['sub/b.png'] and maps['sub/b.png'][0] == []
    (convert.folder / 'val.txt').write_text('sub/b\nc')
    (convert.folder / 'out/panoptic_train.json').unlink()
    assert 'c of the list is not an annotated photo' in convert(
        'voc', 'voc', '--list', convert.folder / 'val.txt', status=2
    )


def labelme(convert, shapes, name='a', photo='a.jpg', **changes):
    path = convert.folder / f'labels/{name}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(shapes=shapes, imagePath=photo, imageHeight=20, imageWidth=30, **changes)))


def shape(label, points, kind='polygon', **changes):
    return dict(label=label, points=points, shape_type=kind, group_id=None, **changes)


def test_labelme__shapes_groups_and_ignored_labels(convert):
    png = cv2.imencode('.png', np.array([[255, 0], [255, 255]], np.uint8))[1]
    mask = base64.b64encode(png.tobytes()).decode()
    labelme(
        convert,
        [
            shape('lawn', [[0, 10], [30, 20]], 'rectangle'),
            shape('lawn', [[0, 5], [5, 10]], 'rectangle'),
            {**shape('dog', [[1, 1], [4, 1], [4, 4], [1, 4]]), 'group_id': 3},
            {**shape('dog', [[10, 1], [14, 1], [14, 4], [10, 4]]), 'group_id': 3},
            {**shape('cat', [[20, 1], [24, 1], [24, 4], [20, 4]]), 'group_id': 3},
            shape('dog', [[20, 12], [24, 12]], 'circle'),
            shape('dog', [[2, 15], [3, 16]], 'mask', mask=mask),
            shape('note', [[2, 2]], 'point'),
        ],
        photo='..\\photos\\a.jpg',
    )
    labelme(convert, [], 'sub/b', 'b.png')
    arguments = ('--things', 'dog', 'cat', '--stuff', 'lawn', '--ignore', 'note')
    maps, content, _ = convert('labelme', 'labels', *arguments)
    names, index = maps['a.png']
    assert names == ['lawn', 'dog', 'dog', 'cat', 'dog']
    circle = (np.hypot(*np.meshgrid(np.arange(30) - 19.5, np.arange(20) - 11.5)) < 4).astype(int)
    assert abs((index == 2).sum() - circle.sum()) <= 8 and (index[10:14, 18:22] == 2).all()
    assert (index == 3).sum() == 9 + 12 and (index == 4).sum() == 12
    assert index[15:17, 2:4].tolist() == [[5, 1], [5, 5]]
    assert (index == 1).sum() == 300 + 25 - (index[10:] > 1).sum() and (index[5:10, :5] == 1).all()
    assert maps['sub/b.png'] == ([], pytest.approx(np.zeros(SIZE)))
    assert [image['id'] for image in content['images']] == [1, 2]


def test_labelme__mistakes(convert):
    def error(*shapes, **changes):
        labelme(convert, list(shapes), **changes)
        return convert('labelme', 'labels', '--things', 'dog', status=2)

    assert "shape 1 has the unknown label 'cow'; add it to --things, --stuff or --ignore" in error(
        shape('cow', [[0, 0], [3, 3]], 'rectangle')
    )
    assert 'shape 1 (dog) is a line, which has no area' in error(shape('dog', [[0, 0], [3, 3]], 'line'))
    assert 'has an outline of 4 numbers' in error(shape('dog', [[0, 0], [3, 3]]))
    assert 'has a mask that cannot be decoded' in error(shape('dog', [[0, 0], [3, 3]], 'mask', mask='abcd'))
    png = base64.b64encode(cv2.imencode('.png', np.full((41, 9), 255, np.uint8))[1].tobytes()).decode()
    assert 'has a mask that is 9x41, which is larger' in error(shape('dog', [[25, 0], [30, 8]], 'mask', mask=png))
    assert 'unknown shape' in error(shape('dog', [[0, 0], [3, 3]], 'spiral'))
    (convert.folder / 'labels/a.json').write_text(json.dumps(dict(shapes=[], imagePath='a.jpg', imageHeight=9)))
    assert 'was drawn on a photo of 30x9' in convert('labelme', 'labels', '--things', 'dog', status=2)
    (convert.folder / 'labels/a.json').write_text('{"version": 1}')
    assert 'is not a labelme JSON' in convert('labelme', 'labels', '--things', 'dog', status=2)
    (convert.folder / 'labels/a.json').write_text('')
    assert 'is not valid JSON' in convert('labelme', 'labels', '--things', 'dog', status=2)


def yolo(convert, text, name='a'):
    path = convert.folder / f'labels/{name}.txt'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_yolo__outlines_on_stuff(convert):
    yolo(convert, '1 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5\n\n0 0 0 0.2 0 0.2 0.3 0 0.3\n2 0.6 0 1.0 0 1 1 0.6 1\n')
    yolo(convert, '', 'sub/b')
    values = np.full(SIZE, 255)
    values[15:] = 4
    semantic(convert, values)
    (convert.folder / 'data.yaml').write_text('names:\n  1: cat\n  0: dog\n  2: sky\n')
    arguments = ('--names', convert.folder / 'data.yaml', '--semantic', convert.folder / 'semantic')
    maps, content, _ = convert('yolo', 'labels', *arguments, '--stuff', 'lawn=4', 'sky')
    assert [c['name'] for c in content['categories']] == ['dog', 'cat', 'lawn', 'sky']
    names, index = maps['a.png']
    expected = np.zeros(SIZE, int)
    expected[15:], expected[:, 18:], expected[2:10, 3:15], expected[:6, :6] = 1, 2, 3, 4
    assert names == ['lawn', 'sky', 'cat', 'dog'] and (index == expected).all()
    assert maps['sub/b.png'][0] == ['lawn']
    (convert.folder / 'labels/sub/b.txt').unlink()
    assert convert('yolo', 'labels', *arguments, '--stuff', 'lawn=4', 'sky')[0]['sub/b.png'][0] == ['lawn']


def test_yolo__mistakes(convert):
    def error(text):
        yolo(convert, text)
        return convert('yolo', 'labels', '--names', 'dog', 'cat', status=2)

    assert 'a.txt: line 1 is a box, which cannot become a segment' in error('1 0.5 0.5 0.2 0.2\n')
    assert 'line 1 is of class 2, but there are 2 classes' in error('2 0 0 1 0 1 1\n')
    assert 'coordinates are shares of width and height' in error('1 0 0 20 0 20 20\n')
    assert "begins with 'dog', which is not the number of a class" in error('dog 0 0 1 0 1 1\n')
    assert 'has an outline of 7 numbers' in error('1 0 0 1 0 1 1 0\n')
    (convert.folder / 'data.yaml').write_text('path: x\n')
    assert 'has no "names"' in convert('yolo', 'labels', '--names', convert.folder / 'data.yaml', status=2)
    assert 'give the folder of the text files' in convert('yolo', 'nowhere', '--names', 'dog', status=2)


def test_cityscapes_ids__objects_stuff_and_crowds(convert):
    values = np.full(SIZE, 7, np.uint16)
    values[:4, :10], values[:4, 10:20], values[:4, 20:] = 26000, 26012, 26
    values[4:6], values[6:8], values[8] = 3, 7001, 29000
    for name in ('a', 'sub/b'):
        path = convert.folder / f'ids/{name}_ids.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), values)
    arguments = ('--things', 'car=26', '--stuff', 'road=7', '--ids-suffix', '_ids')
    maps, _, _ = convert('cityscapes-ids', 'ids', *arguments, '--void', '3', '29')
    names, index = maps['sub/b.png']
    assert names == ['car*', 'road', 'car', 'car']
    expected = np.full(SIZE, 2)
    expected[:4, :10], expected[:4, 10:20], expected[:4, 20:] = 3, 4, 1
    expected[4:6] = expected[8] = 0
    assert (index == expected).all()
    (convert.folder / 'out/panoptic_train.json').unlink()
    assert 'pixels of id 3, of the unknown class 3' in convert('cityscapes-ids', 'ids', *arguments, status=2)
    assert "'road' has no number" in convert('cityscapes-ids', 'ids', '--stuff', 'road', status=2)
    assert 'correct --photo-suffix' in convert('cityscapes-ids', 'ids', *arguments, '--photo-suffix', '_left', status=2)


def test_turned_photo__the_map_has_the_size_that_is_loaded(convert, tmp_path):
    """A phone's photo: 30x20 in the file, shown as 20x30."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (30, 20)).save(tmp_path / 'photos/a.jpg', exif=exif)
    (tmp_path / 'photos/sub/b.png').unlink()
    content = dict(shapes=[shape('dog', [[0, 0], [20, 30]], 'rectangle')], imagePath='a.jpg')
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'labels/a.json').write_text(json.dumps({**content, 'imageHeight': 30, 'imageWidth': 20}))
    from mmseg_oneformer.preparation.formats import LabelmeFormat
    from mmseg_oneformer.preparation.own_data import write_panoptic

    written = write_panoptic(
        LabelmeFormat(tmp_path / 'labels', tmp_path / 'photos', ['dog'], []),
        tmp_path / 'photos',
        tmp_path / 'out',
        'train',
    )
    data = DATASETS.build(
        dict(
            type='PanopticDataset',
            ann_file=str(written.path),
            data_prefix=dict(img=str(tmp_path / 'photos')),
            pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadPanopticIds')],
        )
    )
    assert data[0]['gt_seg_map'].shape == (30, 20) and (data[0]['gt_seg_map'] == 1).all()


def test_config__trains_on_what_was_written(convert):
    labelme(convert, [shape('dog', [[0, 0], [9, 9]], 'rectangle'), shape('lawn', [[0, 9], [30, 20]], 'rectangle')])
    config = convert.folder / 'configs/garden.py'
    arguments = ('--things', 'dog', '--stuff', 'lawn', '--config-out', config)
    _, _, out = convert('labelme', 'labels', *arguments)
    assert 'panoptic_val.json does not exist yet' in out and f'{config}: a config' in out
    convert('labelme', 'labels', *arguments, '--name', 'val')
    cfg = Config.fromfile(config)
    assert cfg.model.head.num_classes == 2 and cfg.model.thing_ids == (0,)
    for split, loader in (('train', cfg.train_dataloader), ('val', cfg.val_dataloader)):
        assert loader.dataset.ann_file == f'panoptic_{split}.json'
        data = DATASETS.build(loader.dataset)
        assert data.metainfo['classes'] == ('dog', 'lawn')
        sample = data[(0, 0) if split == 'train' else 0]
        assert sample['inputs'].shape == ((3, 1024, 1024) if split == 'train' else (3, 800, 1200))
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[0].end == 10000

    text, data = config.read_text(), 'datasets/coco_panoptic_lsj.py'
    (line,) = [line for line in text.splitlines() if data in line]
    added = [line.replace(data, part) for part in ('schedules/coco_50e.py', 'default_runtime.py')]
    config.write_text(text.replace(line, '\n'.join([line, *added])))
    assert Config.fromfile(config).to_dict() == cfg.to_dict(), 'it had two more bases before, which are empty now'


def test_config__none_without_a_file(convert):
    labelme(convert, [shape('dog', [[0, 0], [9, 9]], 'rectangle')])
    _, _, out = convert('labelme', 'labels', '--things', 'dog')
    assert 'Next: python tools/train.py NAME --data ' in out and '_base_' not in out


def test_classes_from_a_file(convert):
    labelme(convert, [shape('traffic light', [[0, 0], [9, 9]], 'rectangle')])
    (convert.folder / 'things.txt').write_text('dog\ntraffic light\n')
    maps, content, _ = convert('labelme', 'labels', '--things', f'@{convert.folder / "things.txt"}')
    assert [c['name'] for c in content['categories']] == ['dog', 'traffic light']
    assert maps['a.png'][0] == ['traffic light']
