"""What importing the package does: it finds everything and imports little. Each promise in a fresh process."""

import ast
import importlib
import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mmseg_oneformer
from mmseg_oneformer import startup
from mmseg_oneformer.startup import ImportHooks

PACKAGE = Path(mmseg_oneformer.__file__).parent
MODEL = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
REGISTRIES = {
    'DATASETS': 'dataset', 'DATA_SAMPLERS': 'data sampler', 'HOOKS': 'hook', 'LOOPS': 'loop', 'METRICS': 'metric',
    'MODELS': 'model', 'OPTIM_WRAPPERS': 'optim_wrapper', 'OPTIM_WRAPPER_CONSTRUCTORS': 'optimizer wrapper constructor',
    'TRANSFORMS': 'transform', 'VISUALIZERS': 'visualizer', 'WEIGHT_INITIALIZERS': 'weight initializer',
}  # fmt: skip


def run(code, *arguments, **options):
    """Run Python code in a fresh process; its last line."""
    done = subprocess.run([sys.executable, '-c', code, *arguments], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def decorated(path):
    """The names that a module registers, by registry, as its source says."""
    for node in ast.walk(ast.parse(path.read_text())):
        for decorator in getattr(node, 'decorator_list', ()):
            call = decorator.func if isinstance(decorator, ast.Call) else None
            if isinstance(call, ast.Attribute) and call.attr == 'register_module':
                names = [word.value.value for word in decorator.keywords if word.arg == 'name']
                yield REGISTRIES[call.value.id], (names or [node.name])[0]


def test_classes__are_what_the_modules_register():
    found = {}
    for path in sorted(PACKAGE.rglob('*.py')):
        module = '.'.join(path.relative_to(PACKAGE).with_suffix('').parts)
        for registry, name in decorated(path):
            found.setdefault(registry, {}).setdefault(module, set()).add(name)
    listed = {
        registry: {module: set(names.split()) for module, names in modules.items()}
        for registry, modules in startup.CLASSES.items()
    }
    assert found == listed


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_classes__have_names_of_their_own(scope):
    """Names that are found before a library is imported must not be the library's."""
    registries = importlib.import_module(f'{scope}.registry')
    for variable, registry in REGISTRIES.items():
        child = getattr(registries, variable)
        child.import_from_location()
        assert not startup.MODULE_OF[registry].keys() & child.module_dict.keys()


BUILD = f"""
from mmengine.registry import MODELS, DefaultScope
from mmseg_oneformer.zoo.configs import read_config
from mmseg_oneformer.checkpoints.checkpoint import for_inference
with DefaultScope.overwrite_default_scope('mmdet'):
    print(type(MODELS.build(for_inference(read_config('{MODEL}')).model)).__name__)
"""
BUILDERS = {
    'the root registry': "from mmengine.registry import MODELS\nprint(MODELS.get('OneFormer').__name__)",
    'the root registry by scope': "from mmengine.registry import MODELS\nprint(MODELS.get('mmengine.OneFormer').__name__)",
    "mmdet's registry": "from mmdet.registry import MODELS\nprint(MODELS.get('OneFormer').__name__)",
    "mmseg's registry": "from mmseg.registry import MODELS\nprint(MODELS.get('OneFormer').__name__)",
    'in': "from mmdet.registry import MODELS\nassert 'OneFormer' in MODELS\nprint('build_oneformer')",
    'a model': BUILD,
    'init_detector': f"""
from mmdet.apis import init_detector
from mmseg_oneformer.checkpoints.checkpoint import for_inference
from mmseg_oneformer.zoo.configs import read_config
from mmseg_oneformer.zoo.weights import find_weights
cfg = for_inference(read_config('{MODEL}'))
print(type(init_detector(cfg, str(find_weights('{MODEL}')), device='cpu')).__name__)""",
    'init_model': f"""
from mmseg.apis import init_model
from mmseg_oneformer.checkpoints.checkpoint import for_inference
from mmseg_oneformer.zoo.configs import read_config
from mmseg_oneformer.zoo.weights import find_weights
cfg = for_inference(read_config('{MODEL}'))
print(type(init_model(cfg, str(find_weights('{MODEL}')), device='cpu')).__name__)""",
    'DetInferencer': f"from mmdet.apis import DetInferencer\nprint(type(DetInferencer('{MODEL}', device='cpu').model).__name__)",
    'MMSegInferencer': f"from mmseg.apis import MMSegInferencer\nprint(type(MMSegInferencer('{MODEL}', device='cpu').model).__name__)",
    'Runner': f"""
import sys
from mmengine.runner import Runner
from mmseg_oneformer.zoo.configs import read_config
cfg = read_config('{MODEL}')
cfg.work_dir = sys.argv[1]
for part in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'val_dataloader', 'val_cfg',
             'val_evaluator', 'test_dataloader', 'test_cfg', 'test_evaluator'):
    cfg[part] = None
print(type(Runner.from_cfg(cfg).model).__name__)""",
}  # fmt: skip
ORDERS = {
    'ours first': 'import mmseg_oneformer\n',
    'mmdet first': 'import mmdet.registry, mmdet\nimport mmseg_oneformer\n',
}


@pytest.mark.parametrize('order', ORDERS)
@pytest.mark.parametrize('builder', BUILDERS)
def test_import__everything_builds_oneformer_afterwards(builder, order, tmp_path):
    assert run(ORDERS[order] + BUILDERS[builder], str(tmp_path)) in ('OneFormer', 'build_oneformer')


def test_import__custom_imports_are_enough(tmp_path):
    """A config that says so finds the package by itself, as in every OpenMMLab project."""
    config = tmp_path / 'mine.py'
    config.write_text(
        "custom_imports = dict(imports=['mmseg_oneformer'])\nmodel = dict(type='TaskToken', kind='mlp', channels=4)\n"
    )
    code = """
import sys
from mmengine.config import Config
from mmengine.registry import MODELS
print(type(MODELS.build(Config.fromfile(sys.argv[1]).model)).__name__)
"""
    assert run(code, str(config)) == 'TaskToken'


def test_import__a_library_with_a_class_of_our_name_keeps_it():
    """As mmpretrain, which has a ConvNeXt."""
    code = """
import mmseg_oneformer
from mmengine.registry import MODELS, Registry
other = Registry('model', scope='other', parent=MODELS)
@other.register_module()
class ConvNeXt: pass
print(other.get('ConvNeXt') is ConvNeXt is MODELS.get('other.ConvNeXt'))
"""
    assert run(code) == 'True'


HEAVY = (
    'faster_coco_eval', 'matplotlib', 'mmcv', 'mmcv.ops', 'mmdet', 'mmdet.datasets', 'mmdet.models', 'mmengine.model',
    'mmengine.runner', 'mmseg', 'open_clip', 'pandas', 'scipy.ndimage', 'scipy.optimize', 'sklearn', 'timm', 'torch',
    'torchvision',
)  # fmt: skip
NETWORK = {'mmcv', 'mmdet', 'mmengine.model', 'torch'}
TOOL = "import runpy, sys\nsys.argv = {argv!r}\ntry: runpy.run_path({path!r}, run_name='__main__')\nexcept SystemExit as end: assert not end.code\n"


def test_mmcv__placeholder_is_removed_again():
    if importlib.util.find_spec('mmcv._ext') is not None:
        pytest.skip('this mmcv has compiled operators')
    assert 'mmcv._ext' not in sys.modules
    import mmcv.ops

    with pytest.raises(NotImplementedError, match='without compiled operators'):
        mmcv.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)


@pytest.mark.parametrize('name', ['mmengine', 'mmcv', 'mmdet', 'mmseg'])
def test_check_versions__a_missing_library_says_what_to_install(monkeypatch, name):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda other: None if other == name else found(other))
    with pytest.raises(ImportError, match=rf'{name} is not installed; .*pip install'):
        startup.check_versions()


def test_check_versions__old_torch(monkeypatch):
    monkeypatch.setattr(importlib.metadata, 'version', lambda name: '2.5.1+cpu')
    with pytest.raises(ImportError, match=r'install torch 2\.6 or newer'):
        startup.check_versions()


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A package of two modules that nobody has imported; its name."""
    package = tmp_path / 'some_library'
    package.mkdir()
    (package / '__init__.py').write_text('')
    for name in ('one', 'two'):
        (package / f'{name}.py').write_text('value = 1\n')
    (package / 'hooks.py').write_text('def double(module):\n    module.value *= 2\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, 'meta_path', [*sys.meta_path])
    yield 'some_library'
    for name in [name for name in sys.modules if name.startswith('some_library')]:
        del sys.modules[name]


def test_import_hooks__patches_once_when_the_module_comes(library):
    ImportHooks({f'{library}.one': [f'{library}.hooks:double']}).install()
    assert not any(name.startswith(library) for name in sys.modules)
    assert importlib.import_module(f'{library}.one').value == 2
    assert importlib.import_module(f'{library}.one').value == 2
    assert importlib.import_module(f'{library}.two').value == 1


def test_import_hooks__patches_what_is_there_already(library):
    module = importlib.import_module(f'{library}.one')
    ImportHooks({f'{library}.one': [f'{library}.hooks:double']}).install()
    assert module.value == importlib.import_module(f'{library}.one').value == 2


def test_import_hooks__a_module_that_does_not_exist(library):
    ImportHooks({f'{library}.three': [f'{library}.hooks:double']}).install()
    with pytest.raises(ModuleNotFoundError, match='three'):
        importlib.import_module(f'{library}.three')
