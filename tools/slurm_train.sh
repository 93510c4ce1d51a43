#!/usr/bin/env bash
# Train on a SLURM cluster, one task per GPU; tools/slurm.sh says what GPUS, GPUS_PER_NODE, ... mean.
#   [GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 SRUN_ARGS=...] bash tools/slurm_train.sh [--signal[=USR1@120]] PARTITION JOB CONFIG [flags of train.py]
# --signal: save a checkpoint 120 s before the time is up; within a batch job, requeue it (docs/training.md).
set -euo pipefail

REQUEUE_SIGNAL=
args=()
for arg in "$@"; do
    case $arg in
        --signal) REQUEUE_SIGNAL=USR1@120 ;;
        --signal=*) REQUEUE_SIGNAL=${arg#--signal=} ;;
        *) args+=("$arg") ;;
    esac
done
set -- ${args[@]+"${args[@]}"}

if [ $# -lt 3 ]; then
    echo "usage: bash tools/slurm_train.sh [--signal[=USR1@120]] PARTITION JOB CONFIG [flags of train.py]" >&2
    exit 2
fi
HERE=$(dirname "$0")
source "$HERE/slurm.sh"
submit "$1" "$2" "$HERE/train.py" "${@:3}"
