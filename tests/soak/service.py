"""The service beside clients that mean it ill: every good request gets its predictions, and /health never waits.

python tests/soak/service.py --seconds 60 [--good 64] [--slow 100] [--empty 1000]

Starts tools/serve.py with the shipped narrow model. Good clients send photos, each when the last has its response. Slow
ones upload one byte a second and begin again when they are given up; empty ones connect and say nothing. A process of
its own requests /health 20 times a second, each time on a new connection. Exit status: 1 if a good request was not
answered, /health was late, the memory grew, or the service did not stop at once.
"""

import argparse
import asyncio
import json
import multiprocessing
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import psutil

from mmseg_oneformer.datasets.drawing import draw_scene

ROOT = Path(__file__).resolve().parents[2]
MODEL = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
HEALTH_SECONDS = 0.1
"""In which /health has to respond."""
HEALTH_SHARE = 0.999
"""Of the responses of /health that have to be quick: the clients share the cores of the machine with the service."""
GROWTH_MB = 30.0
"""That the service may need more in the last quarter than in the second."""
STOP_SECONDS = 1.0
"""From SIGTERM to the end of an idle service."""
ARRIVAL_SECONDS = 5.0
"""In which the slow and the empty clients come, the first time and after each end."""
TIMEOUT = 60.0
"""Seconds after which a good request counts as lost."""


class Outcome(NamedTuple):
    """What happened in a run."""

    good: Counter[str]
    """Responses to good clients, by 'ok', the status, or the kind of error."""
    given_up: Counter[str]
    """Ends of slow clients' uploads by status, and of empty connections as 'empty'."""
    health: list[float]
    """Seconds of each request of /health; infinite without a response."""
    memory: list[float]
    """Resident set of the service in MB, four times a second."""
    seconds_to_stop: float
    """From SIGTERM to the end, when all clients have gone."""
    log: str
    slack: float
    """Factor on the times that are allowed."""

    @property
    def violations(self) -> list[str]:
        """What was not as it has to be, in sentences."""
        bad = {kind: count for kind, count in self.good.items() if kind != 'ok'}
        late = np.quantile(self.health, HEALTH_SHARE)
        quarter = len(self.memory) // 4
        growth = max(self.memory[-quarter:]) - max(self.memory[quarter : 2 * quarter]) if quarter else 0.0
        checks = {
            f'good requests that were not answered: {bad}': bad or not self.good['ok'],
            f'/health took {1000 * late:.0f} ms at {HEALTH_SHARE:.1%}': not late <= self.slack * HEALTH_SECONDS,
            f'memory grew by {growth:.0f} MB': growth > GROWTH_MB,
            f'SIGTERM took {self.seconds_to_stop:.2f} s': self.seconds_to_stop > self.slack * STOP_SECONDS,
            'the log has a traceback': 'Traceback' in self.log,
        }
        return [sentence for sentence, violated in checks.items() if violated]

    def __str__(self) -> str:
        """The counts."""
        milliseconds = 1000 * np.quantile(self.health, (0.5, 0.95, 0.99, 1))
        return (
            f'good requests: {dict(self.good)}\n'
            f'given up: {dict(self.given_up)}\n'
            f'/health: {len(self.health)} requests, p50 {milliseconds[0]:.0f} ms, p95 {milliseconds[1]:.0f} ms, '
            f'p99 {milliseconds[2]:.0f} ms, longest {milliseconds[3]:.0f} ms, '
            f'{np.mean(np.array(self.health) > HEALTH_SECONDS):.2%} above {1000 * HEALTH_SECONDS:.0f} ms\n'
            f'memory: {self.memory[len(self.memory) // 4]:.0f} MB after a quarter of the time, '
            f'{max(self.memory):.0f} at most, {self.memory[-1]:.0f} at the end\n'
            f'SIGTERM to the end: {self.seconds_to_stop:.2f} s'
        )


def soak(seconds: float, good: int, slow: int, empty: int, slack: float = 1.0) -> Outcome:
    """Run the service and its clients.

    Args:
        seconds: For which the clients send.
        good: Clients that send photos.
        slow: Clients that upload one byte a second.
        empty: Connections without a request.
        slack: Factor on the times that are allowed.
    """
    _allow_files(good + slow + empty + 200)
    context = multiprocessing.get_context('spawn')
    with _started() as (process, port, log), ProcessPoolExecutor(1, context) as pool:
        pool.submit(_ready).result()
        health = pool.submit(_request_health, port, seconds)
        crowd = _Crowd(port, process.pid, time.monotonic() + seconds)
        asyncio.run(crowd.run(good, slow, empty))
        latencies = health.result()
        start = time.monotonic()
        process.terminate()
        process.wait(TIMEOUT)
        stopped = time.monotonic() - start
        return Outcome(crowd.good, crowd.given_up, latencies, crowd.memory, stopped, log.read_text(), slack)


@contextmanager
def _started() -> Iterator[tuple[subprocess.Popen[str], int, Path]]:
    """Start the service; yields its process, port and log."""
    command = [sys.executable, ROOT / 'tools/serve.py', '--model', MODEL, '--device', 'cpu', '--port', '0']
    with (
        tempfile.NamedTemporaryFile('w') as log,
        subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            found = re.search(r'http://[^/]*:(\d+)/', process.stdout.readline())
            assert found, Path(log.name).read_text()
            yield process, int(found[1]), Path(log.name)
        finally:
            process.kill()


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, count)), hard))


def _ready() -> None:
    """Nothing: the process that measures has started."""


def _request_health(port: int, seconds: float) -> list[float]:
    """Return how long each request of /health took."""

    async def one() -> float:
        start = time.perf_counter()
        try:
            async with asyncio.timeout(TIMEOUT):
                status, _ = await _exchange(
                    port, b'GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
                )
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
            return float('inf')
        return time.perf_counter() - start if status == 200 else float('inf')

    async def main() -> list[float]:
        requests, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            requests.append(asyncio.create_task(one()))  # Not one after the other: a wait would hide those behind it.
            await asyncio.sleep(0.05)
        return await asyncio.gather(*requests)

    return asyncio.run(main())


class _Crowd:
    """The clients but that of /health."""

    def __init__(self, port: int, pid: int, end: float) -> None:
        self.port, self.process, self.end = port, psutil.Process(pid), end
        self.good: Counter[str] = Counter()
        self.given_up: Counter[str] = Counter()
        self.memory: list[float] = []
        scenes = (draw_scene(96, np.random.default_rng(seed)).image for seed in range(8))
        self.photos = [cv2.imencode('.jpg', scene[:, :, ::-1])[1].tobytes() for scene in scenes]

    async def run(self, good: int, slow: int, empty: int) -> None:
        """Let all send until the end."""
        bad = [asyncio.create_task(self._slow()) for _ in range(slow)]
        bad += [asyncio.create_task(self._empty()) for _ in range(empty)]
        bad.append(asyncio.create_task(self._measure()))
        await asyncio.gather(*(self._good(number) for number in range(good)))
        await asyncio.sleep(max(0.0, self.end - time.monotonic()))
        for task in bad:
            task.cancel()
        for failure in await asyncio.gather(*bad, return_exceptions=True):
            assert isinstance(failure, asyncio.CancelledError), failure

    async def _good(self, number: int) -> None:
        while time.monotonic() < self.end:
            photo = self.photos[number % len(self.photos)]
            head = b'POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n' % len(photo)
            number += 1
            try:
                async with asyncio.timeout(TIMEOUT):
                    status, content = await _exchange(self.port, head + photo)
                whole = status == 200 and {'semantic', 'instance', 'panoptic'} <= json.loads(content).keys()
                self.good['ok' if whole else str(status)] += 1
            except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
                self.good[type(error).__name__] += 1

    async def _slow(self) -> None:
        head = b'POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000\r\n\r\n'
        while True:
            await asyncio.sleep(random.uniform(0, ARRIVAL_SECONDS))
            with suppress(OSError):
                reader, writer = await asyncio.open_connection('127.0.0.1', self.port)
                with _closing(writer):
                    writer.write(head)
                    response = asyncio.create_task(reader.readline())
                    while not response.done():
                        writer.write(b'x')
                        await asyncio.wait({response}, timeout=1)
                    self.given_up[response.result()[9:12].decode() or 'closed'] += 1

    async def _empty(self) -> None:
        while True:
            await asyncio.sleep(random.uniform(0, ARRIVAL_SECONDS))
            with suppress(OSError):
                reader, writer = await asyncio.open_connection('127.0.0.1', self.port)
                with _closing(writer):
                    await reader.read(1)
                    self.given_up['empty'] += 1

    async def _measure(self) -> None:
        while True:
            self.memory.append(self.process.memory_info().rss / 1e6)
            await asyncio.sleep(0.25)


async def _exchange(port: int, request: bytes) -> tuple[int, bytes]:
    """Send a request on a new connection; return status and body of the response."""
    reader, writer = await asyncio.open_connection('127.0.0.1', port)
    with _closing(writer):
        writer.write(request)
        head = (await reader.readuntil(b'\r\n\r\n')).decode('latin-1')
        length = re.search(r'(?i)\r\ncontent-length: (\d+)\r\n', head)
        return int(head.split()[1]), await reader.readexactly(int(length[1]) if length else 0)


@contextmanager
def _closing(writer: asyncio.StreamWriter) -> Iterator[None]:
    try:
        yield
    finally:
        writer.transport.abort()


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print the counts, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seconds', type=float, default=60, help='how long (default: %(default)s)')
    parser.add_argument('--good', type=int, default=64, help='clients that send photos (default: %(default)s)')
    parser.add_argument('--slow', type=int, default=100, help='clients at a byte a second (default: %(default)s)')
    parser.add_argument('--empty', type=int, default=1000, help='empty connections (default: %(default)s)')
    parser.add_argument(
        '--slack', type=float, default=1, help='factor on the times that are allowed, for a busy machine'
    )
    args = parser.parse_args(argv)
    outcome = soak(args.seconds, args.good, args.slow, args.empty, args.slack)
    print(outcome)
    for sentence in outcome.violations:
        print(f'VIOLATION: {sentence}')
    return 1 if outcome.violations else 0


if __name__ == '__main__':
    sys.exit(main())
