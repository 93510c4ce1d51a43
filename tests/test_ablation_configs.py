"""Each ablation is its base but for what its row of the paper says."""

import pytest
from mmengine.config import Config

from mmseg_oneformer.analysis.paper import load_paper
from mmseg_oneformer.zoo.configs import config_root, find_config

FOLDER = config_root() / 'oneformer/ablations'
CITYSCAPES = 'cityscapes/oneformer_swin-l_8xb2-90k_cityscapes-512x1024'
COCO = 'coco/oneformer_r50_8xb2-50e_coco-1024x1024'
ADE20K = 'ade20k/oneformer_r50_8xb2-160k_ade20k-512x512'
TEMPLATE = 'train_dataloader.dataset.pipeline.DescribeTargets.template'
PROBS = 'train_dataloader.dataset.pipeline.SampleTask.probs.'
METRICS = dict.fromkeys(
    f'{split}_evaluator.{setting}'
    for split in ('val', 'test')
    for setting in ('PanopticQuality.type', 'InstanceAP.type', 'InstanceAP.ann_file', 'MeanIoU.type')
)
"""Settings of the three metrics; None stands for "not there"."""


def one_task(task, metric=None, best=None):
    """What training for one task alone changes: the draw, and the metrics where only one task is supported."""
    others = [other for other in ('semantic', 'instance', 'panoptic') if other != task]
    changes = {f'{PROBS}{task}': 1.0, 'model.test_cfg.token': task}
    changes |= dict.fromkeys([PROBS + other for other in others])
    if metric is None:
        return changes
    tasks = {'model.test_cfg.tasks.0': task, 'model.test_cfg.tasks.1': None, 'model.test_cfg.tasks.2': None}
    if task == 'semantic':
        del tasks['model.test_cfg.tasks.0']  # It is the first of the three anyway.
    metrics = {key: None for key in METRICS if f'.{metric}.' not in key}
    return changes | tasks | metrics | {'default_hooks.checkpoint.save_best': best}


TERMS = 'model.criterion.auxiliary'
NO_CONTRAST = {f'{TERMS}.ContrastiveLoss.{key}': None for key in ('type', 'level', 'weight')}
QUERIES = f'{TERMS}.QueryClassification'
CLASSIFICATION = {f'{QUERIES}.type': 'QueryClassification', f'{QUERIES}.weight': 1.0}

CHANGES = {
    'table4_no-task-token': (CITYSCAPES, {'model.head.use_task_token': False}),
    'table4_no-text-context': (CITYSCAPES, {'model.text_mapper.num_context': 0}),
    'table4_zero-query-init': (CITYSCAPES, {'model.head.query_initializer.start': 'zeros'}),
    'table5_query-classification': (
        CITYSCAPES,
        NO_CONTRAST | CLASSIFICATION,
    ),
    'table5_no-contrastive': (CITYSCAPES, NO_CONTRAST),
    'table6_class-and-type': (CITYSCAPES, {TEMPLATE: 'photo_type'}),
    'table6_class-only': (CITYSCAPES, {TEMPLATE: 'name'}),
    **{f'table-i_{n}-queries': (COCO, {'model.head.num_queries': n}) for n in (100, 120, 200)},
    **{f'table-ii_{n}-context': (ADE20K, {'model.text_mapper.num_context': n}) for n in (0, 8, 32)},
    'table-iii_no-contrastive': (COCO, NO_CONTRAST),
    'table-iii_contrastive-weight-1': (COCO, {f'{TERMS}.ContrastiveLoss.weight': 1.0}),
    'table-iv_panoptic-only': (ADE20K, one_task('panoptic')),
    'table-iv_instance-only': (ADE20K, one_task('instance', 'InstanceAP', 'AP')),
    'table-iv_semantic-only': (ADE20K, one_task('semantic', 'MeanIoU', 'mIoU')),
}
TABLE_OF = {row.config: table.number for table in load_paper() for row in table.rows if row.config}
VARIABLES = ('train_pipeline', 'test_pipeline')
"""Repeated in the loaders."""


def flatten(value, prefix=''):
    """Leaves by dotted key; an entry of a list goes by its type, where it has one."""
    if isinstance(value, dict):
        return {k: v for key, part in value.items() for k, v in flatten(part, f'{prefix}.{key}').items()}
    if isinstance(value, list | tuple):
        named = [(part.get('type', i) if isinstance(part, dict) else i, part) for i, part in enumerate(value)]
        return {k: v for name, part in named for k, v in flatten(part, f'{prefix}.{name}').items()}
    return {prefix[1:]: value}


def settings(path):
    cfg = Config.fromfile(path).to_dict()
    return flatten({key: value for key, value in cfg.items() if key not in VARIABLES})


def test_ablations__all_rows_of_the_paper_are_described():
    assert {name for name in TABLE_OF if find_config(name).parent == FOLDER} == CHANGES.keys()


@pytest.mark.parametrize('name', CHANGES)
def test_ablation__differs_in_what_its_row_says(name):
    base, expected = CHANGES[name]
    path = FOLDER / f'{name}.py'
    before, after = settings(config_root() / f'oneformer/{base}.py'), settings(path)
    changed = {key: after.get(key) for key in {*before, *after} if before.get(key, '-') != after.get(key, '-')}
    assert changed == expected
    header = path.read_text()
    assert f'dist_train.sh {name} 8' in header and f'Else as:    {base.rpartition("/")[2]}\n' in header


def test_as_paper__differs_in_what_the_text_says():
    before, after = settings(config_root() / f'oneformer/{COCO}.py'), settings(FOLDER / 'as_paper.py')
    schedule = 'param_scheduler.MultiStepLR.milestones'
    assert {key: after.get(key) for key in {*before, *after} if before.get(key, '-') != after.get(key, '-')} == {
        'model.head.task_token.kind': 'linear',
        'model.head.query_initializer.values': 'features',
        f'{TERMS}.ContrastiveLoss.level': 'query',
        'optim_wrapper.optimizer.weight_decay': 0.1,
        'optim_wrapper.clip_grad.max_norm': 0.01,
        'optim_wrapper.clip_grad.norm_type': 2,
        f'{schedule}.0': 331875,
        f'{schedule}.1': 350312,
    }


def test_paper_tables__have_a_row_for_every_ablation_and_baseline():
    for name in CHANGES:
        assert name.partition('_')[0] == f'table{"-" if name.startswith("table-") else ""}{TABLE_OF[name].lower()}'
    baselines = {
        name.rpartition('_')[2]: table for name, table in TABLE_OF.items() if name.startswith('mask2former_r50')
    }
    assert baselines == dict.fromkeys(('joint', 'panoptic', 'instance', 'semantic'), 'IV')
    assert TABLE_OF['mask2former_swin-l_8xb2-160k_ade20k-640x640_joint'] == '7'


@pytest.mark.parametrize('task', ['panoptic', 'instance', 'semantic'])
def test_mask2former__one_task_differs_from_joint_in_the_draw(task):
    folder = config_root() / 'mask2former'
    before, after = (
        settings(folder / f'mask2former_r50_8xb2-160k_ade20k-512x512_{kind}.py') for kind in ('joint', task)
    )
    changed = {key: after.get(key) for key in {*before, *after} if before.get(key, '-') != after.get(key, '-')}
    expected = one_task(task, *{'instance': ('InstanceAP', 'AP'), 'semantic': ('MeanIoU', 'mIoU')}.get(task, ()))
    expected.pop('model.test_cfg.token')
    assert changed == expected


@pytest.mark.parametrize(
    ('baseline', 'backbone'), [('r50_8xb2-160k_ade20k-512x512', 'r50'), ('swin-l_8xb2-160k_ade20k-640x640', 'swin-l')]
)
def test_mask2former__has_the_backbone_of_oneformer(baseline, backbone):
    ours = Config.fromfile(config_root() / f'_base_/models/oneformer_{backbone}.py').model
    theirs = Config.fromfile(find_config(f'mask2former_{baseline}_joint')).model
    assert theirs.backbone == ours.backbone
    assert theirs.panoptic_head.in_channels == ours.head.pixel_decoder.in_channels
    assert theirs.data_preprocessor == {**ours.data_preprocessor, 'type': 'mmdet.DetDataPreprocessor', 'pad_mask': True}
