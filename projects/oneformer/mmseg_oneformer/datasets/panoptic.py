"""Data sets in COCO's panoptic format: one JSON, one PNG of segment ids per photo.

Classes are the JSON's categories in the order of their ids. A config that states ``classes`` and ``thing_ids`` is
checked against the JSON name by name, because a silent permutation ruins a model.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine import fileio
from mmengine.registry import DATASETS

from ..annotations.coco_instances import read_instances
from ..annotations.coco_panoptic import PanopticAnnotation, stated_area
from ..annotations.faults import raise_faults
from ..annotations.values import InvalidValueError
from ..console import say
from ..errors import MissingFileError, UserError
from ..memory import without_collection
from .base import SegmentationDataset
from .categories import checked_metainfo
from .panoptic_files import PanopticFiles, with_default_folders

__all__ = ['PanopticDataset']


@DATASETS.register_module()
class PanopticDataset(PanopticFiles, SegmentationDataset):
    """Photos with panoptic annotations, the single source of ground truth for all three tasks.

    A data info holds ``img_id``, ``img_path`` and, if the JSON has annotations, ``seg_map_path`` and
    ``segments_info``: a list of ``dict(id, label, isthing, iscrowd)`` with the id in the PNG and the contiguous class
    index, and ``area`` if requested; also what ``truth_paths`` adds.

    Args:
        ann_file: The JSON, relative to ``data_root`` unless absolute.
        metainfo: ``classes`` (names), ``thing_ids`` (class indices of things) and, optionally, ``palette``. Without it
            all three are taken from the JSON.
        data_root: Folder that the other paths are relative to.
        data_prefix: ``img``: folder of the photos; ``seg``: folder of the PNGs, by default the JSON's path without
            suffix; ``sem``: folder of the data set's own class maps, if mIoU should be measured on them instead of on
            classes derived from the segments. None removes an entry.
        filter_empty: In training, leave out photos without an object that is not a crowd. Detectron2 does so for COCO,
            and the published models were trained that way; it leaves out about 1 000 photos there.
        instances: The COCO instances JSON of the same photos, whose objects ``filter_empty`` counts, as detectron2
            does; relative to ``data_root`` unless absolute. If it is None, or there is no such file (which is
            reported), the thing segments of ``ann_file`` are counted. A small object may be in only one of the two.
        listed_areas: Measure panoptic quality with the areas that the JSON lists, as panopticapi does, and not with the
            pixels of the PNG. They differ only on ADE20K, whose stuff was measured before things were laid over it.
        hold_out: One photo in this many, beginning with the first, is excluded from training, and at test time only
            these are used. None holds out nothing.
        seed: Seed of the augmentation. ``PassSampler`` replaces it with the run's seed.
        **kwargs: ``task_probs``, ``pipeline``, ``test_mode``, ``indices`` and the other arguments of ``BaseDataset``.
    """

    def __init__(
        self,
        ann_file: str,
        metainfo: Mapping[str, Any] | None = None,
        data_root: str = '',
        data_prefix: Mapping[str, str | None] | None = None,
        filter_empty: bool = False,
        instances: str | None = None,
        listed_areas: bool = False,
        hold_out: int | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        self.filter_empty = filter_empty
        self.instances = instances
        self.listed_areas = listed_areas
        self.hold_out = hold_out
        prefix = with_default_folders(ann_file, data_prefix)
        super().__init__(
            seed=seed, ann_file=ann_file, metainfo=metainfo, data_root=data_root, data_prefix=prefix, **kwargs
        )

    # ---- reading the JSON

    @without_collection()
    def load_data_list(self) -> list[dict]:
        """Read the JSON; one data info per image, in the order of its ``images``.

        Raises:
            FileNotFoundError: If the JSON does not exist.
            UserError: If it is not a panoptic JSON, has a fault that the doctor calls an error, or its categories are
                not the config's.
        """
        file = self.read_annotations()
        raise_faults(self.ann_file, file.grave_faults)
        self._metainfo = checked_metainfo(self._metainfo, file.categories, self.ann_file)
        label_of = {category['id']: label for label, category in enumerate(file.categories)}
        things = set(self._metainfo['thing_ids'])
        if not self.test_mode and not file.annotations:
            raise UserError(
                f'{self.ann_file} has no annotations: training needs the panoptic JSON, not the image list.'
            )

        infos = []
        for number, image in enumerate(file.images):
            if self.hold_out is not None and (number % self.hold_out == 0) is not self.test_mode:
                continue
            info: dict[str, Any] = {'img_id': image['id'], 'img_path': self.image_path(image)}
            if file.annotations:
                annotation = file.annotations[image['id']]
                info['seg_map_path'] = self.segment_map_path(annotation)
                info['segments_info'] = self._segment_table(annotation, label_of, things)
                info.update(self.truth_paths(image))
            infos.append(info)
        if not infos:
            raise UserError(f'{self.ann_file} lists no images.')
        self._check_truth(infos[0])
        return infos

    def truth_paths(self, image: Mapping[str, Any]) -> dict[str, str]:
        """Return annotations of an image for single tasks: ``sem_map_path``, if ``data_prefix`` has ``sem``."""
        if 'sem' not in self.data_prefix:
            return {}
        return {'sem_map_path': str(Path(self.data_prefix['sem']) / f'{Path(image["file_name"]).stem}.png')}

    def _check_truth(self, info: Mapping[str, Any]) -> None:
        """Look for the annotations of the first image, so that training does not fail hours later at validation."""
        for key, prefix in (('sem_map_path', 'sem'), ('instance_ids_path', 'instance')):
            path = info.get(key)
            if path is not None and not fileio.exists(path):
                raise MissingFileError(
                    f'{path} does not exist; prepare the data set (docs/datasets.md), or measure on the panoptic '
                    f'annotation: {prefix}=None in data_prefix of the test data (see docs/evaluation.md).'
                )

    def filter_data(self) -> list[dict]:
        """Leave out photos without objects if ``filter_empty`` is set; never at test time.

        Raises:
            UserError: No photo is left, or ``instances`` does not belong to these photos.
        """
        if self.test_mode or not self.filter_empty:
            return self.data_list
        with_objects = self._with_instances()
        if with_objects is None:
            with_objects = {
                info['img_id']
                for info in self.data_list
                if any(segment['isthing'] and not segment['iscrowd'] for segment in info['segments_info'])
            }
        kept = [info for info in self.data_list if info['img_id'] in with_objects]
        if not kept:
            raise UserError(f'{self.ann_file}: filter_empty leaves no image; set filter_empty=False.')
        return kept

    def _with_instances(self) -> set[Any] | None:
        """Return the ids of images with an object in ``instances``; None if there is no such file."""
        if self.instances is None:
            return None
        path = Path(self.data_root or '') / self.instances
        if not path.is_file():
            say(f'filter_empty counts the things of {self.ann_file}, since there is no {path}.')
            return None
        file = read_instances(path)
        raise_faults(path, file.faults)
        strangers = {info['img_id'] for info in self.data_list} - file.objects.keys()
        if strangers:
            raise UserError(
                f'{path} has no image {min(strangers, key=str)} of {self.ann_file}; name the instances of the same '
                'photos, or set instances=None.'
            )
        return {number for number, objects in file.objects.items() if not all(one['iscrowd'] for one in objects)}

    def _segment_table(
        self, annotation: PanopticAnnotation, label_of: Mapping[int, int], things: set[int]
    ) -> list[dict]:
        table = []
        for segment in annotation['segments_info']:
            label = label_of[segment['category_id']]
            entry = {'id': segment['id'], 'label': label, 'isthing': label in things, 'iscrowd': segment['iscrowd']}
            if self.listed_areas:
                try:
                    area = stated_area(segment)
                except InvalidValueError:
                    area = None
                if area is None:
                    raise UserError(
                        f'{self.ann_file}: segment {segment["id"]} of {annotation["file_name"]} has no "area"; write '
                        'it, or set listed_areas=False.'
                    )
                entry['area'] = int(area)
            table.append(entry)
        return table
