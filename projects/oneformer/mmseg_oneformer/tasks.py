"""The three tasks: their names and the prompts that turn them into tokens (paper §3.1)."""

from collections.abc import Iterable

from .errors import UserError, did_you_mean

TASKS = ('semantic', 'instance', 'panoptic')

PREDICTION_FIELDS = {'semantic': 'pred_sem_seg', 'instance': 'pred_instances', 'panoptic': 'pred_panoptic_seg'}
"""Where each task's prediction is in a data sample, as mmdet and mmseg call it."""

CONTEXT_LENGTH = 77
"""Tokens in a prompt, padding included (CLIP)."""

PROMPT_TOKENS = {
    'semantic': (49406, 518, 10549, 533, 29119, 1550, 49407),
    'instance': (49406, 518, 10549, 533, 34572, 49407),
    'panoptic': (49406, 518, 10549, 533, 1072, 24755, 49407),
}
"""CLIP token ids of "the task is {task}". Only these three prompts exist, so no tokenizer is needed at inference."""

FILLERS = {task: f'{"an" if task == "instance" else "a"} {task} photo' for task in TASKS}
"""Text of every slot of the text list that no target fills."""


def check_task(task: str) -> str:
    """Return ``task`` or raise a ValueError that names the choices."""
    if task not in TASKS:
        raise UserError(f'unknown task {task!r}{did_you_mean(str(task), TASKS)}; choose from {", ".join(TASKS)}')
    return task


def check_tasks(tasks: Iterable[str]) -> tuple[str, ...]:
    """Return ``tasks`` without repetitions, in the given order; raise ValueError for an unknown or missing task."""
    tasks = (tasks,) if isinstance(tasks, str) else tuple(tasks)
    if not tasks:
        raise UserError(f'no task was requested; choose from {", ".join(TASKS)}')
    return tuple(dict.fromkeys(check_task(task) for task in tasks))
