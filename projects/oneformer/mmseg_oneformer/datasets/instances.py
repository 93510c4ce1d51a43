"""Photos with annotated objects only: COCO's instance JSON, whose outlines may overlap and which has no stuff."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger
from mmengine.registry import DATASETS

from ..annotations.coco import Category
from ..annotations.coco_instances import InstanceFile, outline_faults, read_instances
from ..annotations.faults import raise_faults
from ..annotations.photo_names import find_photo
from ..errors import UserError
from ..memory import without_collection
from .base import SegmentationDataset
from .categories import checked_metainfo

__all__ = ['InstanceDataset']


@DATASETS.register_module()
class InstanceDataset(SegmentationDataset):
    """Photos with a COCO instance JSON; they train the instance task.

    Classes are the JSON's categories in the order of their ids, all of them things. A photo without an object is a
    sample without a target. A data info holds ``img_id`` and ``img_path``, and ``outlines`` and ``outlines_of`` for
    ``LoadPanopticIds``.

    Args:
        ann_file: The JSON, relative to ``data_root`` unless absolute.
        metainfo: ``classes``, compared with the JSON, and optionally ``palette``; without it, both come from the JSON.
        data_root: Folder that the other paths are relative to.
        data_prefix: ``img``: folder of the photos.
        filter_empty: In training, leave out photos without an object that is not a crowd.
        seed: Seed of the augmentation. ``PassSampler`` replaces it with the run's seed.
        **kwargs: ``task_probs``, ``pipeline``, ``test_mode``, ``indices`` and the other arguments of ``BaseDataset``.
    """

    tasks = ('instance',)

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
        prefix = {'img': '', **(data_prefix or {})}
        super().__init__(
            seed=seed, ann_file=ann_file, metainfo=metainfo, data_root=data_root, data_prefix=prefix, **kwargs
        )

    @classmethod
    def _load_metainfo(cls, metainfo: Mapping[str, Any] | None = None) -> dict:
        """Return metainfo in which every class is a thing."""
        meta = super()._load_metainfo(metainfo)
        if 'classes' in meta:
            meta['thing_ids'] = tuple(range(len(meta['classes'])))
        return meta

    @without_collection()
    def load_data_list(self) -> list[dict]:
        """Read the JSON; one data info per image, in the order of its ``images``.

        Raises:
            FileNotFoundError: If the JSON does not exist.
            UserError: If it is not an instance JSON, has faults, or its categories are not the config's.
        """
        file = read_instances(self.ann_file)
        raise_faults(self.ann_file, [*file.faults, *outline_faults(file)])
        categories: list[Category] = [{**category, 'isthing': True} for category in file.categories]
        self._metainfo = checked_metainfo(self._metainfo, categories, self.ann_file)
        label_of = {category['id']: label for label, category in enumerate(categories)}
        if not file.images:
            raise UserError(f'{self.ann_file} lists no images.')
        if not self.test_mode and not any(file.objects.values()):
            raise UserError(f'{self.ann_file} has no annotations: training needs the instance JSON.')
        self._tell_crowds(file)
        photos = Path(self.data_prefix['img'])
        # As the converter finds them; not looked for where the first is as named, since a look at each takes time.
        as_named = (photos / file.images[0]['file_name']).is_file()
        return [
            {
                'img_id': image['id'],
                'img_path': str(photos / (image['file_name'] if as_named else find_photo(photos, image['file_name']))),
                'outlines': [
                    {
                        'id': entry['id'],
                        'label': label_of[entry['category_id']],
                        'iscrowd': entry['iscrowd'],
                        'segmentation': entry['segmentation'],
                    }
                    for entry in file.objects[image['id']]
                ],
                'outlines_of': self.ann_file,
                'stated_size': (image['height'], image['width']) if 'height' in image else None,
            }
            for image in file.images
        ]

    def _tell_crowds(self, file: InstanceFile) -> None:
        """Warn of classes that train nothing, since their objects are crowds, as in CVAT's masks of COCO 1.0."""
        entries = [entry for objects in file.objects.values() for entry in objects]
        all_of = Counter(entry['category_id'] for entry in entries)
        crowds = Counter(entry['category_id'] for entry in entries if entry['iscrowd'])
        names = [one['name'] for one in file.categories if 2 * crowds[one['id']] > all_of[one['id']]]
        if names and not self.test_mode:
            MMLogger.get_current_instance().warning(
                f'{self.ann_file}: most objects of {", ".join(names[:5])} are crowds ("iscrowd": 1), which no training '
                'learns; where each is one object, set "iscrowd" to 0.'
            )

    def filter_data(self) -> list[dict]:
        """Leave out photos without objects if ``filter_empty`` is set; never at test time."""
        if self.test_mode or not self.filter_empty:
            return self.data_list
        kept = [info for info in self.data_list if any(not entry['iscrowd'] for entry in info['outlines'])]
        if not kept:
            raise UserError(f'{self.ann_file}: filter_empty leaves no image; set filter_empty=False.')
        return kept
