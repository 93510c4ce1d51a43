"""Average precision of instances by COCO's protocol, on the panoptic annotation or on an instance file.

faster-coco-eval gives the numbers of pycocotools, up to rounding of the last digit, in less than half the time
(dev/log.md).
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from mmengine.logging import print_log
from mmengine.registry import METRICS
from pycocotools import mask as mask_api
from torch import Tensor

from ..console import say
from ..errors import UserError
from ..run_lengths import encode_masks
from ..text_table import format_table
from .base import Metric
from .ground_truth import PanopticTruth, check_file, describe, panoptic_truth, read_instance_truth

STATISTICS = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl')  # the first six numbers of COCOeval, in its order
IOU_TYPES = {'segm': '', 'bbox': 'box_'}  # what is compared -> prefix of the names


def instance_truth(truth: PanopticTruth) -> list[dict]:
    """Return one COCO annotation (without ids) for each thing segment; its class is the contiguous index.

    A thing without pixels is kept and can only be missed, as in panoptic quality.
    """
    annotations = []
    for index, segment in enumerate(truth.segments, start=1):
        if segment['isthing']:
            code = encode_masks((truth.index_map == index)[None])[0]
            annotations.append(
                {
                    'segmentation': code,
                    'category_id': int(segment['label']),
                    'iscrowd': int(segment['iscrowd']),
                    'area': float(mask_api.area(code)),
                    'bbox': mask_api.toBbox(code).tolist(),
                }
            )
    return annotations


def instance_predictions(instances: Mapping[str, Any]) -> list[dict]:
    """Return one COCO result (without ids) for each predicted instance.

    Args:
        instances: ``labels`` (n,) class indices, ``scores`` (n,), ``masks`` (n, H, W) bool or a list of n run-length
            codes, and for box AP ``bboxes`` (n, 4), xyxy in pixels.
    """
    masks = instances['masks']
    codes = encode_masks(masks) if isinstance(masks, Tensor | np.ndarray) else list(masks)
    labels, scores = (np.asarray(instances[name].cpu()).tolist() for name in ('labels', 'scores'))
    if 'bboxes' in instances:
        boxes = np.asarray(instances['bboxes'].cpu(), dtype=np.float64).reshape(-1, 4)
        boxes[:, 2:] -= boxes[:, :2]
    else:
        boxes = np.array([mask_api.toBbox(code) for code in codes])
    if not len(labels) == len(scores) == len(codes) == len(boxes):
        raise UserError(
            f'the instances have {len(labels)} labels, {len(scores)} scores, {len(codes)} masks and {len(boxes)} '
            'boxes; each instance needs one of each.'
        )
    return [
        {'segmentation': code, 'bbox': box, 'category_id': label, 'score': score}
        for code, box, label, score in zip(codes, boxes.tolist(), labels, scores)
    ]


@METRICS.register_module()
class InstanceAP(Metric):
    """AP, AP50, AP75, APs, APm, APl of ``pred_instances``, each 0-100; nan if there is nothing to find.

    The ground truth is the things of the panoptic annotation at original size, ignoring crowds as COCO does. With
    ``ann_file`` it is read from a COCO instance file instead, whose categories are found by *name*, so their ids and
    order are free. The best 100 detections per class and image count.

    Needs ``classes`` and ``thing_ids`` in the data set's metainfo.
    """

    def __init__(
        self,
        iou_types: Sequence[str] = ('segm',),
        ann_file: str | None = None,
        original_ann_file: str | None = None,
        **gathering: Any,
    ) -> None:
        """Create the metric.

        Args:
            iou_types: 'segm' compares masks, 'bbox' boxes; the names of box results begin with ``box_``.
            ann_file: A COCO instance JSON with the same image ids, instead of the panoptic annotation.
            original_ann_file: A second one, measured in addition (the paper's AP^instance); the names of its results
                end with ``_instance``. If there is no such file, this is logged.
            **gathering: Arguments of :class:`Metric`.

        Raises:
            FileNotFoundError: There is no ``ann_file``.
            UserError: An unknown IoU type.
        """
        super().__init__(**gathering)
        unknown = set(iou_types) - set(IOU_TYPES)
        if unknown:
            raise UserError(f"iou_types are 'segm' and 'bbox', not {sorted(unknown)}.")
        if ann_file is not None:
            check_file(ann_file)  # now, not after the first pass over the data
        self.iou_types = tuple(iou_types)
        self.ann_file = ann_file
        self.original_ann_file = original_ann_file

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Encode one batch; keeps run-length codes only."""
        things = set(self.dataset_meta['thing_ids'])
        for sample in data_samples:
            predictions = instance_predictions(sample['pred_instances'])
            strangers = {prediction['category_id'] for prediction in predictions} - things
            if strangers:
                raise UserError(
                    f'{describe(sample)}: instances of class {min(strangers)} were predicted, which is not a thing of '
                    'this data set; the model and the data set must have the same thing_ids.'
                )
            annotations = [] if self.ann_file else instance_truth(panoptic_truth(sample))
            height, width = sample['ori_shape'][:2]
            image = {'id': sample['img_id'], 'height': int(height), 'width': int(width)}
            self.results.append((image, annotations, predictions))

    def compute_metrics(self, results: list[tuple[dict, list[dict], list[dict]]]) -> dict[str, float]:
        """Run COCOeval over all images and log the AP of each class."""
        # Detections with equal scores count in the order of their images, which pycocotools sorts by id.
        order = np.argsort(np.array([image['id'] for image, _, _ in results]), kind='stable')
        results = [results[place] for place in order.tolist()]
        images, predictions = [image for image, _, _ in results], [found for _, _, found in results]
        self.class_values = {}
        truth = self._truth_of(self.ann_file, images) if self.ann_file else [derived for _, derived, _ in results]
        metrics = self._measure(images, truth, predictions, '')
        original = self.original_ann_file
        if original and Path(original).is_file():
            metrics |= self._measure(images, self._truth_of(original, images), predictions, '_instance')
        elif original:
            say(f'AP_instance is not measured: there is no {original}.')
        return metrics

    def _truth_of(self, ann_file: str, images: Sequence[dict]) -> list[list[dict]]:
        """Return the annotations of each image in a file."""
        classes = self.dataset_meta['classes']
        truth = read_instance_truth(ann_file, {label: classes[label] for label in self.dataset_meta['thing_ids']})
        for image in images:
            size = (image['height'], image['width'])
            if image['id'] not in truth.sizes:
                raise UserError(f'{ann_file} has no image {image["id"]}; it must belong to the same photos.')
            if truth.sizes[image['id']] != size:
                raise UserError(
                    f'{ann_file}: image {image["id"]} is {truth.sizes[image["id"]]} pixels (height, width), its photo '
                    f'{size}; it must belong to the same photos.'
                )
        return [truth.annotations.get(image['id'], []) for image in images]

    def _measure(
        self, images: Sequence[dict], truth: Sequence[list[dict]], predictions: Sequence[list[dict]], suffix: str
    ) -> dict[str, float]:
        """Return the results of every IoU type; ``suffix`` is appended to their names."""
        metrics: dict[str, float] = {}
        for iou_type in self.iou_types:
            found = [[_with_area(prediction, iou_type) for prediction in of_image] for of_image in predictions]
            evaluation = COCOeval_faster(self._index(images, truth), self._index(images, found), iou_type)
            evaluation.params.imgIds = list(range(len(images)))
            evaluation.params.catIds = list(self.dataset_meta['thing_ids'])
            with contextlib.redirect_stdout(io.StringIO()):
                evaluation.evaluate()
                evaluation.accumulate()
                evaluation.summarize()
            self._log_classes(evaluation, iou_type, suffix)
            for name, value in zip(STATISTICS, evaluation.stats):
                metrics[IOU_TYPES[iou_type] + name + suffix] = float('nan') if value < 0 else 100 * float(value)
        return metrics

    def _index(self, images: Sequence[dict], entries: Sequence[Sequence[dict]]) -> COCO:
        """Return a COCO object over the images, numbered by position, with the annotations or predictions of each."""
        annotations = [entry | {'image_id': place} for place, of_image in enumerate(entries) for entry in of_image]
        for number, annotation in enumerate(annotations, start=1):
            annotation['id'] = number  # COCOeval takes id 0 for "no match", so numbers begin at 1
        classes = self.dataset_meta['classes']
        coco = COCO()
        coco.dataset = {
            'images': [image | {'id': place} for place, image in enumerate(images)],
            'categories': [{'id': label, 'name': classes[label]} for label in self.dataset_meta['thing_ids']],
            'annotations': annotations,
        }
        with contextlib.redirect_stdout(io.StringIO()):
            coco.createIndex()
        return coco

    def _log_classes(self, evaluation: COCOeval_faster, iou_type: str, suffix: str) -> None:
        # precision: (IoU thresholds, recalls, classes, areas, detections); area 0 is 'all', the last limit is 100.
        precision = evaluation.eval['precision'][:, :, :, 0, -1]
        things = list(self.dataset_meta['thing_ids'])
        values = np.full((3, len(self.dataset_meta['classes'])), np.nan)
        for place, label in enumerate(things):
            of_class = precision[:, :, place]
            if of_class.min() > -1:
                values[:, label] = [100 * part.mean() for part in (of_class, of_class[0], of_class[5])]
        names = [IOU_TYPES[iou_type] + name + suffix for name in ('AP', 'AP50', 'AP75')]
        self.class_values |= dict(zip(names, values))
        rows = [[self.dataset_meta['classes'][label], *values[:, label].tolist()] for label in things]
        print_log(f'{names[0]} of each class\n{format_table(["class", *names], rows)}', logger='current')


def _with_area(prediction: dict, iou_type: str) -> dict:
    """Return a result with the field that COCO's own loader adds: the area of what is compared."""
    width, height = prediction['bbox'][2:]
    area = float(mask_api.area(prediction['segmentation'])) if iou_type == 'segm' else width * height
    return prediction | {'area': area, 'iscrowd': 0}
