#!/usr/bin/env bash
# Train on a SLURM cluster, one task per GPU; tools/slurm.sh says what GPUS, GPUS_PER_NODE, ... mean.
#   [GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 SRUN_ARGS=...] bash tools/slurm_train.sh PARTITION JOB CONFIG [flags of train.py]
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: bash tools/slurm_train.sh PARTITION JOB CONFIG [flags of train.py]" >&2
    exit 2
fi
HERE=$(dirname "$0")
source "$HERE/slurm.sh"
submit "$1" "$2" "$HERE/train.py" "${@:3}"
