"""Running an application: a socket, uvicorn, a line in the log for each request, and a graceful end."""

import atexit
import gc
import logging
import os
import resource
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import cv2
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import UserError
from .connections import BoundedProtocol, Connections, UnambiguousRequests

__all__ = ['end_process', 'listen', 'run', 'url_of']

IDLE_SECONDS = 75
"""Time for which a connection is kept open for the next request: longer than proxies keep theirs (nginx: 60)."""
STOP_SECONDS = 30
"""Time for responses in progress when the service is stopped."""
LOGGED_BYTES = 300
"""Maximum length of a request's URL in the log."""
MAX_CONNECTIONS = 2000
"""Maximum number open at a time, if the system allows that many files."""
OTHER_FILES = 200
"""Files that the process may have open besides its connections."""
ACCEPTED = 64
"""Connections that are accepted at once: more would delay the responses to others."""
QUEUED = 2048
"""Connections that the system queues until they are accepted."""
SWITCH_SECONDS = 0.0001
"""Time for which a Python thread may block the others. Each read and write of the event loop waits this long for
threads that decode and pack; with the usual 5 ms, many connections keep /health waiting for seconds."""

logger = logging.getLogger('mmseg_oneformer.serving')


def listen(host: str, port: int) -> socket.socket:
    """Bind an address, before a model is loaded in vain; connections are refused until ``run``.

    Args:
        host: Name or address of this machine.
        port: 0 chooses a free one.

    Raises:
        UserError: The address cannot be used.
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
    """Return the URL for a browser."""
    host, port = taken.getsockname()[:2]
    return f'http://[{host}]:{port}' if ':' in host else f'http://{host}:{port}'


def run(app: ASGIApp, taken: socket.socket, on_ready: Callable[[], object] = lambda: None) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish the requests in progress; a second Ctrl-C ends at once.

    Args:
        app: The application.
        taken: The socket from ``listen``.
        on_ready: Called when the server is ready for the first request.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter('%(asctime)s %(message)s', '%Y-%m-%d %H:%M:%S'))
    for name, level in (('mmseg_oneformer.serving', logging.INFO), ('uvicorn.error', logging.WARNING)):
        log = logging.getLogger(name)
        log.handlers, log.propagate = [handler], False
        log.setLevel(level)
    sys.setswitchinterval(SWITCH_SECONDS)
    connections = Connections(_room_for_connections())
    config = uvicorn.Config(
        LoggedRequests(UnambiguousRequests(app)),
        http=partial(BoundedProtocol, connections),  # type: ignore[arg-type]  # called as the class would be
        ws='none',
        lifespan='on',
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=ACCEPTED,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    # Broken photos are rejected, and have their line in the log.
    warnings.filterwarnings('ignore', module='PIL')
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    # uvicorn raises the signal again when it has finished; the stop was intended and is not an error.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: None)
    # A full collection of all that has been loaded would stop every thread for a quarter of a second.
    gc.collect()
    gc.freeze()
    _Server(config, connections, on_ready).run(sockets=[taken])


def end_process() -> NoReturn:
    """End a process whose service has stopped: Python would first spend seconds on unloading its libraries."""
    atexit._run_exitfuncs()  # Temporary files are removed, logs are written.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


class _Server(uvicorn.Server):
    """A server that reports when it is ready, and whose shutdown is not delayed by rejected clients."""

    def __init__(self, config: uvicorn.Config, connections: Connections, on_ready: Callable[[], object]) -> None:
        super().__init__(config)
        self.connections, self.on_ready = connections, on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening."""
        await super().startup(sockets)
        for taken in sockets or []:
            taken.listen(QUEUED)  # The loop has set the system's queue to the number it accepts at once.
        self.on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and finish the requests in progress."""
        self.connections.stopping = True
        await super().shutdown(sockets)


def _room_for_connections() -> int:
    """Raise the process's limit on files as far as needed and allowed; return how many connections may be open."""
    (soft, hard), wanted = resource.getrlimit(resource.RLIMIT_NOFILE), MAX_CONNECTIONS + OTHER_FILES
    unlimited = resource.RLIM_INFINITY
    if soft != unlimited and soft < wanted:
        soft = wanted if hard == unlimited else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return MAX_CONNECTIONS if soft == unlimited else min(MAX_CONNECTIONS, max(soft - OTHER_FILES, soft // 2))


class LoggedRequests:
    """Middleware: one line per request, with sizes and seconds, and none of its content.

    Args:
        app: The application.
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
    # As it was sent, with percent escapes: a path with a line break cannot forge a line.
    query = scope.get('query_string', b'')
    sent = scope.get('raw_path', b'') + (b'?' if query else b'') + query
    target = sent.decode('latin-1') if len(sent) <= LOGGED_BYTES else f'{sent[:LOGGED_BYTES].decode("latin-1")}...'
    return (
        f'{client[0]} {scope["method"]} {target} {seen["status"]} '
        f'{seconds:.3f} s, {seen["in"]} bytes in, {seen["out"]} out'
    )
