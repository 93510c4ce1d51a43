"""Interruptions, changed files, processes."""

import json
import multiprocessing
import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from mmseg_oneformer.preparation.parallel import Job, run_jobs, write_if_changed


def copy(job):
    """Copy a file in capitals, leaving a trace; the second half waits while it is held."""
    source = Path(job.sources[0])
    with (source.parent / 'trace').open('a') as trace:
        trace.write(f'{job.key} {os.getpid()}\n')
    while int(job.key) >= 20 and (source.parent / 'hold').exists():
        time.sleep(0.01)
    text = source.read_text()
    if text == 'broken':
        raise ValueError(f'{source} is broken; copy it again.')
    write_if_changed(job.products[0], text.upper().encode())
    return {'letters': len(text)}


def die(job):
    os.kill(os.getpid(), signal.SIGKILL)


def jobs_of(folder, count=40):
    return [Job(f'{n}', (str(folder / f'{n}.txt'),), (str(folder / f'{n}.out'),)) for n in range(count)]


@pytest.fixture
def folder(tmp_path):
    for number in range(40):
        (tmp_path / f'{number}.txt').write_text('ab' * number)
    return tmp_path


def worked(folder):
    trace = folder / 'trace'
    keys = [line.split()[0] for line in trace.read_text().splitlines()] if trace.exists() else []
    trace.unlink(missing_ok=True)
    return keys


def workers(folder):
    trace = folder / 'trace'
    return {int(line.split()[1]) for line in trace.read_text().splitlines()} if trace.exists() else set()


def expected(count=40):
    return [{'letters': 2 * number} for number in range(count)]


@pytest.mark.parametrize('processes', [1, 3])
def test_run_jobs__results_in_order(folder, processes):
    assert run_jobs(copy, jobs_of(folder), folder / '.journal', 1, processes, 'x') == expected()
    assert sorted(worked(folder), key=int) == [str(n) for n in range(40)]
    assert (folder / '7.out').read_text() == 'AB' * 7


def test_run_jobs__several_processes_share_the_work(folder, wait_for):
    (folder / 'hold').touch()

    def let_go():
        try:
            wait_for(lambda: len(workers(folder)) == 3)
        finally:
            (folder / 'hold').unlink()

    threading.Thread(target=let_go).start()
    run_jobs(copy, jobs_of(folder), folder / '.journal', 1, 3, 'x')
    assert len(workers(folder)) == 3 and os.getpid() not in workers(folder)


def alive(pid):
    stat = Path(f'/proc/{pid}/stat')
    try:
        return stat.read_text().rpartition(')')[2].split()[0] != 'Z'  # A zombie has ended; its parent has not seen it.
    except OSError:
        return False


@pytest.mark.parametrize('processes', [1, 2])
def test_run_jobs__killed_in_the_middle(folder, processes, wait_for):
    """The main process is killed; its workers end, and the next run does only what is left."""
    journal = folder / '.journal'
    arguments = (copy, jobs_of(folder), journal, 1, processes, 'x')
    # Forked, since a new interpreter would import for ten seconds.
    process = multiprocessing.get_context('fork').Process(target=run_jobs, args=arguments)
    (folder / 'hold').touch()
    process.start()
    wait_for(lambda: len(workers(folder)) == processes and journal.read_text().count('\n') > 6)
    process.kill()
    process.join()
    assert (process.pid in workers(folder)) == (processes == 1)
    wait_for(lambda: not any(map(alive, workers(folder))))
    (folder / 'hold').unlink()

    noted = {json.loads(line)[0] for line in journal.read_text().rpartition('\n')[0].splitlines()[1:]}
    assert 5 < len(noted) < 40
    with journal.open('a') as file:
        file.write('["39", [[[1, 2')  # a line that was cut off
    worked(folder)
    assert run_jobs(copy, jobs_of(folder), journal, 1, 1, 'x') == expected()
    redone = worked(folder)
    assert not noted & set(redone) and len(redone) >= 40 - len(noted) - 1
    assert (folder / '39.out').read_text() == 'AB' * 39
    assert not list(folder.glob('.*.part'))


def test_run_jobs__only_what_changed_is_done_again(folder):
    run = partial(run_jobs, copy, jobs_of(folder), folder / '.journal', processes=1, description='x')
    run(settings={'a': 1})
    worked(folder)
    (folder / '3.txt').write_text('new')
    (folder / '4.out').write_text('damaged')
    (folder / '5.out').unlink()
    assert run(settings={'a': 1})[3] == {'letters': 3}
    assert worked(folder) == ['3', '4', '5']
    assert (folder / '4.out').read_text() == 'AB' * 4
    run(settings={'a': 2})
    assert len(worked(folder)) == 40


def test_run_jobs__a_mistake_keeps_what_is_finished(folder):
    (folder / '20.txt').write_text('broken')
    for processes in (1, 2):
        with pytest.raises(ValueError, match=r'20\.txt is broken'):
            run_jobs(copy, jobs_of(folder), folder / '.journal', 1, processes, 'x')
    worked(folder)
    (folder / '20.txt').write_text('ab' * 20)
    assert run_jobs(copy, jobs_of(folder), folder / '.journal', 1, 1, 'x') == expected()
    assert '0' not in (done := worked(folder)) and '20' in done


def test_run_jobs__a_killed_worker_is_a_sentence(folder):
    with pytest.raises(ValueError, match='smaller --jobs'):
        run_jobs(die, jobs_of(folder), folder / '.journal', 1, 2, 'x')


def test_write_if_changed__leaves_equal_files_alone(tmp_path):
    path = tmp_path / 'a/b.png'
    write_if_changed(path, b'one')
    os.utime(path, (1, 1))
    write_if_changed(path, b'one')
    assert path.stat().st_mtime == 1
    write_if_changed(path, b'two')
    assert path.read_bytes() == b'two' and path.stat().st_mtime != 1
