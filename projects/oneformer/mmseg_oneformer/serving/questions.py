"""What may be asked about a photo, as FastAPI reads it from the query of a request."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Query

from ..apis.photo_logits import PhotoLogits
from ..apis.results import OneFormerResult

__all__ = ['Question', 'Task']

Task = Literal['semantic', 'instance', 'panoptic']


@dataclass(frozen=True)
class Question:
    """How answers are made of a photo's logits; a route takes ``Annotated[Question, Depends()]``."""

    token: Annotated[
        Task | None, Query(description="make all answers from this task's token; by default each has its own")
    ] = None
    object_mask_thr: Annotated[
        float | None, Query(ge=0, le=1, description="least score of a panoptic segment; by default the config's")
    ] = None
    overlap_thr: Annotated[
        float | None,
        Query(ge=0, le=1, description="least share of its mask that a panoptic segment has to win; the config's"),
    ] = None

    def answer(self, photo: PhotoLogits, tasks: str | Sequence[str], **options: Any) -> OneFormerResult:
        """Answer tasks; what was not asked for is as the model's config says.

        Args:
            photo: Looked at under the tokens that are needed.
            tasks: One or several.
            **options: As of :meth:`PhotoLogits.answer`.
        """
        thresholds = {'object_mask_thr': self.object_mask_thr, 'overlap_thr': self.overlap_thr}
        given = {name: value for name, value in thresholds.items() if value is not None}
        return photo.answer(tasks, self.token, **given, **options)
