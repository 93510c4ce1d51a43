"""Average precision of instances by pycocotools, with the ground truth taken from the panoptic annotation."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import METRICS
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from ..run_lengths import encode_masks
from .ground_truth import PanopticTruth, describe, panoptic_truth
from .tables import format_table

STATISTICS = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl')  # the first six numbers of COCOeval, in its order
IOU_TYPES = {'segm': '', 'bbox': 'box_'}  # what is compared -> what stands before the names


def instance_truth(truth: PanopticTruth) -> list[dict]:
    """Return one COCO annotation (without ids) for each thing segment; its class is the contiguous index.

    A thing without a pixel stays, and can only be missed, as panoptic quality counts it.
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


def instance_answers(instances: Mapping[str, Any]) -> list[dict]:
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
        raise ValueError(
            f'the instances have {len(labels)} labels, {len(scores)} scores, {len(codes)} masks and {len(boxes)} '
            'boxes; each instance needs one of each.'
        )
    return [
        {'segmentation': code, 'bbox': box, 'category_id': label, 'score': score}
        for code, box, label, score in zip(codes, boxes.tolist(), labels, scores)
    ]


@METRICS.register_module()
class InstanceAP(BaseMetric):
    """AP, AP50, AP75, APs, APm, APl of ``pred_instances``, each 0-100; nan where there is nothing to find.

    The ground truth are the things of the panoptic annotation at original size, their crowds ignored as COCO does. With
    ``ann_file`` it is read from a COCO instance file instead (the paper's AP^instance), whose categories are found by
    *name*, so their ids and order are free. pycocotools counts the best 100 detections of a class in an image.

    Needs ``classes`` and ``thing_ids`` in the data set's metainfo.
    """

    default_prefix = ''  # plain names; mmengine warns about None

    def __init__(
        self,
        iou_types: Sequence[str] = ('segm',),
        ann_file: str | None = None,
        collect_device: str = 'gpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        """Create the metric.

        Args:
            iou_types: 'segm' compares masks, 'bbox' boxes; the names of box results begin with ``box_``.
            ann_file: A COCO instance JSON with the same image ids, instead of the panoptic annotation.
            collect_device: 'gpu' gathers through the process group, gloo included; 'cpu' goes through files.
            prefix: Put before the names of the metrics, with a slash.
            collect_dir: Folder for ``collect_device='cpu'``.

        Raises:
            ValueError: An unknown IoU type.
        """
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        unknown = set(iou_types) - set(IOU_TYPES)
        if unknown:
            raise ValueError(f"iou_types are 'segm' and 'bbox', not {sorted(unknown)}.")
        self.iou_types = tuple(iou_types)
        self.ann_file = ann_file

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Encode one batch; keeps run-length codes only."""
        things = set(self.dataset_meta['thing_ids'])
        for sample in data_samples:
            answers = instance_answers(sample['pred_instances'])
            strangers = {answer['category_id'] for answer in answers} - things
            if strangers:
                raise ValueError(
                    f'{describe(sample)}: instances of class {min(strangers)} were predicted, which is no thing of '
                    'this data set; the model and the data set must have the same thing_ids.'
                )
            annotations = [] if self.ann_file else instance_truth(panoptic_truth(sample))
            height, width = sample['ori_shape'][:2]
            image = {'id': sample['img_id'], 'height': int(height), 'width': int(width)}
            self.results.append((image, annotations, answers))

    def compute_metrics(self, results: list[tuple[dict, list[dict], list[dict]]]) -> dict[str, float]:
        """Run COCOeval over all images and log the AP of each class."""
        if self.ann_file:
            truth, category_ids = self._read_truth(self.ann_file)
            image_ids = [image['id'] for image, _, _ in results]
            missing = set(image_ids) - set(truth.imgs)
            if missing:
                raise ValueError(f'{self.ann_file} knows no image {min(missing)}; it must belong to the same photos.')
        else:
            category_ids = {label: label for label in self.dataset_meta['thing_ids']}
            image_ids = list(range(len(results)))
            truth = self._index(results, image_ids, [annotations for _, annotations, _ in results])
        metrics: dict[str, float] = {}
        for iou_type in self.iou_types:
            answers = [[self._answer(a, iou_type, category_ids) for a in found] for _, _, found in results]
            evaluation = COCOeval(truth, self._index(results, image_ids, answers), iou_type)
            evaluation.params.imgIds = image_ids
            evaluation.params.catIds = sorted(category_ids.values())
            with contextlib.redirect_stdout(io.StringIO()):
                evaluation.evaluate()
                evaluation.accumulate()
                evaluation.summarize()
            self._log_classes(evaluation, category_ids, iou_type)
            for name, value in zip(STATISTICS, evaluation.stats):
                metrics[IOU_TYPES[iou_type] + name] = float('nan') if value < 0 else 100 * float(value)
        return metrics

    def _read_truth(self, ann_file: str) -> tuple[COCO, dict[int, int]]:
        """Return the instance file and the category id of each thing class, found by name."""
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO(ann_file)
        ids = {category['name']: category['id'] for category in truth.dataset['categories']}
        names = {label: self.dataset_meta['classes'][label] for label in self.dataset_meta['thing_ids']}
        missing = sorted(set(names.values()) - set(ids))
        if missing:
            raise ValueError(f'{ann_file} has no category {missing[0]!r}; rename it there or in metainfo.classes.')
        return truth, {label: ids[name] for label, name in names.items()}

    def _index(self, results: list[tuple], image_ids: Sequence[int], entries: Sequence[Sequence[dict]]) -> COCO:
        """Return a COCO object over the images with the given annotations or answers of each."""
        annotations = [
            # pycocotools takes annotation 0 for "no match", so numbers begin at 1.
            entry | {'image_id': image_id}
            for image_id, of_image in zip(image_ids, entries)
            for entry in of_image
        ]
        for number, annotation in enumerate(annotations, start=1):
            annotation['id'] = number
        classes = self.dataset_meta['classes']
        coco = COCO()
        coco.dataset = {
            'images': [image | {'id': image_id} for (image, _, _), image_id in zip(results, image_ids)],
            'categories': [{'id': label, 'name': classes[label]} for label in self.dataset_meta['thing_ids']],
            'annotations': annotations,
        }
        with contextlib.redirect_stdout(io.StringIO()):
            coco.createIndex()
        return coco

    @staticmethod
    def _answer(answer: dict, iou_type: str, category_ids: Mapping[int, int]) -> dict:
        """Return a result with what COCO's own loader adds: an area of the kind compared."""
        width, height = answer['bbox'][2:]
        area = float(mask_api.area(answer['segmentation'])) if iou_type == 'segm' else width * height
        return answer | {'area': area, 'iscrowd': 0, 'category_id': category_ids[answer['category_id']]}

    def _log_classes(self, evaluation: COCOeval, category_ids: Mapping[int, int], iou_type: str) -> None:
        # precision: (IoU thresholds, recalls, classes, areas, detections); area 0 is 'all', the last limit is 100.
        precision = evaluation.eval['precision'][:, :, :, 0, -1]
        rows: list[list[float | str]] = []
        for label, category_id in category_ids.items():
            values = precision[:, :, evaluation.params.catIds.index(category_id)]
            average = [100 * v.mean() if v.min() > -1 else float('nan') for v in (values, values[0], values[5])]
            rows.append([self.dataset_meta['classes'][label], *average])
        table = format_table(['class', 'AP', 'AP50', 'AP75'], rows)
        print_log(f'{"mask" if iou_type == "segm" else "box"} AP of each class\n{table}', logger='current')
