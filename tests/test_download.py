"""Downloads from a server on this machine that behaves as servers do, badly too."""

import json
import multiprocessing
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest

from mmseg_oneformer import download as module
from mmseg_oneformer.download import DownloadError, download

CONTENT = np.random.default_rng(0).bytes(300_000)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):  # noqa: N802 (the library's name)
        rules = self.server.rules
        self.server.requests.append((self.path, self.headers.get('Range')))
        if self.path in rules.redirects:
            self.send_response(302)
            self.send_header('Location', rules.redirects[self.path])
            self.end_headers()
            return
        if rules.failures:
            self.send_error(rules.failures.pop(0))
            return
        start = 0
        asked = re.fullmatch(r'bytes=(\d+)-', self.headers.get('Range') or '')
        same = self.headers.get('If-Range') == rules.etag or not rules.minds_if_range
        if asked and rules.ranges and same:
            start = int(asked.group(1))
            if start >= len(rules.content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header('Content-Range', f'bytes {start}-{len(rules.content) - 1}/{len(rules.content)}')
        else:
            self.send_response(200)
        body = rules.content[start:]
        if rules.etag:
            self.send_header('ETag', rules.etag)
        self.send_header('Content-Type', rules.kind)
        if rules.length:
            self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body[: rules.cuts.pop(0) if rules.cuts else None])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """A web server: ``rules`` says how it behaves, ``requests`` is what it was asked, (path, range)."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.requests = []
    server.rules = SimpleNamespace(
        content=CONTENT,
        etag='"one"',
        kind='application/octet-stream',
        ranges=True,
        length=True,
        minds_if_range=True,
        cuts=[],  # after how many bytes the next connections break off
        failures=[],  # status codes of the next answers
        redirects={},
    )
    server.url = f'http://127.0.0.1:{server.server_port}/weights.pth'
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(module, 'SCHEMES', ('http',))
    monkeypatch.setattr(module.time, 'sleep', lambda seconds: None)
    yield server
    server.shutdown()
    server.server_close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_download__whole_file_and_nothing_beside_it(server, tmp_path):
    path = tmp_path / 'cache/model/weights.pth'
    download(server.url, path)
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ['weights.pth', 'weights.pth.lock']
    download(server.url, path)
    assert len(server.requests) == 1


def test_download__goes_on_where_it_broke_off(server, tmp_path):
    server.rules.cuts = [100_000, 150_000]
    download(server.url, tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [None, 'bytes=100000-', 'bytes=250000-']


def test_download__next_call_goes_on_too(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'ATTEMPTS', 1)
    server.rules.cuts = [100_000]
    with pytest.raises(DownloadError, match='broke off after 100000 of 300000 bytes'):
        download(server.url, tmp_path / 'a.pth')
    assert not (tmp_path / 'a.pth').exists()
    download(server.url, tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').read_bytes() == CONTENT
    assert server.requests[-1][1] == 'bytes=100000-'


def test_download__complete_part_needs_no_connection(server, tmp_path):
    (tmp_path / 'a.pth.part').write_bytes(CONTENT)
    state = {'url': server.url, 'validator': '"one"', 'size': len(CONTENT)}
    (tmp_path / 'a.pth.part.json').write_text(json.dumps(state))
    download(server.url, tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').read_bytes() == CONTENT and not server.requests


@pytest.mark.parametrize('rules', [{'ranges': False}, {'etag': None}, {'etag': 'W/"weak"'}])
def test_download__server_that_cannot_go_on_starts_again(server, tmp_path, rules):
    vars(server.rules).update(rules, cuts=[100_000])
    download(server.url, tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').read_bytes() == CONTENT


@pytest.mark.parametrize('minds_if_range', [True, False])
def test_download__file_that_changed_in_between_is_not_mixed(server, tmp_path, monkeypatch, minds_if_range):
    monkeypatch.setattr(module, 'ATTEMPTS', 1)
    server.rules.cuts = [100_000]
    with pytest.raises(DownloadError, match='broke off'):
        download(server.url, tmp_path / 'a.pth')
    monkeypatch.setattr(module, 'ATTEMPTS', 4)
    server.rules.content = CONTENT[::-1]
    server.rules.etag, server.rules.minds_if_range = '"two"', minds_if_range
    download(server.url, tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').read_bytes() == CONTENT[::-1]


def test_download__part_longer_than_the_file_starts_again(server, tmp_path):
    (tmp_path / 'a.pth.part').write_bytes(CONTENT + b'more')
    (tmp_path / 'a.pth.part.json').write_text(json.dumps({'url': server.url, 'validator': '"one"', 'size': None}))
    download(server.url, tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').read_bytes() == CONTENT


def test_download__part_of_another_address_is_not_used(server, tmp_path):
    (tmp_path / 'a.pth.part').write_bytes(b'x' * 1000)
    (tmp_path / 'a.pth.part.json').write_text(json.dumps({'url': 'http://b', 'validator': '"one"', 'size': 300_000}))
    download(server.url, tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').read_bytes() == CONTENT


def test_download__busy_server_is_asked_again(server, tmp_path):
    server.rules.failures = [503, 429]
    download(server.url, tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').read_bytes() == CONTENT


@pytest.mark.parametrize(
    'rules, sentence, requests',
    [
        ({'failures': [404] * 9}, 'answers 404 Not Found', 1),
        ({'failures': [500] * 9}, 'answers 500', 4),
        ({'cuts': [0] * 9}, 'broke off after 0 of 300000 bytes', 4),
        ({'kind': 'text/html; charset=utf-8'}, 'a web page and no checkpoint', 1),
        ({'length': False}, 'does not say how long', 1),
    ],
)
def test_download__gives_up_with_a_reason(server, tmp_path, rules, sentence, requests):
    vars(server.rules).update(rules)
    with pytest.raises(DownloadError, match=sentence):
        download(server.url, tmp_path / 'a.pth')
    assert len(server.requests) == requests
    assert 'a.pth' not in names(tmp_path)


def test_download__full_disk_is_said_before(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, 'disk_usage', lambda folder: SimpleNamespace(free=200_000))
    with pytest.raises(DownloadError, match=r'0\.0 GB left and 0\.0 GB are needed'):
        download(server.url, tmp_path / 'a.pth')


def test_download__nobody_there(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(DownloadError, match='cannot be reached') as caught:
        download(server.url, tmp_path / 'a.pth')
    assert caught.value.final


def test_download__follows_redirects_but_not_to_other_schemes(server, tmp_path):
    server.rules.redirects = {'/here': '/weights.pth', '/there': 'ftp://127.0.0.1/etc/passwd'}
    base = server.url.removesuffix('/weights.pth')
    download(f'{base}/here', tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').read_bytes() == CONTENT
    with pytest.raises(DownloadError, match=r'ftp://.*/etc/passwd is refused'):
        download(f'{base}/there', tmp_path / 'b.pth')


@pytest.mark.parametrize('url', ['http://a.org/x.pth', 'file:///etc/passwd', 'ftp://a.org/x', 'https://', 'x.pth'])
def test_download__only_https(tmp_path, url):
    with pytest.raises(DownloadError, match='only https addresses'):
        download(url, tmp_path / 'a')
    assert not names(tmp_path)


def test_download__https_does_not_turn_into_http(server, tmp_path, monkeypatch):
    # The handler is asked directly: a server with a certificate would be needed to get there.
    monkeypatch.setattr(module, 'SCHEMES', ('https',))
    with pytest.raises(DownloadError, match='only https addresses'):
        module._SameSchemes().redirect_request(None, None, 302, 'Found', None, server.url)


def test_download__two_processes_ask_once(server, tmp_path):
    context = multiprocessing.get_context('fork')
    workers = [context.Process(target=download, args=(server.url, tmp_path / 'a.pth', False)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert (tmp_path / 'a.pth').read_bytes() == CONTENT
    assert len(server.requests) == 1
