#!/usr/bin/env bash
# Evaluate on a SLURM cluster, one task per GPU.
#   [GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 SRUN_ARGS=...] bash tools/slurm_test.sh PARTITION JOB CONFIG CHECKPOINT [flags of test.py]
# GPUS_PER_NODE=0 asks for no GPU: TASKS_PER_NODE (default GPUS) CPU processes then train on each node.
set -euo pipefail

if [ $# -lt 4 ]; then
    echo "usage: bash tools/slurm_test.sh PARTITION JOB CONFIG CHECKPOINT [flags of test.py]" >&2
    exit 2
fi
PARTITION=$1 JOB=$2
shift 2
CONFIG=$1 CHECKPOINT=$2
shift 2

GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}
TASKS_PER_NODE=${TASKS_PER_NODE:-$((GPUS_PER_NODE > 0 ? GPUS_PER_NODE : GPUS))}
RESOURCES=()
if [ "$GPUS_PER_NODE" -gt 0 ]; then RESOURCES=(--gres="gpu:$GPUS_PER_NODE"); fi

# SRUN_ARGS is split into words on purpose; the empty array is written so that bash 3 takes it under `set -u`.
# shellcheck disable=SC2086
exec srun --partition="$PARTITION" \
    --job-name="$JOB" \
    ${RESOURCES[@]+"${RESOURCES[@]}"} \
    --ntasks="$GPUS" \
    --ntasks-per-node="$TASKS_PER_NODE" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$(dirname "$0")/test.py" "$CONFIG" "$CHECKPOINT" --launcher slurm "$@"
