#!/usr/bin/env bash
# Sourced by slurm_train.sh and slurm_test.sh: submit PARTITION JOB SCRIPT [arguments], one task per GPU.
#   GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 SRUN_ARGS=... PYTHON=python
# GPUS_PER_NODE=0 requests no GPU: TASKS_PER_NODE (default GPUS) CPU processes then run on each node.
submit() {
    local partition=$1 job=$2 script=$3
    shift 3
    local gpus=${GPUS:-8}
    local per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
    local resources=()
    if [ "$per_node" -gt 0 ]; then resources=(--gres="gpu:$per_node"); fi
    # SRUN_ARGS is split into words on purpose; the empty array is written so that bash 3 takes it under `set -u`.
    # shellcheck disable=SC2086
    exec srun --partition="$partition" \
        --job-name="$job" \
        ${resources[@]+"${resources[@]}"} \
        --ntasks="$gpus" \
        --ntasks-per-node="${TASKS_PER_NODE:-$((per_node > 0 ? per_node : gpus))}" \
        --cpus-per-task="${CPUS_PER_TASK:-5}" \
        --kill-on-bad-exit=1 \
        ${SRUN_ARGS:-} \
        "${PYTHON:-python}" -u "$script" "$@" --launcher slurm
}
