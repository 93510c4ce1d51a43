"""Data sets in COCO's panoptic format: one JSON, one PNG of segment ids per photo.

Decisions:
* Classes are the JSON's categories in the order of their ids. A config that states ``classes`` and ``thing_ids`` is
  checked against the JSON name by name, because a silent permutation ruins a model.
* Faults in the data are errors. The base class answers a broken image by drawing another one, which would hide them.
* A sample asked for by ``(pass, index)`` draws its augmentation from (seed, pass, index) alone, so that it is the same
  with any number of loader workers and after a resume.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from ..visualization.colors import class_colors
from .faults import category_faults, segment_faults
from .images import image_fault
from .randomness import keyed_randomness

__all__ = ['PanopticDataset']


@DATASETS.register_module()
class PanopticDataset(BaseDataset):
    """Photos with panoptic annotations, the one source of truth for all three tasks.

    A data info holds ``img_id``, ``img_path`` and, where the JSON has annotations, ``seg_map_path`` and
    ``segments_info``: a list of ``dict(id, label, isthing, iscrowd)`` with the id of the PNG and the contiguous class
    index.

    Args:
        ann_file: The JSON, relative to ``data_root`` unless absolute.
        metainfo: ``classes`` (names), ``thing_ids`` (class indices of things) and, if wished, ``palette``. Without it
            all three are taken from the JSON.
        data_root: Folder that the other paths are relative to.
        data_prefix: ``img``: folder of the photos; ``seg``: folder of the PNGs, by default the JSON's path without
            suffix.
        filter_empty: In training, leave out photos without a thing segment that is no crowd. Detectron2 does so for
            COCO, as the published models were trained; it costs about 1 000 photos there.
        seed: Of the augmentation. ``PassSampler`` replaces it by the run's seed.
        **kwargs: ``pipeline``, ``test_mode``, ``indices`` and the other arguments of ``BaseDataset``.
    """

    def __init__(
        self,
        ann_file: str,
        metainfo: Mapping[str, Any] | None = None,
        data_root: str = '',
        data_prefix: Mapping[str, str] | None = None,
        filter_empty: bool = False,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        self.filter_empty = filter_empty
        self.seed = seed
        prefix = {'img': '', 'seg': str(Path(ann_file).with_suffix('')), **(data_prefix or {})}
        super().__init__(ann_file=ann_file, metainfo=metainfo, data_root=data_root, data_prefix=prefix, **kwargs)

    # ---- reading the JSON

    def load_data_list(self) -> list[dict]:
        """Read the JSON; one data info per image, in the order of its ``images``.

        Raises:
            FileNotFoundError: If the JSON does not exist.
            ValueError: If it is no panoptic JSON, its categories are not the config's, an image has no annotation or
                two, or a segment has an unknown category, the id 0 or another segment's id.
        """
        content = self.read_json()
        categories = sorted(content['categories'], key=lambda category: category['id'])
        self._metainfo = self._checked_metainfo(categories)
        label_of = {category['id']: label for label, category in enumerate(categories)}
        things = set(self._metainfo['thing_ids'])

        annotations: dict[Any, dict] = {}
        for annotation in content.get('annotations') or []:
            if annotation['image_id'] in annotations:
                raise ValueError(f'{self.ann_file}: image {annotation["image_id"]} has two annotations; keep one.')
            annotations[annotation['image_id']] = annotation
        if not self.test_mode and not annotations:
            raise ValueError(
                f'{self.ann_file} has no annotations: training needs the panoptic JSON, not the image list.'
            )

        infos = []
        for image in content['images']:
            info = {'img_id': image['id'], 'img_path': self.image_path(image)}
            if annotations:
                annotation = annotations.get(image['id'])
                if annotation is None:
                    raise ValueError(
                        f'{self.ann_file}: image {image["id"]} ({image["file_name"]}) has no annotation; '
                        'annotate it or take it out of "images".'
                    )
                info['seg_map_path'] = self.segment_map_path(annotation)
                info['segments_info'] = self._segment_table(annotation, label_of, things)
            infos.append(info)
        if not infos:
            raise ValueError(f'{self.ann_file} lists no images.')
        return infos

    def image_path(self, image: Mapping[str, Any]) -> str:
        """Path of the photo of an entry of the JSON's ``images``."""
        return str(Path(self.data_prefix['img']) / image['file_name'])

    def segment_map_path(self, annotation: Mapping[str, Any]) -> str:
        """Path of the PNG of an entry of the JSON's ``annotations``."""
        return str(Path(self.data_prefix['seg']) / annotation['file_name'])

    def filter_data(self) -> list[dict]:
        """Leave out photos without things where ``filter_empty`` asks for it; never at test time."""
        if self.test_mode or not self.filter_empty:
            return self.data_list
        kept = [
            info
            for info in self.data_list
            if any(segment['isthing'] and not segment['iscrowd'] for segment in info['segments_info'])
        ]
        if not kept:
            raise ValueError(f'{self.ann_file}: filter_empty leaves no image; set filter_empty=False.')
        return kept

    def read_json(self) -> dict:
        """The content of ``ann_file``, with "images" and "categories".

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no panoptic JSON.
        """
        path = Path(self.ann_file)
        if not path.is_file():
            raise FileNotFoundError(
                f'Annotation file {path} does not exist; put it there or set data_root and ann_file.'
            )
        try:
            content = json.loads(path.read_bytes())
        except ValueError as error:
            raise ValueError(f'{path} is no valid JSON ({error}); copy it anew.') from error
        if not isinstance(content, dict) or not {'images', 'categories'} <= content.keys():
            raise ValueError(f'{path} is no COCO panoptic JSON: it needs "images", "annotations" and "categories".')
        if any('segments_info' not in annotation for annotation in (content.get('annotations') or [])[:1]):
            raise ValueError(
                f'{path} has annotations without "segments_info": give the panoptic JSON, not the instance one.'
            )
        return content

    def _checked_metainfo(self, categories: Sequence[Mapping[str, Any]]) -> dict:
        """The config's metainfo after comparison with ``categories`` (sorted by id), or the one made from them."""
        for category in categories:
            if not {'id', 'name', 'isthing'} <= category.keys():
                raise ValueError(f'{self.ann_file}: category {dict(category)} needs "id", "name" and "isthing".')
        if len({category['id'] for category in categories}) != len(categories):
            raise ValueError(f'{self.ann_file} gives one category id twice; ids must be unique.')
        names = tuple(category['name'] for category in categories)
        things = tuple(label for label, category in enumerate(categories) if category['isthing'])
        meta = dict(self._metainfo)
        if 'classes' not in meta:
            meta.update(classes=names, thing_ids=things)
        if 'thing_ids' not in meta:
            raise ValueError('metainfo has classes but no thing_ids; add the class indices of the things as a tuple.')
        meta['classes'] = tuple(meta['classes'])
        meta['thing_ids'] = tuple(sorted(int(label) for label in meta['thing_ids']))
        colors = [category.get('color') for category in categories]
        generated = class_colors(len(meta['classes']))
        palette = meta.get('palette') or [color or other for color, other in zip(colors, generated)]
        meta['palette'] = [tuple(color) for color in palette]

        for _, sentence in category_faults(categories, meta['classes'], meta['thing_ids']):
            raise ValueError(
                f'{self.ann_file}: {sentence}; state classes and thing_ids as in the JSON (sorted by category id), '
                'or leave metainfo out.'
            )
        return meta

    def _segment_table(
        self, annotation: Mapping[str, Any], label_of: Mapping[int, int], things: set[int]
    ) -> list[dict]:
        for fault in segment_faults(annotation['segments_info'], label_of):
            raise ValueError(
                f'{self.ann_file}: segment {fault.segment_id} of {annotation["file_name"]} {fault.what}; {fault.cure}.'
            )
        table = []
        for segment in annotation['segments_info']:
            label = label_of[segment['category_id']]
            table.append(
                {
                    'id': int(segment['id']),
                    'label': label,
                    'isthing': label in things,
                    'iscrowd': bool(segment.get('iscrowd', False)),
                }
            )
        return table

    # ---- giving samples

    def __getitem__(self, key: int | tuple[int, int]) -> Any:
        """The sample ``index``, or that of ``(pass, index)`` with randomness of its own.

        Args:
            key: An index, whose augmentation draws from the process's generators, or what ``PassSampler`` yields.

        Raises:
            ValueError: If the photo or its PNG is missing or broken, or they do not fit the JSON.
        """
        if not self._fully_initialized:
            self.full_init()
        if not isinstance(key, tuple | list):
            return self.prepare_data(int(key))
        pass_number, index = key
        with keyed_randomness(self.seed, int(pass_number), int(index)):
            return self.prepare_data(int(index))

    def prepare_data(self, idx: int) -> Any:
        """Run the pipeline on data info ``idx``; classes and thing ids go along for the transforms."""
        info = self.get_data_info(idx)
        info.update(classes=self._metainfo['classes'], thing_ids=self._metainfo['thing_ids'])
        path = info['img_path']
        try:
            sample = self.pipeline(info)
        except Exception as error:
            if fault := image_fault(path):
                raise ValueError(fault) from error
            raise
        if sample is None:
            raise ValueError(image_fault(path) or f'A transform of the pipeline returned nothing for {path}.')
        return sample
