#!/usr/bin/env bash
# Sourced by slurm_train.sh and slurm_test.sh: submit PARTITION JOB SCRIPT [arguments], one task per GPU.
# With REQUEUE_SIGNAL (such as USR1@120) SLURM sends that signal before the time is up; the run then saves a checkpoint and ends
# with status 75, and the batch job, if this is one, is put into the queue again.
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
    # shellcheck disable=SC2206
    local command=(srun --partition="$partition"
        --job-name="$job"
        ${resources[@]+"${resources[@]}"}
        --ntasks="$gpus"
        --ntasks-per-node="${TASKS_PER_NODE:-$((per_node > 0 ? per_node : gpus))}"
        --cpus-per-task="${CPUS_PER_TASK:-5}"
        --kill-on-bad-exit=1
        ${REQUEUE_SIGNAL:+--signal="$REQUEUE_SIGNAL"}
        ${SRUN_ARGS:-}
        "${PYTHON:-python}" -u "$script" "$@" --launcher slurm)
    if [ -z "${REQUEUE_SIGNAL:-}" ]; then exec "${command[@]}"; fi
    # SLURM may signal this shell too. With a trap, which srun does not inherit, the shell waits for srun all the same.
    trap : USR1 TERM
    local status=0
    "${command[@]}" || status=$?
    if [ "$status" -eq 75 ] && [ -n "${SLURM_JOB_ID:-}" ]; then scontrol requeue "$SLURM_JOB_ID"; fi
    exit "$status"
}
