"""Files are not written over or twice at once; configs can be read; bugs stay bugs."""

import multiprocessing
import os
import signal

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmseg_oneformer.annotations import coco_instances, labelme, semantic_png, yolo
from mmseg_oneformer.errors import UserError
from mmseg_oneformer.preparation import parallel
from mmseg_oneformer.preparation.formats import LabelmeFormat
from mmseg_oneformer.preparation.own_data import write_panoptic
from mmseg_oneformer.preparation.parallel import hold_journal
from mmseg_oneformer.preparation.recognition import conversion_command
from tests.preparation.drawn import BOX, SIZE, YOLO, coco, labelme_json, packed, png, shape, write


def test_in_and_out__are_never_the_same(convert_one, folder):
    png(folder / 'out/panoptic_train/a.png', np.zeros(SIZE, np.uint8))
    write(folder / 'x.json', coco({}))
    message = convert_one('coco', 'x.json', '--semantic', 'out/panoptic_train', '--stuff', 'sky=0', status=2)
    assert 'out/panoptic_train/a.png would be read and written over' in message
    write(folder / 'out/panoptic_train.json', coco({}))
    assert 'would be read and written over' in convert_one('coco', 'out/panoptic_train.json', status=2)
    write(folder / 'out/a.json', labelme_json(shape(BOX)))
    assert 'is the folder of the annotations' in convert_one('labelme', 'out', '--things', 'dog', status=2)
    semantic = ('--semantic', 'out', '--stuff', 'sky=0')
    assert 'is the folder of the annotations' in convert_one('coco', 'x.json', *semantic, status=2)
    Image.new('RGB', (30, 20)).save(folder / 'out/a.jpg')
    assert 'is the folder of the photos' in convert_one('coco', 'x.json', images='out', status=2)
    assert 'not a name for a split' in convert_one('coco', 'x.json', '--name', '../x', status=2)


def test_config_out__never_writes_over_annotations(convert_one, folder):
    write(folder / 'x.json', coco({}))
    before = (folder / 'x.json').read_bytes()
    assert 'x.json cannot become a config' in convert_one('coco', 'x.json', '--config-out', 'x.json', status=2)
    assert (folder / 'x.json').read_bytes() == before and not (folder / 'out').exists()


def test_jobs__at_least_one(convert_one, folder):
    write(folder / 'x.json', coco({}))
    assert '--jobs must be at least 1, got 0' in convert_one('coco', 'x.json', '--jobs', '0', status=2)


AWKWARD = ["l'ete", 'a "b" c', 'back\\slash', 'new\nline', '{{x}} $y', "'''", '"""']


@pytest.mark.parametrize('name', AWKWARD)
def test_config__of_folders_with_awkward_names(folder, call_tool, name, monkeypatch):
    (folder / 'photos').rename(folder / name)
    write(folder / 'x.json', coco({}))
    config = folder / f'{name} out' / 'cfg.py'
    arguments = ['coco', 'x.json', '--images', name, '--out', f'{name} out', '--config-out', config]
    assert call_tool('dataset_converters/to_panoptic.py', *arguments) == 0
    values = {}
    exec(compile(config.read_text(), 'cfg', 'exec'), values)
    assert values['own']['data_root'] == f'{name} out/' and values['classes'] == ('dog',)
    assert values['train_dataloader']['dataset']['data_prefix']['img'] == f'../{name}/'
    if name == AWKWARD[0]:
        assert Config.fromfile(config).train_dataloader.dataset.data_root == f'{name} out/'


def test_recognition__any_file(folder):
    contents = [
        None, [], 3, 'x', {}, {'shapes': 3, 'imagePath': None},
        {'shapes': [1, {}, {'label': []}], 'imagePath': 'a' * 999},
        {'shapes': [{'label': 3}], 'imagePath': '\0'},
        {'images': 3, 'annotations': [], 'categories': {}},
        {'images': [1], 'annotations': 'x', 'categories': None},
        {'images': [{'file_name': 3}], 'annotations': [{'segmentation': 3}], 'categories': 3},
        {'images': [{'file_name': '\ud800'}], 'annotations': [{'segmentation': 3}], 'categories': 3},
        {'images': {'a': 1}, 'annotations': {'b': 1}, 'categories': 3}, b'\xff\xfe\x00', b'', '[' * 100_000, '{"a": ',
    ]  # fmt: skip
    for content in contents:
        write(folder / 'data/x.json', content)
        for data in (folder / 'data', folder / 'data/x.json', folder / 'nowhere'):
            command = conversion_command(data)
            assert command is None or command.startswith('python tools/dataset_converters/to_panoptic.py ')
    (folder / 'data/x.json').unlink()
    write(folder / 'data/a.json', labelme_json(shape(BOX), imagePath='../photos/a.jpg'))
    command = conversion_command(folder / 'data')
    assert 'labelme' in command and '--things dog' in command and f'--images {folder}/data/../photos' in command


def held(journal, ready, end):
    with hold_journal(journal, []):
        ready.set()
        end.wait()


def test_list__in_any_encoding_and_never_empty(convert_one, folder):
    write(folder / 'x.json', coco({}))
    write(folder / 'train.txt', 'a\r\n'.encode('utf-16'))
    assert convert_one('coco', 'x.json', '--list', 'train.txt')[0] == [('dog', 36)]
    write(folder / 'train.txt', '\n')
    assert 'list of photos is empty' in convert_one('coco', 'x.json', '--list', 'train.txt', status=2)


def test_lock__a_second_run_is_refused_and_a_killed_one_leaves_nothing(folder, monkeypatch):
    monkeypatch.setattr(parallel, 'WAIT', 0.3)
    write(folder / 'labels/a.json', labelme_json(shape(BOX)))
    source = LabelmeFormat(folder / 'labels', folder / 'photos', ['dog'], [])
    arguments = (source, folder / 'photos', folder / 'out', 'train')
    context = multiprocessing.get_context('fork')
    ready, end = context.Event(), context.Event()
    journal = folder / 'out/.panoptic_train.journal'
    other = context.Process(target=held, args=(journal, ready, end))
    other.start()
    assert ready.wait(60)
    with pytest.raises(UserError, match='Another run writes the files of panoptic_train'):
        write_panoptic(*arguments)
    write_panoptic(*arguments[:3], 'val')
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    write(folder / 'out/panoptic_train/.a.png.part', b'half')
    write(folder / 'out/.panoptic_train.4711.json', b'half')
    assert write_panoptic(*arguments).segments == 1
    names = {path.relative_to(folder / 'out').as_posix() for path in (folder / 'out').rglob('*') if path.is_file()}
    assert names == {f'panoptic_{split}{end}' for split in ('train', 'val') for end in ('.json', '/a.png')}


def test_lock__a_run_that_waits_gets_it(folder, wait_for):
    context = multiprocessing.get_context('fork')
    ready, end = context.Event(), context.Event()
    journal = folder / '.x.journal'
    other = context.Process(target=held, args=(journal, ready, end))
    other.start()
    assert ready.wait(60)
    end.set()  # It removes the journal, which this run may have opened already.
    with hold_journal(journal, []):
        assert journal.is_file()
    other.join()
    assert other.exitcode == 0 and not journal.exists()


def test_lock__a_file_system_without_locks(folder, monkeypatch):
    def refuse(file, how):
        raise OSError(95, 'Operation not supported')

    monkeypatch.setattr(parallel.fcntl, 'flock', refuse)
    with hold_journal(folder / '.x.journal', []):
        pass
    monkeypatch.setattr(parallel, 'fcntl', None)
    with hold_journal(folder / '.x.journal', []):
        pass


@pytest.mark.parametrize(
    ('kind', 'module', 'name', 'files'),
    [
        ('labelme', labelme, '_shape', {'in/a.json': labelme_json(shape(BOX))}),
        ('yolo', yolo, '_outline', {'in/a.txt': YOLO}),
        ('coco', coco_instances, '_read_object', {'in': coco({})}),
        ('cityscapes-ids', semantic_png, 'one_channel', {'in/a.png': packed(np.zeros(SIZE, int), 1)}),
    ],
)
@pytest.mark.parametrize('bug', [KeyError('bug'), TypeError('bug'), AttributeError('bug'), IndexError('bug')])
def test_a_bug_in_a_reader_keeps_its_traceback(folder, call_tool, monkeypatch, kind, module, name, files, bug):
    def planted(*args, **kwargs):
        raise bug

    monkeypatch.setattr(module, name, planted)
    for path, content in files.items():
        write(folder / path, content)
    more = {'labelme': ['--things', 'dog'], 'yolo': ['--names', 'dog'], 'cityscapes-ids': ['--stuff', 'x=1']}
    with pytest.raises(type(bug), match='bug'):
        call_tool(
            'dataset_converters/to_panoptic.py', kind, 'in', '--images', 'photos', '--out', 'out', *more.get(kind, [])
        )


def test_config__beside_a_json_of_another_tool(folder, call_tool, capsys):
    write(folder / 'x.json', coco({}))
    for content in ([], {'info': 'x', 'categories': []}, '{'):
        write(folder / 'out/panoptic_val.json', content)
        assert (
            call_tool(
                'dataset_converters/to_panoptic.py',
                *('coco', 'x.json', '--images', 'photos', '--out', 'out', '--config-out', 'cfg.py'),
            )
            == 2
        )
        assert 'panoptic_val.json' in capsys.readouterr().err
