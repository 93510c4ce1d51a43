"""The page of the worst images, opened in a real browser where there is one."""

import html
import json
import re
import shutil
import subprocess

import cv2
import numpy as np
import pytest
from mmengine.evaluator import Evaluator
from PIL import Image

from mmseg_oneformer.visualization.errors import CONFUSED, FALSE, MISSED, draw_errors

K = 5
QUICKSTART = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
BY_QUALITY = [(2, 2), (1, 2), (2, 1), (0, 2), (1, 1), (2, 0), (0, 1), (1, 0), (0, 0)]
"""(false, missed) segments of the drawn images, the lowest PQ first."""
HOSTILE = '"><img src=x onerror=document.title="owned">'


@pytest.fixture(scope='session')
def browse(tmp_path_factory):
    """Open an address in a headless Chromium; returns its document after all scripts have run."""
    names = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip(f'no browser: none of {", ".join(names)} is installed')
    profile = tmp_path_factory.mktemp('profile')

    def browse(path, fragment='', *flags):
        headless = ('--headless', '--no-sandbox', '--disable-gpu', f'--user-data-dir={profile}')
        command = [program, *headless, '--virtual-time-budget=4000', *(flags or ['--dump-dom'])]
        done = subprocess.run(
            [*command, path.resolve().as_uri() + fragment], capture_output=True, text=True, timeout=600, check=True
        )
        return done.stdout

    return browse


@pytest.fixture(scope='module')
def report(tmp_path_factory):
    """Nine images by their errors (false, missed): 0 and 0, 0 and 1, ... 2 and 2, all among the worst."""
    folder = tmp_path_factory.mktemp('page')
    evaluator = Evaluator([{'type': 'SegmentReport', 'folder': str(folder / 'report'), 'title': HOSTILE}])
    evaluator.dataset_meta = {'classes': ('sky', HOSTILE, 'grass', 'dog', 'road'), 'thing_ids': (1, 3)}
    for false in range(3):
        for missed in range(3):
            gt_map, pred_map = np.zeros((20, 60), np.int32), np.full((20, 60), K)
            gt_map[:, :20], pred_map[:, :18] = 1, 1000  # class 0, IoU 0.9
            segments = [{'id': 9, 'label': 0, 'isthing': False, 'iscrowd': False}]
            prediction = [{'id': 1000, 'category_id': 0, 'isthing': False, 'score': 0.9}]
            gt_map[:, 20:30], segments = 2, [*segments, {'id': 8, 'label': 2, 'isthing': False, 'iscrowd': True}]
            for k in range(false):
                pred_map[:, 20 + k * 4 : 23 + k * 4] = 3001 + 1000 * k
                prediction.append({'id': 3001 + 1000 * k, 'category_id': 1, 'isthing': True, 'score': 0.4})
            for k in range(missed):
                gt_map[:, 40 + k * 8 : 46 + k * 8] = 3 + k
                segments.append({'id': 20 + k, 'label': 3, 'isthing': True, 'iscrowd': False})
            photo = str(folder / f'<b>{false}{missed}&amp;.png')
            cv2.imwrite(photo, np.full((20, 60, 3), 90, np.uint8))
            sample = {'img_id': 3 * false + missed, 'img_path': photo, 'segments_info': segments}
            sample['gt_panoptic_seg'] = {'sem_seg': gt_map}
            sample['pred_panoptic_seg'] = {'sem_seg': pred_map, 'segments_info': prediction}
            evaluator.process([sample])
    evaluator.evaluate(9)
    return folder / 'report'


def cards(document):
    """(false, missed, hidden) of each image in the order of the page."""
    tags = re.findall(r'<article[^>]*>', document)
    return [
        (*(int(re.search(rf'data-{key}="(\d+)"', tag)[1]) for key in ('fp', 'fn')), 'hidden' in tag) for tag in tags
    ]


def title(document):
    return html.unescape(re.search(r'<title>(.*?)</title>', document)[1])


def test_page__without_a_browser(report):
    page = (report / 'index.html').read_text()
    assert cards(page) == [(*numbers, False) for numbers in BY_QUALITY]
    assert '<b>' not in page and '<img src=x' not in page
    assert not re.findall(r'(?:https?:)?//[\w.]+', page)  # nothing to fetch from anywhere
    pictures = re.findall(r'(?:src|href)="(pictures/[^"]+)"', page)
    assert len(pictures) == len(set(pictures)) == 9 * 4 * 2
    assert all((report / name).is_file() for name in pictures)
    assert page.count('loading="lazy"') == 9 * 4
    with Image.open(report / 'pictures/0001_errors_small.jpg') as small:
        assert small.size == (320, 107)


@pytest.mark.parametrize(
    ('fragment', 'order'),
    [
        ('', BY_QUALITY),
        ('#sort=fp', [(2, 2), (2, 1), (2, 0), (1, 2), (1, 1), (1, 0), (0, 2), (0, 1), (0, 0)]),
        ('#sort=fn', [(2, 2), (1, 2), (0, 2), (2, 1), (1, 1), (0, 1), (2, 0), (1, 0), (0, 0)]),
        ('#sort=nonsense&class=77', BY_QUALITY),
    ],
)
def test_page__sorts(browse, report, fragment, order):
    document = browse(report / 'index.html', fragment)
    assert cards(document) == [(*numbers, False) for numbers in order]
    assert title(document) == f'{HOSTILE}: worst images'
    assert '9 images</output>' in document


def test_page__filters_by_class(browse, report):
    document = browse(report / 'index.html', '#sort=fn&class=1')  # class 1 is only ever false, 3 only missed
    shown = [tuple(numbers) for *numbers, hidden in cards(document) if not hidden]
    assert shown == [(2, 2), (1, 2), (2, 1), (1, 1), (2, 0), (1, 0)]
    assert '6 images</output>' in document


def test_page__the_pictures_are_seen(browse, report, tmp_path):
    """The browser paints what the page links to, in the colours of the errors."""
    shot = tmp_path / 'shot.png'
    browse(report / 'index.html', '', f'--screenshot={shot}', '--window-size=1400,1200', '--hide-scrollbars')
    pixels = cv2.imread(str(shot))[..., ::-1].astype(int)
    assert pixels.shape == (1200, 1400, 3)
    for color in (MISSED, FALSE):
        # 0.58 of the colour over a photo that is nearly white; the legend alone has 150 pixels of it.
        tint = 0.58 * np.array(color) + 0.42 * 160
        assert (np.abs(pixels - tint).max(axis=2) < 14).sum() > 2000


def test_draw_errors__each_kind_has_its_color():
    gt_map, pred_map = np.zeros((480, 640), int), np.zeros((480, 640), int)
    gt_map[:, :100], pred_map[:, 200:300], gt_map[:, 400:500], pred_map[:, 400:490] = 7, 8, 9, 10

    def segment(outcome, label, iou=0.0, nearest=None, **places):
        empty = {'annotated': None, 'predicted': None}
        return {'outcome': outcome, 'class': label, 'iou': iou, 'nearest': nearest} | empty | places

    segments = [
        segment('fn', 0, annotated={'id': 7}),
        segment('fp', 1, predicted={'id': 8}),
        segment('fn', 2, 0.9, {'id': 10, 'class': 1}, annotated={'id': 9}),
        segment('fp', 1, 0.9, {'id': 9, 'class': 2}, predicted={'id': 10}),
    ]
    picture = draw_errors(np.full((480, 640, 3), 100, np.uint8), gt_map, pred_map, segments, ('a', 'b', 'c')).astype(
        int
    )
    grey = picture[20, 150]
    assert np.ptp(grey) == 0
    for column, color in ((20, MISSED), (220, FALSE), (420, CONFUSED)):
        assert np.abs(picture[20, column] - (0.42 * grey + 0.58 * np.array(color))).max() < 3
    assert (picture[20, 495] == grey).all()  # missed, but not twice: its prediction stands for it


def test_tool__report_of_the_shipped_weights(call_tool, browse, tmp_path):
    assert call_tool('dataset_converters/make_shapes.py', '--out', 'data/shapes', '--train', 1, '--val', 5) == 0
    options = ('--work-dir', 'out', '--cfg-options', 'test_dataloader.num_workers=0')
    options = (*options, 'test_dataloader.persistent_workers=False')
    flags = ('--tasks', 'panoptic', '--report', 'found', '--report-images', 2)
    assert call_tool('test.py', QUICKSTART, *flags, *options) == 0
    report = json.loads((tmp_path / 'found/report.json').read_text())
    assert (report['title'], report['num_images'], len(report['images'])) == (QUICKSTART, 5, 5)
    results = json.loads((tmp_path / 'out/results.json').read_text())
    assert list(results['metrics']['own']) and 'PQ' in results['metrics']['own']
    document = browse(tmp_path / 'found/index.html')
    assert QUICKSTART in document and 1 <= len(cards(document)) <= 5


def test_tool__report_mistakes(call_tool, capsys):
    assert call_tool('test.py', QUICKSTART, '--tasks', 'semantic', '--report', 'found') == 2
    assert 'add panoptic to --tasks' in capsys.readouterr().err
    assert call_tool('test.py', QUICKSTART, '--token-matrix', '--report', 'found') == 2
    assert 'leave out --token-matrix' in capsys.readouterr().err
