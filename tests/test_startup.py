"""What importing the package does: it finds everything and imports little. Each promise in a fresh process."""

import ast
import importlib
import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import Registry

import mmseg_oneformer
from mmseg_oneformer import startup
from mmseg_oneformer.errors import MissingPackageError
from mmseg_oneformer.startup import ImportHooks

PACKAGE = Path(mmseg_oneformer.__file__).parent
TOOLS = Path(__file__).parents[1] / 'tools'
MODEL = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
REGISTRIES = {
    'DATASETS': 'dataset', 'DATA_SAMPLERS': 'data sampler', 'HOOKS': 'hook', 'LOOPS': 'loop', 'METRICS': 'metric',
    'MODELS': 'model', 'OPTIM_WRAPPERS': 'optim_wrapper', 'OPTIM_WRAPPER_CONSTRUCTORS': 'optimizer wrapper constructor',
    'RUNNERS': 'runner', 'TRANSFORMS': 'transform', 'VISUALIZERS': 'visualizer',
    'WEIGHT_INITIALIZERS': 'weight initializer',
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
    registered, named = (
        {(registry, module, name) for registry, of in table.items() for module, names in of.items() for name in names}
        for table in (found, listed)
    )
    assert registered - named == set(), 'add these (registry, module, class) to CLASSES in startup.py'
    assert named - registered == set(), 'no module registers these; remove them from CLASSES in startup.py'


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_classes__have_names_of_their_own(scope):
    """Names that are found before a library is imported must not be the library's."""
    registries = importlib.import_module(f'{scope}.registry')
    for variable, registry in REGISTRIES.items():
        child = getattr(registries, variable)
        child.import_from_location()
        assert not startup.MODULE_OF[registry].keys() & child.module_dict.keys()


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_unchanged__no_name_of_mmengine_is_redefined(scope):
    """Names that are taken from mmengine's registry without asking a library must not be the library's."""
    importlib.import_module('mmengine.runner')
    children = [one for one in vars(importlib.import_module(f'{scope}.registry')).values() if isinstance(one, Registry)]
    compared = set()
    for child in children:
        if child.root.name in startup.UNCHANGED:
            child.import_from_location()
            both = child.root.module_dict.keys() & child.module_dict.keys()
            assert all(child.module_dict[name] is child.root.module_dict[name] for name in both), child.root.name
            compared.add(child.root.name)
    assert compared == set(startup.UNCHANGED)


SETTINGS = f"""
from mmseg_oneformer.checkpoints.checkpoint import for_inference
from mmseg_oneformer.zoo.configs import read_config
from mmseg_oneformer.zoo.weights import find_weights
cfg, weights = for_inference(read_config('{MODEL}')), str(find_weights('{MODEL}'))
"""
RUNNER = """
cfg.work_dir = sys.argv[1]
parts = ['param_scheduler', 'optim_wrapper']
parts += [f'{split}_{part}' for split in ('train', 'val', 'test') for part in ('dataloader', 'cfg', 'evaluator')]
cfg.update({part: None for part in parts})
"""
BUILDERS = {
    'the root registry': ('from mmengine.registry import MODELS', "MODELS.get('OneFormer')"),
    'the root registry by scope': ('from mmengine.registry import MODELS', "MODELS.get('mmengine.OneFormer')"),
    "mmdet's registry": ('from mmdet.registry import MODELS', "MODELS.get('OneFormer')"),
    "mmseg's registry": ('from mmseg.registry import MODELS', "MODELS.get('OneFormer')"),
    "mmdet's registry, a whole model": (
        f'from mmdet.registry import MODELS{SETTINGS}',
        'type(MODELS.build(cfg.model))',
    ),
    'init_detector': (
        f'from mmdet.apis import init_detector{SETTINGS}',
        "type(init_detector(cfg, weights, device='cpu'))",
    ),
    'init_model': (f'from mmseg.apis import init_model{SETTINGS}', "type(init_model(cfg, weights, device='cpu'))"),
    'DetInferencer': ('from mmdet.apis import DetInferencer', f"type(DetInferencer('{MODEL}', device='cpu').model)"),
    'MMSegInferencer': (
        'from mmseg.apis import MMSegInferencer',
        f"type(MMSegInferencer('{MODEL}', device='cpu').model)",
    ),
    'Runner': (f'import sys\nfrom mmengine.runner import Runner{SETTINGS}{RUNNER}', 'type(Runner.from_cfg(cfg).model)'),
}
BEFORE_US = ["mmdet's registry", "mmseg's registry", 'init_detector', 'DetInferencer']


@pytest.mark.parametrize(
    ('first', 'builder'),
    [('mmseg_oneformer', builder) for builder in BUILDERS] + [('mmdet, mmseg', builder) for builder in BEFORE_US],
)
def test_import__everything_builds_oneformer_afterwards(first, builder, tmp_path):
    code, built = BUILDERS[builder]
    found = run(f'import {first}\nimport mmseg_oneformer\n{code}\nprint({built}.__name__)', str(tmp_path))
    assert found in ('OneFormer', 'build_oneformer')


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


HEAVY = [
    *('torch', 'torchvision', 'timm', 'transformers', 'open_clip'),
    *('mmcv', 'mmcv.ops', 'mmengine.model', 'mmengine.runner', 'mmdet', 'mmdet.models', 'mmdet.datasets', 'mmseg'),
    *('matplotlib', 'pandas', 'sklearn', 'scipy.ndimage', 'scipy.optimize', 'faster_coco_eval', 'cv2', 'pycocotools'),
]
"""What takes long to import."""
FILES = {'cv2', 'pycocotools'}
NETWORK = {*FILES, 'torch', 'mmcv', 'mmdet', 'mmengine.model'}
COUNT = f"""
import json, runpy, sys
code, argv, path = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
sys.argv = argv
try:
    exec(code) if code else runpy.run_path(path, run_name='__main__')
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps([name for name in {HEAVY} if name in sys.modules]))
"""


def heavy_modules(code='', tool='', arguments=()):
    """Which heavy modules Python code, or a tool with its arguments, brings into a fresh process."""
    # mmengine registers an optimiser of transformers where that is installed: not ours to say.
    return set(json.loads(run(COUNT, code, json.dumps([tool, *arguments]), str(TOOLS / tool)))) - {'transformers'}


def test_import__brings_nothing_heavy():
    assert heavy_modules('import mmseg_oneformer') == set()


def test_import__a_model_brings_what_its_network_needs():
    assert heavy_modules(f"from mmseg_oneformer import OneFormerInferencer; OneFormerInferencer('{MODEL}')") <= NETWORK


@pytest.mark.parametrize('room', ['preparation.formats', 'preparation.own_config', 'datasets.doctor'])
def test_import__data_need_no_network(room):
    brought = heavy_modules(f'import mmseg_oneformer.{room}')
    assert brought <= {*FILES, 'scipy.ndimage'}


def test_tools__the_list_of_models_brings_nothing_heavy():
    assert heavy_modules(tool='infer.py', arguments=['--list']) == set()


def test_mmcv__placeholder_is_removed_again():
    if importlib.util.find_spec('mmcv._ext') is not None:
        pytest.skip('this mmcv has compiled operators')
    assert 'mmcv._ext' not in sys.modules
    import mmcv.ops

    with pytest.raises(MissingPackageError, match='without compiled operators'):
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
