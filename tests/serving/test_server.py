"""The server around the application, as a process: its end, its patience, its log."""

import http.client
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

from mmseg_oneformer.serving.server import listen, url_of

SOON = 60  # seconds; what waits so long has failed


@pytest.fixture
def start():
    """A function that starts the slow application; the process knows its port."""
    started = []

    def start(header_seconds=20, idle_seconds=20):
        command = [sys.executable, Path(__file__).with_name('slow_app.py'), str(header_seconds), str(idle_seconds)]
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
    port = start(header_seconds=0.4, idle_seconds=3600).port
    assert seconds_kept(port) > 0.4
    with socket.create_connection(('127.0.0.1', port)) as dribbling, pytest.raises(OSError):
        dribbling.sendall(b'GET / HTTP/1.1\r\n')
        for _ in range(20 * SOON):
            dribbling.sendall(b'x')
            time.sleep(0.05)


def test_patience__with_those_who_ask_or_read_no_more(start):
    process = start(header_seconds=3600, idle_seconds=0.8)
    assert seconds_kept(process.port, b'GET / HTTP/1.1\r\nHost: x\r\n\r\n') > 0.8
    with socket.socket() as unread:
        unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        unread.connect(('127.0.0.1', process.port))
        unread.sendall(b'GET /much HTTP/1.1\r\nHost: x\r\n\r\n')
        unread.recv(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON) == 0  # with patience it would wait an hour for the reader


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
