"""One run: train, resuming where it stopped, then test. Its folder records its progress.

Decisions:
* ``results.json`` proves that a run is finished; ``state.json`` states that training is done, or what failed.
* A run is locked with ``flock`` on a file in its folder, and the processes that train and test inherit the lock. So it
  holds exactly as long as one of them lives, even if the sweep that started them was killed.
"""

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from ..files import write_atomic
from ..zoo.work_dirs import latest_checkpoint
from .plan import Run, write_run

WAITING, RUNNING, FINISHED, FAILED = 'waiting', 'running', 'finished', 'failed'
PATIENCE = 20.0
"""Seconds a process gets to end before it is killed."""


class Launch(NamedTuple):
    """How runs are started."""

    tools: Path
    """Folder of train.py, test.py, dist_train.sh and dist_test.sh."""
    gpus: int = 0
    """GPUs per run; with two or more, as many processes."""
    amp: bool = False
    """Mixed precision."""
    python: str = sys.executable

    def command(self, script: str, *arguments: str | Path) -> list[str]:
        """Return the command line of a tool: in a single process, or in one process per GPU."""
        if self.gpus < 2:
            return [self.python, str(self.tools / f'{script}.py'), *map(str, arguments)]
        shell = str(self.tools / f'dist_{script}.sh')
        positional = 2 if script == 'test' else 1  # config, checkpoint; then the number of processes
        arguments = (*arguments[:positional], str(self.gpus), *arguments[positional:])
        return ['bash', shell, *map(str, arguments)]

    def train(self, run: Run) -> list[str]:
        """Return the command that trains ``run``, from its latest checkpoint if there is one."""
        flags = ['--work-dir', str(run.folder), '--resume', '--seed', str(run.seed), *(['--amp'] if self.amp else [])]
        return self.command('train', run.config, *flags, *_options(run))

    def test(self, run: Run, checkpoint: str | Path) -> list[str]:
        """Return the command that evaluates a checkpoint of ``run``."""
        folders = ['--work-dir', str(run.folder / 'test'), '--out', str(run.folder / 'results.json')]
        return self.command('test', run.config, checkpoint, *folders, *_options(run))


def execute(run: Run, launch: Launch, environment: Mapping[str, str], stop: threading.Event) -> str:
    """Execute a run as far as possible and return its state.

    Args:
        run: The run; a finished one is left unchanged.
        launch: How to start it.
        environment: Environment variables of its processes.
        stop: When set, the processes are ended, and the run can be resumed later.

    Returns:
        'finished', 'failed', 'waiting' (stopped), or 'running' (in another process).

    Raises:
        UserError: The folder holds a run of another version of the config.
    """
    with run_lock(run.folder) as lock:
        if lock is None:
            return RUNNING
        if (run.folder / 'results.json').is_file():
            return FINISHED
        write_run(run)
        state = read_state(run.folder)
        if 'checkpoint' not in state:
            code = call(launch.train(run), run.folder / 'train.log', environment, lock, stop)
            checkpoint = latest_checkpoint(run.folder)
            if code in (None, os.EX_TEMPFAIL):  # It was stopped, or a signal to it alone let it save and end.
                return WAITING
            if code or checkpoint is None:
                return _fail(run, 'train', code)
            state = {'checkpoint': str(checkpoint)}
            write_state(run.folder, state)
        code = call(launch.test(run, state['checkpoint']), run.folder / 'test.log', environment, lock, stop)
        if code is None:
            return WAITING
        if code or not (run.folder / 'results.json').is_file():
            return _fail(run, 'test', code)
        return FINISHED


def state_of(run: Run) -> str:
    """Return the state of a run, read only from its folder."""
    if (run.folder / 'results.json').is_file():
        return FINISHED
    if is_locked(run.folder):
        return RUNNING
    return FAILED if 'error' in read_state(run.folder) else WAITING


def forgive(run: Run) -> None:
    """Allow a failed run to be tried again."""
    state = read_state(run.folder)
    trained = 'checkpoint' in state and Path(state['checkpoint']).is_file()
    write_state(run.folder, {'checkpoint': state['checkpoint']} if trained else {})


def read_state(folder: Path) -> dict[str, Any]:
    """Return the content of ``state.json``: the 'checkpoint' after training; 'step' and 'error' after a failure."""
    path = folder / 'state.json'
    return json.loads(path.read_text()) if path.is_file() else {}


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write ``state.json``, whole or not at all."""
    write_atomic(folder / 'state.json', json.dumps(state, indent=2) + '\n')


@contextmanager
def run_lock(folder: Path) -> Iterator[int | None]:
    """Lock a run; yields the descriptor that its processes inherit, or None if another process has the lock."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / 'lock', os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        os.truncate(handle, 0)
        os.write(handle, f'{socket.gethostname()} {os.getpid()}\n'.encode())
        yield handle
    finally:
        os.close(handle)


def is_locked(folder: Path) -> bool:
    """Return whether a living process executes the run."""
    try:
        handle = os.open(folder / 'lock', os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def call(command: list[str], log: Path, environment: Mapping[str, str], lock: int, stop: threading.Event) -> int | None:
    """Run a command with its output in a file.

    Returns:
        The exit status (negative: killed by that signal), or None if it was stopped.
    """
    with log.open('ab') as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            pass_fds=(lock,),
            start_new_session=True,  # Ctrl-C reaches only the sweep, which ends its processes in order.
        )
        try:
            while not stop.is_set():
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(0.2)
        finally:
            _end(process)
        return None


def _end(process: subprocess.Popen) -> None:
    """End a process and all it started, if it has not ended."""
    if process.poll() is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
            return


def _fail(run: Run, step: str, code: int) -> str:
    """Record why a run failed."""
    error = last_error(run.folder / f'{step}.log')
    if code < 0:
        error = f'killed by {signal.Signals(-code).name}' + (f' after: {error}' if error else '')
    elif not code:
        error = f'{step}.py ended without {"a checkpoint" if step == "train" else "results.json"}'
    write_state(run.folder, read_state(run.folder) | {'step': step, 'error': error or f'exit status {code}'})
    return FAILED


def last_error(log: Path) -> str:
    """Return the line of a log that states what went wrong: the last one that looks like an error, or else the last."""
    lines = [line.strip() for line in log.read_text(errors='replace').splitlines() if line.strip()]
    named = [line for line in lines if re.match(r'error: |[\w.]*(Error|Exception|Interrupt)\b', line)]
    return (named or lines or [''])[-1]


def _options(run: Run) -> list[str]:
    return ['--cfg-options', *run.options] if run.options else []
