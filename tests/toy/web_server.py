"""A web server that does what a test tells it to: ``rules`` says how, ``requests`` is what it was asked for."""

import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np


class Handler(BaseHTTPRequestHandler):
    """Answers as the server's ``rules`` say."""

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
            end = min(len(rules.content), start + rules.most)
            self.send_header('Content-Range', f'bytes {start}-{end - 1}/{len(rules.content)}')
        else:
            end = len(rules.content)
            self.send_response(200)
        body = rules.content[start:end]
        if rules.etag:
            self.send_header('ETag', rules.etag)
        self.send_header('Content-Type', rules.kind)
        if rules.length:
            self.send_header('Content-Length', str(len(body)))
        if rules.chunked:
            self.send_header('Transfer-Encoding', 'chunked')
        self.end_headers()
        if rules.chunked:
            body = body[: rules.cuts.pop(0) if rules.cuts else None]
            self.wfile.write(b'%x\r\n%s\r\n0\r\n\r\n' % (len(body), body))
            return
        self.wfile.write(body[: rules.cuts.pop(0) if rules.cuts else None])

    def log_message(self, *args):
        pass


def start_server():
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.requests = []
    server.rules = SimpleNamespace(
        content=np.random.default_rng(0).bytes(300_000),
        etag='"one"',
        kind='application/octet-stream',
        ranges=True,
        length=True,
        chunked=False,
        most=10**9,  # bytes of a part that is asked for
        minds_if_range=True,
        cuts=[],  # after how many bytes the next connections break off
        failures=[],  # status codes of the next answers
        redirects={},
    )
    server.url = f'http://127.0.0.1:{server.server_port}/weights.pth'
    return server
