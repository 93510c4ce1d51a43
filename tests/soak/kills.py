"""Preparations and inferences killed at random moments and run again: in the end, the files of those nobody killed.

python -m tests.soak.kills --times 30 --seed 0 [--work-dir FOLDER]

Drawn photos are converted (to_panoptic.py) and predicted (infer.py over a folder, then --resume), in a folder that is
empty or holds the files of an earlier run with other predictions. Each run gets up to three SIGKILLs at moments drawn
between its start and its end. After each of them no JSON may contradict the PNGs, and when the last run has come
through, every file has the bytes of an uninterrupted one. Exit status: 1 if anything differs or is left over.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

import mmseg_oneformer  # noqa: F401  (first: makes the OpenMMLab wheels importable)
from mmseg_oneformer.annotations.coco_panoptic import read_panoptic
from mmseg_oneformer.annotations.id_maps import read_ids
from mmseg_oneformer.datasets.drawing import draw_scene
from tests.soak.processes import start_tool, warm_server
from tests.toy.tiny_model import write_tiny_model

__all__ = ['PREPARATION', 'Job', 'Runs', 'contradictions', 'draw_data', 'kill_and_finish']

MOST_KILLS = 3
"""Of one run; then it is left alone."""


class Job(NamedTuple):
    """A tool whose run can be continued."""

    name: str
    tool: str
    first: list[str]
    """Arguments of the first run; ``{out}`` stands for the folder of its files."""
    again: list[str]
    """What is added to continue."""
    maps: str
    """Folder of the PNGs of a panoptic JSON, below that folder; ``{stem}`` is the name of the JSON."""


PREPARATION = Job(
    'preparation',
    'dataset_converters/to_panoptic.py',
    ['coco', 'instances.json', '--images', 'photos', '--out', '{out}', '--jobs', '2'],
    [],
    '{stem}',
)
INFERENCE = Job(
    'inference',
    'infer.py',
    ['photos', '--model', 'tiny_model.py', '--weights', 'tiny.pth', '--out-dir', '{out}'],
    ['--resume'],
    '',
)
EARLIER = ['--cfg-options', 'model.test_cfg.object_mask_thr=0.6']
"""Makes other predictions."""


class Runs(NamedTuple):
    """Where tools run, and what starts them."""

    folder: Path
    server: Path

    def start(self, job: Job, out: str, *more: str) -> subprocess.Popen:
        """Start a job that writes into the folder ``out``."""
        arguments = [argument.format(out=out) for argument in (*job.first, *more)]
        return start_tool(self.server, self.folder, self.folder / f'{out}.log', job.tool, arguments)

    def finish(self, job: Job, out: str, *more: str) -> float:
        """Run a job to its end; return the seconds it took.

        Raises:
            AssertionError: It failed.
        """
        began = time.monotonic()
        status = self.start(job, out, *more).wait()
        assert status == 0, f'{out}: status {status}\n{(self.folder / f"{out}.log").read_text()[-2000:]}'
        return time.monotonic() - began


def draw_data(folder: Path, photos: int) -> None:
    """Draw photos, an instance JSON of them, and a model with weights."""
    (folder / 'photos').mkdir(parents=True)
    images, annotations = [], []
    for number in range(1, photos + 1):
        Image.fromarray(draw_scene(96, np.random.default_rng(number)).image).save(folder / f'photos/{number:03}.jpg')
        images.append({'id': number, 'file_name': f'{number:03}.jpg', 'height': 96, 'width': 96})
        for place in range(5):
            left, top = 10 * place, (7 * number + 11 * place) % 60
            outline = [left, top, left + 30, top + 3, left + 25, top + 35]
            entry = {'id': len(annotations) + 1, 'image_id': number, 'category_id': 1 + place % 2, 'iscrowd': 0}
            annotations.append({**entry, 'segmentation': [outline]})
    categories = [{'id': 1, 'name': 'dog'}, {'id': 2, 'name': 'cat'}]
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    (folder / 'instances.json').write_text(json.dumps(content))
    config, _ = write_tiny_model(folder)
    config.replace(folder / 'tiny_model.py')


def contradictions(folder: Path, maps: str) -> list[str]:
    """Return what the JSONs of a folder say that its PNGs do not, in sentences."""
    found = []
    for path in folder.glob('panoptic*.json'):
        content = read_panoptic(path)
        found += [f'{path}: {fault}' for fault in content.faults]
        for annotation in content.annotations.values():
            png = folder / maps.format(stem=path.stem) / annotation['file_name']
            ids, areas = np.unique(read_ids(png) if png.is_file() else [0], return_counts=True)
            there = {number: area for number, area in zip(ids.tolist(), areas.tolist()) if number}
            if there != {segment['id']: segment.get('area') for segment in annotation['segments_info']}:
                found.append(f'{path} contradicts {png}')
    for path in folder.glob('instances.json'):
        json.loads(path.read_bytes())
    return found


def kill_and_finish(runs: Runs, job: Job, out: str, moments: Sequence[float]) -> Counter[str]:
    """Kill runs of a job at moments, then bring it to its end.

    Args:
        runs: Starts it.
        job: What runs.
        out: Folder of its files.
        moments: Seconds after the start of each run that is killed.

    Returns:
        What happened.

    Raises:
        AssertionError: A JSON contradicts the PNGs, or a run fails.
    """
    counts: Counter[str] = Counter()
    for number, moment in enumerate(moments):
        process = runs.start(job, out, *(job.again if number else []))
        try:
            process.wait(timeout=moment)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            counts['kills'] += 1
        wrong = contradictions(runs.folder / out, job.maps)
        assert not wrong, '; '.join(wrong[:3])
        if process.returncode == 0:
            counts['ended before the kill'] += 1
            return counts
    runs.finish(job, out, *(job.again if moments else []))
    return counts


def differences(one: Path, other: Path) -> list[str]:
    """Return what differs between the files of two folders, in sentences."""
    trees = [
        {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob('*') if path.is_file()}
        for folder in (one, other)
    ]
    strange = trees[0].keys() ^ trees[1].keys()
    unequal = [name for name in trees[0].keys() & trees[1].keys() if trees[0][name] != trees[1][name]]
    found = [f'{len(strange)} files are in one folder only, such as {min(strange)}'] if strange else []
    return found + ([f'{len(unequal)} files differ, such as {min(unequal)}'] if unequal else [])


def main(argv: Sequence[str] | None = None) -> int:
    """Kill preparations and inferences; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--times', type=int, default=30, help='kills of each of the two (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the moments (default: %(default)s)')
    parser.add_argument('--photos', type=int, default=60, help='how many (default: %(default)s)')
    parser.add_argument('--work-dir', type=Path, help='keep everything there (default: a temporary folder)')
    args = parser.parse_args(argv)
    rng, violations = random.Random(args.seed), 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.work_dir or Path(temporary) / 'work'
        draw_data(folder, args.photos)
        with warm_server(Path(temporary)) as server:
            runs = Runs(folder, server)
            for job in (PREPARATION, INFERENCE):
                whole, earlier = f'{job.name}-whole', f'{job.name}-earlier'
                runs.finish(job, whole)  # The first run of all reads files that no cache has yet.
                shutil.rmtree(folder / whole)
                seconds = runs.finish(job, whole)
                if job is INFERENCE:
                    runs.finish(job, earlier, *EARLIER)
                counts: Counter[str] = Counter()
                while counts['kills'] < args.times:
                    counts['runs'] += 1
                    out = f'{job.name}-{counts["runs"]}'
                    if job is INFERENCE and rng.random() < 0.5:
                        shutil.copytree(folder / earlier, folder / out)
                        counts['over earlier files'] += 1
                    moments = [rng.uniform(0.05, seconds) for _ in range(rng.randint(1, MOST_KILLS))]
                    try:
                        counts += kill_and_finish(runs, job, out, moments)
                        wrong = differences(folder / whole, folder / out)
                    except AssertionError as error:
                        wrong = [str(error)]
                    violations += len(wrong)
                    if wrong:
                        print(f'{out}: {"; ".join(wrong)}', flush=True)
                print(f'{job.name}: {", ".join(f"{key} {value}" for key, value in counts.items())}', flush=True)
    print(f'violations {violations}')
    return 1 if violations else 0


if __name__ == '__main__':
    sys.exit(main())
