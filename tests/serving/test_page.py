"""The page in a real browser: what a user sees and does. Predictions are compared with the API's, pixel by pixel."""

import base64
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mmseg_oneformer.tasks import TASKS

CHROMIUM = shutil.which('chromium') or '/usr/bin/chromium'
ARGS = [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
]
HEIGHT, WIDTH = 72, 96
REQUIRED = os.environ.get('REQUIRE_CHROMIUM') == '1'
# Chromium drops, without a word, what a page's scripts download beyond ten files within a second; a test is that quick.
DOWNLOAD_PAUSE_MS = 1100


# The browser ends with the module: while it is there, no other test of this process can call asyncio.run.
@pytest.fixture(scope='module')
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        if REQUIRED:
            raise
        pytest.skip('playwright is not installed')
    if not os.access(CHROMIUM, os.X_OK):
        assert not REQUIRED, f'REQUIRE_CHROMIUM=1, but there is no {CHROMIUM}'
        pytest.skip('there is no chromium')
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def server(serve_page):
    with serve_page() as server:
        yield server


@pytest.fixture
def open_page(browser, server):
    """Opens the page; at the end of the test its console has to be empty, but for requests that were to fail."""
    contexts, complaints, allowed = [], [], []

    def open_page(url=server.url, **options):
        context = browser.new_context(viewport={'width': 1280, 'height': 800}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)  # a machine may be busy
        page.on('console', lambda message: complaints.append(message.text))
        page.on('pageerror', lambda error: complaints.append(str(error)))
        page.fails = lambda reason: allowed.append(str(reason))
        page.goto(url)
        page.wait_for_selector('#limits:not(:empty)')
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not [text for text in complaints if not any(one in text for one in allowed)]


@pytest.fixture
def page(open_page):
    return open_page()


@pytest.fixture
def predicted(page, scene_png):
    """The page after a photo was chosen."""
    give(page, scene_png)
    return page


def give(page, content, name='garden.png', kind='image/png'):
    page.set_input_files('#file', {'name': name, 'mimeType': kind, 'buffer': content})
    page.wait_for_function('name => document.querySelector("#status").textContent.startsWith(name)', arg=name)
    settle(page)


def settle(page):
    page.wait_for_selector('#work:not([aria-busy])')


def see(page, view):
    page.click(f'#tab-{view}')
    count = {'three': 3, 'matrix': 9}.get(view, 1)
    page.wait_for_function(
        '([count, view]) => document.querySelectorAll("#stage canvas").length === count && (count > 1 || '
        'document.querySelector("#stage canvas").dataset.task === view)',
        arg=[count, view],
    )
    settle(page)


def slide(page, name, value):
    page.locator(f'#{name}').fill(str(value))
    settle(page)


def pixels(page, index=0):
    """What is drawn, one pixel for each of the photo, (H, W, 3) RGB: the middle ones of the enlarged canvas."""
    url = page.evaluate('index => document.querySelectorAll("#stage canvas")[index].toDataURL()', index)
    image = np.array(Image.open(io.BytesIO(base64.b64decode(url.partition(',')[2]))).convert('RGB')).astype(int)
    factor = image.shape[1] // WIDTH
    assert image.shape == (HEIGHT * factor, WIDTH * factor, 3)
    return image[factor // 2 :: factor, factor // 2 :: factor]


def point_at(page, x, y, index=0):
    box = page.locator('#stage canvas').nth(index).bounding_box()
    page.mouse.move(box['x'] + (x + 0.5) / WIDTH * box['width'], box['y'] + (y + 0.5) / HEIGHT * box['height'])


def tip(page):
    """Name and facts beside the pointer, or None."""
    shown = page.locator('#tip')
    return (shown.locator('b').inner_text(), shown.locator('span').inner_text()) if shown.is_visible() else None


def expected_tip(result, task, x, y, score_thr=0.5):
    """What the API says about a pixel."""
    if task == 'semantic':
        label = result.semantic[y, x]
        return result.classes[label], f'{_share(result.semantic == label)} of the photo'
    if task == 'instance':
        for k, (name, score) in enumerate(zip(result.instances.names, result.instances.scores)):
            if score >= score_thr and result.instances.mask(k)[y, x]:
                return name, f'score {score:.2f}, {_share(result.instances.mask(k))} of the photo'
        return None
    for segment in result.panoptic.segments:
        if result.panoptic.ids[y, x] == segment.id:
            mask = result.panoptic.mask(segment)
            return segment.name, f'score {segment.score:.2f}, {_share(mask)} of the photo'
    return None


def _share(mask):
    return f'{100 * mask.mean():.{1 if mask.mean() < 0.1 else 0}f} %'


def listed(page):
    """Names in the list of classes."""
    names = page.evaluate(
        '[...document.querySelectorAll("#classes label")].map((one) => one.childNodes[2].textContent)'
    )
    return set(names)


SPOTS = [(x, y) for x in (5, 30, 48, 66, 90) for y in (4, 25, 40, 55, 68)]


def test_hover__names_what_the_api_finds_at_the_pixel(predicted, looked_at):
    result, seen, expected = looked_at.predict(TASKS), {}, {}
    for task in TASKS:
        see(predicted, task)
        for spot in SPOTS:
            point_at(predicted, *spot)
            seen[task, spot], expected[task, spot] = tip(predicted), expected_tip(result, task, *spot)
        assert len({seen[task, spot] for spot in SPOTS}) >= 2
    assert seen == expected
    predicted.mouse.move(1, 1)
    assert tip(predicted) is None


def test_tasks__switching_changes_the_picture_and_asks_the_network_nothing(predicted, looked_at, infer):
    passes = infer.passes
    slide(predicted, 'opacity', 1)
    pictures = {}
    for task in TASKS:
        see(predicted, task)
        pictures[task] = pixels(predicted)
        assert predicted.locator('#stage canvas').get_attribute('aria-label').startswith(f'{task.title()} prediction')
    assert len({picture.tobytes() for picture in pictures.values()}) == 3
    # Inside of a class, at full opacity, there is nothing but its colour.
    semantic = looked_at.predict('semantic')
    for label in np.unique(semantic.semantic):
        inner = cv2.erode((semantic.semantic == label).astype(np.uint8), np.ones((5, 5))) > 0
        assert (pictures['semantic'][inner] == semantic.colors[label]).all()
    assert infer.passes == passes


def test_opacity__at_zero_the_photo_is_left(predicted, scene):
    see(predicted, 'semantic')
    slide(predicted, 'opacity', 0)
    error = np.abs(pixels(predicted) - scene[:, :, ::-1])
    assert np.median(error) <= 3 and error.mean() < 8  # enlarged smoothly
    slide(predicted, 'opacity', 1)
    assert np.abs(pixels(predicted) - scene[:, :, ::-1]).mean() > 20


def test_sliders__act_as_the_api_and_ask_the_network_nothing(predicted, looked_at, infer, server):
    passes, batches = infer.passes, server.ask('/health').body['batches']
    see(predicted, 'instance')
    found = looked_at.predict('instance')
    names, scores = found.instances.names, found.instances.scores
    for value in (0.05, 0.5, 0.97, 1):
        slide(predicted, 'score', value)
        assert listed(predicted) == {name for name, score in zip(names, scores) if score >= value}
        for spot in SPOTS[::3]:
            point_at(predicted, *spot)
            assert tip(predicted) == expected_tip(found, 'instance', *spot, score_thr=value)
    see(predicted, 'panoptic')
    for mask_thr, overlap_thr in ((0.0, 0.0), (0.99, 0.5), (1.0, 0.0)):
        slide(predicted, 'object_mask_thr', mask_thr)
        slide(predicted, 'overlap_thr', overlap_thr)
        result = looked_at.predict('panoptic', object_mask_thr=mask_thr, overlap_thr=overlap_thr)
        assert listed(predicted) == {segment.name for segment in result.panoptic.segments}
    assert predicted.locator('#classes').inner_text() == 'Nothing above the threshold.'
    predicted.click('#reset')
    settle(predicted)
    assert listed(predicted) == {segment.name for segment in looked_at.predict('panoptic').panoptic.segments}
    assert (infer.passes, server.ask('/health').body['batches']) == (passes, batches)


def test_classes__hiding_one_uncovers_the_photo_there_and_nowhere_else(predicted, looked_at):
    see(predicted, 'semantic')
    slide(predicted, 'opacity', 0)
    photo = pixels(predicted)
    slide(predicted, 'opacity', 1)
    before, result = pixels(predicted), looked_at.predict('semantic')
    label = int(np.bincount(result.semantic.ravel()).argmax())
    predicted.locator(f'#classes input[value="{label}"]').uncheck()
    after, mask = pixels(predicted), (result.semantic == label).astype(np.uint8)
    inner, outer = cv2.erode(mask, np.ones((3, 3))) > 0, cv2.dilate(mask, np.ones((3, 3))) == 0
    assert (before[outer] == after[outer]).all()
    assert (after[inner] == photo[inner]).all() and (before[inner] != after[inner]).any(axis=1).mean() > 0.9
    y, x = np.argwhere(inner)[len(np.argwhere(inner)) // 2]
    point_at(predicted, x, y)
    assert tip(predicted) is None
    predicted.click('#toggle-all')  # show all
    predicted.mouse.move(1, 1)
    assert (pixels(predicted) == before).all()
    predicted.click('#toggle-all')  # hide all
    assert not predicted.locator('#classes input:checked').count()


def test_list__a_class_with_the_focus_is_lit(predicted, looked_at):
    see(predicted, 'semantic')
    before = pixels(predicted)
    label = int(looked_at.predict('semantic').semantic[2, 2])
    predicted.locator(f'#classes input[value="{label}"]').focus()
    lit = (pixels(predicted) != before).any(axis=2)
    assert (lit == (looked_at.predict('semantic').semantic == label)).mean() > 0.98
    predicted.locator('#opacity').focus()
    assert (pixels(predicted) == before).all()


def test_side_by_side__a_spot_is_named_in_all_three(predicted, looked_at, infer):
    passes, result = infer.passes, looked_at.predict(TASKS)
    see(predicted, 'three')
    assert predicted.locator('#stage canvas').evaluate_all('all => all.map((one) => one.dataset.task)') == list(TASKS)
    for spot in SPOTS[::4]:
        point_at(predicted, *spot, index=1)
        said = predicted.locator('figcaption span').all_inner_texts()
        assert said == [(expected_tip(result, task, *spot) or ('–',))[0] for task in TASKS]
    assert infer.passes == passes


def test_token_matrix__every_prediction_under_every_token(predicted, looked_at, infer):
    passes = infer.passes
    see(predicted, 'matrix')
    cells = predicted.locator('#stage canvas').evaluate_all(
        'all => all.map((one) => [one.dataset.token, one.dataset.task])'
    )
    assert cells == [[token, task] for token in TASKS for task in TASKS]
    heads = predicted.locator('.matrix th').all_inner_texts()
    assert heads == [*(f'{task.title()} prediction' for task in TASKS), *(f'{token.title()} token' for token in TASKS)]
    found = set()
    for index, (token, task) in enumerate(cells):
        for spot in SPOTS[1::6]:
            point_at(predicted, *spot, index=index)
            assert tip(predicted) == expected_tip(looked_at.predict(task, token), task, *spot), (token, task, spot)
            found.add((task, tip(predicted)))
    assert len(found) > 6 and infer.passes == passes


def test_token__one_for_all_predictions(predicted, looked_at):
    see(predicted, 'semantic')
    predicted.locator('input[name="token"][value="instance"]').check()
    settle(predicted)
    assert listed(predicted) == {
        looked_at.dataset_meta['classes'][label]
        for label in np.unique(looked_at.predict('semantic', 'instance').semantic)
    }
    predicted.focus('input[name="token"][value="instance"]')
    predicted.keyboard.press('ArrowLeft')
    predicted.keyboard.press('ArrowLeft')
    settle(predicted)
    assert len(listed(predicted)) == len(np.unique(looked_at.predict('semantic').semantic))


def test_downloads__every_file_opens_and_is_the_apis(predicted, looked_at, server):
    result = looked_at.predict(TASKS)
    see(predicted, 'semantic')
    files = {}
    for task in TASKS:
        see(predicted, task)
        for button in predicted.locator('#files button').all():
            with predicted.expect_download() as waiting:
                button.click()
            settle(predicted)
            files[waiting.value.suggested_filename] = waiting.value.path().read_bytes()
        predicted.wait_for_timeout(DOWNLOAD_PAUSE_MS)
    with predicted.expect_download() as waiting:
        predicted.click('#all-files')
    assert waiting.value.suggested_filename == 'garden.zip'
    archive = zipfile.ZipFile(waiting.value.path())
    assert {name: archive.read(name) for name in archive.namelist()} == files and len(files) == 13
    for name, content in files.items():
        if name.endswith('.png'):
            assert min(np.array(Image.open(io.BytesIO(content))).shape[:2]) >= HEIGHT
        else:
            assert json.loads(content)
    assert (np.array(Image.open(io.BytesIO(files['garden_semantic.png']))) == result.semantic).all()
    kept = [one for one in result.to_coco_instances() if one['score'] >= 0.5]
    assert json.loads(files['garden_instance.json']) == kept


def test_downloads__have_the_thresholds_and_the_token_of_the_page(predicted, looked_at):
    see(predicted, 'panoptic')
    predicted.locator('input[name="token"][value="semantic"]').check()
    slide(predicted, 'object_mask_thr', 0.99)
    with predicted.expect_download() as waiting:
        predicted.click('#files button[data-form="coco-panoptic-json"]')
    segments = json.loads(waiting.value.path().read_text())['annotations'][0]['segments_info']
    expected = looked_at.predict('panoptic', 'semantic', object_mask_thr=0.99).to_coco_panoptic()[1]['segments_info']
    assert segments == expected != looked_at.predict('panoptic').to_coco_panoptic()[1]['segments_info']


def noise(height, width):
    return cv2.imencode('.png', np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))[1].tobytes()


BAD_FILES = (
    ('notes.jpg', b'no photo at all', 415, 'not a photo that can be read'),
    ('empty.png', b'', 400, 'no body'),
    ('wide.png', cv2.imencode('.png', np.zeros((700, 700, 3), np.uint8))[1].tobytes(), 413, '700 x 700 pixels'),
    ('large.png', noise(500, 500), None, 'large.png has 0.8 MB; at most 0.5 MB are taken.'),
)


def test_bad_files__a_sentence_each_and_the_next_photo_is_predicted(predicted, scene_png, infer):
    passes = infer.passes
    for name, content, status, said in BAD_FILES:
        predicted.fails(f'a status of {status}')
        predicted.set_input_files('#file', {'name': name, 'mimeType': 'image/png', 'buffer': content})
        predicted.wait_for_selector('#message:visible')
        assert said in predicted.locator('#message p').inner_text()
        assert predicted.locator('#stage canvas').is_visible()  # the former photo stays
        predicted.click('#close')
        assert predicted.locator('#message').is_hidden()
    assert infer.passes == passes
    give(predicted, scene_png, 'next.png')
    assert infer.passes == passes + 1


def test_file_names__are_text(page, scene_png):
    name = '<img src=x onerror=alert(1)>.png'
    give(page, scene_png, name)
    assert page.locator('#status').inner_text().startswith(name) and not page.locator('#status img').count()
    with page.expect_download() as waiting:
        page.click('#all-files')
    assert waiting.value.suggested_filename == '_img src_x onerror_alert(1)_.zip'


def hand_over(page, event, content):
    """Drop or paste: a synthetic event with the file in it, as browsers make them."""
    page.evaluate(
        """([event, bytes]) => {
            const data = new DataTransfer();
            if (bytes.length) data.items.add(new File([new Uint8Array(bytes)], `${event}.png`, { type: 'image/png' }));
            const options = { bubbles: true, cancelable: true };
            document.querySelector('#work').dispatchEvent(event === 'paste'
                ? new ClipboardEvent('paste', { ...options, clipboardData: data })
                : new DragEvent('drop', { ...options, dataTransfer: data }));
        }""",
        [event, list(content)],
    )


def test_drop_and_paste__are_ways_in(page, scene_png):
    for event in ('drop', 'paste'):
        hand_over(page, event, scene_png)
        page.wait_for_function('name => document.querySelector("#status").textContent.startsWith(name)', arg=event)
        settle(page)
    hand_over(page, 'drop', b'')
    assert 'no file' in page.locator('#message p').inner_text()


def test_sample__is_predicted_well(page):
    page.click('#sample')
    page.wait_for_selector('#stage canvas')
    settle(page)
    assert listed(page) == {'sky', 'grass', 'water', 'ball', 'cone'}


def test_names__cannot_turn_our_words_round(page, scene_png):
    """Some marks of right-to-left scripts reverse what is behind them."""
    page.set_input_files('#file', {'name': '<b>\u202egnp.exe\u2067.png', 'mimeType': 'image/png', 'buffer': scene_png})
    settle(page)
    page.wait_for_function('() => document.querySelector("#status").textContent.startsWith("<b>gnp.exe.png, 96")')


def test_progress__is_shown_while_the_network_runs(page, scene_png, infer, monkeypatch):
    go_on, run = threading.Event(), infer.logits
    monkeypatch.setattr(infer, 'logits', lambda *args: go_on.wait(60) and run(*args))
    page.set_input_files('#file', {'name': 'slow.png', 'mimeType': 'image/png', 'buffer': scene_png})
    page.wait_for_selector('#busy:visible')
    assert page.locator('#busy-what').inner_text() == 'Running the network'
    page.wait_for_function('() => /^[1-9]\\d* s$/.test(document.querySelector("#busy-seconds").textContent)')
    assert page.locator('#work').get_attribute('aria-busy') == 'true'
    page.set_input_files('#file', {'name': 'second.png', 'mimeType': 'image/png', 'buffer': scene_png})
    go_on.set()
    page.wait_for_selector('#stage canvas')
    settle(page)
    assert page.locator('#busy').is_hidden()
    assert page.locator('#status').inner_text().startswith('second.png')  # the last one that was chosen


def test_forgotten_photo__can_be_sent_again(open_page, serve_page, scene_png):
    with serve_page(kept_bytes=1) as forgetful:
        page = open_page(forgetful.url)
        give(page, scene_png)
        forgetful.ask('/api/photos', scene_png)  # another tab's
        page.fails('a status of 404')
        page.click('#tab-semantic')
        page.wait_for_selector('#message:visible')
        assert page.locator('#message p').inner_text() == 'The server has forgotten this photo; send it again.'
        page.click('#again')
        page.wait_for_function('() => document.querySelector("#stage canvas").dataset.task === "semantic"')
        settle(page)
        assert page.locator('#message').is_hidden()
    page.click('#tab-instance')  # the server has gone
    page.wait_for_selector('#message:visible')
    assert 'Is it still running?' in page.locator('#message p').inner_text()
    page.fails('ERR_CONNECTION_REFUSED')


def test_two_tabs__each_has_its_own_photo(predicted, open_page, scene, looked_at, infer):
    other = open_page()
    mirrored = np.ascontiguousarray(scene[:, ::-1])
    give(other, cv2.imencode('.png', mirrored)[1].tobytes(), 'mirrored.png')
    results = looked_at, infer.logits([infer.prepare(mirrored)])[0]
    for page, photo in zip((predicted, other, predicted), (*results, looked_at)):
        see(page, 'semantic')
        for spot in SPOTS[::3]:
            point_at(page, *spot)
            assert tip(page) == expected_tip(photo.predict('semantic'), 'semantic', *spot)


def test_keyboard__tabs_and_settings_without_a_mouse(predicted):
    predicted.locator('#tab-panoptic').focus()
    for key, view in (('ArrowRight', 'three'), ('End', 'matrix'), ('ArrowRight', 'semantic'), ('ArrowLeft', 'matrix')):
        predicted.keyboard.press(key)
        selected = predicted.locator('[role="tab"][aria-selected="true"]')
        assert selected.get_attribute('data-view') == view and selected.evaluate(
            'one => one === document.activeElement'
        )
        assert predicted.locator('[role="tab"][tabindex="0"]').count() == 1
    settle(predicted)
    reached = set()
    for _ in range(25):
        predicted.keyboard.press('Tab')
        reached.add(predicted.evaluate('document.activeElement.id || document.activeElement.value'))
    assert {'stage', 'opacity', 'score', 'object_mask_thr', 'overlap_thr', 'reset', 'all-files'} <= reached


def test_looks__dark_small_and_nothing_outside_of_the_screen(open_page, scene_png):
    colors = []
    for scheme in ('light', 'dark'):
        page = open_page(color_scheme=scheme)
        colors.append(page.evaluate('getComputedStyle(document.body).backgroundColor'))
        page.set_viewport_size({'width': 360, 'height': 700})
        give(page, scene_png)
        for view in ('panoptic', 'three', 'matrix'):
            see(page, view)
            assert page.evaluate('document.documentElement.scrollWidth') <= 360, view
    assert colors[0] != colors[1]


def test_names__every_control_has_one(predicted):
    """What assistive technology is told: no button, slider or box without a name."""
    for view in (*TASKS, 'three', 'matrix'):
        see(predicted, view)
        nameless = predicted.evaluate(
            """[...document.querySelectorAll('button, input, canvas, [role]')].filter((one) => one.checkVisibility()
                && !(one.getAttribute('aria-label') || one.getAttribute('aria-labelledby') || one.textContent.trim()
                || one.labels?.length || one.id === 'message' || one.id === 'busy-what')).map((one) => one.outerHTML)"""
        )
        assert nameless == []


@pytest.mark.slow
@pytest.mark.usefixtures('browser')  # skips where there is none
def test_pictures_of_the_docs__are_taken_by_their_command(tmp_path):
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, root / 'docs/demo_pictures.py', tmp_path], check=True, timeout=120)
    taken = sorted(path.name for path in tmp_path.iterdir())
    assert taken == sorted(path.name for path in (root / 'docs/images').glob('demo_*.png'))
    assert all(path.stat().st_size < 200_000 for path in tmp_path.iterdir())
