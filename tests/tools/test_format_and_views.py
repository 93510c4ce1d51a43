"""tools/test.py --format-only and --tta on pictures, with the shipped weights."""

import json

import numpy as np
import pytest
from PIL import Image

from mmseg_oneformer.apis import OneFormerInferencer

MODEL = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
IN_PROCESS = ('test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False')


@pytest.fixture
def pictures(call_tool, tmp_path):
    """Folder with six drawn pictures in ``data/shapes``."""
    options = ('--out', 'data/shapes', '--train', 1, '--val', 6, '--seed', 9)
    assert call_tool('dataset_converters/make_shapes.py', *options) == 0
    return tmp_path / 'data/shapes'


def test_format_only__photos_without_annotations(call_tool, pictures, tmp_path):
    truth = pictures / 'annotations/panoptic_val.json'
    made = ('--categories', truth, '--out', 'panoptic_test.json')
    assert call_tool('dataset_converters/image_list.py', pictures / 'val', *made) == 0
    options = (
        *IN_PROCESS,
        f'test_dataloader.dataset.ann_file={tmp_path / "panoptic_test.json"}',
        f'test_dataloader.dataset.data_prefix.img={pictures / "val"}',
    )
    arguments = ('--format-only', '--out', 'answers', '--work-dir', 'run', '--cfg-options', *options)
    assert call_tool('test.py', MODEL, *arguments) == 0
    table = json.loads((tmp_path / 'answers/panoptic_test_oneformer_results.json').read_text())
    ids = [entry['id'] for entry in json.loads(truth.read_text())['categories']]
    infer = OneFormerInferencer(MODEL)
    predictions = [result.sample for result in infer(pictures / 'val', batch_size=6, progress=False)]
    assert len(table['annotations']) == len(predictions) == 6
    for entry, sample in zip(table['annotations'], predictions):
        assert entry['image_id'] == entry['file_name'].removesuffix('.png')
        picture = np.array(Image.open(tmp_path / 'answers/panoptic_test_oneformer_results' / entry['file_name']))
        info = sample.pred_panoptic_seg.segments_info
        assert [s['category_id'] for s in entry['segments_info']] == [ids[s['category_id']] for s in info]
        for segment, mine in zip(entry['segments_info'], info):
            expected = sample.pred_panoptic_seg.sem_seg[0].numpy() == mine['id']
            assert np.array_equal(picture.astype(int) @ [1, 256, 256**2] == segment['id'], expected)
    assert not (tmp_path / 'run/results.json').exists()


def test_tta__one_view_equals_the_plain_test_and_several_are_good(call_tool, pictures, tmp_path):
    """One photo a batch, since padding in a batch changes predictions."""
    options = ('--cfg-options', *IN_PROCESS, 'test_dataloader.batch_size=1')
    assert call_tool('test.py', MODEL, '--work-dir', 'plain', *options) == 0
    one = ('tta.sides=[96]', 'tta.flip=False')
    assert call_tool('test.py', MODEL, '--tta', '--work-dir', 'one', *options, *one) == 0
    assert call_tool('test.py', MODEL, '--tta', '--work-dir', 'many', *options, 'tta.sides=[96,120]') == 0
    plain, one, many = (json.loads((tmp_path / name / 'results.json').read_text()) for name in ('plain', 'one', 'many'))
    assert one['metrics']['own'] == pytest.approx(plain['metrics']['own'], abs=1e-3)
    assert many['metrics']['own'] != plain['metrics']['own']
    assert min(many['metrics']['own'][name] for name in ('PQ', 'AP', 'mIoU')) > 70
    assert many['options']['tta'] == {'sides': [96, 120], 'max_size': 672, 'flip': True}


@pytest.mark.parametrize('arguments, message', [
    (('--tta', '--token-matrix'), 'leave out either --tta'),
    (('--format-only', '--token-matrix'), 'leave out --token-matrix'),
    (('--tta', '--cfg-options', 'tta=None'), 'the config has no tta'),
    (('--tta', '--cfg-options', 'tta.sides=[]'), 'tta.sides must be lengths'),
    (('--tta', '--cfg-options', 'test_dataloader.dataset.pipeline.1.type=mmdet.Resize'), 'replaces the ShortestEdge'),
])  # fmt: skip
def test_wrong_options__one_sentence(call_tool, pictures, capsys, arguments, message):
    assert call_tool('test.py', MODEL, '--work-dir', 'run', *arguments) == 2
    assert message in capsys.readouterr().err
