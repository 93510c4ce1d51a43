"""A Python that has imported the package already, so that a command of the documentation starts at once.

``python warm_python.py serve SOCKET`` imports and waits; ``python warm_python.py SOCKET SCRIPT ARGS`` is a client: the
server forks a process that runs SCRIPT with the client's folder, environment and open files, and the client ends with
its exit status. A signal that ends the client ends that process too. The client needs the standard library only.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from pathlib import Path

IMPORTED = (
    'mmseg_oneformer.apis',
    'mmseg_oneformer.datasets.doctor',
    'mmseg_oneformer.engine',
    'mmseg_oneformer.evaluation',
    'mmdet.apis',
    'mmseg.apis',
    'matplotlib.pyplot',
)


def client(address, arguments):
    """Have the server run a script; return its exit status."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        request = {'arguments': arguments, 'folder': str(Path.cwd()), 'environment': dict(os.environ)}
        socket.send_fds(connection, [b'.'], [0, 1, 2])
        connection.sendall(json.dumps(request).encode())
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile('r') as answers:
            process = int(answers.readline())
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda number, _: os.kill(process, number))
            return int(answers.readline())


def serve(address):
    """Wait for clients; returns in a forked process only, with what it should run."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f'{address}.new')
        listener.listen()
        Path(f'{address}.new').rename(address)  # Who sees it can connect.
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                return fork_worker(connection)
            connection.close()


def fork_worker(connection):
    """Return the request in a new process; this one waits for its end, or ends it when the client is gone."""
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile('rb') as stream:
        request = json.loads(stream.read())
    worker = os.fork()
    if worker == 0:
        connection.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        return request
    for file in files:
        os.close(file)
    try:
        connection.sendall(f'{worker}\n'.encode())
    except BrokenPipeError:  # The client was killed before its tool began.
        os.kill(worker, signal.SIGKILL)
        os._exit(0)
    poll = select.poll()
    poll.register(connection, select.POLLHUP)  # The client has shut down its writing end only, so far.
    while (state := os.waitpid(worker, os.WNOHANG))[0] == 0:
        if poll.poll(20):
            os.kill(worker, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(state[1])
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(f'{code if code >= 0 else 128 - code}\n'.encode())
    os._exit(0)


def run(request):
    """Become the process that was asked for."""
    os.chdir(request['folder'])
    os.environ.clear()
    os.environ.update(request['environment'])
    script, *arguments = request['arguments']
    sys.argv = [script, *arguments]
    sys.path[:1] = [str(Path(script).resolve().parent), *filter(None, os.environ.get('PYTHONPATH', '').split(':'))]
    sys.stdin = open(0, encoding='utf-8')  # noqa: PTH123, SIM115
    runpy.run_path(script, run_name='__main__')


if __name__ == '__main__':
    if sys.argv[1] == 'serve':
        for module in IMPORTED:
            importlib.import_module(module)
        # The layout of a config's text takes a second at every start and checkpoint; it means the same without.
        sys.modules['mmengine.config.config'].FormatCode = lambda text, **_: (text, True)
        gc.freeze()  # Collections in the forked processes would copy everything.
        run(serve(sys.argv[2]))
    else:
        sys.exit(client(sys.argv[1], sys.argv[2:]))
