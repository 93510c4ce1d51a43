"""Photos from the web, if the caller allows it: only over http(s), limited in bytes, pixels and time, never on disk.

Decisions:
* Addresses of this machine and of private networks are rejected unless the caller allows them too: whoever chooses the
  inputs could read what only this machine can reach.
* The address checked is the one that the connection is made to, in whatever form or name the URL and its redirects give
  it. A name that is looked up twice may resolve to two addresses.
"""

import ipaddress
import queue
import re
import socket
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from email.message import Message
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import IO, Any

from ..errors import UserError
from ..version import __version__

__all__ = ['check_photo_url', 'fetch_photo', 'is_public', 'is_url']

SCHEMES = ('http', 'https')
MAX_BYTES = 50_000_000
SECONDS = 30.0
"""Time for the whole file, including name look-up and redirects."""
TRANSLATED = ipaddress.ip_network('64:ff9b::/96')
"""IPv6 addresses that end with the IPv4 address that they lead to (RFC 6052)."""


def is_url(text: str) -> bool:
    """Return whether a text is an address of any scheme, and so not a path."""
    return re.match(r'[a-zA-Z][a-zA-Z0-9+.-]+://', text) is not None


def check_photo_url(url: str, allowed: bool = True) -> None:
    """Raise a ValueError unless ``url`` is an http(s) address and addresses are allowed."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise UserError(f'{url} is not a web address ({error}); correct it.') from error
    if parts.scheme.lower() not in SCHEMES or not parts.hostname:
        raise UserError(f'{url} is rejected, only http and https addresses are read; save the photo as a file.')
    if not allowed:
        raise UserError(f'{url} is a web address; allow it to be fetched with allow_urls=True (--allow-urls).')


def is_public(address: str) -> bool:
    """Return whether an IP address is public, and not that of this machine, its networks or a multicast group."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo and found.teredo[1])
        if found in TRANSLATED:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner:
            return is_public(str(inner))
        if found.is_site_local:
            return False
    return found.is_global and not found.is_multicast


def fetch_photo(url: str, allow_private: bool = False, max_bytes: int = MAX_BYTES, seconds: float = SECONDS) -> bytes:
    """Return the file at an address, which may be a photo.

    Args:
        url: http or https; redirects are followed only to these, and never from https to http.
        allow_private: Also connect to this machine and to private networks, and through a proxy.
        max_bytes: Maximum size of the file.
        seconds: Time limit for the whole file.

    Raises:
        UserError: If it cannot be fetched in time or is too large.
    """
    arrived: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            arrived.put(_get(url, allow_private, max_bytes, seconds))
        except Exception as error:  # noqa: BLE001 (handed to the thread that waits)
            arrived.put(error)

    # A timeout of a socket starts again with each byte, and names are looked up without one: only another thread's
    # clock limits the whole. A daemon thread does not delay the end of the program.
    threading.Thread(target=work, daemon=True).start()
    try:
        content = arrived.get(timeout=seconds)
    except queue.Empty:
        content = TimeoutError()
    if isinstance(getattr(content, 'reason', content), TimeoutError):  # The socket's clock may run out first.
        raise UserError(f'{url} has not arrived within {seconds:g} seconds; save the photo as a file.')
    if isinstance(content, OSError | HTTPException | UnicodeError):  # UnicodeError: of host names that cannot exist.
        raise UserError(f'{url} cannot be fetched ({_reason(content)}); correct the address.') from content
    if isinstance(content, Exception):
        raise content
    return content


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Follows redirects only to http(s), and not from https to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        check_photo_url(newurl)
        if req.type == 'https' and urllib.parse.urlsplit(newurl).scheme.lower() != 'https':
            raise UserError(f'{req.full_url} is rejected: it leads from https to {newurl}; give the address itself.')
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _connect_public(host: str, port: int, timeout: Any) -> socket.socket:
    """Connect to a public address.

    Raises:
        UserError: The name resolves to an address that is not public.
        OSError: It has no address, or none responds.
    """
    failure: OSError | None = None
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        if not is_public(str(address[0])):
            raise UserError(
                f'{host} is rejected: its address {address[0]} is not public; allow_private_urls=True '
                '(--allow-private-urls) allows it.'
            )
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(timeout)
            connection.connect(address)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure or OSError(f'{host} has no address')


class _PublicConnection(HTTPConnection):
    def connect(self) -> None:
        self.sock = _connect_public(self.host, self.port, self.timeout)


class _PublicTLSConnection(HTTPSConnection):
    def connect(self) -> None:
        plain = _connect_public(self.host, self.port, self.timeout)
        self.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=self.host)


class _PublicHandler(urllib.request.AbstractHTTPHandler):
    """Connects only to public addresses, and without a proxy, which would look up names itself."""

    def http_open(self, request: urllib.request.Request) -> HTTPResponse:
        return self._open(_PublicConnection, request)

    def https_open(self, request: urllib.request.Request) -> HTTPResponse:
        return self._open(_PublicTLSConnection, request)

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    def _open(self, kind: type[HTTPConnection], request: urllib.request.Request) -> HTTPResponse:
        proxy = urllib.request.getproxies().get(request.type)
        if proxy and not urllib.request.proxy_bypass(request.host):
            raise UserError(
                f'{request.full_url} is rejected: where the proxy connects to cannot be checked; '
                'allow_private_urls=True (--allow-private-urls) allows it.'
            )
        return self.do_open(kind, request)


def _get(url: str, allow_private: bool, max_bytes: int, seconds: float) -> bytes:
    any_address = (urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler)
    # By hand: build_opener adds handlers for file:, ftp: and data:.
    opener = urllib.request.OpenerDirector()
    for handler in (
        *(any_address if allow_private else (_PublicHandler,)),
        _NoDowngrade,
        urllib.request.HTTPErrorProcessor,
        urllib.request.HTTPDefaultErrorHandler,
    ):
        opener.add_handler(handler())
    request = urllib.request.Request(url, headers={'User-Agent': f'mmseg_oneformer/{__version__}'})
    with opener.open(request, timeout=seconds) as response:
        content = response.read(max_bytes + 1)
        missing = response.length  # None if the server did not state the length
    if len(content) > max_bytes:
        raise UserError(f'{url} has more than {max_bytes / 1e6:g} MB; save the photo as a file.')
    if missing:
        raise UserError(f'{url} broke off {missing} bytes before its end; try again.')
    return content


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f'{error.code} {error.reason}'
    return str(getattr(error, 'reason', error)) or type(error).__name__
