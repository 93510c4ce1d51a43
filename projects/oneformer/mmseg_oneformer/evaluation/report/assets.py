"""What pages in a folder are made of: the frame, a place for pictures, style and script."""

import base64
import hashlib
import re
from pathlib import Path

from ...visualization.errors import CONFUSED, FALSE, MISSED


def html_page(title: str, body: str, style: str, script: str = '') -> str:
    """Return a page that may load nothing but its own pictures, style and script.

    Args:
        title: Escaped HTML.
        body: HTML, whose values from data are escaped.
        style: CSS.
        script: JavaScript that runs behind the body.
    """
    policy = f"default-src 'none'; img-src 'self' file:; style-src {_hash(style)}"
    if script:
        policy += f'; script-src {_hash(script)}'
        body += f'<script>{script}</script>\n'
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}</body>
</html>
"""


def picture_folder(folder: Path, pattern: str) -> Path:
    """Make ``folder / 'pictures'`` without the files of an earlier page, whose names match ``pattern``."""
    pictures = folder / 'pictures'
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.iterdir():
        if re.fullmatch(pattern, old.name):
            old.unlink()
    return pictures


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _css(color: tuple[int, int, int]) -> str:
    return '#' + ''.join(f'{value:02x}' for value in color)


STYLE = f"""
:root {{ color-scheme: light; --ink: #1c2028; --faint: #6c7480; --line: #dde1e7; --paper: #fff; --ground: #f4f5f7;
  --missed: {_css(MISSED)}; --false: {_css(FALSE)}; --confused: {_css(CONFUSED)}; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; max-width: 1400px; padding: 0 20px 40px; background: var(--ground); color: var(--ink);
  font: 15px/1.45 system-ui, "DejaVu Sans", sans-serif; }}
header {{ padding: 18px 0 4px; }}
h1 {{ margin: 0; font-size: 22px; overflow-wrap: anywhere; }}
h2 {{ margin: 0; font-size: 16px; overflow-wrap: anywhere; }}
p {{ margin: 4px 0 10px; color: var(--faint); }}
a {{ color: #1a62b4; }}
form {{ display: flex; flex-wrap: wrap; gap: 8px 22px; align-items: center; }}
select {{ font: inherit; padding: 3px 6px; max-width: 320px; }}
output {{ color: var(--faint); }}
.legend i {{ display: inline-block; width: 12px; height: 12px; margin: 0 5px 0 14px; border-radius: 3px; }}
.legend i:first-child {{ margin-left: 0; }}
i.missed {{ background: var(--missed); }} i.false {{ background: var(--false); }}
i.confused {{ background: var(--confused); }}
article {{ margin: 14px 0; padding: 14px 16px; background: var(--paper); border: 1px solid var(--line);
  border-radius: 8px; }}
article[hidden] {{ display: none; }}
.views {{ display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 10px; }}
@media (max-width: 760px) {{ .views {{ grid-template-columns: repeat(2, minmax(0, 1fr)); }} }}
figure {{ margin: 0; }}
img {{ display: block; width: 100%; height: auto; border-radius: 4px; background: var(--line); }}
figcaption {{ padding-top: 3px; color: var(--faint); font-size: 13px; }}
details {{ margin-top: 8px; }}
summary {{ cursor: pointer; color: var(--faint); }}
table {{ margin-top: 6px; border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 2px 14px 2px 0; text-align: right; border-bottom: 1px solid var(--line); font-weight: normal; }}
th:first-child {{ text-align: left; }}
thead th {{ color: var(--faint); }}
tr.fp td:nth-child(2) {{ color: var(--false); }} tr.fn td:nth-child(2) {{ color: var(--missed); }}
"""

SCRIPT = """
'use strict';
const sort = document.getElementById('sort'), wanted = document.getElementById('class');
const images = document.getElementById('images'), count = document.getElementById('count');
const cards = Array.from(images.children);

function choose() {
  const chosen = new URLSearchParams(location.hash.slice(1));
  for (const select of [sort, wanted]) {
    const value = chosen.get(select.id);
    select.value = Array.from(select.options).some(option => option.value === value) ? value : select.options[0].value;
  }
  const sign = sort.value === 'quality' ? 1 : -1;
  const badness = card => sign * Number(card.dataset[sort.value]);
  let shown = 0;
  for (const card of cards.slice().sort((a, b) => badness(a) - badness(b))) {
    card.hidden = wanted.value !== '' && !card.dataset.classes.split(' ').includes(wanted.value);
    shown += card.hidden ? 0 : 1;
    images.append(card);
  }
  count.textContent = shown === 1 ? '1 image' : shown + ' images';
}

function note() {
  location.hash = new URLSearchParams({sort: sort.value, class: wanted.value}).toString();
}

sort.addEventListener('change', note);
wanted.addEventListener('change', note);
document.querySelector('form').addEventListener('submit', event => event.preventDefault());
window.addEventListener('hashchange', choose);
choose();
"""
