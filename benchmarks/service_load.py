"""A service under load: responses per second, latency, lost requests, and memory.

Decisions:
* Each client sends its next photo when it has received the last response (closed loop), on a connection that stays
  open: more clients mean a longer queue, not an avalanche.
* Servers are measured in turn, block by block, so that a machine that gets busier affects them alike.
* A response counts if it is complete: status 200, JSON, and the photo's own size in it. All others count as lost.
* Memory is the resident set of the server process after each block. Its growth is the slope of a line through all
  blocks but the first, in which buffers still grow.
"""

import http.client
import itertools
import json
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import cv2
import numpy as np

from mmseg_oneformer.errors import UserError

__all__ = ['Load', 'Photo', 'Server', 'measure', 'read_photos', 'start_server']

SUFFIXES = {'.jpg', '.jpeg', '.png', '.webp'}


class Photo(NamedTuple):
    """A photo to send, and the size by which its response is recognised."""

    data: bytes
    size: tuple[int, int]
    """Height and width."""


class Server(NamedTuple):
    """A running service."""

    name: str
    host: str
    port: int
    pid: int


class Load(NamedTuple):
    """The results of one service."""

    name: str
    clients: int
    requests: int
    lost: int
    """Requests without a complete response."""
    per_second: float
    """Responses, of all clients together."""
    p50_s: float
    p95_s: float
    p99_s: float
    photos_per_pass: float | None
    """Photos that went through the network together, on average."""
    rss_mb: list[tuple[int, float]]
    """Requests so far, and the server's resident set in 10^6 bytes after them; empty if it cannot be measured."""
    growth_kb: float | None
    """Growth of the resident set per request in kilobytes; None for fewer than three blocks."""


def read_photos(folder: Path, most: int = 50) -> list[Photo]:
    """Return the first photos of a folder.

    Raises:
        UserError: There is none.
    """
    photos = []
    for path in sorted(path for path in folder.glob('*') if path.suffix.lower() in SUFFIXES)[:most]:
        data = path.read_bytes()
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if image is not None:
            photos.append(Photo(data, (image.shape[0], image.shape[1])))
    if not photos:
        raise UserError(f'{folder} has no photos; give a folder of JPEG or PNG files.')
    return photos


@contextmanager
def start_server(name: str, command: Sequence[str]) -> Iterator[Server]:
    """Run a service until the block ends.

    Args:
        name: For the report.
        command: Starts ``tools/serve.py`` with ``--port 0``.

    Raises:
        UserError: It did not start; the message includes its own.
    """
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            words = process.stdout.readline().split()
            if not words:
                raise UserError(f'The service did not start: {process.stderr.read().strip()[-500:] or "no word"}')
            # Its log has to be read, or the pipe would fill up and block the server.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            address = urlsplit(next(word for word in words if word.startswith('http://')))
            yield Server(name, str(address.hostname), int(address.port or 0), process.pid)
        finally:
            process.terminate()


def measure(
    servers: Sequence[Server], photos: Sequence[Photo], clients: int, requests: int, query: str = '', block: int = 100
) -> list[Load]:
    """Put servers under load, in turn.

    Args:
        servers: The servers to measure.
        photos: Sent in this order, again and again.
        clients: Number of clients that send at the same time.
        requests: To each server, after two from each client that do not count.
        query: Of ``/predict``, such as ``?tasks=panoptic``.
        block: Number of requests after which it is the next server's turn.
    """
    runs = [_Run(server, photos, clients, query) for server in servers]
    for run in runs:
        run.send(2 * clients)
        run.forget()
    sizes = [block] * (requests // block) + [requests % block] * (requests % block > 0)
    for number, size in enumerate(sizes):
        for run in runs if number % 2 == 0 else reversed(runs):
            run.send(size)
    return [run.result() for run in runs]


class _Run:
    """The clients of one server."""

    def __init__(self, server: Server, photos: Sequence[Photo], clients: int, query: str) -> None:
        self.server, self.photos, self.clients, self.query = server, photos, clients, query
        self.local = threading.local()
        self.pool = ThreadPoolExecutor(clients)
        self.forget()

    def forget(self) -> None:
        """Start counting from zero."""
        self.times: list[float] = []
        self.sent, self.elapsed = 0, 0.0
        self.rss: list[tuple[int, float]] = []
        self.passes = self._passes()

    def send(self, count: int) -> None:
        """Send ``count`` requests and wait for all responses."""
        start = time.perf_counter()
        chosen = itertools.islice(itertools.cycle(self.photos), self.sent, self.sent + count)
        taken = list(self.pool.map(self._ask, chosen))
        self.elapsed += time.perf_counter() - start
        self.times += [seconds for seconds in taken if seconds is not None]
        self.sent += count
        memory = _resident_mb(self.server.pid)
        if memory is not None:
            self.rss.append((self.sent, memory))

    def _ask(self, photo: Photo) -> float | None:
        """Return the seconds that a complete response took, or None."""
        connection = getattr(self.local, 'connection', None)
        if connection is None:
            connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=120)
            self.local.connection = connection
        start = time.perf_counter()
        try:
            connection.request('POST', f'/predict{self.query}', photo.data)
            response = connection.getresponse()
            content = response.read()
            seconds = time.perf_counter() - start
            prediction = json.loads(content)
            whole = response.status == 200 and (prediction['height'], prediction['width']) == photo.size
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
            connection.close()
            self.local.connection = None
            return None
        return seconds if whole else None

    def result(self) -> Load:
        """Return the counts."""
        self.pool.shutdown()
        photos, batches = (after - before for after, before in zip(self._passes(), self.passes))
        cuts = statistics.quantiles(self.times, n=100, method='inclusive') if len(self.times) > 1 else [0.0] * 99
        later = self.rss[1:]
        slope = 1000 * statistics.linear_regression(*zip(*later)).slope if len(later) > 1 else None
        return Load(
            name=self.server.name,
            clients=self.clients,
            requests=self.sent,
            lost=self.sent - len(self.times),
            per_second=len(self.times) / self.elapsed,
            p50_s=cuts[49],
            p95_s=cuts[94],
            p99_s=cuts[98],
            photos_per_pass=photos / batches if batches else None,
            rss_mb=self.rss,
            growth_kb=slope,
        )

    def _passes(self) -> tuple[int, int]:
        """Photos and passes through the network so far."""
        connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=120)
        try:
            connection.request('GET', '/health')
            health = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return health['photos'], health['batches']


def _resident_mb(pid: int) -> float | None:
    """Resident set of a process in 10^6 bytes, or None without /proc."""
    try:
        text = Path(f'/proc/{pid}/status').read_text()
    except OSError:
        return None
    return int(text.split('VmRSS:')[1].split()[0]) * 1024 / 1e6
