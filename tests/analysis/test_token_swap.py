"""One command draws every prediction under every token."""

import cv2
import pytest

from mmseg_oneformer.apis import OneFormerInferencer
from mmseg_oneformer.visualization.samples import draw_tokens

SHIPPED = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
TOOL = 'analysis_tools/token_swap.py'


def test_tool__the_pages_of_separate_calls(call_tool, shapes, shipped, tmp_path, capsys):
    photos = shapes.photos[:2]
    assert call_tool(TOOL, *photos, '--model', SHIPPED, '--device', 'cpu', '--height', 120, '--out-dir', 'out') == 0
    samples = {task: shipped(photos[1], token=task) for task in ('semantic', 'instance', 'panoptic')}
    image = cv2.cvtColor(samples['semantic'].image, cv2.COLOR_BGR2RGB)
    expected = draw_tokens(image, {task: one.sample for task, one in samples.items()}, shipped.dataset_meta, height=120)
    drawn = cv2.cvtColor(cv2.imread(str(tmp_path / 'out/000002.png')), cv2.COLOR_BGR2RGB)
    assert (drawn == expected).all() and sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
        '000001.png',
        '000002.png',
    ]
    instance_row = [line for line in capsys.readouterr().out.splitlines() if line.startswith('instance')][1]
    segments = samples['instance'].panoptic.segments
    assert f'{sum(one.is_thing for one in segments)} things, 0 stuff' in instance_row


def test_tool__one_pass_through_the_backbone(call_tool, shapes, monkeypatch):
    passes = []
    original = OneFormerInferencer.logits
    monkeypatch.setattr(
        OneFormerInferencer, 'logits', lambda *args, **kwargs: passes.append(1) or original(*args, **kwargs)
    )
    assert call_tool(TOOL, shapes.photos[0], '--model', SHIPPED, '--device', 'cpu', '--out-dir', 'out') == 0
    assert len(passes) == 1


@pytest.mark.parametrize('twice', [True, False])
def test_tool__a_mistake_is_one_sentence(call_tool, shapes, capsys, twice):
    photos = [shapes.photos[0]] * 2 if twice else ['absent.jpg']
    assert call_tool(TOOL, *photos, '--model', SHIPPED) == 2
    error = capsys.readouterr().err
    assert ('the same name' if twice else 'absent.jpg does not exist') in error and error.count('\n') == 1
