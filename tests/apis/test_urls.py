"""Addresses that lead into private networks: in every form, by name, by redirect, and by a name that changes."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from mmseg_oneformer.apis import urls
from mmseg_oneformer.apis.sources import collect_sources
from mmseg_oneformer.apis.urls import fetch_photo, is_public

PHOTO = cv2.imencode('.png', np.full((4, 5, 3), 90, np.uint8))[1].tobytes()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):  # noqa: N802 (the library's name)
        self.server.requests.append(self.path)
        to = self.path.partition('?to=')[2]
        self.send_response(302 if to else 200)
        self.send_header('Location', to)
        self.send_header('Content-Length', '0' if to else str(len(PHOTO)))
        self.end_headers()
        self.wfile.write(b'' if to else PHOTO)

    def log_message(self, *args):
        pass


@pytest.fixture
def web():
    """A server on this machine; ``requests`` is what was requested of it."""
    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        server.requests = []
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def look_up(monkeypatch):
    """Let names mean what a test says, one address after the other; ``looked_up`` lists the names."""
    answers, looked_up, real = {}, [], socket.getaddrinfo

    def answer(host, port, *args, **kwargs):
        looked_up.append(host)
        return real(answers[host].pop(0) if host in answers else host, port, *args, **kwargs)

    monkeypatch.setattr(socket, 'getaddrinfo', answer)
    answers['looked_up'] = looked_up
    return answers


@pytest.mark.parametrize(
    'address',
    [
        '127.0.0.1', '127.8.8.8', '0.0.0.0', '10.1.2.3', '172.16.0.1', '192.168.0.1', '169.254.169.254', '100.64.0.1',
        '224.0.0.1', '240.0.0.1', '255.255.255.255', '::1', '::', 'fe80::1', 'fe80::1%eth0', 'fc00::1', 'fd12::1',
        'fec0::1', 'ff02::1', '::ffff:127.0.0.1', '::ffff:10.0.0.1', '2002:7f00:1::', '64:ff9b::7f00:1',
        '2001:0:808:808:0:0:80ff:fffe',
    ],
)  # fmt: skip
def test_is_public__not(address):
    assert not is_public(address)


@pytest.mark.parametrize('address', ['8.8.8.8', '1.1.1.1', '2606:4700::1111', '::ffff:8.8.8.8', '64:ff9b::808:808'])
def test_is_public(address):
    assert is_public(address)


@pytest.mark.parametrize('host', ['127.0.0.1', 'localhost', '2130706433', '0x7f.1', '0177.0.0.1', '127.1', '0'])
def test_fetch_photo__not_from_this_machine_unless_told(web, host):
    url = f'http://{host}:{web.server_port}/photo.png'
    with pytest.raises(ValueError, match=r'is not public; allow_private_urls=True'):
        fetch_photo(url)
    assert not web.requests
    assert fetch_photo(url, allow_private=True) == PHOTO


@pytest.mark.parametrize('host', ['[::1]', '[::ffff:127.0.0.1]', '169.254.169.254', '[fe80::1]', '10.0.0.1'])
def test_fetch_photo__makes_no_connection_to_private_addresses(host, monkeypatch):
    monkeypatch.setattr(socket.socket, 'connect', None)
    with pytest.raises(ValueError, match='is not public'):
        fetch_photo(f'https://{host}/photo.png')


def test_fetch_photo__redirects_are_checked(web, monkeypatch, look_up):
    """The first address counts as public here, so that a server on this machine can send the redirect."""
    monkeypatch.setattr(urls, 'is_public', lambda address: address == '127.0.0.1')
    look_up |= {'public.example': ['127.0.0.1'] * 2, 'private.example': ['127.0.0.2']}
    base = f'http://public.example:{web.server_port}'
    with pytest.raises(ValueError, match=r'private.example is rejected: its address 127\.0\.0\.2'):
        fetch_photo(f'{base}/?to=http://private.example:{web.server_port}/photo.png')
    assert fetch_photo(f'{base}/photo.png') == PHOTO
    assert len(web.requests) == 2


def test_fetch_photo__connects_to_the_address_that_was_checked(web, monkeypatch, look_up):
    """A name that means a public address when it is checked, and another one the next time."""
    look_up |= {'rebound.example': ['127.0.0.1', '127.0.0.2']}
    checked, connected, connect = [], [], socket.socket.connect
    monkeypatch.setattr(urls, 'is_public', lambda address: checked.append(address) or True)
    monkeypatch.setattr(socket.socket, 'connect', lambda self, to: connected.append(to[0]) or connect(self, to))
    fetch_photo(f'http://rebound.example:{web.server_port}/photo.png')
    assert checked == connected == ['127.0.0.1'] and look_up['looked_up'] == ['rebound.example']


def test_fetch_photo__not_through_a_proxy_unless_told(web, monkeypatch):
    monkeypatch.setenv('http_proxy', f'http://127.0.0.1:{web.server_port}')
    monkeypatch.delenv('no_proxy', raising=False)
    monkeypatch.delenv('NO_PROXY', raising=False)
    with pytest.raises(ValueError, match='where the proxy connects to cannot be checked'):
        fetch_photo('http://there.example/photo.png')
    assert fetch_photo('http://there.example/photo.png', allow_private=True) == PHOTO
    assert web.requests == ['http://there.example/photo.png']


def test_collect_sources__says_which_addresses(web):
    url = f'http://127.0.0.1:{web.server_port}/photo.png'
    (public,), (any_address,) = collect_sources(url, allow_urls=True), collect_sources(url, allow_private_urls=True)
    with pytest.raises(ValueError, match='--allow-private-urls'):
        public.read()
    assert any_address.read() == PHOTO
