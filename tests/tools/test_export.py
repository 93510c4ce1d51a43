"""tools/export.py: what it writes predicts as PyTorch does, alone; and what it rejects."""

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest

from mmseg_oneformer.apis import OneFormerInferencer
from mmseg_oneformer.deploy import formats
from mmseg_oneformer.deploy.formats import deployment_meta, write_folder
from mmseg_oneformer.deploy.oneformer_numpy import OneFormer
from mmseg_oneformer.deploy.verify import compare_with_torch, drawn_photos

ROOT = Path(__file__).parents[2]
SHIPPED = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'


@pytest.fixture(scope='module')
def infer():
    return OneFormerInferencer(SHIPPED, device='cpu')


def test_safetensors__is_the_whole_model(call_tool, infer, tmp_path, capsys):
    assert call_tool('export.py', SHIPPED, '--format', 'safetensors', '--out', 'one.safetensors', '--verify') == 0
    assert capsys.readouterr().out.count('100.0000%') == 3
    alone = OneFormerInferencer(tmp_path / 'one.safetensors', device='cpu')
    assert alone.dataset_meta == infer.dataset_meta
    photo = next(drawn_photos())
    ours, theirs = (one(photo, channel_order='bgr') for one in (alone, infer))
    assert np.array_equal(ours.panoptic.ids, theirs.panoptic.ids)


@pytest.mark.parametrize(
    'args, sentence',
    [
        (('--format', 'safetensors', '--out', 'folder'), 'a .safetensors file'),
        (('--format', 'onnx', '--out', 'one.safetensors'), 'a folder'),
        (('--format', 'safetensors', '--size', '64', '64', '--out', 'a.safetensors'), 'has no size'),
        (('--out', 'folder', '--size', '60', '64'), 'multiples of 32'),
        (('--out', 'folder', '--verify', 'missing.jpg'), 'missing.jpg does not exist'),
    ],
)
def test_export__rejects(args, sentence, call_tool, tmp_path, capsys):
    assert call_tool('export.py', SHIPPED, *args) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_export__without_onnx_says_what_to_install(call_tool, monkeypatch, tmp_path, capsys):
    for package in ('onnxscript', 'onnxruntime'):
        monkeypatch.setitem(sys.modules, package, None)
        assert call_tool('export.py', SHIPPED, '--out', 'folder', '--verify') == 2
        assert f'{package} is not installed' in capsys.readouterr().err
        monkeypatch.delitem(sys.modules, package)
    assert not list(tmp_path.iterdir())


def test_export__without_a_compiler_says_so(call_tool, monkeypatch, tmp_path, capsys):
    from torch._inductor import cpp_builder
    from torch._inductor.exc import InvalidCxxCompiler

    def no_compiler():
        raise InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, 'get_cpp_compiler', no_compiler)
    assert call_tool('export.py', SHIPPED, '--format', 'aotinductor', '--out', 'folder') == 2
    assert 'no C++ compiler' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_onnx__more_weights_than_a_file_holds(monkeypatch, tmp_path):
    monkeypatch.setattr(formats, 'LARGEST_ONNX', 2**20)
    program = SimpleNamespace(state_dict={'weight': np.zeros(2**18, np.float32)})
    with pytest.raises(ValueError, match='an ONNX file holds less than 2; use --format torch'):
        formats.FORMATS['onnx'](program, tmp_path / 'model.onnx')


@pytest.mark.parametrize(
    'error, sentence',
    [
        (OSError(errno.ENOSPC, 'No space left on device'), 'written .No space left on device.; make room'),
        (RuntimeError('No kernel\nframe #0'), r'written as torch \(No kernel\); choose another --format'),
    ],
)
def test_write_folder__errors_are_sentences(error, sentence, infer, monkeypatch, tmp_path):
    monkeypatch.setattr(formats, 'trace', lambda graph, size: None)
    monkeypatch.setitem(formats.FORMATS, 'torch', Mock(side_effect=error))
    with pytest.raises(ValueError, match=sentence):
        write_folder('torch', infer.model, {}, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('moment', ['graph', 'copy'])
def test_write_folder__an_interrupted_one_is_not_taken_for_whole(moment, infer, monkeypatch, tmp_path):
    """Broken off, a folder is as it was, or has no model.json."""

    def write(program, path):
        path.write_text(program)
        if moment == 'graph' and program == 'new':
            raise KeyboardInterrupt

    meta = deployment_meta(infer.cfg, infer.model, infer.dataset_meta)
    monkeypatch.setitem(formats.FORMATS, 'torch', write)
    for program in ('old', 'new', 'newest'):
        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            patch.setattr(formats, 'trace', lambda graph, size, program=program: program)
            if moment == 'copy' and program == 'new':
                patch.setattr(shutil, 'copyfile', Mock(side_effect=KeyboardInterrupt))
            write_folder('torch', infer.model, meta, tmp_path)
        whole = (tmp_path / 'model.json').exists()
        graph = (tmp_path / 'model.pt2').read_text()
        expected = {'graph': ('old', True), 'copy': ('new', False)}[moment] if program == 'new' else (program, True)
        assert (graph, whole) == expected
        assert len(list(tmp_path.iterdir())) == 2 + whole


@pytest.fixture(scope='module')
def exported(infer, tmp_path_factory):
    """A folder with the shipped model for one size, which is quicker to trace than one for all."""
    pytest.importorskip('onnxscript')
    folder = tmp_path_factory.mktemp('export')
    size = (96, 128)
    write_folder('onnx', infer.model, deployment_meta(infer.cfg, infer.model, infer.dataset_meta, size), folder, size)
    return folder


def test_onnx__plain_operators(exported):
    import onnx

    assert sorted(path.name for path in exported.iterdir()) == ['model.json', 'model.onnx', 'oneformer_numpy.py']
    graph = onnx.load(exported / 'model.onnx')
    onnx.checker.check_model(graph, full_check=True)
    assert (graph.ir_version, graph.opset_import[0].version) == (10, 20)  # As docs/deployment.md says.
    assert {node.domain for node in graph.graph.node} == {''}
    assert not graph.functions
    assert [one.name for one in graph.graph.input] == ['image', 'task']
    assert json.loads((exported / 'model.json').read_text())['fixed_size'] == [96, 128]


def test_onnx__task_is_an_input(exported):
    model = OneFormer(exported)
    photo = np.ascontiguousarray(next(drawn_photos())[:, :, ::-1])
    together = model(photo)
    for task in ('semantic', 'panoptic'):
        assert np.array_equal(np.asarray(model(photo, task)[task][0]), np.asarray(together[task][0]))
    assert len(together['panoptic'][1]) > 1
    with pytest.raises(ValueError, match='not depth'):
        model(photo, ('depth',))


def test_onnx__runs_without_torch(exported, tmp_path):
    script = """
import runpy, sys
for name in ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmseg_oneformer'):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""

    def predict(photo):
        command = [sys.executable, '-c', script, str(exported / 'oneformer_numpy.py'), str(ROOT / photo), 'panoptic']
        env = {name: value for name, value in os.environ.items() if name != 'ORT_DISABLE_TELEMETRY'}
        env |= {'HOME': str(tmp_path), 'XDG_CACHE_HOME': str(tmp_path)}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=env)

    result = predict('docs/images/quickstart.png')
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith('panoptic: ') and len(result.stdout) > 15
    assert list(tmp_path.iterdir()) == []  # onnxruntime would keep what it reports to its makers.
    rejected = predict('README.md')
    assert rejected.returncode == 2 and 'README.md cannot be read as a photo' in rejected.stderr, rejected.stderr
    assert rejected.stderr.startswith('error: ') and rejected.stderr.count('\n') == 1


def test_onnx__says_nothing_of_this_machine(exported):
    assert str(ROOT).encode() not in (exported / 'model.onnx').read_bytes()


def test_onnx__a_damaged_graph_is_rejected(exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / 'damaged')
    (folder / 'model.onnx').write_bytes((exported / 'model.onnx').read_bytes()[:-5000])
    with pytest.raises(ValueError, match=r'model\.onnx cannot be loaded .*; export the model again'):
        OneFormer(folder)
    (folder / 'model.json').unlink()
    with pytest.raises(FileNotFoundError, match='not a complete export'):
        OneFormer(folder)


def test_onnx__is_timed_beside_pytorch(exported, call_tool, tmp_path, capsys):
    command = ('exported', exported, '--model', SHIPPED, '--runs', 1, '--warmup', 0, '--out', 'rows.json')
    assert call_tool('analysis_tools/benchmark.py', *command) == 0, capsys.readouterr().err
    rows = json.loads((tmp_path / 'rows.json').read_text())
    assert [(row['name'], row['size'], row['peer']) for row in rows] == [
        ('one-task', '96x128', 'PyTorch'),
        ('three-tasks', '96x128', 'PyTorch'),
    ]


def test_verify__sees_a_damaged_graph(exported, infer):
    model = OneFormer(exported)

    def swapped(image, task):
        return model.run(image, (task + 1) % 3)

    def shifted(image, task):
        class_logits, mask_logits = model.run(image, task)
        return class_logits, np.roll(mask_logits, 1, -1)

    assert all(one.agrees for one in compare_with_torch(model.run, model.meta, infer, drawn_photos(2)))
    for damaged in (swapped, shifted):
        assert not all(one.agrees for one in compare_with_torch(damaged, model.meta, infer, drawn_photos(2)))


def test_export__says_when_the_predictions_differ(call_tool, monkeypatch, capsys, tmp_path):
    from mmseg_oneformer.checkpoints import model_file

    write = model_file.save_safetensors

    def damaged(state, path, meta):
        key = 'head.decoder.class_embed.bias'
        write({**state, key: state[key].flip(0)}, path, meta)

    monkeypatch.setattr(model_file, 'save_safetensors', damaged)
    assert call_tool('export.py', SHIPPED, '--format', 'safetensors', '--out', 'one.safetensors', '--verify') == 1
    printed = capsys.readouterr()
    assert 'differs' in printed.out and 'do not use it' in printed.err


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['torch', 'aotinductor'])
def test_torch_formats__verified(kind, call_tool, tmp_path, capsys):
    if kind == 'aotinductor' and shutil.which('g++') is None:
        pytest.skip('AOTInductor needs a C++ compiler')
    assert call_tool('export.py', SHIPPED, '--format', kind, '--out', 'folder', '--size', 96, 128, '--verify') == 0
    assert capsys.readouterr().out.count('100.0000%') == 3
    assert sorted(path.name for path in (tmp_path / 'folder').iterdir()) == [
        'model.json',
        'model.pt2',
        'oneformer_numpy.py',
    ]
