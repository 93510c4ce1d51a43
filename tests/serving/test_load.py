"""The load test counts what is lost and measures what the server does, here a known one."""

import json
import os
import runpy
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.service_load import Server, measure, read_photos, start_server

SECONDS = 0.02
TOOL = Path(__file__).resolve().parents[2] / 'tools/analysis_tools/load_test.py'
PYTHON, FAILS = sys.executable, 'raise SystemExit("no such model")'


class KnownService(BaseHTTPRequestHandler):
    """Responds after ``SECONDS``; every tenth request fails, in one of five ways."""

    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True

    def do_GET(self):
        self.reply(200, {'photos': self.server.count, 'batches': self.server.count // 2})

    def do_POST(self):
        self.rfile.read(int(self.headers['Content-Length']))
        with self.server.lock:
            self.server.count += 1
            self.server.queries.add(self.path)
            number, ways = self.server.count, self.server.ways
        time.sleep(SECONDS)
        response = {'height': 30, 'width': 40}
        way = ways[number // 10 % len(ways)] if number % 10 == 0 and ways else 'whole'
        if way == 'closed':
            self.close_connection = True
            self.wfile.close()
        elif way == 'busy':
            self.reply(503, response)
        elif way == 'no json':
            self.reply(200, None)
        elif way == 'a list':
            self.reply(200, [])
        elif way == 'of another photo':
            self.reply(200, response | {'width': 41})
        else:
            self.reply(200, response)

    def reply(self, status, content):
        body = b'{' if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def known():
    """A function that starts the known service, with ways to fail, and returns its ``Server`` and itself."""
    started = []

    def start(ways=()):
        http_server = ThreadingHTTPServer(('127.0.0.1', 0), KnownService)
        http_server.count, http_server.queries, http_server.lock, http_server.ways = 0, set(), threading.Lock(), ways
        threading.Thread(target=http_server.serve_forever, daemon=True).start()
        started.append(http_server)
        return Server('known', '127.0.0.1', http_server.server_port, os.getpid()), http_server

    yield start
    for http_server in started:
        http_server.shutdown()
        http_server.server_close()


@pytest.fixture
def photos(tmp_path):
    for name in ('a.jpg', 'b.png'):
        cv2.imwrite(str(tmp_path / name), np.zeros((30, 40, 3), np.uint8))
    (tmp_path / 'c.jpg').write_text('not a photo')
    return tmp_path


def test_measure__nothing_is_lost(known, photos):
    server, itself = known()
    start = time.perf_counter()
    (load,) = measure([server], read_photos(photos), clients=4, requests=50, query='?tasks=panoptic', block=20)
    all_seconds = time.perf_counter() - start
    assert (load.requests, load.lost, load.clients) == (50, 0, 4)
    assert itself.count == 58 and itself.queries == {'/predict?tasks=panoptic'}  # 8 before it counts
    assert SECONDS <= load.p50_s <= load.p95_s <= load.p99_s
    assert 50 / all_seconds < load.per_second < 4 / SECONDS
    assert [count for count, _ in load.rss_mb] == [20, 40, 50] and load.growth_kb is not None
    assert load.photos_per_pass == 2


def test_measure__counts_what_is_lost(known, photos):
    server, _ = known(ways=('closed', 'busy', 'no json', 'a list', 'of another photo'))
    (load,) = measure([server], read_photos(photos), clients=2, requests=96)
    assert load.lost == 10  # of 100 with those that do not count, but the first ten are answered whole before


def test_measure__servers_in_turn(known, photos):
    (first, one), (second, other) = known(), known()
    loads = measure([first, second], read_photos(photos), clients=2, requests=10, block=5)
    assert [load.requests for load in loads] == [10, 10] and one.count == other.count == 14


def test_read_photos__none(tmp_path):
    with pytest.raises(ValueError, match='has no photos; give a folder'):
        read_photos(tmp_path)


def test_tool__table_json_and_page(known, photos, tmp_path, monkeypatch, capsys):
    commands = []

    @contextmanager
    def started(name, command):
        commands.append(command)
        yield known(ways=('busy',) if '4' in command[-1:] else ())[0]._replace(name=name)

    monkeypatch.setattr('benchmarks.service_load.start_server', started)
    page = tmp_path / 'page.md'
    page.write_text('before\n<!-- report of benchmark.py -->\nold\n<!-- end of the report -->\nafter\n')
    places = ['--out', tmp_path / 'load.json', f'--into={page}']
    args = ['--model', 'NAME', '--photos', photos, '--clients', 2, '--requests', 30]

    def run(*words):
        monkeypatch.setattr('sys.argv', [TOOL.name, *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(TOOL), run_name='__main__')
        return stop.value.code

    assert run(*args, *places, '--max-batch', 1, 4) == 1  # something was lost
    assert run(*args, '--max-batch', 1) == 0
    assert run(*args, '--clients', 0) == 2
    assert [command[-2:] for command in commands] == [['--max-batch', '1'], ['--max-batch', '4'], ['--max-batch', '1']]
    alone, together = json.loads((tmp_path / 'load.json').read_text())
    assert (alone['lost'], alone['name'], together['name']) == (0, 'max-batch 1', 'max-batch 4') and together['lost']
    assert 'load.json' not in alone['command'] and 'page.md' not in alone['command'] and 'torch' in alone['versions']
    text = page.read_text()
    assert text.startswith('before\n') and text.endswith('after\n') and 'old' not in text
    assert '| max-batch 1 | 2 | 30 | 0 |' in text and alone['command'] in text
    assert 'photos a pass' in capsys.readouterr().out


def test_start_server__says_why_not():
    with pytest.raises(ValueError, match='did not start: no such model'), start_server('x', [PYTHON, '-c', FAILS]):
        pass
