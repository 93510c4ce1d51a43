"""The load of ``make soak`` in short, with times that a busy machine can keep."""

import subprocess
import sys
from pathlib import Path


def test_service__good_clients_beside_slow_and_empty_ones():
    command = [sys.executable, Path(__file__).with_name('service.py'), '--seconds', 3, '--good', 8, '--slow', 80]
    done = subprocess.run(
        [*map(str, command), '--empty', '500', '--slack', '50'], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "good requests: {'ok': " in done.stdout
