"""What importing the package does: our classes can be found, installed libraries work, and little is imported.

Decisions:
* PyTorch, mmdet, mmseg and mmengine's Runner take seconds to import, and so does our network. So classes are registered
  by name, and their modules imported when a registry is first asked for one of them (``CLASSES``, which a test compares
  with the decorators).
* A registry of mmdet or mmseg imports its whole library before it asks its parent, mmengine's registry, and never asks
  the parent's ``locations``. So ``Registry.get`` itself looks for our names first.
* What has to be changed in a library is changed right after that module of the library has been imported, whoever
  imports it and when (``AFTER``): what is not used costs nothing.
"""

import importlib
import importlib.metadata
import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from mmengine.fileio import LocalBackend, register_backend
from mmengine.registry import Registry

from .errors import MissingPackageError
from .files import write_atomic

INSTALL_HINT = "pip install -e '.[openmmlab]'"

CLASSES: Mapping[str, Mapping[str, str]] = {
    'data sampler': {'datasets.samplers': 'PassSampler'},
    'dataset': {
        'datasets.ade20k': 'Ade20kPanoptic',
        'datasets.cityscapes': 'CityscapesPanoptic',
        'datasets.coco': 'CocoPanoptic',
        'datasets.instances': 'InstanceDataset',
        'datasets.mapillary': 'MapillaryPanoptic',
        'datasets.mixed': 'MixedDataset',
        'datasets.panoptic': 'PanopticDataset',
        'datasets.semantic': 'SemanticDataset',
        'datasets.shapes': 'ShapesPanoptic',
    },
    'hook': {
        'engine.hooks': 'CheckClasses SafeCheckpointHook StopAtInvalidLoss',
        'engine.picture_hooks': 'CurvesPicture ValidationPictures',
        'evaluation.pictures': 'SavePictures',
    },
    'loop': {'engine.loops': 'ResumableIterLoop', 'evaluation.token_matrix': 'TokenMatrixLoop'},
    'metric': {
        'evaluation.cityscapes_ap': 'CityscapesAP',
        'evaluation.confusion': 'ConfusionMatrix',
        'evaluation.instance_ap': 'InstanceAP',
        'evaluation.mean_iou': 'MeanIoU',
        'evaluation.panoptic_quality': 'PanopticQuality',
        'evaluation.report.metric': 'SegmentReport',
        'evaluation.submission': 'FormatAnswers',
    },
    'model': {
        'models.backbones.convnext': 'ConvNeXt',
        'models.backbones.dinat': 'DiNAT',
        'models.backbones.resnet': 'ResNetBackbone',
        'models.backbones.swin': 'SwinBackbone',
        'models.baselines.mask2former': 'Mask2FormerBaseline',
        'models.decode_head': 'OneFormerDecodeHead',
        'models.head': 'OneFormerHead',
        'models.losses.contrastive': 'ContrastiveLoss',
        'models.losses.criterion': 'OneFormerCriterion',
        'models.losses.query_classification': 'QueryClassification',
        'models.masked_decoder': 'MaskedDecoder',
        'models.oneformer': 'OneFormer',
        'models.pixel_decoder': 'OneFormerPixelDecoder',
        'models.query_initializer': 'QueryInitializer',
        'models.task_token': 'TaskToken',
        'models.test_time_views': 'TestTimeViews',
        'models.text_mapper': 'TextMapper',
    },
    'optim_wrapper': {'engine.optim': 'CpuAmpOptimWrapper'},
    'optimizer wrapper constructor': {'engine.optim': 'OneFormerOptimWrapperConstructor'},
    'runner': {'engine.runner': 'ConsoleRunner'},
    'transform': {
        'datasets.transforms.color': 'RandomColorDistortion',
        'datasets.transforms.crop': 'FixedSizeCrop PadTo RandomPanopticCrop RandomShortestEdgeCrop ResizeAndCrop',
        'datasets.transforms.flip': 'RandomHorizontalFlip',
        'datasets.transforms.loading': 'LoadPanopticIds',
        'datasets.transforms.packing': 'PackOneFormerInputs',
        'datasets.transforms.photo': 'LoadPhoto',
        'datasets.transforms.resize': 'RandomScaleResize RandomShortestEdge ShortestEdge',
        'datasets.transforms.semantic_map': 'LoadSemanticMap',
        'datasets.transforms.targets': 'SampleTask TargetMasks TaskTargets',
        'datasets.transforms.texts': 'DescribeTargets',
    },
    'visualizer': {'visualization.visualizer': 'OneFormerVisualizer'},
    'weight initializer': {'models.backbones.initial_weights': 'BackboneWeights'},
}
"""The names that each of mmengine's registries finds, by the module that registers them."""

SHARED = {'model': {'ImgDataPreprocessor': 'mmengine.model'}, 'transform': {'LoadImageFromFile': 'mmcv.transforms'}}
"""Names in our configs that mmengine's registries have from mmengine and mmcv, and mmdet and mmseg do not redefine."""

MODULE_OF = {
    registry: SHARED.get(registry, {})
    | {name: f'{__package__}.{module}' for module, names in modules.items() for name in names.split()}
    for registry, modules in CLASSES.items()
}
"""The module to import for a name, by registry."""

UNCHANGED = (
    *('data sampler', 'evaluator', 'hook', 'log_processor', 'loop', 'optim_wrapper', 'optimizer'),
    *('parameter scheduler', 'vis_backend'),
)
"""Registries of mmengine's whose names mmdet and mmseg do not redefine: no library is imported to ask for them."""

SCOPES = ('mmengine', 'mmdet', 'mmseg')
"""Libraries that have no classes of our names; in others a class of their own comes before ours."""

AFTER: Mapping[str, Sequence[str]] = {
    'mmengine.runner.checkpoint': ('.checkpoints.checkpoint:register_reader', '.libraries.named_models:register_names'),
    'mmengine.infer.infer': ('.libraries.inferencers:patch_base_inferencer',),
    'mmdet.apis.det_inferencer': ('.libraries.inferencers:patch_det_inferencer',),
    'mmseg.apis.mmseg_inferencer': ('.libraries.inferencers:patch_seg_inferencer',),
    'mmdet.visualization.local_visualizer': ('.libraries.inferencers:patch_det_visualizer',),
    'mmdet.models.backbones.resnet': ('.models.activation_checkpointing:patch_backbone',),
    'mmdet.models.backbones.swin': ('.models.activation_checkpointing:patch_backbone',),
}
"""Functions of ours that are called with a module of a library once it has been imported."""


BACKBONES = ('resnet', 'swin', 'convnext', 'dinat')
"""Modules of ``models/backbones`` that know what the tensors of published backbones are called."""


def setup() -> None:
    """Prepare the installed stack; called once when the package is imported."""
    check_versions()
    register_backend('local', AtomicLocalBackend, force=True, prefixes='')
    find_our_classes_first()
    ImportHooks(AFTER, {'mmcv.ops': _operators_or_none, 'mmdet': _versions_fit, 'mmseg': _versions_fit}).install()


def check_versions() -> None:
    """Raise an error that says what to install if a library is missing or too old.

    Raises:
        ImportError: A library is missing or of a version that cannot work.
    """
    torch = importlib.metadata.version('torch')
    if tuple(int(part) for part in torch.split('.')[:2]) < (2, 6):
        raise MissingPackageError(
            f'torch {torch} is too old to read checkpoints safely; install torch 2.6 or newer '
            '(pip install -U torch torchvision).'
        )
    for name in ('mmengine', 'mmcv', 'mmdet', 'mmseg'):
        if importlib.util.find_spec(name) is None:
            raise MissingPackageError(f'{name} is not installed; install the OpenMMLab wheels with: {INSTALL_HINT}')


class AtomicLocalBackend(LocalBackend):
    """mmengine's local files, whole or not at all: a kill while saving leaves no broken checkpoint."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to ``filepath``."""
        write_atomic(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text to ``filepath``."""
        write_atomic(filepath, obj.encode(encoding))


def find_our_classes_first() -> None:
    """Let every registry import one of our classes when it is first asked for it."""
    get = Registry.get

    def get_ours_first(self: Registry, key: str) -> Any:
        known = self.root.module_dict
        name = key.removeprefix('mmengine.') if isinstance(key, str) else key
        module = MODULE_OF.get(self.root.name, {}).get(name)
        if module is not None and name not in known:
            importlib.import_module(module)
        settled = module is not None or (self.root.name in UNCHANGED and name in known)
        if settled and self.scope in SCOPES and name not in self.module_dict:
            return known[name]
        return get(self, key)

    Registry.get = get_ours_first


def import_backbones() -> None:
    """Import the modules that register the names of our backbones' tensors."""
    for module in BACKBONES:
        importlib.import_module(f'{__package__}.models.backbones.{module}')


class ImportHooks(MetaPathFinder):
    """Does something around the import of modules, once for each.

    Args:
        after: By a module's name, functions ('module:function') that are called with it when it has been imported.
        around: By a module's name, a context that it is imported in.
    """

    def __init__(
        self,
        after: Mapping[str, Sequence[str]],
        around: Mapping[str, Callable[[], AbstractContextManager[None]]] | None = None,
    ) -> None:
        self.after, self.around = dict(after), dict(around or {})

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        """Return the module's own spec, its loader with what is done around and after; None for all other modules."""
        around, after = (
            self.around.pop(fullname, None),
            self.after.pop(fullname, ()),
        )  # The search comes by again.
        if around is None and not after:
            return None
        spec: ModuleSpec | None = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_with_hooks(module: ModuleType) -> None:
            if around is None:
                execute(module)
            else:
                with around():
                    execute(module)
            _call_all(after, module)

        spec.loader.exec_module = execute_with_hooks  # type: ignore[method-assign]
        return spec

    def install(self) -> None:
        """Do what comes after for all that is imported already, and wait for the rest."""
        for name in [name for name in self.after if name in sys.modules]:
            _call_all(self.after.pop(name), sys.modules[name])
        sys.meta_path.insert(0, self)


def _call_all(functions: Sequence[str], module: ModuleType) -> None:
    for function in functions:
        owner, _, name = function.partition(':')
        getattr(importlib.import_module(owner, __package__), name)(module)


@contextmanager
def _versions_fit() -> Iterator[None]:
    """Turn the assertions of mmdet and mmseg about versions into sentences."""
    try:
        yield
    except AssertionError as error:
        raise MissingPackageError(f'{error} The combination we test is installed by: {INSTALL_HINT}') from error


class _NoOperators(ModuleType):
    """Stands in for ``mmcv._ext``: every operator exists and raises when it is called."""

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith('__'):
            raise AttributeError(name)

        def missing(*args: Any, **kwargs: Any) -> NoReturn:
            raise MissingPackageError(
                f'mmcv was installed without compiled operators, so "{name}" cannot run; OneFormer does not need it, '
                f'another model of your config does: install a compiled mmcv for it.'
            )

        return missing


def has_compiled_operators() -> bool:
    """Return whether ``mmcv._ext`` is there *and* loads; one built for another torch does not."""
    if importlib.util.find_spec('mmcv._ext') is None:
        return False
    try:
        importlib.import_module('mmcv._ext')
    except (ImportError, OSError) as error:
        warnings.warn(f'The compiled operators of mmcv do not load and are not used: {error}', stacklevel=2)
        return False
    return True


@contextmanager
def _operators_or_none() -> Iterator[None]:
    """Let ``mmcv.ops``, which mmdet and mmseg import, be imported where mmcv has no compiled operators (``mmcv-lite``).

    The placeholder is removed again: left in place it makes mmengine's test for compiled operators fail.
    """
    if has_compiled_operators():
        yield
        return
    sys.modules['mmcv._ext'] = _NoOperators('mmcv._ext')
    try:
        yield
    finally:
        del sys.modules['mmcv._ext']
