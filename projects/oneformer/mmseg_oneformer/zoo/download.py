"""Files from the web: over https only, resumed where they stopped, whole or not there at all.

Decisions:
* The standard library does it: a checkpoint is one file, and no account, telemetry or second cache is wanted.
* What has arrived is ``NAME.part``; ``NAME.part.json`` says of which file it is the beginning. It goes on only if the
  server's ETag (or date) is the same; otherwise it starts again, since a file of two halves would load and be wrong.
* File names are the caller's. Nothing that the server says becomes a path.
"""

import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from email.message import Message
from pathlib import Path
from typing import IO, Any

from filelock import FileLock
from tqdm import tqdm

from ..errors import NetworkError
from ..files import file_digest, write_atomic
from ..version import __version__

SCHEMES = ('https',)
TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as lost."""
ATTEMPTS = 4
"""Connections in a row that may fail before the download gives up."""
BLOCK = 1 << 20


class DownloadError(NetworkError):
    """A file could not be had; the message says why and not which, and ``final`` whether another attempt is useless."""

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class _SameSchemes(urllib.request.HTTPRedirectHandler):
    """Follows redirects to allowed schemes only: https must not turn into http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def check_url(url: str) -> None:
    """Raise a DownloadError unless ``url`` is one that may be read."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise DownloadError(f'{url} is not a web address ({error})', final=True) from error
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise DownloadError(f'{url} is rejected, only {" and ".join(SCHEMES)} addresses are read', final=True)


def download(url: str, path: str | os.PathLike[str], progress: bool = True, checksum: str | None = None) -> None:
    """Get a file, going on with what an earlier call has got; nothing is done if ``path`` exists.

    Of several processes one works and the others wait for it.

    Args:
        url: Where from.
        path: Where to; the folder is made.
        progress: Show a bar on a terminal.
        checksum: That the file has to have, such as 'md5:0123...'; another file is not kept.

    Raises:
        DownloadError: The file could not be had. What has arrived is kept for the next call.
    """
    target = Path(path)
    check_url(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f'{target}.lock'):
        if target.exists():
            return
        failures, most = 0, _size(_part(target))
        while True:
            try:
                _fetch(url, target, progress, checksum)
                return
            except DownloadError as error:
                # Getting further than ever is no failure: a bad line may need many connections.
                arrived = _size(_part(target))
                failures, most = (1, arrived) if arrived > most else (failures + 1, most)
                if error.final or failures == ATTEMPTS:
                    raise
            time.sleep(2.0 ** (failures - 1))


def _part(target: Path) -> Path:
    return target.with_name(f'{target.name}.part')


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _fetch(url: str, target: Path, progress: bool, checksum: str | None) -> None:
    """Make one connection, and move the file to its place if that completed it."""
    part = _part(target)
    state_file = part.with_name(f'{part.name}.json')
    state = _read_state(state_file)
    start = _size(part) if state.get('url') == url and state.get('validator') else 0
    if not start or start != state.get('size'):
        with _connect(url, start, state) as response:
            start = _begins_at(response, start, state, part)
            size = _announced_size(response, start)
            _check_room(target.parent, size, start)
            if not start:
                part.unlink(missing_ok=True)  # Before the new state is written, which does not describe the old bytes.
            state = {'url': url, 'validator': _validator(response.headers), 'size': size}
            write_atomic(state_file, json.dumps(state))
            _copy(response, part, start, size, progress)
    if checksum is not None:
        kind, _, expected = checksum.partition(':')
        found = file_digest(part, kind)
        if found != expected:
            part.unlink()
            state_file.unlink()
            raise DownloadError(f'its {kind} is {found} and not the published {expected}', final=True)
    part.replace(target)
    state_file.unlink()


def _read_state(path: Path) -> dict[str, Any]:
    with suppress(FileNotFoundError, ValueError):
        state = json.loads(path.read_text())
        if isinstance(state, dict):
            return state
    return {}


def _validator(headers: Message) -> str | None:
    """Return what tells this version of the file from others, or None if the server gives nothing that does."""
    tag = headers.get('ETag')
    return tag if tag is not None and not tag.startswith('W/') else headers.get('Last-Modified')


def _connect(url: str, start: int, state: Mapping[str, Any]) -> http.client.HTTPResponse:
    headers = {'User-Agent': f'mmseg_oneformer/{__version__}', 'Accept-Encoding': 'identity'}
    if start:
        headers |= {'Range': f'bytes={start}-', 'If-Range': state['validator']}
    opener = urllib.request.build_opener(_SameSchemes)
    try:
        return opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except DownloadError:
        raise
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:  # What we have is longer than what there is.
            return _connect(url, 0, state)
        temporary = error.code in (408, 425, 429) or error.code >= 500
        raise DownloadError(f'the server responds with {error.code} {error.reason}', final=not temporary) from error
    except urllib.error.URLError as error:
        lost = isinstance(error.reason, ConnectionResetError)
        raise DownloadError(f'the server cannot be reached ({error.reason})', final=not lost) from error
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f'the server does not respond ({error or type(error).__name__})') from error


def _begins_at(response: http.client.HTTPResponse, start: int, state: Mapping[str, Any], part: Path) -> int:
    """Return at which byte the response begins: at ``start``, or at 0 if the server sends the whole file."""
    if response.headers.get_content_type() == 'text/html':
        raise DownloadError('the server responds with a web page and no checkpoint', final=True)
    if response.status != 206:
        return 0
    same = _validator(response.headers) in (None, state.get('validator'))
    if not start or not same or not response.headers.get('Content-Range', '').startswith(f'bytes {start}-'):
        part.unlink(missing_ok=True)  # The server does not mind If-Range: only a new beginning is safe.
        raise DownloadError('the server sends another part than the requested one')
    return start


def _announced_size(response: http.client.HTTPResponse, start: int) -> int | None:
    """Return how long the whole file is, or None if that is known when the last chunk has arrived."""
    total = response.headers.get('Content-Range', '').rpartition('/')[2]
    if response.status == 206 and total.isdecimal():
        return int(total)  # The part that the server sends may end before the file does.
    announced = response.headers.get('Content-Length', '')  # Python ignores it where there are chunks.
    if announced.isdecimal():
        return start + int(announced)
    if not response.chunked:
        raise DownloadError('the server does not say how long the file is', final=True)
    return None


def _check_room(folder: Path, size: int | None, start: int) -> None:
    free = shutil.disk_usage(folder).free
    if size is not None and size - start > free:
        needed, there = (f'{value / 1e9:.1f} GB' for value in (size - start, free))
        raise DownloadError(f'{folder} has {there} left and {needed} are needed', final=True)


def _copy(response: http.client.HTTPResponse, part: Path, start: int, size: int | None, progress: bool) -> None:
    """Append the response's body to ``part``."""
    bar = tqdm(
        total=size,
        initial=start,
        unit='B',
        unit_scale=True,
        desc=part.stem,
        disable=None if progress else True,  # None: only on a terminal.
    )
    with bar, part.open('r+b' if start else 'wb') as file:
        file.seek(start)
        try:
            while block := _read(response):
                file.write(block)
                bar.update(len(block))
        finally:
            file.flush()
            os.fsync(file.fileno())
        arrived = file.tell()
    if size is not None and arrived != size:
        raise DownloadError(f'the server broke off after {arrived} of {size} bytes')


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f'the server broke off ({error or type(error).__name__})') from error
