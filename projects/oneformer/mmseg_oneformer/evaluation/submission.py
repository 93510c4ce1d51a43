"""Predictions in the formats of the benchmarks' evaluations: COCO test-dev, the Cityscapes server, ADE20K's."""

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import METRICS
from PIL import Image
from pycocotools import mask as mask_api

from ..errors import MissingFileError, UserError
from ..files import atomic_path, write_atomic
from ..run_lengths import decode_mask
from .base import Metric
from .ground_truth import describe, to_map
from .instance_ap import instance_predictions

__all__ = ['LAYOUTS', 'FormatAnswers', 'layout_of']

LAYOUTS = ('coco', 'cityscapes', 'ade20k')


def layout_of(dataset_type: str) -> str:
    """Return the layout for a type of data set; COCO's for all types without one of their own."""
    return {'CityscapesPanoptic': 'cityscapes', 'Ade20kPanoptic': 'ade20k'}.get(dataset_type, 'coco')


@METRICS.register_module()
class FormatAnswers(Metric):
    """Writes each image's predictions while they are made, and at the end the JSON files and the archives to upload.

    * panoptic, COCO's format: ``panoptic_<split>_oneformer_results.json``, the folder of that name with one PNG per
      image (id = R + 256 G, 0 = void), and both as a ``.zip``; for Cityscapes ``cityscapes_panoptic_<split>`` likewise.
    * instance: ``detections_<split>_oneformer_results.json``, COCO's results format, and its ``.zip``; for Cityscapes
      a folder ``instance`` with one text file per image (each line: mask file, label id, score) and one PNG per mask.
    * semantic: a folder ``semantic`` with one PNG per image. The values are the category ids of the JSON (for
      Cityscapes its label ids), for ADE20K 1 to 150.

    Categories are found in the data set's JSON by name. Images need no annotations. If there are several processes,
    each writes the files of its images and the first one the rest, into a folder that all share. There are no metrics.

    Args:
        folder: The output folder; created if missing.
        ann_file: The data set's JSON; the split is the part of its name after the last "_".
        layout: 'coco', 'cityscapes' or 'ade20k'.
        **gathering: Arguments of :class:`Metric`.

    Raises:
        FileNotFoundError: There is no such JSON.
        UserError: An unknown layout, or the folder is a file.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        ann_file: str | os.PathLike[str],
        layout: str = 'coco',
        **gathering: Any,
    ) -> None:
        super().__init__(**gathering)
        if layout not in LAYOUTS:
            raise UserError(f'layout is one of {", ".join(LAYOUTS)}, not {layout!r}; choose one of them.')
        self.folder, self.layout = Path(folder), layout
        if self.folder.is_file():
            raise UserError(f'the predictions need a folder, and {folder} is a file; choose another name.')
        if not Path(ann_file).is_file():
            raise MissingFileError(f'Annotation file {ann_file} does not exist; set data_root and ann_file.')
        self.id_of = {entry['name']: entry['id'] for entry in json.loads(Path(ann_file).read_bytes())['categories']}
        split = Path(ann_file).stem.rpartition('_')[2]
        self.panoptic_name = f'panoptic_{split}_oneformer_results'
        self.instance_name = f'detections_{split}_oneformer_results'
        if layout == 'cityscapes':
            self.panoptic_name = f'cityscapes_panoptic_{split}'
        self.photo_of: dict[str, str] = {}

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Write the files of one batch."""
        missing = sorted(set(self.dataset_meta['classes']) - set(self.id_of))
        if missing:
            raise UserError(f'the JSON of the test data has no category {missing[0]!r}; give that of this data set.')
        for sample in data_samples:
            stem = self._stem(sample)
            files: dict[str, list[str]] = {}
            entry: dict[str, Any] = {'image_id': sample['img_id'], 'files': files}
            if 'pred_sem_seg' in sample:
                files['semantic'] = self._write_semantic(stem, to_map(sample['pred_sem_seg']['sem_seg']))
            if 'pred_panoptic_seg' in sample:
                files['panoptic'], entry['panoptic'] = self._write_panoptic(stem, sample['pred_panoptic_seg'])
            if 'pred_instances' in sample:
                files['instance'], entry['instances'] = self._write_instances(stem, sample['pred_instances'])
            self.results.append(entry)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Write the JSON files and pack the archives."""
        files: dict[str, list[str]] = {}
        for entry in results:
            for task, names in entry['files'].items():
                files.setdefault(task, []).extend(names)
        if 'panoptic' in files:
            annotations = [{'image_id': entry['image_id'], **entry['panoptic']} for entry in results]
            table = f'{self.panoptic_name}.json'
            write_atomic(self.folder / table, json.dumps({'annotations': annotations}))
            self._pack(self.panoptic_name, [table, *files['panoptic']])
        if 'instance' in files and self.layout == 'cityscapes':
            self._pack('instance', files['instance'])
        elif 'instance' in files:
            found = [{'image_id': entry['image_id'], **one} for entry in results for one in entry['instances']]
            write_atomic(self.folder / f'{self.instance_name}.json', json.dumps(found))
            self._pack(self.instance_name, [f'{self.instance_name}.json'])
        if 'semantic' in files:
            self._pack('semantic', files['semantic'])
        return {}

    def _stem(self, sample: Mapping[str, Any]) -> str:
        """Return the stem of an image's files, which is that of its photo."""
        stem = Path(sample['img_path']).stem
        if self.photo_of.setdefault(stem, sample['img_path']) != sample['img_path']:
            raise UserError(f'{describe(sample)} and {self.photo_of[stem]} have the same name; rename one.')
        return stem

    def _write_semantic(self, stem: str, labels: np.ndarray) -> list[str]:
        """Write the class map of an image; returns its file name, as the other methods do."""
        classes = self.dataset_meta['classes']
        values = range(1, len(classes) + 1) if self.layout == 'ade20k' else [self.id_of[name] for name in classes]
        table = np.array([*values], np.uint8 if max(values) < 256 else np.uint16)
        return [self._save(f'semantic/{stem}.png', table[labels])]

    def _write_panoptic(self, stem: str, prediction: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
        """Write the segments of an image; also returns its entry in the JSON."""
        ids = to_map(prediction['sem_seg'])
        table = np.zeros((int(ids.max()) + 1, 3), np.uint8)
        segments = []
        for number, info in enumerate(prediction['segments_info'], start=1):
            table[info['id'], :2] = number % 256, number // 256
            category_id = self.id_of[self.dataset_meta['classes'][info['category_id']]]
            segments.append({'id': number, 'category_id': category_id})
        name = self._save(f'{self.panoptic_name}/{stem}.png', table[ids])
        return [name], {'file_name': f'{stem}.png', 'segments_info': segments}

    def _write_instances(self, stem: str, instances: Mapping[str, Any]) -> tuple[list[str], list[dict]]:
        """Return COCO's results for an image, or, for Cityscapes, write its files."""
        found = []
        for prediction in instance_predictions(instances):
            if mask_api.area(prediction['segmentation']):
                name = self.dataset_meta['classes'][prediction['category_id']]
                found.append(prediction | {'category_id': self.id_of[name]})
        if self.layout != 'cityscapes':
            for prediction in found:
                code = prediction['segmentation']
                prediction['segmentation'] = {'size': list(code['size']), 'counts': code['counts'].decode()}
            return [], found
        files, lines = [f'instance/{stem}.txt'], []
        for number, prediction in enumerate(found):
            mask = f'masks/{stem}_{number:03d}.png'
            pixels = decode_mask(prediction['segmentation']).astype(np.uint8) * 255
            files.append(self._save(f'instance/{mask}', pixels))
            lines.append(f'{mask} {prediction["category_id"]} {prediction["score"]:.6f}\n')
        write_atomic(self.folder / files[0], ''.join(lines))
        return files, []

    def _save(self, name: str, picture: np.ndarray) -> str:
        with atomic_path(self.folder / name) as path:
            Image.fromarray(picture).save(path)
        return name

    def _pack(self, name: str, files: Sequence[str]) -> None:
        """Write ``<name>.zip``; PNGs are stored, as they are compressed already."""
        with atomic_path(self.folder / f'{name}.zip') as path, zipfile.ZipFile(path, 'w') as archive:
            for file in files:
                kind = zipfile.ZIP_STORED if file.endswith('.png') else zipfile.ZIP_DEFLATED
                archive.write(self.folder / file, file, kind)
