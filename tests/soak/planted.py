"""The fuzzing in a process of its own, with a fault planted in one reader or with none.

``planted.py FAULT`` prints what ``fuzzing.py`` prints; ``planted.py none N M`` prints the outcomes of the inputs N to
M - 1 as JSON. In the process of other tests, memory that they have left would count as that of an input.
"""

import json
import os
import random
import signal
import sys
from pathlib import Path

from tests.soak import fuzzing
from tests.soak.readers import READERS

SEED = 11


def die(rng: random.Random, folder: Path) -> None:
    """End the process."""
    os.kill(os.getpid(), signal.SIGKILL)


def fill_memory(rng: random.Random, folder: Path) -> None:
    """Take more than is allowed."""
    bytearray(3 * 2**30)


def write_elsewhere(rng: random.Random, folder: Path) -> None:
    """Write outside of the folder of the input."""
    (folder.parents[1] / 'elsewhere').touch()


def hang(rng: random.Random, folder: Path) -> None:
    """Never end."""
    while True:
        pass


def divide(rng: random.Random, folder: Path) -> None:
    """Have a bug."""
    1 / (rng.random() * 0)


PLANTED = {'crash': die, 'memory': fill_memory, 'elsewhere': write_elsewhere, 'hang': hang, 'traceback': divide}


def main(kind: str, *numbers: str) -> int:
    """Run the fuzzing; returns the exit status."""
    if kind == 'none':
        outcomes = fuzzing.fuzz(range(*map(int, numbers)), SEED, list(READERS), 1)
        print(json.dumps([(outcome.number, outcome.reader, outcome.kind, outcome.text) for outcome in outcomes]))
        return 0
    fuzzing.SECONDS = 2.0
    READERS['outlines'] = PLANTED[kind]
    return fuzzing.main(['--inputs', '4', '--readers', 'outlines', 'instance_truth', '--jobs', '1'])


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
