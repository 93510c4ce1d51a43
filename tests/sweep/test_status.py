import json
import threading

import pytest

from mmseg_oneformer.sweep import execute, format_status, format_summary, iterations_done, run_here
from mmseg_oneformer.sweep.execute import run_lock
from mmseg_oneformer.sweep.plan import write_run
from mmseg_oneformer.sweep.status import format_seconds, format_spread, read_metrics, read_progress


def line_of(table, start):
    (line,) = [line for line in table.splitlines() if line.startswith(start)]
    return line.split()


def test_status__every_state(plan, launch, environment, stop):
    finished, running, waiting = plan(seeds=(2, 3, 4))
    (failed,) = plan(options=('behave=fail',))
    execute(finished, launch, environment, stop)
    execute(failed, launch, environment, stop)
    write_run(waiting)
    (waiting.folder / 'job').write_text('17\n')
    with run_lock(running.folder):
        log = running.folder / '20260101/vis_data/scalars.json'
        log.parent.mkdir(parents=True)
        log.write_text(
            '{"iter": 1, "loss": 8.0, "time": 1.0}\n{"PQ": 0.0}\n{"iter": 2, "loss": 7.25, "time": 90.0}\n{"it'
        )
        table = format_status([finished, running, waiting, failed], {'17'})
    assert line_of(table, 'small  seed 2') == [
        *('small', 'seed', '2'),
        'finished',
        '4/4',
        '-',
        '2.500',
        '54.0',
        '40.0',
    ]
    assert table.splitlines()[0].split() == ['run', 'state', 'iteration', 'time', 'left', 'loss', 'PQ', 'AP']
    assert line_of(table, 'small  seed 3')[3:7] == ['running', '2/4', '0:03', '7.250']
    assert line_of(table, 'small  seed 4')[3:8] == ['waiting', '(job', '17)', '0/4', '-']
    assert line_of(table, 'small  behave=fail  seed 0')[4] == 'failed'
    assert '4 runs: 1 waiting, 1 running, 1 finished, 1 failed' in table
    assert f'\ntrain failed: error: the disk is full. ({failed.folder}/train.log)' in table


def test_status__what_all_runs_have_is_said_once(plan):
    table = format_status(plan(options=('a=1 b=2', 'c=3', 'c=4')))
    assert [line.split()[:4] for line in table.splitlines()[2:4]] == [
        ['small', 'c=3', 'seed', '0'],
        ['small', 'c=4', 'seed', '0'],
    ]
    assert '\nwith a=1 b=2' in table
    assert '\nsmall  c=4  ' in format_summary(plan(options=('a=1 b=2', 'c=3', 'c=4')))


def test_progress__a_finished_run_has_all_its_iterations(plan):
    """Its log ends at its last interval."""
    (run,) = plan()
    log = run.folder / '20260101_000000/vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text(json.dumps({'iter': 3, 'loss': 1.0, 'time': 2.0}) + '\n')
    assert iterations_done(run) == 3
    (run.folder / 'results.json').write_text(json.dumps({'metrics': {'own': {'PQ': 5.0}}, 'iteration': 4}))
    assert iterations_done(run) == 4
    assert '  4/4  ' in format_status([run])


def test_progress__the_last_start_counts(plan):
    (run,) = plan()
    assert read_progress(run.folder) is None
    for name, iteration in (('20260102_000000', 9), ('20260101_235959', 30)):
        log = run.folder / name / 'vis_data/scalars.json'
        log.parent.mkdir(parents=True)
        log.write_text(json.dumps({'iter': iteration, 'loss': 1.0, 'time': 2.0}) + '\n')
    assert read_progress(run.folder).iteration == 9
    (run.folder / '20260103_000000/vis_data').mkdir(parents=True)
    (run.folder / '20260103_000000/vis_data/scalars.json').touch()
    assert read_progress(run.folder).iteration == 9


def test_summary__mean_and_sample_deviation(plan, launch):
    """PQ of the stand-in is 50 + seed²: 51, 54, 59 have the mean 54.667 and the deviation sqrt(49/3) = 4.041."""
    runs = plan(seeds=(1, 2, 3, 4), options=('a=1', 'a=2'))
    run_here([run for run in runs if run.seed < 4 and 'a=1' in run.options], launch, [''])
    execute(runs[4], launch, {}, threading.Event())
    table = format_summary(runs)
    assert line_of(table, 'small  a=1')[2:] == ['3/4', '54.7', '±', '4.0', '40.0', '±', '0.0']
    assert line_of(table, 'small  a=2')[2:] == ['1/4', '51.0', '40.0']
    assert line_of(format_summary(plan()), 'small')[1:] == ['0/1']


@pytest.mark.parametrize(
    ('values', 'text'), [([], '-'), ([3.14], '3.1'), ([1.0, 2.0], '1.5 ± 0.7'), ([2.0, 2.0, 2.0], '2.0 ± 0.0')]
)
def test_format_spread(values, text):
    assert format_spread(values) == text


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [(0, '0:00'), (59, '0:01'), (3600, '1:00'), (90061, '25:02'), (float('nan'), '-'), (-5, '0:00')],
)
def test_format_seconds(seconds, text):
    assert format_seconds(seconds) == text


def test_metrics__own_token_one_token_or_the_diagonal(tmp_path):
    rows = {'panoptic': {'PQ': 1.0, 'AP': 2.0}, 'instance': {'PQ': 3.0, 'AP': 4.0}}
    for metrics, expected in (
        ({'own': {'PQ': 5.0}}, {'PQ': 5.0}),
        ({'panoptic': rows['panoptic']}, rows['panoptic']),
        (rows, {'PQ': 1.0, 'AP': 4.0}),
    ):
        (tmp_path / 'results.json').write_text(json.dumps({'metrics': metrics}))
        assert read_metrics(tmp_path) == expected
