"""Protection of a server on a user's own machine: other web sites cannot use it through the browser.

Decisions:
* A site may point its own name at 127.0.0.1 (DNS rebinding) and is then "same origin" to the browser. The Host header
  still has the foreign name, so on a loopback address only loopback's names are served.
* A foreign page may send requests without reading the responses, which is enough to keep the network busy. Browsers
  name the posting page in Origin, and state in Sec-Fetch-Site for every request whether it comes from another site;
  following a link does not count as such. Programs (curl, requests) send neither and are served.
* A page loads only what this server sends, and cannot be framed.
"""

import ipaddress
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .connections import reject

__all__ = ['Guard', 'is_loopback']

HOST = re.compile(r'(\[[0-9a-f:.]+\]|[\w.-]+)(:\d{1,5})?', re.ASCII | re.IGNORECASE)
"""A name or an address, and a port. Nothing else: parsers disagree on whether 'somebody@localhost' is 'localhost'."""
HEADERS = {
    'Content-Security-Policy': (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cache-Control': 'no-store',  # Photos are private, and a page from yesterday may not match today's server.
}


def is_loopback(host: str) -> bool:
    """Return whether a server listening on ``host``, a name or an address, can be reached only from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'


class Guard:
    """ASGI middleware: ``app.add_middleware(Guard, local=is_loopback(host))``.

    Args:
        app: The application to protect.
        local: The server listens on a loopback address and is served only under loopback's names. A server that others
            can reach cannot know under which names.
    """

    def __init__(self, app: ASGIApp, local: bool = True) -> None:
        self.app, self.local = app, local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reject with 403, or pass the request on and add the headers to its response."""
        if scope['type'] != 'http':
            await self.app(scope, receive, send)
            return
        reason = self._reason(scope['method'], Headers(scope=scope))
        if reason is not None:
            await reject(send, 403, reason)
            return

        async def send_with_headers(message: Message) -> None:
            if message['type'] == 'http.response.start':
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)

    def _reason(self, method: str, headers: Headers) -> str | None:
        """Return why a request is rejected, or None."""
        host = headers.get('host', '')
        if (host and not HOST.fullmatch(host)) or (self.local and not is_loopback(_name(host))):
            return f'This server is not {host or "without a name"}; open the address that it printed.'
        origin = headers.get('origin')
        own = origin is None or origin.lower() in (f'http://{host.lower()}', f'https://{host.lower()}')
        posts = method not in ('GET', 'HEAD') and not own
        loads = headers.get('sec-fetch-site', 'none') not in ('none', 'same-origin')
        if posts or (loads and headers.get('sec-fetch-mode') != 'navigate'):
            return f'Other sites{f" ({origin})" if origin else ""} may not use this server; open its own page.'
        return None


def _name(host: str) -> str:
    """Return the name or address in a Host header."""
    found = HOST.fullmatch(host)
    return found[1].strip('[]').lower() if found else ''
