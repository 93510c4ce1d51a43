"""The command lines of ``tools/``: what they share, and what can be done before anything slow is imported.

No user should wait seconds for ``--help`` or for the report of a misspelt flag: nothing here imports PyTorch, except
``model`` and ``config``, which the tools import after reading their command line.
"""

from .arguments import (
    DTYPES,
    TASKS,
    add_checkpoint_arguments,
    add_common_arguments,
    add_model_arguments,
    add_options_argument,
    add_speed_arguments,
    add_tasks_argument,
    add_token_argument,
)
from .downloads import parse_download, prepare_splits
from .manners import TRACEBACK, cli_errors, loading
from .parser import Parser

__all__ = [
    'DTYPES',
    'TASKS',
    'TRACEBACK',
    'Parser',
    'add_checkpoint_arguments',
    'add_common_arguments',
    'add_model_arguments',
    'add_options_argument',
    'add_speed_arguments',
    'add_tasks_argument',
    'add_token_argument',
    'cli_errors',
    'loading',
    'parse_download',
    'prepare_splits',
]
