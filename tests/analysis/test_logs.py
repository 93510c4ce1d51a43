"""Logs of training runs: what is read, summed, smoothed and drawn."""

import json
import math
import re

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from mmseg_oneformer.analysis.curves import in_panels
from mmseg_oneformer.analysis.logs import Curve, available_keys, find_curves, read_run, smooth, train_time
from mmseg_oneformer.errors import UserError
from mmseg_oneformer.visualization.curves import draw_curves, panel_of

TOOL = 'analysis_tools/analyze_logs.py'


def training(step, **values):
    return {'lr': 0.1, 'loss': 10.0 / step, 'time': 2.0, 'data_time': 0.5, 'iter': step, 'step': step} | values


def write(folder, stamp, steps):
    path = folder / stamp / 'vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(json.dumps(step) + '\n' for step in steps))
    return path


@pytest.fixture
def run(tmp_path):
    """A work dir: 4 logging steps with losses of three layers, two validations, killed, continued from iteration 20."""
    losses = [
        {'loss_mask': s, 'd0.loss_mask': 2 * s, 'd1.loss_mask': 4 * s, 'd0.loss_cls': 9} for s in (10, 20, 30, 40)
    ]
    steps = [training(s['loss_mask'], **s) for s in losses]
    first = [*steps[:2], {'PQ': 30.0, 'time': 7.0, 'step': 0}, training(30, loss_mask=77)]
    path = write(tmp_path / 'run', '20260101_000000', first)
    path.write_text(path.read_text() + '{"lr": 0.1, "lo')  # killed while writing
    write(tmp_path / 'run', '20260102_000000', [*steps[2:], {'PQ': math.nan, 'step': 40}])
    return tmp_path / 'run'


def values(run, key):
    return [(curve.steps.tolist(), curve.values.tolist()) for curve in find_curves(read_run(run), key)]


def test_read_run__a_resumed_run_is_one(run):
    read = read_run(run)
    assert read.name == 'run'
    assert [step['step'] for step in read.train] == [10, 20, 30, 40]
    assert values(run, 'loss_mask') == [([10, 20, 30, 40], [10, 20, 30, 40])]  # 77 was overtaken
    assert available_keys(read)[:4] == ['lr', 'loss', 'time', 'data_time'] and 'step' not in available_keys(read)


def test_read_run__validations_stand_where_they_were_made(run):
    (curve,) = find_curves(read_run(run), 'PQ')
    assert curve.measured and curve.steps.tolist() == [20, 40]  # the first was logged as epoch 0
    assert curve.values[0] == 30 and math.isnan(curve.values[1])
    (time,) = find_curves(read_run(run), 'time')
    assert not time.measured and time.values.tolist() == [2, 2, 2, 2]  # not that of the validation


def test_read_run__one_file(run):
    read = read_run(run / '20260102_000000/vis_data/scalars.json')
    assert read.name == 'run' and [step['step'] for step in read.train] == [30, 40]


def test_read_run__faults_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='There is no log at'):
        read_run(tmp_path)
    path = write(tmp_path, '20260101_000000', [training(1), training(2)])
    path.write_text('{"loss": 1}\n' + path.read_text())
    with pytest.raises(ValueError, match=r'scalars\.json, line 1 is not a logging step'):
        read_run(path)


def test_find_curves__names_patterns_and_sums(run):
    steps = [10, 20, 30, 40]
    assert values(run, 'd*.loss_mask') == [(steps, [20, 40, 60, 80]), (steps, [40, 80, 120, 160])]
    assert values(run, 'aux.loss_mask') == [(steps, [60, 120, 180, 240])]
    assert values(run, 'all.loss_mask') == [(steps, [70, 140, 210, 280])]
    assert values(run, 'all.loss_cls') == [(steps, [9] * 4)]  # another loss is not part of it
    for key in ('mask', 'aux.loss_dice', 'aux.loss', 'd2.*'):
        with pytest.raises(ValueError, match=re.escape(f'run has logged no {key!r}; it has lr, loss')):
            find_curves(read_run(run), key)


def test_smooth__keeps_lines_and_means():
    line = np.arange(9.0)
    assert smooth(line, 5) == pytest.approx(line)
    assert smooth(np.array([0, 0, 9.0, 0, 0]), 3).tolist() == [0, 3, 3, 3, 0]
    assert smooth(np.array([0, 6.0, 0]), 99).tolist() == [0, 2, 0]
    assert smooth(line, 1).tolist() == line.tolist()
    with pytest.raises(ValueError, match='a mean over 0 points'):
        smooth(line, 0)


def test_train_time__the_first_step_is_the_start(tmp_path):
    times = [100.0, 1.0, 2.0, 6.0]
    steps = [training(10 * k, time=t, data_time=t / 4, memory=50 * k) for k, t in enumerate(times, start=1)]
    write(tmp_path, '20260101_000000', steps)
    found = train_time(read_run(tmp_path))
    assert (found.iterations, found.mean, found.median) == (40, 3, 2)
    assert found.deviation == pytest.approx(math.sqrt(14 / 3))
    assert (found.slowest, found.fastest) == ((40, 6), (20, 1))
    assert (found.waiting, found.memory) == (0.25, 200)
    assert train_time(read_run(tmp_path), include_outliers=True).slowest == (10, 100)


def test_train_time__needs_two_steps(tmp_path):
    write(tmp_path, '20260101_000000', [training(1)])
    with pytest.raises(ValueError, match='has logged 1 times of iterations; log more often'):
        train_time(read_run(tmp_path))


@pytest.mark.parametrize('measured', [True, False])
def test_in_panels__measured_quality_is_never_averaged(measured):
    curve = Curve('x', np.arange(3), np.array([1.0, 5.0, 3.0]), measured)
    ((_, _, _, values, smoothed),) = in_panels([('x', curve)], window=3)
    assert np.array_equal(values, smoothed) == measured


def test_draw_curves__panels_by_kind():
    assert [
        panel_of(*one) for one in (('d0.loss_cls', False), ('PQ', True), ('lr', False), ('all.loss_mask', False))
    ] == [*('loss', 'measured', 'other', 'loss')]
    steps, curve, flat = np.arange(3), np.array([1.0, 5.0, 3.0]), np.array([3.0, 3.0, 3.0])
    figure = Figure()
    draw_curves(figure, [('a', 'loss', steps, curve, flat), ('b', 'other', steps, curve, curve)], 'title')
    top, bottom = figure.axes
    assert (top.get_ylabel(), bottom.get_ylabel(), bottom.get_xlabel()) == ('loss', '', 'iteration')
    assert [line.get_ydata().tolist() for line in top.lines] == [[1, 5, 3], [3, 3, 3]]
    assert [text.get_text() for text in top.get_legend().get_texts()] == ['a']
    assert [line.get_ydata().tolist() for line in bottom.lines] == [[1, 5, 3]]


def test_tool__draws_and_prints(call_tool, run, tmp_path, capsys):
    assert call_tool(TOOL, 'plot_curve', run, '--out', 'deep/usual.png') == 0
    assert 'deep/usual.png: 2 curves' in capsys.readouterr().out  # loss and PQ are logged, AP and mIoU are not
    keys = ('--keys', 'all.loss_mask', 'PQ', '--legend', 'a', 'b', 'c', 'd', '--smooth', 3)
    assert call_tool(TOOL, 'plot_curve', run, run, *keys, '--out', 'two.png') == 0
    first, second = (cv2.imread(str(tmp_path / name)) for name in ('deep/usual.png', 'two.png'))
    assert first.shape == second.shape and (first != second).any()
    assert call_tool(TOOL, 'cal_train_time', run, run) == 0
    printed = capsys.readouterr().out
    assert printed.count('run: 40 iterations, 0.02 h') == 2
    assert 'average 2.0000 s/iter' in printed and '25.0% of the time waiting for data' in printed


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (('plot_curve', 'run', '--keys', 'mAP', '--out', 'x.png'), "run has logged no 'mAP'; it has lr, loss"),
        (('plot_curve', 'run', '--keys', 'loss', '--legend', 'a', 'b', '--out', 'x.png'), '2 names for 1 curves: loss'),
        (('plot_curve', 'run', '--smooth', '0', '--out', 'x.png'), 'a mean over 0 points'),
        (('plot_curve', 'absent', '--out', 'x.png'), 'There is no log at absent'),
        (('cal_train_time', 'absent'), 'There is no log at absent'),
    ],
)
def test_tool__a_mistake_is_one_sentence(call_tool, run, tmp_path, capsys, arguments, sentence):
    assert call_tool(TOOL, *arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count('\n') == 1
    assert not (tmp_path / 'x.png').exists()


def test_tool__without_a_display(call_tool, run, capsys):
    import matplotlib

    with matplotlib.rc_context({'backend': 'agg'}):
        assert call_tool(TOOL, 'plot_curve', run) == 2
    assert 'there is no display to open a window on; write a picture with --out.' in capsys.readouterr().err


@pytest.mark.parametrize('step', ['null', '[]', '"x"', '-1.5', '1e400', 'NaN', '{}'])
def test_read_run__a_step_that_is_no_number_is_named(tmp_path, step):
    path = tmp_path / 'scalars.json'
    path.write_text(f'{{"loss": 1.0, "step": {step}}}\n{{"loss": 1.0, "step": 2}}\n')
    with pytest.raises(UserError, match=r'scalars\.json, line 1 is not a logging step'):
        read_run(path)


def test_read_run__steps_written_as_text_and_damaged_bytes(tmp_path):
    path = tmp_path / 'scalars.json'
    path.write_bytes(b'{"loss": 1.0, "step": "3"}\n{"PQ": 1.0, "step": 1.0}\n{"loss\xff')
    assert [step['step'] for step in (*read_run(path).train, *read_run(path).val)] == [3, 3]
