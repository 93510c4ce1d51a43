"""What the C library does with large blocks that are freed."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

MEMORY = Path(__file__).parents[1] / 'projects/oneformer/mmseg_oneformer/memory.py'
CHURN = """
import ctypes, resource, runpy, sys
keep = runpy.run_path(sys.argv[1])['keep_freed_memory']
if sys.argv[2] == 'kept':
    assert keep()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.memset.argtypes, libc.free.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t), (ctypes.c_void_p,)
def use():
    block = libc.malloc(2**26)
    libc.memset(block, 1, 2**26)
    libc.free(block)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='glibc only')
def test_keep_freed_memory__pages_are_used_again():
    """In a process of its own, since the setting stays."""
    faults = {
        mode: int(subprocess.check_output([sys.executable, '-c', CHURN, str(MEMORY), mode]))
        for mode in ('as is', 'kept')
    }
    assert faults['kept'] < faults['as is'] / 10
