"""How long the tools take to start: fresh processes, as multiples of ``import torch`` in the same run.

python -m benchmarks.startup
python -m benchmarks.startup --without transformers     # as if the package were not installed
python -m benchmarks.startup --root OTHER_CHECKOUT      # of another version

All entries run in turn, one process each, ``--runs`` times. Other programs on the machine affect processor time least;
for elapsed time the machine has to be idle.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from mmseg_oneformer.text_table import format_table

ROOT = Path(__file__).resolve().parents[1]
MODEL = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
BUILD = f"from mmseg_oneformer.apis import OneFormerInferencer; OneFormerInferencer('{MODEL}')"
BLOCK = """
import sys
class Block:
    def find_spec(self, name, path, target=None):
        if name in {names}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Block())
"""


def entries(folder: Path) -> dict[str, list[str]]:
    """Return the command lines, after the name of Python, that are measured on three photos in ``folder``."""
    photos = folder / 'photos'
    photos.mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (96, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f'{i}.png')
        shape = {'label': 'box', 'points': [[8, 8], [60, 8], [60, 60], [8, 60]], 'shape_type': 'polygon'}
        size = {'imageHeight': 96, 'imageWidth': 96}
        content = {'shapes': [shape], 'imagePath': f'{i}.png', 'imageData': None, **size}
        (photos / f'{i}.json').write_text(json.dumps(content))
    out, predictions = str(folder / 'prepared'), str(folder / 'predictions')
    prepare = ['tools/dataset_converters/to_panoptic.py', 'labelme', str(photos), '--images', str(photos), '--out', out]
    return {
        'import torch': ['-c', 'import torch'],
        'import mmseg_oneformer': ['-c', 'import mmseg_oneformer'],
        'import, build the shipped model': ['-c', BUILD],
        'tools/infer.py, one photo': [
            'tools/infer.py',
            str(photos / '0.png'),
            '--model',
            MODEL,
            '--out-dir',
            predictions,
        ],
        'tools/infer.py --list': ['tools/infer.py', '--list'],
        'to_panoptic.py, three photos': [*prepare, '--things', 'box'],
        'dataset_doctor.py, three photos': [
            'tools/dataset_doctor.py',
            f'{out}/panoptic_train.json',
            '--images',
            str(photos),
        ],
    }


def measure(command: list[str], root: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Return the seconds that a process took, elapsed and of processors.

    Raises:
        RuntimeError: It failed; the message is its output.
    """
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=root, env=environment, stdout=said, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        elapsed = time.perf_counter() - begin
        if status:
            said.seek(0)
            raise RuntimeError(f'{" ".join(command)} failed:\n{said.read().decode()}')
    return elapsed, usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--runs', type=int, default=5, help='of each entry (default: %(default)s)')
    parser.add_argument('--without', nargs='+', default=[], metavar='PACKAGE', help='packages that cannot be imported')
    parser.add_argument('--root', type=Path, default=ROOT, help='checkout to measure (default: this one)')
    args = parser.parse_args()
    root = args.root.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / 'sitecustomize.py').write_text(BLOCK.format(names=tuple(args.without)))
        paths = [name, str(root / 'projects/oneformer')]
        environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(paths)}
        commands = entries(folder)
        seconds: dict[str, list[tuple[float, float]]] = {entry: [] for entry in commands}
        for _ in range(args.runs + 1):
            for entry, command in commands.items():
                seconds[entry].append(measure(command, root, environment))
    # The first round fills the caches of files and of compiled Python.
    medians = {entry: [statistics.median(kind) for kind in zip(*runs[1:])] for entry, runs in seconds.items()}
    torch = medians['import torch']
    rows = [
        [entry, *(f'{part:.2f}' for value, base in zip(values, torch) for part in (value, value / base))]
        for entry, values in medians.items()
    ]
    print(format_table(['', 'elapsed s', 'x torch', 'processor s', 'x torch'], rows))


if __name__ == '__main__':
    main()
