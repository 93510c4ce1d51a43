import importlib.util
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

TOOL = Path(__file__).parents[2] / 'tools/infer.py'


@pytest.fixture(scope='module')
def main():
    """The tool's ``main``; a process for each test would import torch each time."""
    spec = importlib.util.spec_from_file_location('infer_tool', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda *args: module.main([str(arg) for arg in args])


@pytest.fixture
def photos(make_photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'photos').mkdir()
    for name in ('a.png', 'b.png'):
        cv2.imwrite(f'photos/{name}', make_photo())
    return 'photos'


@pytest.fixture
def usual(tiny_model):
    config, weights = tiny_model
    return ['--model', config, '--weights', weights, '--out-dir', 'out', '--device', 'cpu']


def test_infer__as_a_user_runs_it(run_tool, usual, photos, tmp_path):
    done = run_tool('infer.py', photos, *usual)
    assert done.returncode == 0, done.stderr
    assert '2 images predicted' in done.stdout
    assert {path.name for path in (tmp_path / 'out/overlays').iterdir()} == {
        f'{name}_{task}.jpg' for name in 'ab' for task in ('semantic', 'instance', 'panoptic')
    }
    assert len(json.loads((tmp_path / 'out/panoptic.json').read_text())['annotations']) == 2


def test_infer__corrupt_photo_does_not_stop_the_others(main, usual, photos, capsys):
    Path('photos/aa.jpg').write_bytes(b'no photo')
    assert main(photos, *usual, '--tasks', 'panoptic') == 1
    assert capsys.readouterr().err.count('aa.jpg') == 2
    assert sorted(path.name for path in Path('out').glob('*.*')) == [
        'a_panoptic.png',
        'b_panoptic.png',
        'panoptic.json',
    ]


def test_infer__only_corrupt_photos(main, usual, photos, capsys):
    Path('broken.jpg').write_bytes(b'no photo')
    assert main('broken.jpg', *usual) == 1
    assert not Path('out').exists()


@pytest.mark.parametrize(
    'args, sentence',
    [
        (['--tasks', 'depth'], "unknown task 'depth'"),
        (['--token', 'all'], "unknown task 'all'"),
        (['--device', 'toaster'], 'Device toaster'),
        (['--weights', 'none.pth'], 'none.pth'),
        (['--model', 'oneformer_r51'], 'oneformer_r51'),
        (['--out-dir', ''], '--out-dir missing'),
        (['--batch-size', '0'], 'batch size'),
        (['--out-dir', 'photos'], 'choose another folder'),
        (['nowhere.jpg'], 'nowhere.jpg does not exist'),
    ],
)
def test_infer__mistakes_are_one_sentence(main, usual, photos, args, sentence, capsys):
    inputs = args if args[0] == 'nowhere.jpg' else [photos]
    with pytest.raises(SystemExit) as stop:
        main(*inputs, *usual, *(args if inputs == [photos] else ()))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count('\n') == 1
    assert not Path('out').exists()


def test_infer__video_pattern_and_exports(main, usual, photos, make_photo):
    writer = cv2.VideoWriter('clip.avi', cv2.VideoWriter.fourcc(*'MJPG'), 5, (70, 50))
    for seed in range(4):
        writer.write(make_photo(seed=seed))
    writer.release()
    assert main('photos/*.png', 'clip.avi', *usual, '--max-frames', '2', '--export', 'labelme', 'geojson') == 0
    written = {path.relative_to('out').as_posix() for path in Path('out').rglob('*.*')}
    assert {'clip_panoptic.mp4', 'panoptic.json', 'a_panoptic.png'} <= written
    names = [f'{name}.json' for name in ('a', 'b', 'clip_000000', 'clip_000001')]
    assert sorted(path.name for path in Path('out/labelme_panoptic').iterdir()) == names
    assert len(list(Path('out/geojson_instance').glob('*.geojson'))) == 4
    labelme = json.loads(Path('out/labelme_panoptic/a.json').read_text())
    assert (Path('out/labelme_panoptic') / labelme['imagePath']).resolve() == Path('photos/a.png').resolve()


class Camera:
    """OpenCV's capture of a camera, at whose fourth frame somebody presses Ctrl-C."""

    def __init__(self, index):
        self.shown = 0

    def read(self):
        self.shown += 1
        if self.shown == 4:
            raise KeyboardInterrupt
        return True, np.full((48, 64, 3), 60 * self.shown, np.uint8)

    def get(self, key):
        return 0.0

    def set(self, key, value):
        pass

    def release(self):
        pass


def test_infer__camera_until_ctrl_c(main, usual, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cv2, 'VideoCapture', Camera)
    assert main('--camera', '0', *usual, '--tasks', 'semantic') == 0
    said = capsys.readouterr().out
    assert re.search(r'^[1-9]\d* images? predicted \(semantic\)', said, re.MULTILINE)
    assert [path.name for path in Path('out').iterdir()] == ['camera_0_semantic.mp4']
    assert Path('out/camera_0_semantic.mp4').stat().st_size > 1000


def test_infer__address_only_if_asked(main, usual, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main('http://127.0.0.1:1/photo.jpg', *usual)
    assert stop.value.code == 2 and '--allow-urls' in capsys.readouterr().err
    assert main('http://127.0.0.1:1/photo.jpg', *usual, '--allow-urls') == 1
    assert 'is not public' in capsys.readouterr().err
    assert main('http://127.0.0.1:1/photo.jpg', *usual, '--allow-urls', '--allow-private-urls') == 1
    assert 'cannot be fetched' in capsys.readouterr().err


def test_infer__list(main, capsys):
    with pytest.raises(SystemExit) as end:
        main('--list')
    assert not end.value.code
    assert 'oneformer_swin-l_8xb2-100e_coco-1024x1024' in capsys.readouterr().out
