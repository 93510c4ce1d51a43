"""The server around the application, as a process: its end, its patience, its log."""

import gc
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mmseg_oneformer.serving import server
from mmseg_oneformer.serving.server import listen, url_of

SOON = 60  # seconds; what waits so long has failed


@pytest.fixture
def start():
    """A function that starts the slow application; the process knows its port."""
    started = []

    def start(**settings):
        words = [f'{name}={value}' for name, value in settings.items()]
        command = [sys.executable, Path(__file__).with_name('slow_app.py'), *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        process.port = urlsplit(process.stdout.readline()).port
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def get(port, path):
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=SOON)
    connection.request('GET', path)
    response = connection.getresponse()
    return response.status, response.read()


def seconds_kept(port, sent=b''):
    """Seconds from before a connection is made until the server has closed it."""
    start = time.perf_counter()
    with socket.create_connection(('127.0.0.1', port), timeout=SOON) as connection, suppress(ConnectionResetError):
        connection.sendall(sent)
        while connection.recv(1 << 20):
            pass
    return time.perf_counter() - start


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_stop__finishes_what_began(start, number):
    process = start()
    with ThreadPoolExecutor(8) as pool:
        responses = [pool.submit(get, process.port, '/slow') for _ in range(8)]
        while get(process.port, '/count')[1] != b'8':
            time.sleep(0.02)
        process.send_signal(number)
        assert [response.result() for response in responses] == [(200, b'xx')] * 8
    assert process.wait(SOON) == 0 and process.stdout.read() == 'finished\n'
    assert process.stderr.read().count(' GET /slow 200 ') == 8
    with pytest.raises(ConnectionRefusedError):
        get(process.port, '/')


def test_patience__with_a_head_that_does_not_come(start):
    port = start(HEADER_SECONDS=0.4, IDLE_SECONDS=3600).port
    assert seconds_kept(port) > 0.4
    with socket.create_connection(('127.0.0.1', port)) as dribbling, pytest.raises(OSError):
        dribbling.sendall(b'GET / HTTP/1.1\r\n')
        for _ in range(20 * SOON):
            dribbling.sendall(b'x')
            time.sleep(0.05)


def test_patience__with_those_who_ask_or_read_no_more(start):
    process = start(HEADER_SECONDS=3600, IDLE_SECONDS=0.8, READ_SECONDS=0.8)
    assert seconds_kept(process.port, b'GET / HTTP/1.1\r\nHost: x\r\n\r\n') > 0.8
    with socket.socket() as unread:
        unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        unread.connect(('127.0.0.1', process.port))
        unread.sendall(b'GET /much HTTP/1.1\r\nHost: x\r\n\r\n')
        unread.recv(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON) == 0  # with patience it would wait an hour for the reader


def test_patience__with_a_slow_reader(start):
    """Longer than a connection may be idle, since some of the response leaves all the time."""
    port = start(IDLE_SECONDS=0.2, READ_SECONDS=5).port
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
        slow.connect(('127.0.0.1', port))
        slow.sendall(b'GET /much HTTP/1.1\r\nHost: x\r\n\r\n')
        received = 0
        while received < 50_000_000:
            if received < 2_000_000:
                time.sleep(0.05)
            part = slow.recv(100_000)
            assert part, f'cut after {received} bytes'
            received += len(part)


def test_connections__silent_ones_make_room(start, wait_for):
    """Ten times as many as there is room for: each ends an older one that has sent nothing."""
    port = start(MAX_CONNECTIONS=8).port
    kept = http.client.HTTPConnection('127.0.0.1', port, timeout=SOON)
    kept.request('GET', '/')
    assert kept.getresponse().read() == b'xx'
    waiting = socket.create_connection(('127.0.0.1', port), timeout=SOON)
    waiting.sendall(b'GET /leave HTTP/1.1\r\nHost: x\r\n\r\n')
    wait_for(lambda: get(port, '/count')[1] == b'1')
    silent = []
    for _ in range(80):
        silent.append(socket.create_connection(('127.0.0.1', port), timeout=SOON))
        assert get(port, '/') == (200, b'xx')
    kept.request('GET', '/left')
    assert kept.getresponse().read() == b'0'
    with suppress(ConnectionResetError):
        assert silent[0].recv(1) == b''
    for connection in (*silent, waiting, kept):
        connection.close()


def test_half_closed__gets_its_response_and_who_left_is_noticed(start, wait_for):
    """Both look the same at first: the system has said that no more comes."""
    port = start(PROBE_SECONDS=0.7).port
    half = [socket.create_connection(('127.0.0.1', port), timeout=SOON) for _ in range(8)]
    for connection in half:
        connection.sendall(b'GET /slow HTTP/1.1\r\nHost: x\r\n\r\n')
        connection.shutdown(socket.SHUT_WR)
    for connection in half:
        with connection, http.client.HTTPResponse(connection) as response:
            response.begin()
            assert (response.status, response.read()) == (200, b'xx')
    with (
        socket.create_connection(('127.0.0.1', port)) as stays,
        socket.create_connection(('127.0.0.1', port)) as leaves,
    ):
        for connection in (stays, leaves):
            connection.sendall(b'GET /leave HTTP/1.1\r\nHost: x\r\n\r\n')
        wait_for(lambda: get(port, '/count')[1] == b'10')
        for connection in (stays, leaves):
            connection.shutdown(socket.SHUT_WR)
        leaves.close()
        wait_for(lambda: get(port, '/left')[1] == b'1')
        stays.setblocking(False)
        assert stays.recv(100) == b'HTTP/1.1 100 \r\n\r\n'
        with pytest.raises(BlockingIOError):
            stays.recv(100)


def send(port, sent):
    """The parts of the response to some bytes: head and body."""
    with socket.create_connection(('127.0.0.1', port), timeout=SOON) as connection:
        connection.sendall(sent)
        received = b''
        while part := connection.recv(1 << 20):
            received += part
    return received.partition(b'\r\n\r\n')[::2]


CHUNKED = b'Host: x\r\nTransfer-Encoding: chunked\r\n'


@pytest.mark.parametrize(
    ('sent', 'status', 'reason'),
    [
        (b'POST / HTTP/1.1\r\n' + CHUNKED + b'Content-Length: 3\r\n\r\n0\r\n\r\n', 400, b'with Content-Length'),
        (b'POST / HTTP/1.0\r\n' + CHUNKED + b'\r\n0\r\n\r\n', 400, b'does not go with HTTP/1.0'),
        (b'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n', 501, b'Transfer-Encoding'),
        (b'GET / HTTP/1.1\r\nHost: x\r\nX: ' + b'x' * 100_000, 431, b'send fewer or shorter headers'),
        (b'nonsense\r\n\r\n', 400, b'not an HTTP request'),
        (b'POST /body HTTP/1.1\r\n' + CHUNKED + b'\r\nnonsense\r\n', 400, b'not an HTTP request'),
    ],
)
def test_requests__with_uncertain_ends_are_rejected_and_closed(start, sent, status, reason):
    process = start()
    head, body = send(process.port, sent)
    assert head.startswith(b'HTTP/1.1 %d ' % status) and b'connection: close' in head.lower()
    assert reason in body and json.loads(body).keys() == {'detail'}
    assert get(process.port, '/') == (200, b'xx')
    process.send_signal(signal.SIGTERM)
    assert process.wait(SOON) == 0 and 'Traceback' not in process.stderr.read()


def test_requests__nonsense_after_a_response_ends_the_connection(start):
    process = start()
    with socket.create_connection(('127.0.0.1', process.port), timeout=SOON) as connection:
        connection.sendall(b'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n')
        assert connection.recv(1000).startswith(b'HTTP/1.1 200 ')
        connection.sendall(b'nonsense\r\n')
        with suppress(ConnectionResetError):
            while connection.recv(1000):
                pass
    process.send_signal(signal.SIGTERM)
    assert process.wait(SOON) == 0 and 'Traceback' not in process.stderr.read()


def test_requests__many_in_one_go(start):
    one = b'GET /%d HTTP/1.1\r\nHost: x\r\n\r\n'
    with socket.create_connection(('127.0.0.1', start().port), timeout=SOON) as connection:
        connection.sendall(b''.join(one % number for number in range(200)))
        received = b''
        while received.count(b'HTTP/1.1 200 ') < 200:
            received += connection.recv(1 << 16)


def test_stop__waits_for_nobody_who_waits_for_nothing(start):
    """Neither for silent connections, nor for one between two requests, nor for the rest of a rejected upload."""
    process = start(LINGER_SECONDS=3600, IDLE_SECONDS=3600, HEADER_SECONDS=3600)
    silent, rejected = (socket.create_connection(('127.0.0.1', process.port), timeout=SOON) for _ in range(2))
    rejected.sendall(b'POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000\r\n\r\nbegin')
    assert rejected.recv(1000).startswith(b'HTTP/1.1 200 ')
    kept = http.client.HTTPConnection('127.0.0.1', process.port, timeout=SOON)
    kept.request('GET', '/')
    kept.getresponse().read()
    process.send_signal(signal.SIGTERM)
    assert process.wait(SOON) == 0
    for connection in (silent, rejected, kept):
        connection.close()


def test_end_process__runs_what_was_registered_and_takes_nothing_apart():
    program = (
        'import atexit; from mmseg_oneformer.serving.server import end_process\n'
        'class Library:\n    def __del__(self): print("taken apart")\n'
        'library = Library(); atexit.register(print, "registered"); print("served"); end_process()'
    )
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=SOON, check=True)
    assert done.stdout == 'served\nregistered\n'


def test_error__reaches_who_is_still_sending(start):
    """urllib asks for the connection to be closed, and sends all of its body before it reads."""
    process = start()
    with urllib.request.urlopen(f'http://127.0.0.1:{process.port}/', bytes(30_000_000), timeout=SOON) as response:
        assert response.read() == b'xx'
    process.send_signal(signal.SIGTERM)
    assert process.wait(SOON) == 0 and 'Traceback' not in process.stderr.read()


def test_log__a_line_a_request_that_cannot_be_forged(start):
    process = start()
    assert get(process.port, '/a%0a2026-01-01%20forged?b=c%0ad')[0] == 200
    assert get(process.port, '/bug')[0] == 500
    process.send_signal(signal.SIGTERM)
    process.wait(SOON)
    first, *rest = process.stderr.read().splitlines()
    line = r'.* 127\.0\.0\.1 GET /a%0a2026-01-01%20forged\?b=c%0ad 200 \d+\.\d{3} s, 0 bytes in, 2 out'
    assert re.fullmatch(line, first)
    assert sum(' GET /bug ' in line for line in rest) == 1 and rest[-1] == 'ZeroDivisionError: a bug'


def test_listen__says_what_is_wrong():
    with listen('127.0.0.1', 0) as taken:
        port = taken.getsockname()[1]
        assert url_of(taken) == f'http://127.0.0.1:{port}'
        taken.listen()
        for host, number in (('127.0.0.1', port), ('256.0.0.1', 0), ('no.such.host.invalid', 0), ('127.0.0.1', 70000)):
            with pytest.raises(ValueError, match=r'cannot be used .*; choose --port or --host'):
                listen(host, number)


def test_run__what_has_been_loaded_is_not_searched_for_garbage(monkeypatch):
    """A full collection of it would stop all threads for a quarter of a second."""
    frozen = []
    monkeypatch.setattr(server._Server, 'run', lambda self, sockets: frozen.append(gc.get_freeze_count()))
    for owner, name in ((server.signal, 'signal'), (server.sys, 'setswitchinterval')):
        monkeypatch.setattr(owner, name, lambda *_: None)  # of the whole process
    try:
        with server.listen('127.0.0.1', 0) as taken:
            server.run(None, taken)
    finally:
        gc.unfreeze()
    assert frozen[0] > 10_000
