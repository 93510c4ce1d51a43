"""What a training run has left in its work dir."""

from pathlib import Path

from mmengine.logging import print_log

WORK_DIRS = Path('work_dirs')
"""Folder of the work dirs, each with the name of its config, unless a run sets another."""


def latest_checkpoint(work_dir: str | Path) -> Path | None:
    """Return the checkpoint to resume from, or None if the folder has none.

    ``last_checkpoint`` names it with its folder; one of that name in ``work_dir`` comes first, since the folder may be
    a copy of the one where the run began. If neither is there, it is the checkpoint of the highest iteration.
    """
    work_dir = Path(work_dir)
    pointer = work_dir / 'last_checkpoint'
    if pointer.is_file():
        named = pointer.read_text().strip()
        for path in (work_dir / Path(named).name, Path(named)):
            if named and path.is_file():
                return path
        print_log(
            f'{pointer} names {named or "nothing"}, which does not exist; looking for other checkpoints.', 'current'
        )
    numbered = [(path.stem.rpartition('_')[2], path) for path in work_dir.glob('*_*.pth')]
    found = [(int(number), path) for number, path in numbered if number.isdigit() and not path.name.startswith('best')]
    return max(found)[1] if found else None
