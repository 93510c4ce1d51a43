"""What a run leaves to look at: the same photos at every validation, in every back end, and its curves."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.registry import HOOKS
from mmengine.runner import get_priority
from mmengine.structures import PixelData
from mmengine.visualization import MLflowVisBackend, TensorboardVisBackend, WandbVisBackend

from mmseg_oneformer.datasets.shapes import write_shapes
from mmseg_oneformer.engine.picture_hooks import CurvesPicture, ValidationPictures
from mmseg_oneformer.visualization.visualizer import OneFormerVisualizer

META = {'classes': ('disc', 'sky'), 'palette': [(200, 40, 60), (80, 140, 220)]}


def samples(folder, count):
    """As many photos with predictions, two of them of one name in different folders."""
    for k in range(count):
        path = folder / f'photos/{k}' / ('same.jpg' if k < 2 else f'{k}.jpg')
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((24, 32, 3), 40 * k, np.uint8))
        sample = DetDataSample(metainfo={'img_path': str(path)})
        labels = torch.ones((1, 24, 32), dtype=torch.long)
        sample.pred_sem_seg = PixelData(sem_seg=labels, data=labels)
        yield sample


@pytest.fixture
def runner(tmp_path):
    visualizer = OneFormerVisualizer(dataset_meta=META, save_dir=str(tmp_path / 'vis'))
    return SimpleNamespace(visualizer=visualizer, iter=100, work_dir=str(tmp_path / 'run'))


def validate(hook, runner, batches):
    hook.before_val_epoch(runner)
    for index, batch in enumerate(batches):
        hook.after_val_iter(runner, index, outputs=batch)


def names(folder):
    return sorted(path.name for path in Path(folder).rglob('vis_image/*'))


def test_validation_pictures__the_first_photos_at_every_validation(runner, tmp_path):
    hook = HOOKS.build({'type': 'ValidationPictures', 'num_images': 3})
    found = list(samples(tmp_path, 5))
    batches = [found[:2], found[2:4], found[4:]]
    validate(hook, runner, batches)
    runner.iter = 200
    validate(hook, runner, batches)
    photos = ('val0_same', 'val1_same', 'val2_2')
    assert names(tmp_path / 'vis') == [f'{photo}_{step}.png' for photo in photos for step in (100, 200)]
    assert 'pred_sem_seg' in found[0]  # the metrics come later


def test_validation_pictures__what_the_visualizer_is_given(tmp_path):
    (sample,) = samples(tmp_path, 1)
    sample.set_metainfo({'img_path': str(tmp_path / 'blue.png')})
    cv2.imwrite(sample.img_path, np.full((4, 4, 3), (250, 100, 0), np.uint8))
    given = []
    visualizer = SimpleNamespace(
        add_datasample=lambda name, photo, one, **options: given.append((name, photo, options))
    )
    validate(ValidationPictures(score_thr=0.7), SimpleNamespace(visualizer=visualizer, iter=30), [[sample]])
    ((name, photo, options),) = given
    assert name == 'val0_blue' and photo[0, 0].tolist() == [0, 100, 250]
    assert options == {'pred_score_thr': 0.7, 'step': 30}


def test_pictures__by_one_of_several_processes(runner, tmp_path, monkeypatch):
    monkeypatch.setattr('mmseg_oneformer.engine.picture_hooks.is_main_process', lambda: False)
    validate(ValidationPictures(), runner, [list(samples(tmp_path, 1))])
    write_log(runner.work_dir, '20260101_000000', [training(1)])
    CurvesPicture().after_train(runner)
    assert names(tmp_path) == [] and not (Path(runner.work_dir) / 'curves.png').exists()


@pytest.mark.parametrize('trouble', ['no photo', 'full disk'])
def test_validation_pictures__trouble_is_no_end_of_a_training(runner, tmp_path, monkeypatch, trouble):
    found = list(samples(tmp_path, 2))
    if trouble == 'no photo':
        Path(found[0].img_path).unlink()
    else:
        broken = OSError(28, 'No space left on device')
        monkeypatch.setattr(runner.visualizer, 'add_image', lambda *args: (_ for _ in ()).throw(broken))
    validate(ValidationPictures(), runner, [found])
    assert names(tmp_path / 'vis') == (['val1_same_100.png'] if trouble == 'no photo' else [])


def test_validation_pictures__none(runner, tmp_path):
    validate(ValidationPictures(num_images=0), runner, [list(samples(tmp_path, 1))])
    assert names(tmp_path) == []


def test_validation_pictures__large_photos_make_no_large_files(runner, tmp_path):
    (sample,) = samples(tmp_path, 1)
    cv2.imwrite(sample.img_path, np.zeros((900, 1200, 3), np.uint8))
    labels = torch.ones((1, 900, 1200), dtype=torch.long)
    sample.pred_sem_seg = PixelData(sem_seg=labels, data=labels)
    validate(ValidationPictures(), runner, [[sample]])
    (path,) = (tmp_path / 'vis').rglob('vis_image/*')
    height, width = cv2.imread(str(path)).shape[:2]
    assert 384 < height < 460 and 2 * 512 < width < 2 * 560  # photo and prediction, and the line above them


def test_tensorboard__has_numbers_and_pictures_by_iteration(runner, tmp_path):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    backends = [{'type': 'TensorboardVisBackend', 'save_dir': str(tmp_path / 'tb')}]
    runner.visualizer = OneFormerVisualizer(name='tb', dataset_meta=META, vis_backends=backends)
    (sample,) = samples(tmp_path, 1)
    for step in (10, 20):
        runner.iter = step
        runner.visualizer.add_scalars({'loss': np.float64(3.5), 'PQ': torch.tensor(40.0 + step)}, step)
        validate(ValidationPictures(), runner, [[sample]])
    runner.visualizer.close()
    events = EventAccumulator(str(tmp_path / 'tb')).Reload()
    assert events.Tags()['images'] == ['val0_same']
    pictures = events.Images('val0_same')
    assert [picture.step for picture in pictures] == [10, 20]
    drawn = cv2.imdecode(np.frombuffer(pictures[0].encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape[:2] == (pictures[0].height, pictures[0].width) and drawn.std() > 20
    assert [(event.step, event.value) for event in events.Scalars('PQ')] == [(10, 50.0), (20, 60.0)]


def test_mlflow__pictures_are_files_of_each_iteration(runner, tmp_path):
    """MLflow takes the format from the name, which mmengine's back end gives without one."""
    logged = []
    backend = MLflowVisBackend(str(tmp_path))
    backend._env_initialized, backend._mlflow = True, SimpleNamespace(log_image=lambda image, name: logged.append(name))
    runner.visualizer = OneFormerVisualizer(name='mlflow', dataset_meta=META, vis_backends=[backend])
    validate(ValidationPictures(), runner, [list(samples(tmp_path, 1))])
    assert logged == ['val0_same_100.png']


def test_wandb__gets_the_picture(runner, tmp_path, monkeypatch):
    logged = []
    wandb = ModuleType('wandb')
    wandb.init, wandb.join = (lambda **kwargs: logged.append(sorted(kwargs))), lambda: logged.append('joined')
    wandb.Image, wandb.log = (lambda image: image.shape), lambda values, commit: logged.append(values)
    monkeypatch.setitem(sys.modules, 'wandb', wandb)
    backends = [WandbVisBackend(str(tmp_path / 'wandb'))]
    runner.visualizer = OneFormerVisualizer(name='wandb', dataset_meta=META, vis_backends=backends)
    validate(ValidationPictures(), runner, [list(samples(tmp_path, 1))])
    runner.visualizer.close()
    started, picture, joined = logged
    assert started == ['dir'] and joined == 'joined' and picture['val0_same'][2] == 3


def test_visualizer__back_ends_by_name(tmp_path):
    """``--cfg-options`` can say a list of names, and no list of dicts."""
    backends = ['LocalVisBackend', 'TensorboardVisBackend']
    visualizer = OneFormerVisualizer(name='names', save_dir=str(tmp_path), vis_backends=backends)
    assert list(visualizer._vis_backends) == backends
    assert isinstance(visualizer.get_backend('TensorboardVisBackend'), TensorboardVisBackend)


def write_log(work_dir, stamp, steps):
    path = Path(work_dir) / stamp / 'vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(json.dumps(step) + '\n' for step in steps))


def training(step):
    parts = {'loss_cls': 1.0, 'd0.loss_cls': 2.0, 'loss_contrastive': 0.5}
    return {'lr': 0.1, 'loss': 9.0 / step, **parts, 'step': step}


def test_curves__drawn_at_a_validation_and_in_the_end(runner):
    hook = HOOKS.build({'type': 'CurvesPicture'})
    picture = Path(runner.work_dir) / 'curves.png'
    write_log(runner.work_dir, '20260101_000000', [training(1), training(2), {'PQ': 30.0, 'step': 2}])
    runner.iter = 2
    hook.after_val_epoch(runner)
    first = cv2.imread(str(picture))
    write_log(runner.work_dir, '20260102_000000', [training(3), {'PQ': 50.0, 'mIoU': 20.0, 'step': 3}])  # resumed
    hook.after_train(runner)
    assert first is not None and cv2.imread(str(picture)).tobytes() != first.tobytes()


def test_curves__not_for_a_validation_alone(runner):
    write_log(runner.work_dir, '20260101_000000', [{'PQ': 30.0, 'step': 0}])
    runner.iter = 0
    CurvesPicture().after_val_epoch(runner)
    assert not (Path(runner.work_dir) / 'curves.png').exists()


@pytest.mark.parametrize('log', [None, 'no json\n', '{"step": 1, "lr": 1, "loss_of_mine": 2}\n'])
def test_curves__a_run_without_a_log_goes_on(runner, log, caplog):
    if log is not None:
        write_log(runner.work_dir, '20260101_000000', [])
        next(Path(runner.work_dir).rglob('scalars.json')).write_text(log)
    CurvesPicture().after_train(runner)
    assert not (Path(runner.work_dir) / 'curves.png').exists()


def test_curves__come_behind_the_logger():
    hooks = [HOOKS.build({'type': 'CurvesPicture'}), HOOKS.build({'type': 'LoggerHook'})]
    assert get_priority(hooks[0].priority) > get_priority(hooks[1].priority)


def test_training__leaves_pictures_curves_and_events(call_tool, tmp_path):
    """The shipped config as it is, but short: everything by its default hooks, one back end named by an option."""
    write_shapes(tmp_path / 'data/shapes', train=4, val=3, workers=1)
    short = (
        'train_cfg.max_iters=2',
        'train_cfg.val_interval=1',
        'param_scheduler.0.end=1',
        'param_scheduler.1.begin=1',
    )
    loaders = [
        f'{split}_dataloader.{option}'
        for split in ('train', 'val')
        for option in ('num_workers=0', 'persistent_workers=False', 'batch_size=2')
    ]
    options = (*short, *loaders, 'param_scheduler.1.end=2', 'default_hooks.visualization.num_images=2')
    more = ('default_hooks.logger.interval=1', 'visualizer.vis_backends=[LocalVisBackend,TensorboardVisBackend]')
    config = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
    assert call_tool('train.py', config, '--work-dir', 'run', '--cfg-options', *options, *more) == 0
    assert names(tmp_path / 'run') == [f'val{k}_00000{k + 1}_{step}.png' for k in (0, 1) for step in (1, 2)]
    assert cv2.imread(str(tmp_path / 'run/curves.png')) is not None
    assert len(list((tmp_path / 'run').rglob('events.out.tfevents*'))) == 1
