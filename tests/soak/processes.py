"""Processes that are started again and again and ended at any moment, from a Python that has imported everything."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ['start_tool', 'warm_server']

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def warm_server(folder: Path) -> Iterator[Path]:
    """Yield the address of a process that forks tools."""
    address = folder / 'socket'
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '', 'MPLBACKEND': 'Agg'}
    with subprocess.Popen([sys.executable, ROOT / 'tests/toy/warm_python.py', 'serve', address], env=env) as server:
        while not address.exists():
            if server.poll() is not None:
                raise RuntimeError('the server of warm processes did not start')
            time.sleep(0.05)
        yield address
        server.terminate()


def start_tool(server: Path, folder: Path, log: Path, tool: str, arguments: Sequence[str]) -> subprocess.Popen:
    """Start a tool of ``tools/`` in a folder; what it prints is added to ``log``. A kill ends it as well."""
    command = [sys.executable, str(ROOT / 'tests/toy/warm_python.py'), str(server), str(ROOT / 'tools' / tool)]
    with log.open('ab') as stream:
        return subprocess.Popen([*command, *arguments], cwd=folder, stdout=stream, stderr=subprocess.STDOUT)
