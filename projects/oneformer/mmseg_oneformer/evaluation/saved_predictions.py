"""Predictions saved by ``tools/infer.py``, read back into data samples."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.structures import BaseDataElement, PixelData

from ..annotations.coco_panoptic import PanopticAnnotation, read_panoptic
from ..annotations.faults import raise_faults
from ..annotations.id_maps import read_ids
from ..annotations.semantic_png import read_values
from ..errors import MissingFileError, UserError


class SavedPredictions:
    """A folder with ``panoptic.json``, its PNGs, and ``<name>_semantic.png``; images are found by their file names.

    Args:
        folder: The folder.
        classes: Names of the classes; categories of the JSON are found by name, so their ids and order are free.

    Raises:
        FileNotFoundError: There is no such folder.
        UserError: The JSON has faults, or a category that is not a class.
    """

    def __init__(self, folder: str | os.PathLike[str], classes: Sequence[str]) -> None:
        self.folder, self.num_classes = Path(folder), len(classes)
        if not self.folder.is_dir():
            raise MissingFileError(f'There is no folder {folder}; write predictions there by tools/infer.py --out-dir.')
        self.panoptic: dict[str, PanopticAnnotation] = {}
        self.label_of: dict[int, int] = {}
        path = self.folder / 'panoptic.json'
        if path.is_file():
            file = read_panoptic(path, need_kind=False)
            # A photo without a prediction is reported when it is requested.
            raise_faults(path, (fault for fault in file.faults if fault.rule != 'image-without-annotation'))
            for category in file.categories:
                if category['name'] not in classes:
                    raise UserError(f'{path} has the category {category["name"]!r}, which the config does not have.')
                self.label_of[category['id']] = classes.index(category['name'])
            names = {image['id']: Path(image['file_name']).stem for image in file.images}
            self.panoptic = {names[number]: annotation for number, annotation in file.annotations.items()}

    def add_to(self, sample: BaseDataElement, kinds: Sequence[str]) -> None:
        """Put the predictions of the given kinds into a data sample.

        Raises:
            UserError: The folder lacks a prediction, or a PNG and its table contradict each other.
        """
        stem = Path(sample.img_path).stem
        if 'semantic' in kinds:
            labels = read_values(self._existing(f'{stem}_semantic.png'))
            sample.pred_sem_seg = PixelData(sem_seg=labels[None].astype(np.int64))
        if 'panoptic' in kinds:
            sample.pred_panoptic_seg = self._panoptic(stem)

    def _panoptic(self, stem: str) -> PixelData:
        if stem not in self.panoptic:
            raise UserError(
                f'{self.folder / "panoptic.json"} has no prediction for {stem}; predict all photos of the split.'
            )
        annotation = self.panoptic[stem]
        path = self._existing(annotation['file_name'])
        ids = read_ids(path)
        table = []
        # Ids in files are colours and may equal the number that stands for void in memory, so they are renumbered.
        prediction = np.where(ids == 0, self.num_classes, -1).astype(np.int64)
        for number, segment in enumerate(annotation['segments_info'], start=self.num_classes + 1):
            prediction[ids == segment['id']] = number
            table.append({'id': number, 'category_id': self.label_of[segment['category_id']]})
            if 'score' in segment:
                table[-1]['score'] = segment['score']
        if (prediction < 0).any():
            stray = int(ids[prediction < 0][0])
            raise UserError(f'{path} has pixels of segment {stray}, which panoptic.json does not list; write it again.')
        return PixelData(sem_seg=prediction[None], metainfo={'segments_info': table})

    def _existing(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise UserError(f'There is no {path}; predict all photos of the split with this task.')
        return path
