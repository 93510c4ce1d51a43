"""Process groups on machines with and without GPUs."""

import os
import re
import shutil
import socket
import subprocess
from collections.abc import MutableMapping
from typing import Any

import torch
from mmengine.config import Config
from torch import distributed

from .errors import UserError

SLURM_VARIABLES = ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST')


def init_distributed(cfg: Config, launcher: str) -> None:
    """Start the process group where mmengine cannot, and fit ``cfg`` to it.

    mmengine's launchers choose a GPU before anything else and its model wrapper names one; both fail on a machine
    without. There the group is started here, on gloo, and the Runner finds it running. With GPUs only the environment
    is checked, and mmengine does the rest.

    Args:
        cfg: The config of the run; without GPUs its ``model_wrapper_cfg`` is set and SyncBN becomes BN.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.

    Raises:
        UserError: The variables of the launcher are not set, or there are fewer GPUs than processes.
    """
    if launcher == 'none':
        return
    if launcher == 'slurm':
        read_slurm_environment()
    elif launcher == 'pytorch':
        _require(('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'), 'tools/dist_train.sh CONFIG N')
    elif torch.cuda.is_available():  # of MPI
        names = ('OMPI_COMM_WORLD_LOCAL_RANK', 'OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'MASTER_ADDR')
        _require(names, "Open MPI's mpirun -x MASTER_ADDR=HOST")
    if torch.cuda.is_available():
        local_rank, gpus = int(os.environ.get('LOCAL_RANK', 0)), torch.cuda.device_count()
        if local_rank >= gpus:
            raise UserError(
                f'Process {local_rank} of this machine has no GPU, there are {gpus}; start fewer processes.'
            )
        return
    if launcher == 'mpi':
        raise UserError('Without a GPU only the launchers pytorch and slurm work; use tools/dist_train.sh.')
    if not distributed.is_initialized():
        distributed.init_process_group('gloo')
    if cfg.get('model_wrapper_cfg') is None:
        cfg.model_wrapper_cfg = {
            'type': 'MMDistributedDataParallel',
            'device_ids': None,
            'broadcast_buffers': False,
            'find_unused_parameters': cfg.get('find_unused_parameters', False),
        }
    changed = revert_sync_bn(cfg.get('model', {}))
    cfg.sync_bn = None
    if changed and distributed.get_rank() == 0:
        print(
            f'No GPU: {changed} SyncBN settings of the config are BN in this run, each process has its own statistics.'
        )


def revert_sync_bn(settings: Any) -> int:
    """Turn every ``type='SyncBN'`` within ``settings`` into 'BN', in place; return how many there were."""
    if isinstance(settings, MutableMapping):
        found = settings.get('type') in ('SyncBN', 'MMSyncBN')
        if found:
            settings['type'] = 'BN'
        return int(found) + sum(revert_sync_bn(value) for value in settings.values())
    if isinstance(settings, list | tuple):
        return sum(revert_sync_bn(value) for value in settings)
    return 0


def read_slurm_environment() -> None:
    """Set torch's variables of the process group from SLURM's.

    Raises:
        UserError: The process was not started by ``srun``.
    """
    _require(SLURM_VARIABLES, 'tools/slurm_train.sh PARTITION JOB CONFIG')
    rank = int(os.environ['SLURM_PROCID'])
    os.environ['RANK'] = str(rank)
    os.environ['WORLD_SIZE'] = os.environ['SLURM_NTASKS']
    gpus = max(torch.cuda.device_count(), 1)
    os.environ['LOCAL_RANK'] = os.environ.get('SLURM_LOCALID', str(rank % gpus))
    os.environ.setdefault('MASTER_PORT', '29500')
    os.environ.setdefault('MASTER_ADDR', first_host(os.environ['SLURM_NODELIST']))


def first_host(node_list: str) -> str:
    """Return the first host of a SLURM node list such as ``node[03-07,12],gpu1``."""
    if shutil.which('scontrol'):
        hosts = subprocess.run(
            ['scontrol', 'show', 'hostnames', node_list], capture_output=True, text=True, check=False
        )
        if hosts.returncode == 0 and hosts.stdout.strip():
            return hosts.stdout.split()[0]
    match = re.match(r'([^,\[]+)(?:\[(\w+))?', node_list)
    if match is None:
        raise UserError(f'SLURM_NODELIST "{node_list}" names no host; set MASTER_ADDR.')
    host = match.group(1) + (match.group(2) or '')
    return '127.0.0.1' if host == socket.gethostname() else host


def _require(names: tuple[str, ...], command: str) -> None:
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise UserError(f'The environment variable {missing[0]} of the launcher is not set; start with {command}.')
