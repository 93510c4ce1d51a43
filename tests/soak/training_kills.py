"""Trainings killed at random moments and resumed: in the end they are those that nobody killed.

python -m tests.soak.training_kills --times 30 --seed 0 [--work-dir FOLDER]

A narrow model trains on drawn pictures, with validations and checkpoints in short intervals. It is ended by SIGKILL or
SIGTERM at a moment drawn between the start of training and its end, again and again until it comes through. Its
checkpoints then have the same tensors, and its validations the same numbers, as those of a run that was left alone.
Exit status: 1 if any of them differs, a file is left over, or a run ends otherwise than it should.
"""

import argparse
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

import mmseg_oneformer  # noqa: F401  (first: makes the OpenMMLab wheels importable)
from mmseg_oneformer.analysis.logs import read_run
from mmseg_oneformer.datasets.shapes import write_shapes
from mmseg_oneformer.zoo.configs import read_config
from tests.soak.processes import start_tool, warm_server
from tests.toy.small_models import command_line, small_data, small_model

MODEL = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
MOST_KILLS = 3
"""Of one training; then it is left alone."""
OPTIONS = {
    'train_cfg.max_iters': 24,
    'train_cfg.val_interval': 5,
    'train_dataloader.batch_size': 2,
    'train_dataloader.num_workers': 1,
    'val_dataloader.batch_size': 1,
    'default_hooks.checkpoint.interval': 3,
    'default_hooks.checkpoint.max_keep_ckpts': 2,
    'default_hooks.logger.interval': 1,
    'model.test_cfg.object_mask_thr': 0.1,
}
CHECKPOINT = re.compile(r'\biter_(\d+)\.pth')


class Trainings:
    """Starts trainings in a folder with drawn data, from a Python that has imported everything already."""

    def __init__(self, folder: Path, server: Path) -> None:
        self.folder, self.server = folder, server
        cfg = read_config(MODEL)
        self.options = command_line(small_model(cfg) | small_data(cfg) | OPTIONS)

    def start(self, work_dir: str) -> subprocess.Popen:
        """Start or resume a training; its output goes to ``<work dir>.log``."""
        arguments = [MODEL, '--work-dir', work_dir, '--resume', '--cfg-options', *self.options]
        return start_tool(self.server, self.folder, self.folder / f'{work_dir}.log', 'train.py', arguments)

    def said(self, work_dir: str) -> str:
        """Return what all parts of a training have printed."""
        return (self.folder / f'{work_dir}.log').read_text(errors='replace')


def run_and_kill(trainings: Trainings, work_dir: str, rng: random.Random, seconds: float, counts: Counter[str]) -> None:
    """Bring a training to its end, with kills in between.

    Args:
        trainings: Starts it.
        work_dir: Its name.
        rng: Draws how and when.
        seconds: That an uninterrupted training takes from its first iteration to its end.
        counts: What happened.

    Raises:
        AssertionError: The training ended with another status than it should.
    """
    for kill in range(MOST_KILLS + 1):
        begun = trainings.said(work_dir).count('The time left is known') if kill else 0
        process = trainings.start(work_dir)
        if kill < MOST_KILLS:
            while trainings.said(work_dir).count('The time left is known') == begun and process.poll() is None:
                time.sleep(0.02)
            number = rng.choice([signal.SIGKILL, signal.SIGTERM])
            # What is left takes less time than the whole: a late moment finds the run at its end.
            threading.Event().wait(rng.uniform(0.0, seconds))
            process.send_signal(number)
            status = process.wait()
            counts[number.name] += 1
        else:
            number, status = None, process.wait()
        if status == 0:
            counts['ended before the kill'] += number is not None
            return
        expected = {signal.SIGKILL: [-signal.SIGKILL], signal.SIGTERM: [75, 143, -signal.SIGTERM]}.get(number, [])
        assert status in expected, f'{work_dir}: status {status} after {number}\n{trainings.said(work_dir)[-2000:]}'
        counts[f'status {status}'] += 1


def differences(trainings: Trainings, one: str, other: str) -> list[str]:
    """Return what differs between the outcomes of two trainings, in sentences."""
    folders = [trainings.folder / one, trainings.folder / other]
    names = [sorted(path.name for path in folder.iterdir() if path.is_file()) for folder in folders]
    # A stop saves a checkpoint of its own, which counts among those that are kept.
    expected = sorted(
        {name for name in names[0] if not CHECKPOINT.fullmatch(name)} | _last_saved(trainings.said(other))
    )
    found = [f'{other} has the files {names[1]}, not {expected}'] if names[1] != expected else []
    for name in [name for name in names[0] if name.endswith('.pth') and name in names[1]]:
        states = [torch.load(folder / name, weights_only=False) for folder in folders]
        tensors = [dict(_tensors(state, '')) for state in states]
        if tensors[0].keys() != tensors[1].keys():
            found.append(f'{name} of {other} has other tensors')
            continue
        unequal = [key for key, value in tensors[0].items() if not torch.equal(value, tensors[1][key])]
        found += [f'{name} of {other}: {len(unequal)} tensors differ, such as {unequal[0]}'] if unequal else []
    scores = [
        {int(step['step']): {k: v for k, v in step.items() if 'time' not in k} for step in read_run(folder).val}
        for folder in folders
    ]
    return found + ([f'the validations of {other} differ'] if str(scores[0]) != str(scores[1]) else [])


def _last_saved(said: str) -> set[str]:
    """Return the checkpoints that a training keeps, after what it has printed."""
    saved = {int(found[1]): found[0] for found in CHECKPOINT.finditer(said)}
    return {saved[number] for number in sorted(saved)[-OPTIONS['default_hooks.checkpoint.max_keep_ckpts'] :]}


def _tensors(value: object, path: str) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, dict):
        for key, one in value.items():
            if key not in ('message_hub', 'meta'):
                yield from _tensors(one, f'{path}.{key}')
    elif isinstance(value, list | tuple):
        for number, one in enumerate(value):
            yield from _tensors(one, f'{path}.{number}')


def main(argv: Sequence[str] | None = None) -> int:
    """Kill trainings; return the exit status."""
    parser = argparse.ArgumentParser(description='Kill trainings at random moments and resume them.')
    parser.add_argument('--times', type=int, default=30, help='kills altogether (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the moments (default: %(default)s)')
    parser.add_argument('--work-dir', type=Path, help='keep everything there (default: a temporary folder)')
    args = parser.parse_args(argv)
    rng, counts, violations = random.Random(args.seed), Counter(), []
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.work_dir or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        write_shapes(folder / 'data/shapes', 8, 6, 96, workers=1)
        with warm_server(Path(temporary)) as address:
            trainings = Trainings(folder, address)
            process = trainings.start('whole')
            while 'The time left is known' not in trainings.said('whole') and process.poll() is None:
                time.sleep(0.02)
            began = time.monotonic()
            if process.wait():
                print(trainings.said('whole')[-2000:])
                return 1
            seconds = time.monotonic() - began
            number = 0
            while counts['SIGKILL'] + counts['SIGTERM'] < args.times:
                name, number = f'killed{number}', number + 1
                try:
                    run_and_kill(trainings, name, rng, seconds, counts)
                    new = differences(trainings, 'whole', name)
                except AssertionError as error:
                    new = [str(error)]
                counts['validations made up'] += trainings.said(name).count('was not finished')
                violations += new
                print(f'{name}: {"; ".join(new) or "the same"}', flush=True)
    counts['trainings'] = number
    counts['violations'] = len(violations)
    print(', '.join(f'{key} {value}' for key, value in counts.items()))
    return 1 if violations else 0


if __name__ == '__main__':
    sys.exit(main())
