"""What is to be examined: the JSON, the folders of its files, and what a config expects of them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.registry import DATASETS

from ...annotations.coco_panoptic import PanopticFile
from ...errors import MissingFileError, UserError
from ...zoo.building import build_part
from ..own_data import find_folder, probes
from ..panoptic_files import PanopticFiles, PanopticJson

__all__ = ['Expected', 'Source', 'open_source']

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
MIXED = '_source_of_a_mix'
"""Key of a data set's config that stands within a MixedDataset."""


class Expected(NamedTuple):
    """What a config says of the data; None where it says nothing."""

    classes: tuple[str, ...] | None = None
    thing_ids: tuple[int, ...] | None = None
    num_classes: int | None = None
    allow_absent: bool = False
    """Segments without a pixel are accepted."""


class Source(NamedTuple):
    """A panoptic JSON with what belongs to it."""

    dataset: PanopticFiles
    """Not loaded: it knows the paths."""
    file: PanopticFile
    """The content of the JSON."""
    expected: Expected


def open_source(
    path: str | Path,
    cfg: Config | None = None,
    images: str | None = None,
    segs: str | None = None,
    need_maps: bool = True,
) -> Source:
    """Read a panoptic JSON and find its photos and PNGs.

    Folders are those of the arguments, else of the config's data set with this JSON, else what lies beside the JSON.

    Args:
        path: The JSON.
        cfg: A config; its data set with this JSON, or else its first one, says what is expected.
        images: Folder of the photos.
        segs: Folder of the PNGs.
        need_maps: False: only the photos are looked at.

    Raises:
        FileNotFoundError: The JSON or a folder does not exist.
        UserError: The JSON has no images or no panoptic annotations, the config has no panoptic data set, or the photos
            or PNGs are not found.
    """
    nodes = list(_panoptic_nodes(cfg)) if cfg is not None else []
    if cfg is not None and not nodes:
        raise UserError('The config has no panoptic data set in its loaders; give one that trains OneFormer.')
    built = [(node, _build(node)) for node in nodes]
    own = next(((node, data) for node, data in built if Path(data.ann_file).resolve() == Path(path).resolve()), None)
    dataset: PanopticFiles = PanopticJson(str(path))
    expected = Expected()
    if cfg is not None:
        node, described = own or (nodes[0], _build({**nodes[0], **_only(path)}))
        dataset, expected = described, _expected(cfg, node, described.metainfo)
    file = dataset.read_annotations()
    if not file.annotations and not file.faults:
        raise UserError(f'{path} has no annotations, so there is nothing to check; give the panoptic JSON.')
    if not file.images and not file.grave_faults:
        raise UserError(f'{path} lists no images, so there is nothing to check; add the photos to "images".')
    for key, given, flag in (('img', images, '--images'), ('seg', segs, '--segs')):
        if key == 'seg' and not need_maps:
            continue
        folder = given or (dataset.data_prefix[key] if own else _find(dataset, file, key))
        if not Path(folder).is_dir():
            raise MissingFileError(f'Folder {folder} does not exist; put the files there, or give {flag} FOLDER.')
        dataset.data_prefix[key] = folder
    return Source(dataset, file, expected)


def _panoptic_nodes(node: Any) -> Iterator[dict]:
    """All panoptic data sets of a config's loaders, those inside of wrappers too."""
    if isinstance(node, Config):
        for loader in LOADERS:
            yield from _panoptic_nodes((node.get(loader) or {}).get('dataset'))
    elif isinstance(node, Mapping):
        kind = node.get('type')
        kind = DATASETS.get(kind) if isinstance(kind, str) and 'ann_file' in node else kind
        if isinstance(kind, type) and issubclass(kind, PanopticFiles) and 'ann_file' in node:
            yield dict(node)
        for source in node.get('sources', ()):
            # Its steps are those of the mix. Its classes are its own, and their number is not the model's.
            yield from _panoptic_nodes({'pipeline': node.get('pipeline', ()), **source, MIXED: True})
        for key, value in node.items():
            if key not in ('pipeline', 'sources'):
                yield from _panoptic_nodes(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _panoptic_nodes(value)


def _only(path: str | Path) -> dict[str, Any]:
    """Settings of a data set that let it read this JSON."""
    return {'ann_file': str(path), 'data_root': '', 'data_prefix': {}}


def _build(node: Mapping[str, Any]) -> Any:
    """The data set of a config, knowing its paths and nothing else."""
    settings = {key: value for key, value in node.items() if key != MIXED}
    return build_part(DATASETS, {**settings, 'pipeline': [], 'lazy_init': True})


def _expected(cfg: Config, node: Mapping[str, Any], meta: Mapping[str, Any]) -> Expected:
    model = {} if MIXED in node else cfg.get('model') or {}
    thing_ids = meta.get('thing_ids', model.get('thing_ids'))
    steps = [step for step in node.get('pipeline') or () if step.get('type') == 'LoadPanopticIds']
    return Expected(
        classes=tuple(meta['classes']) if 'classes' in meta else None,
        thing_ids=tuple(thing_ids) if thing_ids is not None else None,
        num_classes=(model.get('head') or {}).get('num_classes'),
        allow_absent=any(step.get('allow_absent', False) for step in steps),
    )


def _find(dataset: PanopticFiles, file: PanopticFile, key: str) -> str:
    """The folder beside the JSON that holds its photos ('img') or PNGs ('seg').

    Raises:
        UserError: None of the usual ones does.
    """
    folder = find_folder(dataset, file, key)
    if folder is None:
        what, flag = ('photos', '--images') if key == 'img' else ('PNGs', '--segs')
        looked_for = probes(dataset, file, key)
        example = f' (looked for {looked_for[0].name})' if looked_for else ''
        raise UserError(
            f'The {what} of {dataset.ann_file} are not beside it{example}; give {flag} FOLDER, or the --config that '
            'reads this JSON.'
        )
    return folder
