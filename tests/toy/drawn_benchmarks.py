"""Drawn landscapes in the folders, file names and category ids of each benchmark.

Each picture has an unlabelled corner; where it has two things of one kind, the last is a crowd (not in ADE20K, which
has none). ADE20K lists a wall without a pixel, Mapillary Vistas the category of what is unlabelled. ADE20K and
Cityscapes also get the annotations that mIoU and AP are measured on.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from mmengine.registry import DATASETS
from pycocotools import mask as mask_api

from mmseg_oneformer.datasets.drawing import draw_scene

FOLDERS = {'train': 'training', 'val': 'validation'}


class Benchmark(NamedTuple):
    """Where a benchmark keeps what; functions of the split and the number of a picture, relative to ``root``."""

    root: str
    dataset: str
    ids: tuple[int, ...]
    names: dict[str, str]
    json: Callable[[str], str]
    maps: Callable[[str], str]
    photo: Callable[[str, int], str]
    image: Callable[[str, int], tuple]  # id, file names of photo and map in the JSON


COCO_IDS = sorted(
    {*range(1, 91)} - {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    | {92, 93, 95, 100, 107, 109, 112, 118, 119, 122, 125, 128, 130, 133, 138, 141, 144, 145, 147, 148, 149, 151, 154}
    | {155, 156, 159, 161, 166, 168, 171, 175, 176, 177, 178, 180, 181, *range(184, 201)}
)
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


def ade_image(split, number):
    stem = f'ADE_{split}_{number:08d}'
    return stem, f'{stem}.jpg', f'{stem}.png'


def city_image(split, number):
    stem = f'{"aachen" if split == "train" else "lindau"}_000000_{number:06d}'
    return stem, f'{stem}_gtFine_leftImg8bit.png', f'{stem}_gtFine_panoptic.png'


def city_photo(split, number):
    stem = city_image(split, number)[0]
    return f'leftImg8bit/{split}/{stem.split("_")[0]}/{stem}_leftImg8bit.png'


BENCHMARKS = {
    'ade20k': Benchmark(
        root='data/ade/ADEChallengeData2016',
        dataset='Ade20kPanoptic',
        ids=tuple(range(150)),
        names=dict(
            sky='sky', grass='grass', water='water', ball='ball', box='box', cone='column, pillar', star='window '
        ),
        json=lambda split: f'ade20k_panoptic_{split}.json',
        maps=lambda split: f'ade20k_panoptic_{split}',
        photo=lambda split, number: f'images/{FOLDERS[split]}/{ade_image(split, number)[1]}',
        image=ade_image,
    ),
    'cityscapes': Benchmark(
        root='data/cityscapes',
        dataset='CityscapesPanoptic',
        ids=CITYSCAPES_IDS,
        names=dict(sky='sky', grass='vegetation', water='road', ball='person', box='bus', cone='rider', star='bicycle'),
        json=lambda split: f'gtFine/cityscapes_panoptic_{split}.json',
        maps=lambda split: f'gtFine/cityscapes_panoptic_{split}',
        photo=city_photo,
        image=city_image,
    ),
    'coco': Benchmark(
        root='data/coco',
        dataset='CocoPanoptic',
        ids=tuple(COCO_IDS),
        names=dict(
            sky='sky-other-merged',
            grass='grass-merged',
            water='sea',
            ball='sports ball',
            box='suitcase',
            cone='vase',
            star='kite',
        ),
        json=lambda split: f'annotations/panoptic_{split}2017.json',
        maps=lambda split: f'annotations/panoptic_{split}2017',
        photo=lambda split, number: f'{split}2017/{number:012d}.jpg',
        image=lambda split, number: (number, f'{number:012d}.jpg', f'{number:012d}.png'),
    ),
    'mapillary': Benchmark(
        root='data/mapillary',
        dataset='MapillaryPanoptic',
        ids=tuple(range(1, 66)),
        names=dict(
            sky='Sky', grass='Terrain', water='Water', ball='Person', box='Billboard', cone='Trash Can', star='Bird'
        ),
        json=lambda split: f'{FOLDERS[split]}/panoptic/panoptic_2018.json',
        maps=lambda split: f'{FOLDERS[split]}/panoptic',
        photo=lambda split, number: f'{FOLDERS[split]}/images/{split}-{number}_x.jpg',
        image=lambda split, number: (f'{split}-{number}_x', f'{split}-{number}_x.jpg', f'{split}-{number}_x.png'),
    ),
}


def categories(name):
    """Entries of the JSON's ``categories``."""
    benchmark = BENCHMARKS[name]
    meta = DATASETS.get(benchmark.dataset).METAINFO
    entries = [
        dict(id=number, name=label, isthing=int(k in meta['thing_ids']), color=list(meta['palette'][k]))
        for k, (number, label) in enumerate(zip(benchmark.ids, meta['classes'], strict=True))
    ]
    if name == 'mapillary':
        entries.append(dict(id=66, name='Unlabeled', isthing=0, color=[0, 0, 0]))
    return entries


def draw_benchmark(name, folder, train=2, val=2, size=96):
    """Draw ``train`` and ``val`` pictures of ``size`` pixels into ``folder``, where the configs look for them."""
    benchmark = BENCHMARKS[name]
    root = Path(folder) / benchmark.root
    for split, count in (('train', train), ('val', val)):
        (root / benchmark.maps(split)).mkdir(parents=True)
        images, annotations = [], []
        for number in range(1, count + 1):
            photo = root / benchmark.photo(split, number)
            photo.parent.mkdir(parents=True, exist_ok=True)
            image_id, image_name, map_name = benchmark.image(split, number)
            scene = draw_scene(size, np.random.default_rng((number, split == 'val')))
            ids, segments = segments_of(name, scene)
            cv2.imwrite(str(photo), np.ascontiguousarray(scene.image[..., ::-1]))
            bgr = np.stack([ids >> 16, ids >> 8 & 255, ids & 255], -1).astype(np.uint8)
            cv2.imwrite(str(root / benchmark.maps(split) / map_name), bgr)
            images.append(dict(id=image_id, file_name=image_name, height=size, width=size))
            annotations.append(dict(image_id=image_id, file_name=map_name, segments_info=segments))
            write_other_maps(name, root, split, image_id, ids, segments)
        content = dict(images=images, annotations=annotations, categories=categories(name))
        (root / benchmark.json(split)).write_text(json.dumps(content))
        if name == 'ade20k':
            (root / f'ade20k_instance_{split}.json').write_text(json.dumps(instance_content(root, content)))
    return root


def write_other_maps(name, root, split, image_id, ids, segments):
    """What the semantic and the instance task of a picture are measured on, equal to the panoptic annotation."""
    if name not in ('ade20k', 'cityscapes'):
        return
    labels = np.full(ids.shape, 255, np.uint8)
    for segment in segments:
        labels[ids == segment['id']] = BENCHMARKS[name].ids.index(segment['category_id'])
    if name == 'ade20k':
        maps = {f'annotations/{FOLDERS[split]}/{image_id}.png': labels + np.uint8(1)}  # 255 + 1 = 0
    else:
        stem = f'gtFine/{split}/{image_id.split("_")[0]}/{image_id}_gtFine_'
        maps = {f'{stem}labelTrainIds.png': labels, f'{stem}instanceIds.png': ids.astype(np.uint16)}
    for file_name, values in maps.items():
        (root / file_name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / file_name), values)


def instance_content(root, content):
    """The instance JSON of ADE20K with the things of the panoptic one."""
    things = {entry['id'] for entry in content['categories'] if entry['isthing']}
    annotations = []
    for annotation in content['annotations']:
        bgr = cv2.imread(str(next(root.glob(f'*/{annotation["file_name"]}')))).astype(np.int64)
        ids = bgr[..., 2] + 256 * bgr[..., 1] + 65536 * bgr[..., 0]
        for segment in annotation['segments_info']:
            if segment['category_id'] in things:
                code = mask_api.encode(np.asfortranarray(ids == segment['id']).astype(np.uint8))
                entry = dict(id=len(annotations) + 1, image_id=annotation['image_id'], iscrowd=0)
                entry |= dict(category_id=segment['category_id'], area=segment['area'])
                entry |= dict(bbox=mask_api.toBbox(code).tolist())
                annotations.append(entry | dict(segmentation=code | dict(counts=code['counts'].decode())))
    categories = [entry for entry in content['categories'] if entry['id'] in things]
    return dict(images=content['images'], annotations=annotations, categories=categories)


def segments_of(name, scene):
    """Ids (H, W) int64 of the PNG, and the entries of ``segments_info``."""
    benchmark = BENCHMARKS[name]
    meta = DATASETS.get(benchmark.dataset).METAINFO
    ids, segments = np.zeros(scene.segment_map.shape, np.int64), []
    for number, drawn in enumerate(scene.names, start=1):
        label = meta['classes'].index(benchmark.names[drawn])
        category, is_thing = benchmark.ids[label], label in meta['thing_ids']
        crowd = name != 'ade20k' and drawn in scene.names[: number - 1]
        segment_id = number * 70_000 + category  # uses all three channels of the PNG
        if name == 'cityscapes':
            segment_id = category * 1000 + number if is_thing and not crowd else category
        mask = scene.segment_map == number
        mask[:4, :4] = False
        ids[mask] = segment_id
        if segment_id not in [segment['id'] for segment in segments]:
            segments.append(dict(id=segment_id, category_id=category, area=int(mask.sum()), iscrowd=int(crowd)))
    if name == 'ade20k':
        segments.append(dict(id=123_456, category_id=0, area=1, iscrowd=0))
    return ids, segments
