"""The config that trains on prepared own data, written from the panoptic JSONs."""

import os
import shlex
from pathlib import Path
from pprint import pformat
from typing import Any

from ..errors import UserError
from ..files import read_json
from ..zoo.configs import config_root

__all__ = ['own_config']

TEMPLATE = '''"""{title}: {count} classes of own data, made by to_panoptic.py.

Needs: the photos and annotations below.
Run:   python tools/train.py {path}
Start from trained weights: --fine-tune-from NAME_OR_FILE
"""

_base_ = [
{bases}
]
classes = {classes}
thing_ids = tuple(range({num_things}))
model = dict(thing_ids=thing_ids, head=dict(num_classes=len(classes)))
own = dict(type='PanopticDataset', data_root={root}, metainfo=dict(classes=classes, thing_ids=thing_ids))
train_dataloader = dict(
    batch_size=4,
    dataset=dict(**own, {train}),
)
val_dataloader = dict(
    dataset=dict(**own, {val}),
)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=10000, val_interval=1000)
param_scheduler = [dict(type='PolyLR', power=0.9, begin=0, end=10000, by_epoch=False)]
'''
PARTS = ('models/oneformer_r50.py', 'datasets/coco_panoptic_lsj.py')


def own_config(path: Path, train: Path, val: Path) -> str:
    """Return the text of a config at ``path`` that trains an R50 model.

    Args:
        path: Where it will be saved; its bases are named relative to it.
        train: Panoptic JSON of the training photos, written by ``write_panoptic``.
        val: That of the validation photos, in the same folder.

    Raises:
        UserError: The two JSONs do not have the same classes.
    """
    contents = [_read(name) for name in (train, val)]
    categories, others = (content['categories'] for content in contents)
    if categories != others:
        raise UserError(f'{train} and {val} have different classes; convert both with the same classes.')
    base = Path(os.path.relpath(config_root() / '_base_', path.resolve().parent)).as_posix()
    parts = [
        f'ann_file={name.name!r}, data_prefix=dict(img={content["info"]["photos"] + "/"!r}, seg={name.stem + "/"!r})'
        for name, content in zip((train, val), contents)
    ]
    return TEMPLATE.format(
        title=_in_docstring(path.stem),
        count=len(categories),
        path=_in_docstring(shlex.quote(path.as_posix())),
        bases='\n'.join(f'    {f"{base}/{part}"!r},' for part in PARTS),
        classes=pformat(tuple(category['name'] for category in categories), width=110, compact=True),
        num_things=sum(category['isthing'] for category in categories),  # They come first.
        root=repr(f'{train.parent.as_posix()}/'),
        train=parts[0],
        val=parts[1],
    )


def _read(path: Path) -> dict[str, Any]:
    """Return a JSON that ``write_panoptic`` wrote."""
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get('info'), dict) or 'photos' not in content['info']:
        raise UserError(
            f'{path} was not written by to_panoptic.py; convert that split too, or write the config yourself.'
        )
    return content


def _in_docstring(text: str) -> str:
    """Return a text that does not end a docstring and stays on one line."""
    return repr(text)[1:-1].replace('"', '\\"')
