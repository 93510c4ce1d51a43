"""Packaging of ``mmseg_oneformer``: the package from ``projects/oneformer``, with ``configs`` and ``tools``."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
PACKAGE_ROOT = ROOT / 'projects/oneformer'
NEED_BENCHMARKS = ('benchmark.py', 'load_test.py')
"""Tools that run ``benchmarks/``, which compares this code with others' and is for a checkout."""


def read_version() -> str:
    """Return ``__version__`` without importing the package, which would need torch."""
    text = (PACKAGE_ROOT / 'mmseg_oneformer/version.py').read_text()
    match = re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE)
    assert match is not None
    return match.group(1)


class BuildWithConfigsAndTools(build_py):
    """Copies ``configs/`` and ``tools/`` into the package, so that a wheel knows every model by name.

    A ``package_dir`` entry would do the same, but then an editable install is no plain path entry any more and type
    checkers do not find the package.
    """

    def run(self) -> None:
        """Build as usual, then add both; an editable install reads them from the checkout."""
        super().run()
        if self.editable_mode:
            return
        package = Path(self.build_lib) / 'mmseg_oneformer'
        for folder in ('configs', 'tools'):  # openmim's `mim train` and `mim test` run the tools.
            shutil.rmtree(package / folder, ignore_errors=True)  # A file that was removed must not live on in build/.
            left_out = shutil.ignore_patterns('__pycache__', *NEED_BENCHMARKS)
            shutil.copytree(ROOT / folder, package / folder, ignore=left_out)
        shutil.copy(ROOT / 'model-index.yml', package)  # By it openmim finds the models of an installed package.


# The wheels of OpenMMLab are an extra, not a requirement: installing `mmcv-lite` over a compiled `mmcv`, or mmengine
# over its maintained fork, would damage an environment that works.
OPENMMLAB = ['mmengine>=0.10.5', 'mmcv-lite>=2.0.1,<2.2', 'mmdet>=3.3.0', 'mmsegmentation>=1.2.2']
ONEDL = ['onedl-mmengine', 'onedl-mmcv', 'onedl-mmdetection', 'onedl-mmsegmentation']
CITYSCAPES = ['cityscapesScripts']  # Its own metrics; the preparation of the data does without.
SERVE = ['fastapi>=0.110', 'uvicorn>=0.27']
EXPORT = ['onnx', 'onnxscript', 'onnxruntime']
DOCS = ['sphinx>=8', 'myst-nb', 'furo', 'sphinx-copybutton']
CHECKS = ['pytest>=8', 'pytest-xdist', 'hypothesis', 'ruff', 'mypy', 'import-linter', 'build']
PEERS = ['transformers>=4.50', 'supervision>=0.25', 'tensorboard', 'shapely', 'playwright']  # What tests compare with.
DEV = [*CHECKS, *PEERS, *SERVE, *EXPORT, *DOCS]

setup(
    name='mmseg_oneformer',
    version=read_version(),
    description='OneFormer in OpenMMLab: one model for semantic, instance and panoptic segmentation',
    long_description=(ROOT / 'README.md').read_text() if (ROOT / 'README.md').exists() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.11',
    packages=find_packages('projects/oneformer'),
    package_dir={'': 'projects/oneformer'},
    package_data={'mmseg_oneformer': ['py.typed', 'weights/*.safetensors', 'weights/*.json', 'serving/page/*']},
    cmdclass={'build_py': BuildWithConfigsAndTools},
    install_requires=[
        'torch>=2.6',  # Allow-lists of weights_only=True take (object, name) pairs from 2.6 on.
        'torchvision',
        'numpy>=1.24',
        'scipy',
        'pillow',
        'opencv-python',
        'pycocotools',
        'faster-coco-eval>=1.8',
        'safetensors',
        'timm>=1.0',
        'open_clip_torch>=2.27',  # Before it the text encoder has no proj_type and wants (L, B, C).
        'ftfy',
        'regex',
        'tqdm',
        'filelock',
    ],
    extras_require={
        'openmmlab': OPENMMLAB,
        'onedl': ONEDL,
        'cityscapes': CITYSCAPES,
        'serve': SERVE,
        'export': EXPORT,
        'docs': DOCS,
        'dev': DEV,
    },
)
