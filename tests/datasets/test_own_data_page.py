"""The examples of docs/own_data.md for semantic maps alone and for several sources work."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS

ROOT = Path(__file__).resolve().parents[2]
BASES = ('models/oneformer_r50', 'datasets/coco_panoptic_lsj')
BLOCKS = re.findall(r'```python\n(.*?)```', (ROOT / 'docs/own_data.md').read_text(), re.DOTALL)
MASK = np.full((60, 80), 255, np.uint8)
MASK[:30, :40], MASK[40:] = 0, 1


def write_config(folder, word):
    """The example with ``word`` in it behind the two bases, as a file."""
    (block,) = [block for block in BLOCKS if word in block]
    bases = [f'{ROOT}/configs/_base_/{name}.py' for name in BASES]
    path = folder / 'garden.py'
    path.write_text(f'_base_ = {bases}\n{block}')
    return path


def write_photo(path, mask_path=None, mask=MASK):
    for name, pixels in ((path, np.full((60, 80, 3), 90, np.uint8)), (mask_path, mask)):
        if name is not None:
            name.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(name), pixels)


@pytest.fixture
def garden(tmp_path, monkeypatch):
    """Two photos with semantic PNGs of each split, where the example has them."""
    monkeypatch.chdir(tmp_path)
    for split in ('train', 'val'):
        for number in (1, 2):
            photo, mask = Path(f'{split}/000{number}.jpg'), Path(f'masks/{split}/000{number}.png')
            write_photo(tmp_path / 'data/garden' / photo, tmp_path / 'data/garden' / mask)
    return tmp_path


def write_garden_annotations(folder):
    """A panoptic JSON of the first photo that knows lawn and dog, its PNG, and the other two sources."""
    root = folder / 'data/garden/annotations'
    ids = np.zeros((60, 80, 3), np.uint8)
    ids[:30, :, 2], ids[40:, 20:50, 2] = 5, 7
    write_photo(folder / 'data/garden/train/0001.jpg', root / 'panoptic_train/0001.png', ids)
    (root / 'panoptic_train.json').write_text(
        json.dumps(
            dict(
                images=[dict(id=1, file_name='0001.jpg')],
                annotations=[
                    dict(
                        image_id=1,
                        file_name='0001.png',
                        segments_info=[dict(id=5, category_id=1), dict(id=7, category_id=4)],
                    )
                ],
                categories=[dict(id=1, name='lawn', isthing=0), dict(id=4, name='dog', isthing=1)],
            )
        )
    )
    sky = np.where(MASK == 255, 2, MASK).astype(np.uint8)
    write_photo(folder / 'data/parks/photos/p.jpg', folder / 'data/parks/masks/p.png', sky)
    write_photo(folder / 'data/pets/photos/q.jpg')
    box = [[10, 10, 40, 10, 40, 40, 10, 40]]
    objects = [dict(id=1, image_id=1, category_id=2, segmentation=box, iscrowd=0)]
    content = dict(
        images=[dict(id=1, file_name='q.jpg')],
        annotations=objects,
        categories=[dict(id=1, name='dog'), dict(id=2, name='cat')],
    )
    (folder / 'data/pets/instances.json').write_text(json.dumps(content))


def test_semantic_alone__the_config_of_the_page(garden):
    cfg = Config.fromfile(write_config(garden, "type='MeanIoU'"))
    sample = DATASETS.build(cfg.train_dataloader.dataset)[0, 1]['data_samples']
    assert sample.task == 'semantic' and set(sample.gt_instances.labels.tolist()) <= {0, 1}
    truth = DATASETS.build(cfg.test_dataloader.dataset)[0]['data_samples'].gt_sem_seg.sem_seg[0].numpy()
    assert (truth == MASK).all()
    assert cfg.val_evaluator == cfg.test_evaluator == [dict(type='MeanIoU')]


def test_mix__the_config_of_the_page(garden):
    write_garden_annotations(garden)
    cfg = Config.fromfile(write_config(garden, 'MixedDataset'))
    plain = [dict(type='LoadImageFromFile'), dict(type='LoadPanopticIds')]
    mixed = DATASETS.build({**cfg.train_dataloader.dataset, 'pipeline': plain, 'weights': None})
    samples = [mixed[0, index] for index in range(3)]
    found = [[cfg.classes[segment['label']] for segment in sample['segments_info']] for sample in samples]
    assert found == [['lawn', 'dog'], ['lawn', 'path'], ['cat']]
    assert ((samples[1]['gt_seg_map'] == 0) == (MASK == 255)).all(), 'sky is made void'
    assert cfg.model.head.num_classes == len(mixed.metainfo['classes']) == 4
    (garden / 'data/garden/annotations/panoptic_train.json').unlink()
    with pytest.raises(FileNotFoundError, match='panoptic_train'):
        DATASETS.build(cfg.train_dataloader.dataset)


def test_semantic_alone__from_folder_to_pictures(call_tool, small_models, garden):
    """Train, measure and draw by the commands of the page; the network is cut small."""
    path = write_config(garden, "type='MeanIoU'")
    cfg = Config.fromfile(path)
    options = small_models.command_line(small_models.small_model(cfg) | small_models.small_data(cfg))
    options += ['train_cfg.max_iters=2', 'param_scheduler.0.end=3', 'test_dataloader.batch_size=1']
    options += ['model.backbone.norm_cfg.requires_grad=True', 'model.backbone.norm_eval=False']
    assert call_tool('train.py', path, '--work-dir', 'w', '--cfg-options', *options) == 0
    assert call_tool('test.py', 'w/garden.py', 'w/iter_2.pth', '--work-dir', 'out', '--show-dir', 'pictures') == 0
    metrics = json.loads((garden / 'out/results.json').read_text())['metrics']['own']
    assert 0 <= metrics['mIoU'] <= 100 and 'PQ' not in metrics and 'AP' not in metrics
    assert len(list((garden / 'pictures').rglob('*.*'))) >= 2
