"""tools/demo.py as a user starts it."""

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from mmseg_oneformer.serving.server import listen

ROOT = Path(__file__).resolve().parents[2]
MODEL = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'


def test_demo__serves_the_page_warns_where_others_reach_it_and_ends_on_ctrl_c(tmp_path):
    command = [sys.executable, ROOT / 'tools/demo.py', '--model', MODEL, '--host', '0.0.0.0', '--port', '0']
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        port = re.fullmatch(r'Open http://0\.0\.0\.0:(\d+) in a browser; Ctrl-C stops\.\n', line).group(1)
        request = urllib.request.Request(f'http://127.0.0.1:{port}/', headers={'Host': 'laptop.example'})
        with urllib.request.urlopen(request, timeout=60) as response:
            assert b'<title>OneFormer</title>' in response.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert 'there is no password' in process.stderr.read()
    finally:
        process.kill()
        process.wait()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (('--max-megabytes', '0'), 'error: --max-megabytes is 0.0; give more than 0.'),
        (('--max-megapixels', 'nan'), 'error: --max-megapixels is nan; give more than 0.'),
        (('--model', 'oneformer_none', '--port', '0'), 'oneformer_none'),
        (('--port', '70000'), 'choose --port'),
    ],
)
def test_demo__mistakes_end_in_a_sentence(call_tool, capsys, options, sentence):
    assert call_tool('demo.py', '--model', MODEL, *options) == 2
    assert sentence in capsys.readouterr().err


def test_demo__a_taken_port_is_said_before_the_model_is_loaded(call_tool, capsys):
    with listen('127.0.0.1', 0) as taken:
        taken.listen()
        assert call_tool('demo.py', '--model', 'not/there.py', '--port', taken.getsockname()[1]) == 2
    assert 'choose --port' in capsys.readouterr().err
