"""A single class, thing or stuff: training, evaluation, predictions and files for a server."""

import json
import math

import cv2
import numpy as np
import pytest
from PIL import Image

from mmseg_oneformer.apis import OneFormerInferencer
from mmseg_oneformer.datasets.drawing import draw_scene
from mmseg_oneformer.zoo.configs import find_config

CONFIG = """
_base_ = {base!r}
thing_ids = {things}
model = dict(thing_ids=thing_ids, head=dict(num_classes=1))
loader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type='PanopticDataset',
        data_root='data/',
        ann_file='panoptic.json',
        metainfo=dict(classes=('cell',), thing_ids=thing_ids),
        data_prefix=dict(img='photos/', seg='panoptic/'),
        serialize_data=False,
    ),
)
train_dataloader = loader
val_dataloader = loader
test_dataloader = val_dataloader
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2, save_best=None), logger=dict(interval=1))
visualizer = dict(name={name!r})
"""


def draw_data(folder, is_thing):
    """Four pictures whose things are annotated, each on its own or as one region; all else is void."""
    (folder / 'photos').mkdir(parents=True)
    (folder / 'panoptic').mkdir()
    images, annotations = [], []
    for number in range(1, 5):
        scene = draw_scene(96, np.random.default_rng(number))
        ids = np.zeros(scene.segment_map.shape, np.uint8)
        for segment, drawn in enumerate(scene.names, start=1):
            if drawn not in ('sky', 'grass', 'water'):
                ids[scene.segment_map == segment] = segment if is_thing else 1
        name = f'{number:03d}.png'
        cv2.imwrite(str(folder / 'photos' / name), np.ascontiguousarray(scene.image[..., ::-1]))
        Image.fromarray(np.stack([ids, ids * 0, ids * 0], -1)).save(folder / 'panoptic' / name)
        segments = [{'id': k, 'category_id': 1, 'iscrowd': 0} for k in np.unique(ids[ids > 0]).tolist()]
        images.append({'id': number, 'file_name': name, 'height': 96, 'width': 96})
        annotations.append({'image_id': number, 'file_name': name, 'segments_info': segments})
    categories = [{'id': 1, 'name': 'cell', 'isthing': int(is_thing)}]
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    (folder / 'panoptic.json').write_text(json.dumps(content))


@pytest.mark.parametrize('is_thing', [True, False])
def test_train_measure_and_predict(call_tool, tmp_path, is_thing):
    draw_data(tmp_path / 'data', is_thing)
    base = str(find_config('oneformer_r18-narrow_1xb16-6k_shapes-96x96'))
    config = tmp_path / 'one_class.py'
    config.write_text(CONFIG.format(base=base, things=(0,) if is_thing else (), name=f'one-class-{is_thing}'))
    assert call_tool('train.py', config, '--work-dir', 'run', '--seed', 0) == 0
    log = next((tmp_path / 'run').glob('*/vis_data/scalars.json')).read_text()
    losses = [line['loss'] for line in map(json.loads, log.splitlines()) if 'loss' in line]
    assert len(losses) == 2 and all(math.isfinite(loss) and loss > 0 for loss in losses)

    assert call_tool('test.py', config, 'run/iter_2.pth', '--work-dir', 'out') == 0
    metrics = json.loads((tmp_path / 'out/results.json').read_text())['metrics']['own']
    assert metrics['mIoU'] == 100  # every pixel gets the one class, and void does not count
    assert 0 <= metrics['PQ'] <= 100 and metrics['PQ_th' if is_thing else 'PQ_st'] == metrics['PQ']
    assert metrics['PQ_st' if is_thing else 'PQ_th'] is None and (metrics['AP'] is None) is not is_thing

    infer = OneFormerInferencer(config, tmp_path / 'run/iter_2.pth', device='cpu')
    result = infer(tmp_path / 'data/photos/001.png', out_dir=tmp_path / 'answers')
    assert np.unique(result.semantic).tolist() == [0]
    assert (len(result.instances) > 0) is is_thing
    assert (tmp_path / 'answers/overlays/001_panoptic.jpg').is_file()
    assert call_tool('test.py', config, 'run/iter_2.pth', '--format-only', '--out', 'server', '--work-dir', 'out') == 0
    assert np.unique(np.array(Image.open(tmp_path / 'server/semantic/001.png'))).tolist() == [1]
