"""Run an application: a socket, uvicorn, a line in the log for each request, and an end that finishes what began."""

import asyncio
import logging
import signal
import socket
import time
import warnings
from collections.abc import Callable
from typing import Any

import cv2
import h11
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..errors import UserError

__all__ = ['listen', 'run', 'url_of']

HEADER_SECONDS = 20
"""In which the head of a request has to arrive; uvicorn would wait forever."""
IDLE_SECONDS = 75
"""That a connection is kept open for a next request: longer than proxies keep theirs (nginx: 60)."""
STOP_SECONDS = 30
"""For responses that are under way when the service is stopped."""
LINGER_SECONDS = 20
"""For a client that is still sending when its request is rejected, until it reads why."""
LOGGED_BYTES = 300
"""Of a request's address in the log."""
MAX_CONNECTIONS = 500
"""Open at a time: below the 1024 files that a process may have by default."""

logger = logging.getLogger('mmseg_oneformer.serving')


def listen(host: str, port: int) -> socket.socket:
    """Take an address, before a model is loaded for nothing; whoever connects is refused until ``run``.

    Args:
        host: Name or address of this machine.
        port: 0 takes a free one.

    Raises:
        UserError: The address cannot be had.
    """
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host, port))
    except (OSError, OverflowError) as error:
        taken.close()
        reason = getattr(error, 'strerror', None) or error
        raise UserError(f'Port {port} of {host} cannot be used ({reason}); choose --port or --host.') from error
    return taken


def url_of(taken: socket.socket) -> str:
    """Address for a browser."""
    host, port = taken.getsockname()[:2]
    return f'http://[{host}]:{port}' if ':' in host else f'http://{host}:{port}'


def run(app: ASGIApp, taken: socket.socket, on_ready: Callable[[], object] = lambda: None) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish what has begun; a second Ctrl-C ends at once.

    Args:
        app: The application.
        taken: From ``listen``.
        on_ready: Called when the first request may come.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter('%(asctime)s %(message)s', '%Y-%m-%d %H:%M:%S'))
    for name, level in (('mmseg_oneformer.serving', logging.INFO), ('uvicorn.error', logging.WARNING)):
        log = logging.getLogger(name)
        log.handlers, log.propagate = [handler], False
        log.setLevel(level)
    config = uvicorn.Config(
        LoggedRequests(app),
        http=BoundedProtocol,
        ws='none',
        lifespan='on',
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    # Broken photos are rejected, and have their line in the log.
    warnings.filterwarnings('ignore', module='PIL')
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    # uvicorn raises the signal again when it has finished; the stop was wanted, and is no error.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: None)
    _Server(config, on_ready).run(sockets=[taken])


class _Server(uvicorn.Server):
    """A server that says when it is ready."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], object]) -> None:
        super().__init__(config)
        self.on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        await super().startup(sockets)
        self.on_ready()


class BoundedProtocol(H11Protocol):
    """HTTP of uvicorn, with an end for clients that send no request, or its head byte by byte, or read no response."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request, not forever."""
        super().connection_made(_LingeringTransport(transport, self))  # type: ignore[arg-type]
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Wait for the rest, not forever."""
        if not self.transport.is_closing():
            super().data_received(data)
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        self._stop_watching()

    def timeout_keep_alive_handler(self) -> None:
        """Let go, even if a response has not been read: closing would wait for its reader."""
        self.transport.abort()

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:  # The application has its own limits.
            self._stop_watching()
        elif self._patience is None:
            self._patience = self.loop.call_later(HEADER_SECONDS, self.transport.abort)

    def _stop_watching(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


class _LingeringTransport:
    """A transport that reads on when it is closed amid a body: a reset would reach the client before the response does.

    Clients that ask for ``Connection: close``, as Python's urllib, are rejected in this way.
    """

    def __init__(self, transport: asyncio.Transport, protocol: BoundedProtocol) -> None:
        self._transport, self._protocol, self._closed = transport, protocol, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._closed or self._transport.is_closing()

    def close(self) -> None:
        if self._protocol.conn.their_state is not h11.SEND_BODY or self._transport.is_closing():
            self._transport.close()
        elif not self._closed:
            self._closed = True
            self._transport.write_eof()
            self._transport.resume_reading()
            self._protocol.loop.call_later(LINGER_SECONDS, self._transport.abort)


class LoggedRequests:
    """Middleware: one line a request, with sizes and seconds, and nothing of what was in it.

    Args:
        app: What serves.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope['type'] != 'http':
            await self.app(scope, receive, send)
            return
        start, seen = time.perf_counter(), {'in': 0, 'out': 0, 'status': 0}

        async def counted_receive() -> Message:
            message = await receive()
            seen['in'] += len(message.get('body', b''))
            return message

        async def counted_send(message: Message) -> None:
            seen['status'] = message.get('status', seen['status'])
            seen['out'] += len(message.get('body', b''))
            await send(message)

        try:
            await self.app(scope, counted_receive, counted_send)
        finally:
            logger.info('%s', _line(scope, seen, time.perf_counter() - start))


def _line(scope: Scope, seen: dict[str, int], seconds: float) -> str:
    client: Any = scope.get('client') or ('-',)
    # As it was sent, percent signs and all: a line cannot be forged by a path with a line break.
    query = scope.get('query_string', b'')
    sent = scope.get('raw_path', b'') + (b'?' if query else b'') + query
    target = sent.decode('latin-1') if len(sent) <= LOGGED_BYTES else f'{sent[:LOGGED_BYTES].decode("latin-1")}...'
    return (
        f'{client[0]} {scope["method"]} {target} {seen["status"]} '
        f'{seconds:.3f} s, {seen["in"]} bytes in, {seen["out"]} out'
    )
