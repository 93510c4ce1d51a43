"""The pictures behind mmengine's visualizer interface, for the hooks and inference functions of mmdet and mmseg."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.dist import master_only
from mmengine.registry import VISUALIZERS
from mmengine.structures import BaseDataElement
from mmengine.visualization import MLflowVisBackend
from mmseg.visualization import SegLocalVisualizer
from PIL import Image

from ..errors import UserError
from ..files import atomic_path
from .samples import draw_sample

HEIGHT = 384
"""Height in pixels of each picture that goes to the back ends, which keep one for every photo and validation."""


@VISUALIZERS.register_module()
class OneFormerVisualizer(SegLocalVisualizer):
    """Draws photo, annotation and all predictions of a data sample side by side.

    A subclass of mmseg's visualizer, since ``MMSegInferencer`` requires one; only its back ends and its window are
    used. ``mmdet.DetVisualizationHook`` and ``mmseg.SegVisualizationHook`` work with it.

    Args:
        name: Of the instance, for ``get_instance``.
        dataset_meta: ``classes`` and ``palette``; the loops set it from the data set.
        vis_backends: Where numbers and pictures go: configs, or names, as a command line can give them.
        **kwargs: As for ``mmengine.Visualizer``.
    """

    def __init__(
        self,
        name: str = 'visualizer',
        dataset_meta: dict[str, Any] | None = None,
        vis_backends: Sequence[Any] = ('LocalVisBackend',),
        **kwargs: Any,
    ) -> None:
        backends = [{'type': backend} if isinstance(backend, str) else backend for backend in vis_backends]
        # Not passed to mmseg's class, which would look up one of its own data sets for a missing palette.
        super().__init__(name, vis_backends=backends, **kwargs)
        self.dataset_meta = dataset_meta

    @master_only
    def add_image(self, name: str, image: np.ndarray, step: int = 0) -> None:
        """Pass a picture to all back ends; MLflow, which takes its name for that of a file, gets one for each step."""
        for backend in self._vis_backends.values():
            by_file = isinstance(backend, MLflowVisBackend)
            backend.add_image(f'{name}_{step}.png' if by_file else name, image, step)

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: BaseDataElement | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        pred_score_thr: float = 0.5,
        step: int = 0,
        **_: Any,
    ) -> None:
        """Draw a sample, and show or store the picture.

        Args:
            name: Of the picture.
            image: (H, W, 3) uint8 RGB.
            data_sample: With predictions, annotation or both.
            draw_gt: Draw the annotation if there is one.
            draw_pred: Draw the predictions.
            show: Open a window.
            wait_time: Seconds the window stays; 0 means until a key is pressed.
            out_file: Write the picture here, otherwise to the back ends.
            pred_score_thr: Instances below are not drawn.
            step: The iteration.
            **_: Arguments that only mmdet or only mmseg has.

        Raises:
            UserError: If the visualizer does not know the classes.
        """
        if not self.dataset_meta or 'classes' not in self.dataset_meta:
            raise UserError(
                "The visualizer does not know the classes; set its dataset_meta to the data set's metainfo."
            )
        sample = data_sample.cpu() if data_sample is not None else BaseDataElement()
        for key in ('gt_panoptic_seg', 'pred_sem_seg', 'pred_instances', 'pred_panoptic_seg'):
            if key in sample and not (draw_gt if key.startswith('gt') else draw_pred):
                delattr(sample, key)
        height = HEIGHT if out_file is None and not show else None
        picture = draw_sample(image, sample, self.dataset_meta, pred_score_thr, height=height)
        self.set_image(picture)
        if show:
            self.show(picture, win_name=name, wait_time=wait_time)
        if out_file is None:
            self.add_image(name, picture, step)
        else:
            with atomic_path(out_file) as path:
                Image.fromarray(picture).save(path, quality=95)  # For JPEG; other formats ignore it.
