"""Pictures of a training run: predictions beside the ground truth at every validation, and its curves.

Decisions:
* The same photos each time, so that progress can be seen; the hooks of mmdet and mmseg draw whichever photo is current
  when a counter is due, and in whichever of several processes gets there first.
* Pictures go to the visualizer's back ends and not to files of our own, so that they are where the losses are.
* A picture that cannot be drawn is a line in the log, and never ends a training.
"""

import logging
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmcv
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.structures import BaseDataElement

from ..analysis.curves import save_curves, usual_curves
from ..analysis.logs import read_run
from ..errors import UserError
from ..photos.decoding import read_photo

SMOOTHED = 40
"""A training's curves are means over 1 / ``SMOOTHED`` of the logged values."""


@HOOKS.register_module()
class ValidationPictures(Hook):
    """Draws annotation and predictions of the first few photos at every validation.

    They go to the back ends of ``visualizer``: files in ``vis_data/vis_image``, TensorBoard and others.

    Args:
        num_images: How many photos, from the beginning of the validation data; 0 draws none.
        score_thr: Instances with a lower score are not drawn.
    """

    def __init__(self, num_images: int = 4, score_thr: float = 0.3) -> None:
        self.num_images, self.score_thr = num_images, score_thr
        self._drawn = 0

    def before_val_epoch(self, runner: Any) -> None:
        """Start again at the first photo."""
        self._drawn = 0

    def after_val_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Draw those of a batch that are among the first."""
        if not is_main_process():
            return
        for sample in (outputs or ())[: max(0, self.num_images - self._drawn)]:
            try:
                photo = mmcv.bgr2rgb(read_photo(sample.img_path))
                # The number distinguishes photos of the same name in different folders.
                name = f'val{self._drawn}_{Path(sample.img_path).stem}'
                runner.visualizer.add_datasample(name, photo, sample, pred_score_thr=self.score_thr, step=runner.iter)
            except (UserError, OSError) as error:  # Photos that are not files, full disks.
                print_log(f'A validation picture was not drawn: {error}', 'current', level=logging.WARNING)
            except Exception:  # noqa: BLE001 (trackers raise anything, and no picture is worth losing a training run)
                reason = traceback.format_exc()
                print_log(f'A validation picture was not drawn:\n{reason}', 'current', level=logging.WARNING)
            self._drawn += 1


@HOOKS.register_module()
class CurvesPicture(Hook):
    """Draws the losses and the measured quality of a run to ``curves.png`` in its work dir.

    At each validation and at the end; a resumed run is drawn as one. It needs the log that
    ``LocalVisBackend`` writes.
    """

    priority = 'VERY_LOW'  # after the hook that writes the log

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Draw what there is, if this validation is part of a training."""
        if runner.iter:
            self._draw(runner)

    def after_train(self, runner: Any) -> None:
        """Draw the whole run."""
        self._draw(runner)

    def _draw(self, runner: Any) -> None:
        if not is_main_process():
            return
        try:
            run = read_run(runner.work_dir)
            curves = [(curve.key.removeprefix('all.'), curve) for curve in usual_curves(run, parts=True)]
            window = 1 + len(run.train) // SMOOTHED
            save_curves(Path(runner.work_dir) / 'curves.png', curves, run.name, window)
        except (ValueError, OSError) as error:
            print_log(f'curves.png was not drawn: {error}', 'current', level=logging.WARNING)
