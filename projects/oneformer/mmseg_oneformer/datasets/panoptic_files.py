"""Where a panoptic data set's files are: known before any of them is read, and enough for its checks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..annotations.coco_panoptic import PanopticFile, read_panoptic

__all__ = ['PanopticFiles', 'PanopticJson', 'with_default_folders']


def with_default_folders(ann_file: str, data_prefix: Mapping[str, str | None] | None) -> dict[str, str]:
    """Return a data set's folders by kind, with 'img' and 'seg' filled in; None removes one."""
    prefix = {'img': '', 'seg': str(Path(ann_file).with_suffix('')), **(data_prefix or {})}
    return {key: folder for key, folder in prefix.items() if folder is not None}


class PanopticFiles:
    """A panoptic JSON and the folders of its photos and PNGs; benchmarks with other file names override it.

    Attributes:
        ann_file: The JSON.
        data_prefix: Folders, 'img' of the photos and 'seg' of the PNGs.
    """

    ann_file: str
    data_prefix: dict[str, str]

    def image_path(self, image: Mapping[str, Any]) -> str:
        """Return the path of the photo of an entry of the JSON's ``images``."""
        return str(Path(self.data_prefix['img']) / image['file_name'])

    def segment_map_path(self, annotation: Mapping[str, Any]) -> str:
        """Return the path of the PNG of an entry of the JSON's ``annotations``."""
        return str(Path(self.data_prefix['seg']) / annotation['file_name'])

    def read_annotations(self) -> PanopticFile:
        """Read ``ann_file``.

        Raises:
            FileNotFoundError: If there is no such file.
            UserError: If it is not a panoptic JSON. Faults of single entries are in its ``faults``.
        """
        return read_panoptic(self.ann_file)


class PanopticJson(PanopticFiles):
    """The files of a JSON that no config describes."""

    def __init__(self, ann_file: str) -> None:
        self.ann_file = ann_file
        self.data_prefix = with_default_folders(ann_file, None)
