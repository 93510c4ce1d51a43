"""All readers of files that users bring, each with a function that draws an input, writes it and reads it.

A reader returns after accepting its input and raises UserError after refusing it; everything else is a fault.
"""

import base64
import io
import json
import pickle
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import BaseDataElement
from PIL import Image
from safetensors.torch import save as safetensors_bytes

import mmseg_oneformer  # noqa: F401  (first: makes the OpenMMLab wheels importable)
from mmseg_oneformer.analysis.logs import read_run
from mmseg_oneformer.analysis.results_cells import find_results
from mmseg_oneformer.annotations.coco_panoptic import MAX_ID
from mmseg_oneformer.annotations.outlines import outline_code, partial_code
from mmseg_oneformer.annotations.values import InvalidValueError
from mmseg_oneformer.annotations.yolo import read_yolo_names
from mmseg_oneformer.apis.results.journal import JOURNAL, with_checksum
from mmseg_oneformer.apis.results.writers import PredictionWriter
from mmseg_oneformer.apis.sources import collect_sources
from mmseg_oneformer.checkpoints.checkpoint import read_checkpoint
from mmseg_oneformer.checkpoints.conversion.hub_config import check_hub_config
from mmseg_oneformer.checkpoints.files import read_file
from mmseg_oneformer.datasets.doctor import examine, fix, open_source, report_dict
from mmseg_oneformer.datasets.doctor.photos import read_photo as doctors_photo
from mmseg_oneformer.datasets.instances import InstanceDataset
from mmseg_oneformer.datasets.panoptic import PanopticDataset
from mmseg_oneformer.datasets.semantic import SemanticDataset
from mmseg_oneformer.errors import UserError
from mmseg_oneformer.evaluation.ground_truth import read_instance_truth
from mmseg_oneformer.evaluation.saved_predictions import SavedPredictions
from mmseg_oneformer.photos.decoding import decode_photo, photo_fault, read_photo
from mmseg_oneformer.photos.header import photo_size
from mmseg_oneformer.preparation.ade20k import prepare_ade20k
from mmseg_oneformer.preparation.cityscapes import prepare_cityscapes
from mmseg_oneformer.preparation.coco import prepare_coco
from mmseg_oneformer.preparation.formats import CocoFormat, InstanceIdFormat, LabelmeFormat, VocFormat, YoloFormat
from mmseg_oneformer.preparation.image_list import image_list
from mmseg_oneformer.preparation.mapillary import prepare_mapillary
from mmseg_oneformer.preparation.own_data import write_panoptic
from mmseg_oneformer.preparation.recognition import conversion_command
from mmseg_oneformer.zoo.configs import read_config
from mmseg_oneformer.zoo.model_file import read_model_config
from tests.photos.forms import FORMS, REJECTED
from tests.preparation.downloads import draw_ade20k, draw_cityscapes, draw_mapillary
from tests.soak.mutations import json_file, mutated_bytes, mutated_json, text_file
from tests.toy.drawn_benchmarks import draw_benchmark
from tests.toy.tiny_model import CONFIG

__all__ = ['READERS']

SIZE = (6, 8)
LOADING = {'pipeline': [{'type': 'LoadPhoto'}, {'type': 'LoadPanopticIds'}], 'serialize_data': False}
"""Of data sets; serialising ends with a garbage collection, slower than all the rest."""
Reader = Callable[[random.Random, Path], None]
READERS: dict[str, Reader] = {}


def reader(function: Reader) -> Reader:
    """Register a reader under the name of its function."""
    READERS[function.__name__] = function
    return function


# ---- drawn files


def png_bytes(pixels: np.ndarray, kind: str = 'png', **options: Any) -> bytes:
    """Return the bytes of a picture."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind, **options)
    return buffer.getvalue()


@cache
def photo_bytes(size: tuple[int, int] = SIZE) -> bytes:
    """Return the bytes of a photo."""
    return png_bytes(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8), 'jpeg')


def write(path: Path, data: bytes) -> Path:
    """Write a file, and its folder where that is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def write_photo(rng: random.Random, path: Path) -> None:
    """Write a photo of ``SIZE``, seldom a damaged one."""
    write(path, mutated_bytes(rng, photo_bytes()) if rng.random() < 0.03 else photo_bytes())


def map_bytes(rng: random.Random, values: tuple[int, ...], damaged: float = 0.1) -> bytes:
    """Return the bytes of a PNG with some of ``values``, in one of the depths and modes of PNGs."""
    pixels = np.array(rng.choices(values, k=SIZE[0] * SIZE[1])).reshape(SIZE)
    mode = rng.choice(('L', 'L', 'L', 'P', 'P', 'I;16', 'RGB', 'RGBA', 'LA', '1'))
    if mode == 'I;16':
        data = png_bytes(pixels.astype(np.uint16))
    else:
        picture = Image.fromarray(pixels.astype(np.uint8))
        if mode == 'P':
            picture.putpalette(list(range(256)) * 3)
        elif mode != 'L':
            picture = picture.convert(mode)
        buffer = io.BytesIO()
        picture.save(buffer, format='png', **({'bits': 4} if mode == 'P' and max(values) < 16 else {}))
        data = buffer.getvalue()
    return mutated_bytes(rng, data) if rng.random() < damaged else data


def id_png(rng: random.Random) -> bytes:
    """Return the bytes of a PNG with the segments 10 and 300."""
    ids = np.full(SIZE, 10)
    ids[3:, 2:6] = 300
    if rng.random() < 0.05:
        ids[0, 0] = rng.choice((0, 7, MAX_ID))
    data = png_bytes(np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8))
    if rng.random() < 0.03:
        return map_bytes(rng, (10, 0, 1))
    return mutated_bytes(rng, data) if rng.random() < 0.05 else data


def panoptic_content() -> dict[str, Any]:
    """Return the content of a panoptic JSON."""
    segments = [
        {'id': 10, 'category_id': 1, 'iscrowd': 0, 'area': 36, 'bbox': [0, 0, 8, 6]},
        {'id': 300, 'category_id': 2, 'iscrowd': 0, 'area': 12, 'bbox': [2, 3, 4, 3], 'isthing': 1},
    ]
    return {
        'info': {'description': ''},
        'images': [{'id': n, 'file_name': f'{name}.jpg', 'height': 6, 'width': 8} for n, name in ((1, 'a'), (2, 'b'))],
        'annotations': [
            {'image_id': n, 'file_name': f'{name}.png', 'segments_info': segments} for n, name in ((1, 'a'), (2, 'b'))
        ],
        'categories': [
            {'id': 1, 'name': 'sky', 'isthing': 0, 'color': [1, 2, 3]},
            {'id': 2, 'name': 'dog', 'isthing': 1, 'supercategory': 'animal'},
        ],
    }


def instance_content() -> dict[str, Any]:
    """Return the content of an instance JSON, with an outline of each form."""
    outlines: list[Any] = [
        [[0, 0, 5, 0, 5, 5]],
        [[1.5, 1.5, 7, 1, 7, 5.5, 2, 5], [0, 0, 1, 0, 1, 1, 0, 1]],
        {'size': [6, 8], 'counts': [10, 20, 18]},
        {'size': [6, 8], 'counts': ':d0b0'},
    ]
    annotations = [
        {'id': n, 'image_id': 1, 'category_id': 1 + n % 2, 'segmentation': one, 'iscrowd': 0, 'area': 9.5}
        | {'bbox': [0, 0, 5, 5]}
        for n, one in enumerate(outlines, start=1)
    ]
    return {
        'images': [{'id': 1, 'file_name': 'a.jpg', 'height': 6, 'width': 8}, {'id': 2, 'file_name': 'b.jpg'}],
        'annotations': annotations,
        'categories': [{'id': 1, 'name': 'dog', 'supercategory': 'animal'}, {'id': 2, 'name': 'cat'}],
    }


def labelme_content() -> dict[str, Any]:
    """Return the content of a labelme JSON, with a shape of each form."""
    kinds = {
        'polygon': [[0, 0], [5, 0], [5, 5]], 'rectangle': [[1, 1], [6, 4]], 'circle': [[4, 3], [6, 3]],
        'rotation': [[0, 0], [5, 0], [5, 5], [0, 5]], 'mask': [[1, 1], [4, 3]], 'line': [[0, 0], [3, 3]],
    }  # fmt: skip
    mask = png_bytes(np.ones((3, 4), np.uint8))
    shapes = [
        {'label': ('dog', 'cat')[n % 2], 'points': points, 'shape_type': kind, 'group_id': None, 'flags': {}}
        for n, (kind, points) in enumerate(kinds.items())
    ]
    shapes[4]['mask'] = base64.b64encode(mask).decode()
    return {
        'version': '5.0.1', 'flags': {}, 'shapes': shapes, 'imagePath': 'a.jpg', 'imageData': None,
        'imageHeight': 6, 'imageWidth': 8,
    }  # fmt: skip


def panoptic_files(rng: random.Random, folder: Path) -> Path:
    """Write a panoptic data set; return its JSON."""
    for name in 'ab':
        write_photo(rng, folder / f'photos/{name}.jpg')
        write(folder / f'panoptic/{name}.png', id_png(rng))
    return write(folder / 'panoptic.json', json_file(rng, panoptic_content()))


def load_all(dataset: Any) -> None:
    """Load every sample."""
    for index in range(len(dataset)):
        sample = dataset[index]
        if 'gt_seg_map' not in sample:  # a list of images at test time
            continue
        numbers, known = np.unique(sample['gt_seg_map']), len(sample['segments_info'])
        assert sample['gt_seg_map'].shape == sample['ori_shape'][:2] and numbers.min() >= 0 and numbers.max() <= known


# ---- annotations


@reader
def panoptic_dataset(rng: random.Random, folder: Path) -> None:
    """Train on panoptic files."""
    path = panoptic_files(rng, folder)
    settings = {'ann_file': str(path), 'data_prefix': {'img': str(folder / 'photos')}, **LOADING}
    load_all(PanopticDataset(**settings, test_mode=rng.random() < 0.3))


@reader
def doctor(rng: random.Random, folder: Path) -> None:
    """Examine panoptic files and correct them, also against an instance JSON."""
    path = panoptic_files(rng, folder)
    against = write(folder / 'instances.json', json_file(rng, instance_content())) if rng.random() < 0.2 else None
    source = open_source(path, images=str(folder / 'photos'), segs=str(folder / 'panoptic'))
    examination = examine(source, against=against, deep=rng.random() < 0.3)
    json.dumps(report_dict(examination, fix(examination)))


@reader
def instance_dataset(rng: random.Random, folder: Path) -> None:
    """Train on an instance JSON."""
    for name in 'ab':
        write_photo(rng, folder / f'photos/{name}.jpg')
    path = write(folder / 'instances.json', json_file(rng, instance_content()))
    load_all(InstanceDataset(ann_file=str(path), data_prefix={'img': str(folder / 'photos')}, **LOADING))


@reader
def instance_truth(rng: random.Random, folder: Path) -> None:
    """Measure AP on an instance JSON."""
    content = instance_content()
    content['images'][1] |= {'height': 6, 'width': 8}
    path = write(folder / 'instances.json', json_file(rng, content))
    read_instance_truth(str(path), {0: 'dog', 1: 'cat'})


@reader
def semantic_dataset(rng: random.Random, folder: Path) -> None:
    """Train on semantic PNGs."""
    for name in 'ab':
        write_photo(rng, folder / f'img/{name}.jpg')
        write(folder / f'seg/{name}.png', map_bytes(rng, rng.choice(((0, 1), (0, 1, 255), (0, 255), (1, 2, 9)))))
    settings = {'metainfo': {'classes': ('bg', 'obj')}, 'data_root': str(folder), **LOADING}
    load_all(SemanticDataset(**settings, reduce_zero_label=rng.random() < 0.2))


def convert(rng: random.Random, folder: Path, make: Callable[[], Any]) -> None:
    """Run a converter twice: the second run finds what the first one wrote."""
    for _ in range(1 + (rng.random() < 0.1)):
        strict = rng.random() < 0.2
        write_panoptic(make(), folder / 'photos', folder / 'out', 'train', processes=1, strict=strict)


@reader
def to_panoptic_coco(rng: random.Random, folder: Path) -> None:
    """Convert an instance JSON, alone or over semantic PNGs."""
    for name in 'ab':
        write_photo(rng, folder / f'photos/{name}.jpg')
    semantic = rng.random() < 0.2
    if semantic:
        for name in 'ab':
            write(folder / f'sem/{name}.png', map_bytes(rng, (0, 1, 255)))
    path = write(folder / 'instances.json', json_file(rng, instance_content()))
    conversion_command(path)
    maps, stuff = (folder / 'sem', ['sky=0', 'lawn=1']) if semantic else (None, ())
    convert(rng, folder, lambda: CocoFormat(path, folder / 'photos', maps, stuff=stuff))


@reader
def to_panoptic_labelme(rng: random.Random, folder: Path) -> None:
    """Convert labelme's JSONs."""
    write_photo(rng, folder / 'photos/a.jpg')
    write(folder / 'labelme/a.json', json_file(rng, labelme_content()))
    conversion_command(folder / 'labelme')
    convert(rng, folder, lambda: LabelmeFormat(folder / 'labelme', folder / 'photos', ['dog'], ['cat']))


NAMES = ('names: {0: dog, 1: cat}\n', 'nc: 2\nnames:\n- dog\n- cat\n', "names:\n  '0': dog\n  '1': cat\npath: x\n")


@reader
def to_panoptic_yolo(rng: random.Random, folder: Path) -> None:
    """Convert YOLO's text files with their names."""
    write_photo(rng, folder / 'photos/a.jpg')
    lines = ['0 0.1 0.1 0.9 0.1 0.9 0.9', '1 0.0 0.0 0.5 0.0 0.5 0.5 0.0 0.5', '1 0.5 0.5 0.2 0.2', '']
    odd = [' '.join(rng.choices(('nan', '0', '1', '-1', '2', '1e400', 'dog', '0.5', 'inf', '0x1', '١'), k=7))]
    text = '\n'.join(rng.choices(lines[:2], k=2) + (rng.choice((lines, odd)) if rng.random() < 0.2 else []))
    write(folder / 'labels/a.txt', text_file(rng, text, 0.15))
    names = write(folder / 'data.yaml', text_file(rng, rng.choice(NAMES), 0.15))
    conversion_command(folder / 'labels')
    convert(rng, folder, lambda: YoloFormat(folder / 'labels', folder / 'photos', read_yolo_names(names), None))


LABELMAP = '# label:color_rgb:parts:actions\nbackground:0,0,0::\ndog:1,1,1::\ncat:2,2,2::\n'


@reader
def to_panoptic_voc(rng: random.Random, folder: Path) -> None:
    """Convert VOC's PNGs, with or without labelmap.txt."""
    write_photo(rng, folder / 'photos/a.jpg')
    if labelled := rng.random() < 0.4:
        write(folder / 'labelmap.txt', text_file(rng, LABELMAP, 0.4))
    write(folder / 'objects/a.png', map_bytes(rng, rng.choice(((0, 1), (0, 1, 255), (1,)))))
    write(folder / 'classes/a.png', map_bytes(rng, rng.choice(((1,), (1, 255), (0, 1, 2)))))
    things = () if labelled else ('dog=1', 'cat=2')
    convert(rng, folder, lambda: VocFormat(folder / 'photos', folder / 'objects', folder / 'classes', things))


@reader
def to_panoptic_ids(rng: random.Random, folder: Path) -> None:
    """Convert PNGs of instance ids."""
    write_photo(rng, folder / 'photos/a.jpg')
    write(folder / 'ids/a.png', map_bytes(rng, rng.choice(((0, 1), (0, 1, 1001, 1002), (1, 257), (7, 65_535)))))
    divisor = rng.choice((1000, 256))
    convert(
        rng, folder, lambda: InstanceIdFormat(folder / 'ids', folder / 'photos', ['dog=1'], ['sky=7'], divisor=divisor)
    )


@reader
def list_of_images(rng: random.Random, folder: Path) -> None:
    """Make a list of images for prediction."""
    write_photo(rng, folder / 'photos/a.jpg')
    categories = write(folder / 'panoptic.json', json_file(rng, panoptic_content()))
    source = (
        write(folder / 'list.json', json_file(rng, panoptic_content())) if rng.random() < 0.5 else folder / 'photos'
    )
    json.dumps(image_list(source, categories))


OFFICIAL: dict[str, tuple[Callable[[Path], object], Callable[[Path, Path], object]]] = {
    'coco': (lambda root: draw_benchmark('coco', root, 1, 1, 32), lambda root, out: prepare_coco(root, out, 'val', 1)),
    'cityscapes': (
        lambda root: draw_cityscapes(root, cities=('bonn',)),
        lambda root, out: prepare_cityscapes(root, out, 'val', 1),
    ),
    'mapillary': (lambda root: draw_mapillary(root, count=1), lambda root, out: prepare_mapillary(root, out, 'val', 1)),
    'ade20k': (
        lambda root: draw_ade20k(root, 'validation', 'ADE_val_', 1),
        lambda root, out: prepare_ade20k(root, out, 'val', 1),
    ),
}
"""How each official download is drawn, and how it is prepared."""


@reader
def official_data(rng: random.Random, folder: Path) -> None:
    """Prepare an official download of which a file has been damaged."""
    name = rng.choice(list(OFFICIAL))
    draw, prepare = OFFICIAL[name]
    kept = folder.parent.with_name('benchmarks') / name
    if not kept.is_dir():
        draw(kept)
    root = shutil.copytree(kept, folder / 'data')
    root = next((path.parent for path in root.rglob('annotations') if name == 'coco'), root)
    if rng.random() < 0.8:
        files = sorted(path for path in root.rglob('*') if path.is_file())
        jsons = [path for path in files if path.suffix == '.json']
        path = rng.choice(jsons if jsons and rng.random() < 0.5 else files)
        data = path.read_bytes()
        path.write_bytes(json_file(rng, json.loads(data)) if path.suffix == '.json' else mutated_bytes(rng, data))
    prepare(root, folder / 'out')


@reader
def outlines(rng: random.Random, folder: Path) -> None:
    """Draw outlines and run-length codes."""
    segmentation = mutated_json(rng, rng.choice(instance_content()['annotations'])['segmentation'])
    if isinstance(segmentation, dict) and isinstance(segmentation.get('counts'), str) and rng.random() < 0.5:
        counts = mutated_bytes(rng, segmentation['counts'].encode(errors='replace'))
        segmentation['counts'] = counts if rng.random() < 0.5 else counts.decode('latin-1')
    try:
        code = outline_code(segmentation, SIZE)
        partial_code(segmentation, SIZE)
        assert code['size'] == list(SIZE)
    except InvalidValueError as error:
        raise UserError(f'{folder}: {error}') from None


# ---- photos


PHOTOS = [data for data, _ in FORMS.values()] + [data for data, _ in REJECTED.values()]


@reader
def photos(rng: random.Random, folder: Path) -> None:
    """Decode a photo of any form, as everybody does who decodes one."""
    data = rng.choice(PHOTOS)
    path = write(
        folder / f'a{rng.choice((".jpg", ".png", ".tif", ""))}',
        mutated_bytes(rng, data) if rng.random() < 0.8 else data,
    )
    doctors_photo(path, deep=rng.random() < 0.5)
    photo_fault(path)
    try:
        decode_photo(path.read_bytes(), max_pixels=10_000_000, name='upload')
    except UserError as error:
        assert 'upload' in str(error) or not path.stat().st_size
    size = photo_size(path)
    assert read_photo(path).shape == (*size, 3)


# ---- weights


@cache
def state() -> dict[str, torch.Tensor]:
    """Return tensors under names that readers look for."""
    return {
        'head.query_embed.weight': torch.arange(6.0).view(2, 3), 'backbone.conv1.weight': torch.ones(2, 3, 1, 1),
        'bias': torch.ones(2).half(), 'count': torch.tensor(3),
    }  # fmt: skip


@cache
def checkpoint_files() -> list[bytes]:
    """Return files of weights of every form."""
    arrays = {key: value.numpy() for key, value in state().items()}
    files = [
        pickle.dumps({'model': arrays, '__author__': 'x', 'matching_heuristics': True}, protocol) for protocol in (2, 4)
    ]
    for content in ({'state_dict': state(), 'meta': {'iter': 3, 'dataset_meta': {'classes': ('a',)}}}, dict(state())):
        for zipped in (True, False):
            buffer = io.BytesIO()
            torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
            files.append(buffer.getvalue())
    files.append(safetensors_bytes(state(), {'meta': json.dumps({'iter': 3})}))
    return files


@reader
def checkpoints(rng: random.Random, folder: Path) -> None:
    """Read a file of weights in any form and under any name."""
    data = rng.choice(checkpoint_files())
    path = folder / f'model{rng.choice((".pth", ".bin", ".pkl", ".safetensors", ""))}'
    read_checkpoint(write(path, mutated_bytes(rng, data) if rng.random() < 0.8 else data))


@reader
def checkpoint_contents(rng: random.Random, folder: Path) -> None:
    """Read a sound file of weights whose content is another than expected."""
    content: Any = mutated_json(
        rng, {'state_dict': {'a': 1, 'b': 2}, 'meta': {'iter': 3, 'dataset_meta': {'classes': ['a']}}}
    )
    if isinstance(content, dict) and isinstance(content.get('state_dict'), dict):
        tensors = [*state().values(), torch.tensor(float('nan')), torch.zeros(0), torch.zeros(2, dtype=torch.bool)]
        tensors.append(
            torch.ones(2).to(torch.float8_e4m3fn) if rng.random() < 0.2 else torch.ones(1, dtype=torch.complex64)
        )
        content['state_dict'] |= {str(key): rng.choice(tensors) for key in rng.choices((*state(), 1, 'x.y'), k=3)}
        content['state_dict'] = {
            k: v for k, v in content['state_dict'].items() if rng.random() < 0.2 or hasattr(v, 'shape')
        }
    buffer = io.BytesIO()
    with suppress(RecursionError):  # of torch itself
        torch.save(content, buffer)
    read_checkpoint(write(folder / 'model.pth', buffer.getvalue()))


@reader
def hub_folders(rng: random.Random, folder: Path) -> None:
    """Read a folder of transformers: an index, its parts and config.json."""
    parts = {'model-1.safetensors': ['bias', 'count'], 'model-2.safetensors': ['head.query_embed.weight']}
    for name, keys in parts.items():
        data = safetensors_bytes({key: state()[key] for key in keys})
        write(folder / 'hub' / name, mutated_bytes(rng, data) if rng.random() < 0.1 else data)
    index = {'metadata': {'total_size': 44}, 'weight_map': {key: name for name, keys in parts.items() for key in keys}}
    write(folder / 'hub/model.safetensors.index.json', json_file(rng, index))
    config = {
        'model_type': 'oneformer',
        'pre_norm': False,
        'backbone_config': {'dilations': [[1, 2], [1]]},
        'id2label': {'0': 'a'},
    }
    write(folder / 'hub/config.json', json_file(rng, config))
    check_hub_config(folder / 'hub', tiny_config())
    read_file(folder / 'hub')


@cache
def tiny_config() -> Config:
    """Return the config of a tiny model."""
    return Config.fromstring(CONFIG, '.py')


@reader
def model_files(rng: random.Random, folder: Path) -> None:
    """Read the config that a model file holds."""
    text = tiny_config().pretty_text
    for _ in range(rng.choice((0, 1, 2))):
        old = rng.choice(('dict(', ')', ',', "'", '=', '0', 'type', '(', 'metainfo', '\n', 'ResNet'))
        new = rng.choice(
            ('', '[', '__import__("os")', '9' * 5000, '(' * 300, 'None', "'''", '\0', '1e999', 'lambda: 0', '-')
        )
        text = text.replace(old, new, rng.choice((1, 1, 3)))
    meta = mutated_json(rng, {'config_text': text, 'iter': 3}) if rng.random() < 0.3 else {'config_text': text}
    data = safetensors_bytes({'bias': torch.ones(2)}, {'meta': json.dumps(meta)})
    read_model_config(write(folder / 'model.safetensors', mutated_bytes(rng, data) if rng.random() < 0.2 else data))


# ---- what tools have written


def results_content() -> dict[str, Any]:
    """Return the content of a results.json."""
    return {
        'model': 'm', 'seed': 1, 'iteration': 10, 'weights_sha256': 'ab', 'num_images': 2, 'options': {'a': 1},
        'metrics': {'panoptic': {'PQ': 50.0, 'mIoU': 40.0}, 'semantic': {'mIoU': None}},
    }  # fmt: skip


@reader
def results(rng: random.Random, folder: Path) -> None:
    """Read results.json files for tables."""
    for name in 'ab':
        write(folder / name / 'results.json', json_file(rng, results_content()))
    for entries in find_results([folder]).values():
        for entry in entries:
            assert isinstance(entry.metrics, dict)


@reader
def logs(rng: random.Random, folder: Path) -> None:
    """Read the log of a training."""
    steps = [{'lr': 0.1, 'loss': 3.0, 'time': 0.1, 'step': n, 'iter': n} for n in (1, 2, 3)] + [{'PQ': 4.0, 'step': 1}]
    lines = [json.dumps(mutated_json(rng, step) if rng.random() < 0.2 else step) for step in steps]
    read_run(write(folder / 'vis_data/scalars.json', text_file(rng, '\n'.join(lines), 0.2)))


@reader
def predictions(rng: random.Random, folder: Path) -> None:
    """Read predictions that tools/infer.py wrote, to measure them."""
    content = panoptic_content()
    write(folder / 'pred/panoptic.json', json_file(rng, content))
    for name in 'ab':
        write(folder / f'pred/{name}.png', id_png(rng))
        write(folder / f'pred/{name}_semantic.png', map_bytes(rng, (0, 1)))
    saved = SavedPredictions(folder / 'pred', ('sky', 'dog'))
    for name in 'ab':
        saved.add_to(BaseDataElement(metainfo={'img_path': f'{name}.jpg', 'ori_shape': SIZE}), ('semantic', 'panoptic'))


@reader
def interrupted_predictions(rng: random.Random, folder: Path) -> None:
    """Resume a run over a folder of photos whose journal was damaged."""
    write(folder / 'photos/a.jpg', photo_bytes())
    items = collect_sources(str(folder / 'photos'))
    record = {
        'name': 'a', 'stamp': [300, 0], 'image': {'id': 1, 'file_name': 'a.jpg', 'height': 6, 'width': 8},
        'panoptic': {'image_id': 1, 'file_name': 'a_panoptic.png', 'segments_info': []}, 'instances': [{'image_id': 1}],
    }  # fmt: skip
    lines = [
        'null\n',
        *map(with_checksum, (record, {**record, 'name': 'b'})),
        with_checksum(record)[: rng.choice((5, 400))],
    ]
    write(folder / 'out' / JOURNAL, text_file(rng, ''.join(lines)))
    with PredictionWriter(folder / 'out', items, {'classes': ('a',), 'thing_ids': (0,)}, resume=True) as writer:
        [writer.journal.is_done(item) for item in items]


@reader
def configs(rng: random.Random, folder: Path) -> None:
    """Read a config file."""
    text = CONFIG
    if rng.random() < 0.6:
        old, new = rng.choice(('dict(', ')', ',', "'", '=', '\n')), rng.choice(('', '[', '\0', '(' * 300, '9' * 5000))
        text = text.replace(old, new, 1)
    read_config(str(write(folder / 'config.py', text_file(rng, text, 0.2))))


init_default_scope('mmdet')
