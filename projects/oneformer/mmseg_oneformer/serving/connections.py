"""Connections: each has a time limit, and unused ones make room for others.

Decisions:
* A connection costs only a file descriptor, so many are accepted. One more than the limit ends the connection whose end
  does least harm: the oldest that has sent no request, else the one that has been idle longest. Responding "busy"
  instead, as uvicorn does, would let a few hundred silent clients lock everybody out, even from /health.
* A client that has sent its whole request and closes its half of the connection waits for the response. One that has
  closed both halves looks the same until something is sent to it, so it gets ``100 Continue``: only the system of the
  latter rejects that.
* A message whose end is ambiguous is rejected, and its connection closed: a proxy could see other requests in it.
"""

import asyncio
import json
import random
import socket
import sys
from typing import Any

import h11
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ['BoundedProtocol', 'Connections', 'UnambiguousRequests', 'reject']

HEADER_SECONDS = 20
"""Time for the head of a request to arrive; uvicorn would wait forever. Randomly up to 50 % longer: a thousand
connections that end at once would delay everybody else."""
LINGER_SECONDS = 20
"""Time for a client that is still sending when its request is rejected to read why."""
READ_SECONDS = 30
"""Time in which a client has to read some of a response; uvicorn would wait forever."""
SEND_BUFFER = 128 * 1024
"""Bytes that the system buffers for each client. Progress is seen in steps of this size: with the usual megabytes, a
client on a slow line would seem to read nothing for minutes."""
PROBE_SECONDS = 2.0
"""Time for which a client that sends no more is assumed to be there; then it is probed. Most responses come earlier, so
that nothing precedes them, which simple clients would take for the response."""
LEFT_SECONDS = 0.1
"""Time between two checks whether a client that was probed has left."""
STOP_LINGER_SECONDS = 0.5
"""``LINGER_SECONDS`` while the service is stopping."""


class Connections:
    """The open connections of a server.

    Args:
        most: Maximum number open at a time.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.stopping = False
        self._open: set[BoundedProtocol] = set()
        # Dicts, because they are ordered.
        self._unused: dict[BoundedProtocol, None] = {}
        self._idle: dict[BoundedProtocol, None] = {}

    def add(self, connection: 'BoundedProtocol') -> None:
        """Accept a new connection; if there are too many, the most dispensable one ends."""
        self._open.add(connection)
        if len(self._open) > self.most:
            spared = next(iter(self._unused or self._idle), connection)
            self.discard(spared)
            spared.transport.abort()
        if connection in self._open:
            self._unused[connection] = None

    def discard(self, connection: 'BoundedProtocol') -> None:
        """Remove a connection."""
        self._open.discard(connection)
        self.busy(connection)

    def busy(self, connection: 'BoundedProtocol') -> None:
        """Mark a connection as having a request: it is kept whatever happens."""
        self._unused.pop(connection, None)
        self._idle.pop(connection, None)

    def idle(self, connection: 'BoundedProtocol') -> None:
        """Mark a connection as idle: it ends before others that become idle later."""
        self.busy(connection)
        if connection in self._open:
            self._idle[connection] = None


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP, with time limits for clients that send no request, or its head too slowly, or read no response.

    Args:
        connections: The connections of the server.
        options: As for uvicorn's own protocol.
    """

    _patience: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None
    _sends_no_more = False

    def __init__(self, connections: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._connections = connections

    @property
    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request, not forever."""
        transport.get_extra_info('socket').setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        super().connection_made(_LingeringTransport(transport, self))  # type: ignore[arg-type]
        self._connections.add(self)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Wait for the rest, not forever."""
        if not self.transport.is_closing():
            super().data_received(data)
            self._watch()

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's always lets the connection end
        """Return whether to keep the connection of a client that sends no more: it may be waiting for its response."""
        if not self._is_busy or self.cycle.more_body:
            return False
        if not self._sends_no_more:
            self._sends_no_more, self.cycle.keep_alive = True, False
            self.loop.call_later(PROBE_SECONDS, self._probe)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._connections.discard(self)
        super().connection_lost(exc)
        self._stop_watching()
        self.resume_writing()
        self._unset_keepalive_if_required()

    def pause_writing(self) -> None:
        """Wait for the client to read, not forever."""
        super().pause_writing()
        self._wait_for_reader(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Stop waiting for the client."""
        super().resume_writing()
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def on_response_complete(self) -> None:
        """Wait for the next request; until it comes, the connection may be closed in favour of others."""
        super().on_response_complete()
        if not self._is_busy:
            self._connections.idle(self)

    def timeout_keep_alive_handler(self) -> None:
        """End the connection, even if a response has not been read: closing would wait for its reader."""
        if self._reading is None:
            self.transport.abort()
        else:  # A long response on a slow line, which has its own time limit.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def shutdown(self) -> None:
        """End once the request in progress is finished."""
        if self.conn.our_state is not h11.ERROR:
            super().shutdown()
        if self.transport.is_closing():  # It may linger.
            self.loop.call_later(STOP_LINGER_SECONDS, self._abort_unless_unread)

    def send_400_response(self, msg: str) -> None:
        """Reject data that is not HTTP, with a sentence."""
        error = sys.exception()  # The parser's; uvicorn calls this where it is caught.
        status, reason = 400, f'This is not an HTTP request ({error}).'
        if isinstance(error, h11.RemoteProtocolError):
            status = error.error_status_hint
        if status == 431:
            reason = 'The head of the request is too long; send fewer or shorter headers.'
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # The response to this request has begun.
            self.transport.abort()
            return
        headers, body = _sentence(reason)
        for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b'')
        if self._is_busy:  # The application waits for the rest of a body.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _watch(self) -> None:
        if self._is_busy:  # The application has its own limits.
            self._connections.busy(self)
            self._stop_watching()
        elif self._patience is None and not self.transport.is_closing():
            self._patience = self.loop.call_later(HEADER_SECONDS * random.uniform(1, 1.5), self.transport.abort)

    def _stop_watching(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _wait_for_reader(self, unread: int) -> None:
        def check() -> None:
            left = self.transport.get_write_buffer_size()
            if left < unread:
                self._wait_for_reader(left)
            else:
                self.transport.abort()

        self._reading = self.loop.call_later(READ_SECONDS, check)

    def _probe(self) -> None:
        """Send something to a client that may have left."""
        unstarted = self._is_busy and not self.cycle.response_started
        if unstarted and not self.transport.is_closing() and self.scope['http_version'] != '1.0':
            self.transport.write(self.conn.send(h11.InformationalResponse(status_code=100, headers=[])) or b'')
            self._end_if_left()

    def _end_if_left(self) -> None:
        """End the connection if the client's system has rejected what was sent to it; there is no other sign."""
        if not self._is_busy or self.transport.is_closing():
            return
        if self.transport.get_extra_info('socket').getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()
        else:
            self.loop.call_later(LEFT_SECONDS, self._end_if_left)

    def _abort_unless_unread(self) -> None:
        if not self.transport.get_write_buffer_size():
            self.transport.abort()


class _LingeringTransport:
    """A transport that continues to read when closed within a body: a reset would reach the client before the response.

    Clients that request ``Connection: close``, such as Python's urllib, are rejected in this way.
    """

    def __init__(self, transport: asyncio.Transport, protocol: BoundedProtocol) -> None:
        self._transport, self._protocol, self._closed = transport, protocol, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._closed or self._transport.is_closing()

    def close(self) -> None:
        amid_a_body = self._protocol.conn.their_state in (h11.SEND_BODY, h11.ERROR)
        if not amid_a_body or self._transport.is_closing():
            self._transport.close()
        elif not self._closed:
            self._closed = True
            self._transport.write_eof()
            self._transport.resume_reading()
            seconds = STOP_LINGER_SECONDS if self._protocol._connections.stopping else LINGER_SECONDS
            self._protocol.loop.call_later(seconds, self._transport.abort)


class UnambiguousRequests:
    """Middleware: rejects a request that states its length in two ways, or in a way that its HTTP version lacks.

    Args:
        app: The application that serves the others.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope['type'] == 'http':
            names = {name for name, _ in scope['headers']}
            if b'transfer-encoding' in names and (b'content-length' in names or scope['http_version'] == '1.0'):
                other = 'Content-Length' if b'content-length' in names else 'HTTP/1.0'
                await reject(send, 400, f'Transfer-Encoding does not go with {other}; send one of them.')
                return
        await self.app(scope, receive, send)


async def reject(send: Send, status: int, reason: str) -> None:
    """Send an error and close the connection: the rest of the request is not read."""
    headers, body = _sentence(reason)
    await send({'type': 'http.response.start', 'status': status, 'headers': headers})
    await send({'type': 'http.response.body', 'body': body})


def _sentence(reason: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return headers and body of a response that states what is wrong, like every error."""
    body = json.dumps({'detail': reason}).encode()
    headers = [
        (b'content-type', b'application/json'),
        (b'content-length', b'%d' % len(body)),
        (b'connection', b'close'),
    ]
    return headers, body
