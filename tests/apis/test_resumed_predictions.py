"""A run over a folder that is interrupted leaves nothing that contradicts itself, and can be resumed."""

import hashlib
import json
import os

import cv2
import pytest

from mmseg_oneformer.apis import OneFormerInferencer
from mmseg_oneformer.apis.results import journal
from mmseg_oneformer.apis.results.journal import JOURNAL
from mmseg_oneformer.errors import UserError

NAMES = ('a', 'b', 'c', 'd')


@pytest.fixture
def infer(tiny_model):
    config, weights = tiny_model
    return OneFormerInferencer(config, weights, device='cpu')


@pytest.fixture
def photos(make_photo, tmp_path):
    folder = tmp_path / 'photos'
    folder.mkdir()
    for name in NAMES:
        cv2.imwrite(str(folder / f'{name}.png'), make_photo())
    return folder


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob('*')
        if path.is_file()
    }


def interrupt(infer, photos, out, after, **options):
    stream = infer.stream(photos, out_dir=out, progress=False, **options)
    for _ in range(after):
        next(stream)
    stream.close()


def test_resume__the_files_are_those_of_one_run(infer, photos, tmp_path):
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    infer(photos, out_dir=whole)
    infer(photos, tasks='panoptic', out_dir=parts)  # an earlier run with other options
    interrupt(infer, photos, parts, 2)
    # The maps are of two runs now, so no JSON may speak of them.
    assert not list(parts.glob('*.json'))
    left = infer(photos, out_dir=parts, resume=True)
    assert {result.source.name for result in left} <= {'c', 'd'}
    assert digests(parts) == digests(whole)


def test_resume__a_line_that_was_cut_off_and_a_photo_that_changed_are_done_again(infer, photos, tmp_path, make_photo):
    out = tmp_path / 'out'
    interrupt(infer, photos, out, 3)
    notes = out / JOURNAL
    notes.write_text(notes.read_text()[:-20])
    lines = notes.read_text().splitlines()
    finished = {json.loads(line.partition(' ')[2])['name'] for line in lines[1:-1]}
    cv2.imwrite(str(photos / 'a.png'), make_photo())
    left = {result.source.name for result in infer(photos, out_dir=out, resume=True)}
    assert left == set(NAMES) - (finished - {'a'})
    assert len(json.loads((out / 'panoptic.json').read_text())['annotations']) == len(NAMES)


@pytest.mark.parametrize('old', ['"segments_info": [', '"name": "a"', '"stamp": ['])
def test_resume__a_damaged_line_is_done_again(infer, photos, tmp_path, old):
    whole, out = tmp_path / 'whole', tmp_path / 'out'
    infer(photos, out_dir=whole)
    interrupt(infer, photos, out, 3)
    notes = out / JOURNAL
    text = notes.read_text()
    assert old in text
    notes.write_text(text.replace(old, old.replace('[', '3, ').replace('"a"', '7')))
    infer(photos, out_dir=out, resume=True)
    assert digests(out) == digests(whole)


def test_runs__what_a_killed_one_left_half_written_goes(infer, photos, tmp_path):
    whole, out = tmp_path / 'whole', tmp_path / 'out'
    infer(photos, out_dir=whole)
    interrupt(infer, photos, out, 2)
    ended = 2**22 + 1  # Larger than the number of any process.
    for name in ('.instances.%d.json', '.a_panoptic.%d.png', 'overlays/.a_panoptic.%d.jpg', '..predictions.%d.jsonl'):
        (out / (name % ended)).touch()
    kept = [out / f'.b.{os.getppid()}.png', out / '.hidden.png', out / '.1.5']  # of a process that lives, and others
    for path in kept:
        path.touch()
    infer(photos, out_dir=out, resume=True)
    for path in kept:
        path.unlink()
    assert digests(out) == digests(whole)


def test_resume__videos_that_are_finished_are_left_out(infer, tmp_path, make_photo):
    for name in ('a', 'b'):
        path = tmp_path / f'videos/{name}.avi'
        path.parent.mkdir(exist_ok=True)
        video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 5, (70, 50))
        for _ in range(3):
            video.write(make_photo(50, 70))
        video.release()
    clips = [str(tmp_path / f'videos/{name}.avi') for name in ('a', 'b')]
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    infer(clips, tasks='panoptic', out_dir=whole)
    interrupt(infer, clips, parts, 5, tasks='panoptic')  # in the middle of b
    with pytest.raises(UserError, match='other options'):
        infer(clips, tasks='panoptic', out_dir=parts, resume=True, max_frames=2)
    left = infer(clips, tasks='panoptic', out_dir=parts, resume=True)
    assert [(result.source.frame.video.name, result.source.frame.number) for result in left] == [
        ('b', 0), ('b', 1), ('b', 2)
    ]  # fmt: skip
    assert sorted(path.name for path in parts.iterdir()) == sorted(path.name for path in whole.iterdir())


def test_resume__of_another_config_is_refused(tiny_model, infer, photos, tmp_path):
    interrupt(infer, photos, tmp_path / 'out', 2)
    config, weights = tiny_model
    other = OneFormerInferencer(config, weights, device='cpu', cfg_options={'model.test_cfg.overlap_thr': 0.1})
    with pytest.raises(UserError, match='another model'):
        other(photos, out_dir=tmp_path / 'out', resume=True)


def test_resume__what_is_not_a_file_is_predicted_again(infer, make_photo, tmp_path):
    arrays = [make_photo(), make_photo()]
    interrupt(infer, arrays, tmp_path / 'out', 1, channel_order='bgr')
    assert len(infer(arrays, out_dir=tmp_path / 'out', channel_order='bgr', resume=True)) == 2


def test_begin__leftovers_are_looked_for_only_where_a_run_was_interrupted(infer, photos, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    infer(photos, out_dir=out)
    looked = []
    monkeypatch.setattr(journal, 'remove_leftovers', lambda paths, pattern: looked.append(pattern))
    infer(photos, out_dir=out)
    assert not looked
    interrupt(infer, photos, out, 1)
    infer(photos, out_dir=out)
    assert looked


def test_resume__of_other_options_is_refused(infer, photos, tmp_path):
    interrupt(infer, photos, tmp_path / 'out', 1)
    with pytest.raises(UserError, match='other options; give the same, or start anew'):
        infer(photos, tasks='semantic', out_dir=tmp_path / 'out', resume=True)
    with pytest.raises(UserError, match='give out_dir'):
        infer(photos, resume=True)


def test_resume__new_photos_are_added_with_numbers_of_the_whole(infer, photos, tmp_path, make_photo):
    out = tmp_path / 'out'
    interrupt(infer, photos, out, 2)
    cv2.imwrite(str(photos / '0.png'), make_photo())
    infer(photos, out_dir=out, resume=True)
    content = json.loads((out / 'panoptic.json').read_text())
    assert [image['file_name'] for image in content['images']] == ['0.png', 'a.png', 'b.png', 'c.png', 'd.png']
    assert [image['id'] for image in content['images']] == [1, 2, 3, 4, 5]
    assert [entry['image_id'] for entry in content['annotations']] == [1, 2, 3, 4, 5]
    instances = json.loads((out / 'instances.json').read_text())
    assert {(entry['image_id'], entry['file_name']) for entry in instances} <= {
        (image['id'], image['file_name']) for image in content['images']
    }


@pytest.mark.parametrize('batch_size', [1, 4])
def test_stream__a_photo_too_large_for_the_memory_is_skipped_and_named(
    infer, photos, tmp_path, monkeypatch, batch_size
):
    """As torch says it on the CPU, which has no class for it."""
    network, usual = infer.model.predict_logits, cv2.imread(str(photos / 'a.png'))
    wide = cv2.resize(usual, (usual.shape[1] * 4, usual.shape[0]))
    cv2.imwrite(str(photos / 'b.png'), wide)
    widths = [infer.prepare(photo).pixels.shape[-1] for photo in (usual, wide)]
    assert widths[1] > widths[0] + infer.model.data_preprocessor.pad_size_divisor

    def limited(inputs, *args, **settings):
        if inputs.shape[-1] >= widths[1]:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
        return network(inputs, *args, **settings)

    monkeypatch.setattr(infer.model, 'predict_logits', limited)
    skipped = []
    found = list(
        infer.stream(
            photos,
            batch_size=batch_size,
            progress=False,
            on_broken=lambda source, reason: skipped.append((source.name, reason)),
        )
    )
    assert [name for name, _ in skipped] == ['b'] and 'memory of this machine ran out' in skipped[0][1]
    assert [result.source.name for result in found] == ['a', 'c', 'd']
    with pytest.raises(UserError, match='ran out'):
        infer(photos)


def test_stream__another_error_of_torch_is_a_bug(infer, photos, monkeypatch):
    def broken(*args, **settings):
        raise RuntimeError('shapes do not match')

    monkeypatch.setattr(infer.model, 'predict_logits', broken)
    with pytest.raises(RuntimeError, match='shapes do not match'):
        list(infer.stream(photos, progress=False, on_broken=lambda source, reason: None))
