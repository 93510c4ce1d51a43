#!/usr/bin/env bash
# Evaluate on a SLURM cluster, one task per GPU; tools/slurm.sh says what GPUS, GPUS_PER_NODE, ... mean.
#   [GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 SRUN_ARGS=...] bash tools/slurm_test.sh PARTITION JOB CONFIG CHECKPOINT [flags of test.py]
set -euo pipefail

if [ $# -lt 4 ]; then
    echo "usage: bash tools/slurm_test.sh PARTITION JOB CONFIG CHECKPOINT [flags of test.py]" >&2
    exit 2
fi
HERE=$(dirname "$0")
source "$HERE/slurm.sh"
submit "$1" "$2" "$HERE/test.py" "${@:3}"
