"""Training and measuring in Python, on folders as they come from other tools."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from pycocotools import mask as mask_api

from mmseg_oneformer import OneFormerInferencer, evaluate, train
from mmseg_oneformer.annotations.id_maps import decode_ids
from mmseg_oneformer.checkpoints.checkpoint import read_checkpoint
from mmseg_oneformer.datasets.shapes import write_shapes
from mmseg_oneformer.engine.evaluating import run_evaluation
from mmseg_oneformer.engine.runs import run_config
from mmseg_oneformer.errors import UserError
from mmseg_oneformer.files import file_digest
from mmseg_oneformer.mask_outlines import mask_outlines
from mmseg_oneformer.preparation.formats import CocoFormat, LabelmeFormat
from mmseg_oneformer.preparation.own_data import write_panoptic
from mmseg_oneformer.zoo.configs import read_config
from mmseg_oneformer.zoo.weights import resolve_weights

MODEL = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
MINI = Path(__file__).resolve().parents[2] / 'data/coco_mini'
IN_PROCESS = {
    f'{name}_dataloader.{key}': value
    for name in ('train', 'val', 'test')
    for key, value in (('num_workers', 0), ('persistent_workers', False))
}


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def short(max_iters, **options):
    """Options of a training of seconds that validates at its end alone."""
    return {
        **IN_PROCESS,
        'train_dataloader.batch_size': 4,
        'train_cfg.max_iters': max_iters,
        'train_cfg.val_interval': max_iters,
        'default_hooks.checkpoint.interval': max_iters,
        **options,
    }


@pytest.fixture
def negatives(empty_folder):
    """The quick start's drawings as negatives: the shipped model has not seen such colours."""
    write_shapes('negatives', train=64, val=8, size=96, workers=1)
    for path in Path('negatives').rglob('*.jpg'):
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    return Path('negatives')


def test_five_lines__on_drawn_data(negatives):
    before = evaluate(MODEL, data='negatives', out='before.json', options=IN_PROCESS)
    run = train(MODEL, data='negatives', fine_tune_from=MODEL, seed=0, options=short(16))
    after = evaluate(run.config, run.weights)
    result = OneFormerInferencer(run.config, run.weights)('negatives/val/000001.jpg')

    assert after['metrics']['own']['PQ'] > before['metrics']['own']['PQ'] + 10
    assert json.loads(Path('before.json').read_text())['num_images'] == after['num_images'] == 8
    assert run.work_dir == Path(f'work_dirs/{MODEL}_negatives').resolve() and run.last.name == 'iter_16.pth'
    assert run.best.name == 'best_PQ_iter_16.pth' and result.tasks == ('semantic', 'instance', 'panoptic')
    assert run.results['PQ'] == pytest.approx(after['metrics']['own']['PQ'])


def test_evaluate__leaves_the_config_alone_and_names_what_was_measured(negatives):
    cfg = run_config(MODEL, data=negatives, options=IN_PROCESS | {'test_evaluator.2.average': 'all'})
    before = cfg.pretty_text
    measured = run_evaluation(cfg, resolve_weights(MODEL), tasks=('semantic',), dtype='bf16')
    assert cfg.pretty_text == before and measured['options']['dtype'] == 'bf16'
    options = IN_PROCESS | {'test_evaluator.2.average': 'annotated'}
    again = evaluate(cfg, resolve_weights(MODEL), tasks=('semantic',), options=options, out='again.json')
    assert cfg.pretty_text == before and json.loads(Path('again.json').read_text()) == again
    assert (measured['miou_average'], again['miou_average']) == ('all', 'annotated')
    json_file = negatives.resolve() / 'annotations/panoptic_val.json'
    assert again['data'] == measured['data'] == str(json_file) and again['data_sha256'] == file_digest(json_file)
    assert again['seed'] == read_checkpoint(resolve_weights(MODEL))['meta'].get('seed')
    panoptic = evaluate(cfg, resolve_weights(MODEL), tasks=('panoptic',), out='again.json')
    assert panoptic['miou_average'] is None


THINGS, STUFF = ('person', 'motorcycle', 'pizza'), ('sky', 'tree', 'wall')


def cut_photos(folder, side=64, count=12):
    """Small copies of some of coco_mini's photos; yields the name, the size and (label, mask) of what is in each."""
    content = json.loads((MINI / 'annotations/panoptic_train2017.json').read_text())
    names = {one['id']: one['name'].split('-')[0] for one in content['categories']}
    photos = {image['id']: image['file_name'] for image in content['images']}
    folder.mkdir(parents=True)
    for annotation in content['annotations'][:count]:
        photo = cv2.imread(str(MINI / 'train2017' / photos[annotation['image_id']]))
        ids = decode_ids((MINI / 'annotations/panoptic_train2017' / annotation['file_name']).read_bytes())
        scale = side / min(ids.shape)
        size = tuple(round(length * scale) for length in ids.shape[::-1])
        name = photos[annotation['image_id']]
        cv2.imwrite(str(folder / name), cv2.resize(photo, size, interpolation=cv2.INTER_AREA))
        small = cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST)
        labelled = [(names[one['category_id']], small == one['id']) for one in annotation['segments_info']]
        yield name, size, [(name, mask) for name, mask in labelled if name in THINGS + STUFF and mask.any()]


def write_coco(folder):
    """An instance JSON of the things beside the photos, and semantic PNGs of the stuff."""
    images, annotations = [], []
    (folder / 'stuff').mkdir(parents=True)
    for number, (name, (width, height), labelled) in enumerate(cut_photos(folder / 'photos'), start=1):
        images.append({'id': number, 'file_name': name, 'width': width, 'height': height})
        semantic = np.full((height, width), 255, np.uint8)
        for label, mask in labelled:
            if label in STUFF:
                semantic[mask] = STUFF.index(label)
                continue
            code = mask_api.encode(np.asfortranarray(mask, np.uint8))
            code['counts'] = code['counts'].decode()
            kind = {'category_id': THINGS.index(label) + 1, 'iscrowd': 0}
            annotations.append({'id': len(annotations) + 1, 'image_id': number, 'segmentation': code, **kind})
        cv2.imwrite(str(folder / 'stuff' / Path(name).with_suffix('.png')), semantic)
    categories = [{'id': number, 'name': name} for number, name in enumerate(THINGS, start=1)]
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    (folder / 'instances.json').write_text(json.dumps(content))


def write_labelme(folder):
    """A JSON of polygons beside each photo."""
    for name, (width, height), labelled in cut_photos(folder):
        shapes = [
            {'label': label, 'points': part.exterior.tolist(), 'shape_type': 'polygon', 'group_id': group}
            for group, (label, mask) in enumerate(labelled)
            for part in mask_outlines(mask)
        ]
        content = {'imagePath': name, 'imageHeight': height, 'imageWidth': width, 'shapes': shapes}
        (folder / name).with_suffix('.json').write_text(json.dumps(content))


def from_coco(folder):
    stuff = [f'{name}={value}' for value, name in enumerate(STUFF)]
    return CocoFormat(folder / 'instances.json', folder / 'photos', folder / 'stuff', stuff=stuff), folder / 'photos'


def from_labelme(folder):
    return LabelmeFormat(folder, folder, THINGS, STUFF), folder


@pytest.mark.skipif(not MINI.is_dir(), reason='data/coco_mini is not here')
@pytest.mark.parametrize(
    ('write', 'read', 'command'),
    [
        (write_labelme, from_labelme, 'labelme mini --things motorcycle person pizza sky tree wall --images mini'),
        pytest.param(write_coco, from_coco, 'coco mini/instances.json --images mini/photos', marks=pytest.mark.slow),
    ],
    ids=['labelme', 'coco'],
)
def test_five_lines__on_photos_with_annotations_of_other_tools(empty_folder, write, read, command):
    folder = Path('mini')
    write(folder)
    with pytest.raises(UserError, match=f'convert it with: python .*/to_panoptic.py {command} --out mini/annotations'):
        train(MODEL, data=folder)
    source, photos = read(folder)
    write_panoptic(source, photos, folder / 'annotations', 'train', processes=1)

    sizes = {f'{name}_dataloader.dataset.pipeline.1.size': 64 for name in ('val', 'test')}
    options = short(40, **sizes)
    start = train(MODEL, data=folder, val=folder, fine_tune_from=MODEL, seed=0, options=short(1, **sizes))
    run = train(MODEL, data=folder, val=folder, fine_tune_from=MODEL, seed=0, options=options)
    before, after = (evaluate(one.config, one.last)['metrics']['own'] for one in (start, run))
    assert after['mIoU'] > before['mIoU'] + 5
    infer = OneFormerInferencer(run.config, run.last)
    assert set(infer.dataset_meta['classes']) == {*THINGS, *STUFF}


def test_data__what_the_config_says(negatives):
    for name, classes in (('oneformer_r50_8xb2-160k_ade20k-512x512', 7), (MODEL, 7)):
        cfg = run_config(name, data=negatives)
        assert Path(cfg.work_dir) == Path(f'work_dirs/{name}_negatives')
        assert cfg.model.head.num_classes == classes and cfg.model.thing_ids == (3, 4, 5, 6)
        train_data, val_data = (DATASETS.build(cfg[f'{split}_dataloader'].dataset) for split in ('train', 'val'))
        assert (len(train_data), len(val_data)) == (64, 8)
        assert {'gt_sem_seg', 'gt_panoptic_seg'} & set(val_data[0]['data_samples'].all_keys())
        assert cfg.test_dataloader == cfg.val_dataloader and cfg.test_evaluator == cfg.val_evaluator
        length = min(read_config(name).train_cfg.max_iters, 10_000)
        assert cfg.train_cfg.max_iters == length and cfg.train_cfg.val_interval == length // 10
        assert cfg.param_scheduler[-1].end in (length, length + 1)
    warm_up, decay = run_config(MODEL, data=negatives, options={'train_cfg.max_iters': 60}).param_scheduler
    assert (warm_up.begin, warm_up.end, decay.begin, decay.end) == (0, 3, 3, 60)


def test_data__a_json_alone_holds_out_every_fifth_photo(negatives):
    path = negatives / 'annotations/panoptic_train.json'
    cfg = run_config(MODEL, data=path)
    parts = [DATASETS.build(cfg[f'{split}_dataloader'].dataset) for split in ('train', 'val')]
    of_train, of_val = ({part.get_data_info(k)['img_id'] for k in range(len(part))} for part in parts)
    assert len(of_train) == 51 and len(of_val) == 13 and not of_train & of_val
    whole = run_config(MODEL, data=path, val=path)
    assert len(DATASETS.build(whole.val_dataloader.dataset)) == 64


def test_train__the_written_config_runs_again_and_resumes(negatives, call_tool):
    run = train(MODEL, data=negatives, work_dir='run', options=short(2))
    again = train(run.config, work_dir='again')
    assert weights_of(again.last).keys() == weights_of(run.last).keys()
    assert Config.fromfile(again.config).train_dataloader == Config.fromfile(run.config).train_dataloader
    assert call_tool('train.py', run.config, '--resume') == 0
    assert train(run.config, resume=True).last == run.last
    flags = ('--data', negatives, '--cfg-options', 'test_dataloader.num_workers=0')
    assert call_tool('test.py', MODEL, run.last, *flags, 'test_dataloader.persistent_workers=False') == 0
    (results,) = Path(f'work_dirs/{MODEL}_negatives').glob('results.json')
    assert json.loads(results.read_text())['model'] == f'{MODEL}_negatives'
    assert Config.fromfile(run.config).train_cfg.max_iters == 2, 'the test did not write over it'


def weights_of(path):
    return torch.load(path, weights_only=False)['state_dict']


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_data__mistakes_are_sentences(negatives):
    annotations = negatives / 'annotations'
    content = json.loads((annotations / 'panoptic_val.json').read_text()) | {'info': {'photos': '../val'}}
    for annotation in content['annotations']:
        annotation['file_name'] = f'panoptic_val/{annotation["file_name"]}'

    def written(name, **changes):
        path = annotations / name
        write_json(path, {**content, **changes})
        return path

    one = written('one.json', images=content['images'][:1], annotations=content['annotations'][:1])
    with pytest.raises(UserError, match=r'one\.json has one photo.*give val'):
        run_config(MODEL, data=one)
    more = written('more.json', categories=content['categories'] + [{'id': 99, 'name': 'moon', 'isthing': 1}])
    with pytest.raises(UserError, match='different classes; convert both'):
        run_config(MODEL, data=negatives, val=more)
    with pytest.raises(UserError, match=r'of 7 classes \(sky, .* and .*more\.json has 8 .*fine_tune_from'):
        evaluate(MODEL, data=more, options=IN_PROCESS)
    lost = written('lost.json', images=[{**image, 'file_name': 'no.jpg'} for image in content['images']])
    with pytest.raises(UserError, match=r'The photos of .*lost\.json are not beside it'):
        run_config(MODEL, data=lost)
    with pytest.raises(UserError, match='has no images or no annotations'):
        run_config(MODEL, data=written('none.json', annotations=[]))
    with pytest.raises(FileNotFoundError, match='absent does not exist; give a panoptic JSON'):
        train(MODEL, data='absent')
    for empty in (dict(data=''), dict(data=negatives, val='')):
        with pytest.raises(UserError, match='The path of the data is empty'):
            train(MODEL, **empty)
    with pytest.raises(UserError, match='val goes with data'):
        train(MODEL, val=negatives)
    with pytest.raises(UserError, match='no weights of its own'):
        evaluate(read_config(MODEL), data=negatives)
    Path('empty').mkdir()
    with pytest.raises(FileNotFoundError, match='empty has no panoptic JSON'):
        train(MODEL, data='empty')
    written('panoptic_train2.json')
    with pytest.raises(UserError, match=r'has panoptic_train\.json and panoptic_train2\.json for the split "train"'):
        train(MODEL, data=negatives)


@pytest.mark.parametrize(
    ('files', 'command'),
    [
        (('labels/train/1.txt', 'images/train/1.jpg', 'data.yaml'), 'yolo own/labels/train --names own/data.yaml'),
        (('SegmentationObject/1.png', 'JPEGImages/1.jpg'), 'voc own --images own/JPEGImages --out own/annotations'),
    ],
)
def test_data__other_formats_are_recognised(empty_folder, files, command):
    for name in files:
        (Path('own') / name).parent.mkdir(parents=True, exist_ok=True)
        (Path('own') / name).write_text('0 0.1 0.1 0.9 0.1 0.5 0.9')
    with pytest.raises(UserError, match=f'to_panoptic.py {command}'):
        train(MODEL, data='own')


@pytest.mark.parametrize('seed', [-1, 2**32])
def test_train__a_seed_that_is_none(seed):
    with pytest.raises(UserError, match=f'A seed is from 0 to 4294967295, not {seed}'):
        train(MODEL, seed=seed)


def test_train__options_that_are_no_dict():
    with pytest.raises(UserError, match='options are a dict'):
        train(MODEL, options='train_cfg.max_iters=4')


@pytest.mark.parametrize('length', ['four', 0, 2.5])
def test_train__a_length_that_is_none(tmp_path, length):
    write_shapes(tmp_path, train=4, val=2, size=32, workers=1)
    with pytest.raises(UserError, match='not a number of iterations'):
        train(MODEL, data=tmp_path / 'annotations/panoptic_train.json', options={'train_cfg.max_iters': length})
