"""Videos and cameras: frames stream, and nothing is kept."""

import re
import subprocess
import sys
import weakref
from dataclasses import replace

import cv2
import numpy as np
import pytest

from mmseg_oneformer.apis import OneFormerInferencer
from mmseg_oneformer.apis.results import VideoWriter
from mmseg_oneformer.apis.sources import Frame, Video, collect_sources
from mmseg_oneformer.apis.videos import count_images, each_image

FRAMES, FPS = 12, 8
CAMERA = Video('camera_0', 'camera_0', camera=0)


@pytest.fixture(scope='module')
def infer(tiny_model):
    return OneFormerInferencer(*tiny_model, device='cpu')


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    """A video whose frame k is of grey level 10 k."""
    path = tmp_path_factory.mktemp('clip') / 'clip.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), FPS, (64, 48))
    for k in range(FRAMES):
        writer.write(np.full((48, 64, 3), 10 * k, np.uint8))
    writer.release()
    return path


class FakeCamera:
    """OpenCV's capture of a camera that shows frame after frame without an end."""

    opened: list['FakeCamera'] = []

    def __init__(self, index):
        assert isinstance(index, int)
        self.index, self.shown, self.released, self.settings = index, 0, False, {}
        FakeCamera.opened.append(self)

    def read(self):
        self.shown += 1
        return (True, np.full((48, 64, 3), self.shown, np.uint8)) if self.index == 0 else (False, None)

    def get(self, key):
        return -1.0

    def set(self, key, value):
        self.settings[key] = value

    def release(self):
        self.released = True


@pytest.fixture
def camera(monkeypatch):
    monkeypatch.setattr(cv2, 'VideoCapture', FakeCamera)
    FakeCamera.opened.clear()
    return FakeCamera.opened


def video_of(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (frame := capture.read())[0]:
        frames.append(frame[1])
    return frames, capture.get(cv2.CAP_PROP_FPS)


def test_frames__in_order_and_numbered(infer, clip):
    results = infer(clip, 'semantic', progress=False, batch_size=5)
    assert [round(result.image.mean() / 10) for result in results] == list(range(FRAMES))
    assert [result.source.frame.number for result in results] == list(range(FRAMES))
    first = results[0].source
    assert (first.name, first.file_name, first.frame.fps) == ('clip_000000', 'clip_000000.png', FPS)
    assert first.frame.video.path == clip


def test_max_frames__and_photos_between(infer, clip, make_photo):
    results = infer([make_photo(), clip, make_photo()], 'semantic', max_frames=3, progress=False, channel_order='bgr')
    names = ['array_0000', 'clip_000000', 'clip_000001', 'clip_000002', 'array_0002']
    assert [result.source.name for result in results] == names
    with pytest.raises(ValueError, match='max_frames of 0'):
        infer.stream(clip, max_frames=0)


def test_out_dir__a_video_for_each_task(infer, clip, make_photo, tmp_path):
    infer([clip, make_photo()], progress=False, out_dir=tmp_path, channel_order='bgr')
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob('*.*'))
    assert [name for name in names if name.endswith('.mp4')] == [
        *(f'clip_{task}.mp4' for task in ('instance', 'panoptic', 'semantic')),
    ]
    assert len(names) == 3 + 7, 'and the files of the photo'
    frames, fps = video_of(tmp_path / 'clip_semantic.mp4')
    (drawn,) = infer(clip, 'semantic', progress=False, max_frames=1)
    expected = drawn.plot('semantic')[:, :, ::-1]
    assert (len(frames), frames[0].shape, fps) == (FRAMES, expected.shape, FPS)
    assert np.abs(frames[0].astype(int) - expected).mean() < 8, 'colours are as drawn, but for the compression'


def test_out_dir__not_where_the_video_is(infer, clip):
    with pytest.raises(ValueError, match='another folder'):
        infer.stream(clip, out_dir=clip.parent)


def test_stream__left_early_leaves_no_video(infer, clip, tmp_path):
    stream = infer.stream(clip, out_dir=tmp_path, progress=False)
    next(stream), next(stream)
    stream.close()
    assert not list(tmp_path.rglob('*'))


def test_stream__no_frame_is_kept(infer, tmp_path):
    """Memory does not grow with the video: of the frames before, at most those on their way are alive."""
    path = tmp_path / 'long.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), FPS, (32, 32))
    for k in range(20):
        writer.write(np.full((32, 32, 3), k, np.uint8))
    writer.release()
    seen, most = [], 0
    for result in infer.stream(path, 'semantic', progress=False, out_dir=tmp_path / 'out'):
        seen.append(weakref.ref(result.image))
        most = max(most, sum(ref() is not None for ref in seen))
    assert len(seen) == 20 and most <= 3


def test_progress__frames_and_time_left(infer, clip, capsys):
    infer(clip, 'semantic')
    bar = capsys.readouterr().err
    assert f'{FRAMES}/{FRAMES}' in bar and '<' in bar, 'the number of frames is known, and so is the time left'


def test_broken_video__is_named_and_can_be_left_out(infer, clip, tmp_path):
    (tmp_path / 'bad.mp4').write_bytes(b'no video')
    with pytest.raises(ValueError, match=r'bad\.mp4 gives no picture'):
        infer(tmp_path / 'bad.mp4', progress=False)
    broken = []
    stream = infer.stream(
        [tmp_path / 'bad.mp4', clip], 'semantic', progress=False, on_broken=lambda source, reason: broken.append(source)
    )
    assert sum(1 for _ in stream) == FRAMES and [source.name for source in broken] == ['bad']


def test_cut_video__gives_the_frames_there_are(infer, clip, tmp_path):
    content = clip.read_bytes()
    (tmp_path / 'cut.avi').write_bytes(content[: [match.start() for match in re.finditer(b'00dc', content)][6]])
    assert 4 <= len(infer(tmp_path / 'cut.avi', 'semantic', progress=False)) <= 6


def test_turned_video__stands_upright(clip, tmp_path):
    """Phones store frames as the sensor lies, and say in the file how to turn them."""
    path = tmp_path / 'phone.mp4'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), FPS, (64, 48))
    for _ in range(3):
        writer.write(np.concatenate([np.zeros((48, 32, 3), np.uint8), np.full((48, 32, 3), 255, np.uint8)], axis=1))
    writer.release()
    content = bytearray(path.read_bytes())
    matrix = content.index(b'tkhd') + 4 + 40  # version 0: its 3 x 3 matrix begins 40 bytes into the box (ISO 14496-12)
    one = 1 << 16
    quarter_turn = [0, one, 0, -one, 0, 0, 48 * one, 0, 1 << 30]
    content[matrix : matrix + 36] = b''.join(value.to_bytes(4, 'big', signed=True) for value in quarter_turn)
    path.write_bytes(content)
    (source, *_) = each_image(collect_sources(path))
    image = source.read()
    assert image.shape == (64, 48, 3) and image[:20].mean() < 20 and image[-20:].mean() > 235


def test_camera__has_no_end(infer, camera, tmp_path):
    with pytest.raises(ValueError, match='A camera has no end'):
        infer(0)
    assert len(infer(0, 'semantic', max_frames=3, progress=False)) == 3
    stream = infer.stream(0, 'panoptic', out_dir=tmp_path, progress=False)
    results = [next(stream) for _ in range(4)]
    stream.close()
    assert [result.source.name for result in results] == [f'camera_0_{k:06d}' for k in range(4)]
    assert all(one.released and one.settings[cv2.CAP_PROP_BUFFERSIZE] == 1 for one in camera)
    frames, fps = video_of_file(tmp_path / 'camera_0_panoptic.mp4')
    assert frames >= 4 and fps == 25, 'leaving is how a camera ends: what was seen is kept'


def test_camera__a_mistake_leaves_no_video(infer, camera, tmp_path):
    with pytest.raises(ZeroDivisionError), VideoWriter(tmp_path, [CAMERA], infer.dataset_meta) as writer:
        for result in infer.stream(0, 'semantic', max_frames=2, progress=False):
            writer.add(replace(result.source, frame=Frame(CAMERA, 0, 25)), result.image, result.sample)
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def video_of_file(path):
    """Frames and rate, by OpenCV's reader itself: the camera of these tests stands in its place."""
    code = (
        'import cv2, sys; c = cv2.VideoCapture(sys.argv[1])\nn = 0\n'
        'while c.read()[0]: n += 1\nprint(n, c.get(cv2.CAP_PROP_FPS))'
    )
    done = subprocess.run([sys.executable, '-c', code, str(path)], capture_output=True, text=True, check=True)
    frames, fps = done.stdout.split()
    return int(frames), float(fps)


def test_camera__not_there(infer, camera):
    with pytest.raises(ValueError, match='Camera 7 gives no picture; check that it is connected'):
        infer(7, max_frames=1, progress=False)
    with pytest.raises(ValueError, match='no camera -1'):
        infer.stream(-1)


def test_count__as_far_as_it_is_known(clip, camera, monkeypatch):
    assert count_images([Video('camera_0', 'camera_0', camera=0)]) is None
    assert count_images([Video('camera_0', 'camera_0', camera=0)], 9) == 9
    monkeypatch.undo()
    assert count_images(collect_sources([clip, np.zeros((4, 4), np.uint8)])) == FRAMES + 1
    assert count_images(collect_sources(clip), 5) == 5
