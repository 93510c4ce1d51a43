"""Take the pictures of docs/demo.md: start the page with the shipped model, use it in Chromium, and shoot.

python docs/demo_pictures.py [OUT_FOLDER]

Needs Debian's chromium, and playwright, which `pip install -e '.[dev]'` brings.
"""

import io
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
MODEL = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
SHOTS = (
    # view, color scheme, width, height, spot of the pointer (shares of the first picture)
    ('semantic', 'light', 1120, 700, (0.42, 0.30)),
    ('instance', 'light', 1120, 700, (0.36, 0.62)),
    ('panoptic', 'dark', 1120, 700, (0.30, 0.62)),
    ('three', 'light', 1120, 560, (0.76, 0.42)),
    ('matrix', 'dark', 1120, 790, None),
)


def shoot(browser: Any, url: str, out: Path) -> None:
    """Take every picture of ``SHOTS``."""
    for view, scheme, width, height, spot in SHOTS:
        page = browser.new_page(viewport={'width': width, 'height': height}, color_scheme=scheme)
        page.goto(url)
        page.click('#sample')
        page.wait_for_selector('#stage canvas')
        page.click(f'#tab-{view}')
        count = {'three': 3, 'matrix': 9}.get(view, 1)
        page.wait_for_function('n => document.querySelectorAll("#stage canvas").length === n', arg=count)
        page.wait_for_selector('#work:not([aria-busy])')
        if spot is not None:
            box = page.locator('#stage canvas').first.bounding_box()
            page.mouse.move(box['x'] + spot[0] * box['width'], box['y'] + spot[1] * box['height'])
        picture = Image.open(io.BytesIO(page.screenshot())).convert('RGB')
        # 256 colours without dithering: a third of the bytes, and a page has few.
        small = picture.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
        small.save(out / f'demo_{view}.png', optimize=True)
        page.close()


def main() -> None:
    """Start the page, shoot, stop."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / 'docs/images'
    command = [sys.executable, str(ROOT / 'tools/demo.py'), '--model', MODEL, '--port', '0']
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        found = re.search(r'http://\S+', server.stdout.readline())
        try:
            if found is None:
                sys.exit(f'error: the page did not start; run: {" ".join(command[1:])}')
            with sync_playwright() as playwright:
                path = shutil.which('chromium')
                browser = playwright.chromium.launch(executable_path=path, args=['--no-sandbox', '--disable-gpu'])
                shoot(browser, found.group(), out)
                browser.close()
        finally:
            server.send_signal(signal.SIGINT)


if __name__ == '__main__':
    main()
