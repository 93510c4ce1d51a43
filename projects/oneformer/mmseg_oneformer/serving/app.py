"""The HTTP service: ``/predict`` for programs and, for people, the page of the demo.

Decisions:
* A photo is the request's body as it is (``curl --data-binary @photo.jpg``): no form to parse, and it can be refused
  before it has arrived.
* Decoding, post-processing and packing run in threads of their own; the network in one, batch by batch.
* The page's photos are kept as logits, the last few of them: every switch and slider is post-processing alone.
"""

import json
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
from anyio.to_thread import run_sync
from fastapi import APIRouter, FastAPI, HTTPException, Query, Request
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles

from ..apis.inferencer import OneFormerInferencer, Prepared
from ..apis.photo_logits import PhotoLogits
from ..tasks import TASKS
from .batching import BusyError, MicroBatcher
from .payloads import EXPORTS, export, page_answers, predictions
from .uploads import DEFAULT_LIMITS, Limits, RefusedError, decode, receive

__all__ = ['create_app']

PAGE = Path(__file__).parent / 'page'
KEPT_PHOTOS = 8
Task = Literal['semantic', 'instance', 'panoptic']
Share = Annotated[float | None, Query(ge=0, le=1)]
BODY = {
    'requestBody': {
        'required': True,
        'description': 'the bytes of a photo',
        'content': {'image/*': {'schema': {'type': 'string', 'format': 'binary'}}},
    }
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {'description': 'no body, or a damaged photo'},
    413: {'description': 'too many bytes or pixels'},
    415: {'description': 'not a photo'},
    503: {'description': 'too many requests wait; try again'},
}


class Service:
    """One model, asked by many.

    Args:
        infer: The model.
        limits: Of uploads.
        batcher: Hands prepared photos to the network.
    """

    def __init__(
        self, infer: OneFormerInferencer, limits: Limits, batcher: MicroBatcher[Prepared, PhotoLogits]
    ) -> None:
        self.infer, self.limits, self.batcher = infer, limits, batcher

    async def look(self, request: Request) -> PhotoLogits:
        """Send the photo in a request's body through the network.

        Raises:
            RefusedError: It cannot be read, is too large, or too many wait.
        """
        data = await receive(request.stream(), self.limits)
        prepared = await run_sync(lambda: self.infer.prepare(decode(data, self.limits)))
        try:
            return await self.batcher.submit(prepared.network_size, prepared)
        except BusyError:
            raise RefusedError(503, 'Too many requests wait; try again in a moment.') from None


def create_app(
    infer: OneFormerInferencer,
    name: str,
    limits: Limits = DEFAULT_LIMITS,
    max_batch: int = 4,
    max_wait: float = 0.005,
    max_waiting: int = 64,
    with_page: bool = False,
) -> FastAPI:
    """Make the application; run it with one worker process.

    Args:
        infer: The model.
        name: Of the model, for ``/health`` and the page.
        limits: Of uploads.
        max_batch: Photos in a batch at most.
        max_wait: Seconds that a photo waits for others.
        max_waiting: Photos that wait for the network at most.
        with_page: Also serve the page of the demo.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with MicroBatcher(infer.logits, max_batch, max_wait, max_waiting) as batcher:
            app.state.service = Service(infer, limits, batcher)
            yield

    app = FastAPI(title='OneFormer', description=f'Answers of {name} for photos.', lifespan=lifespan)
    app.include_router(_programs(name))
    if with_page:
        app.include_router(_people(name, infer, limits))
        app.mount('/', StaticFiles(directory=PAGE, html=True))

    @app.exception_handler(RefusedError)
    async def refuse(request: Request, error: RefusedError) -> JSONResponse:
        # Nothing more of the body is read: the connection cannot be used again.
        return JSONResponse({'detail': error.reason}, error.status, headers={'Connection': 'close'})

    return app


def _programs(name: str) -> APIRouter:
    router = APIRouter()

    @router.get('/health', summary='Whether the model is loaded')
    async def health(request: Request) -> dict[str, Any]:
        return {'status': 'ok', 'model': name, 'waiting': request.app.state.service.batcher.waiting}

    @router.post('/predict', summary='Answer a photo', openapi_extra=BODY, responses=REFUSALS)
    async def predict(
        request: Request,
        tasks: Annotated[str, Query(description='some of semantic, instance, panoptic')] = ','.join(TASKS),
        token: Annotated[Task | None, Query(description='the task whose token is used for all')] = None,
    ) -> dict[str, Any]:
        chosen = [task.strip() for task in tasks.split(',') if task.strip()]
        if not chosen or set(chosen) - set(TASKS):
            raise HTTPException(422, f'tasks are some of {", ".join(TASKS)}, separated by commas, not {tasks!r}.')
        photo = await request.app.state.service.look(request)

        def answer() -> dict[str, Any]:
            height, width = photo.image.shape[:2]
            answers = predictions(photo.answer(chosen, token, mask_format='rle'))
            return {'height': height, 'width': width, 'classes': list(photo.dataset_meta['classes']), **answers}

        return await run_sync(answer)

    return router


def _people(name: str, infer: OneFormerInferencer, limits: Limits) -> APIRouter:
    router = APIRouter(prefix='/api', include_in_schema=False)
    photos: OrderedDict[str, PhotoLogits] = OrderedDict()

    def find(photo_id: str) -> PhotoLogits:
        if photo_id not in photos:
            raise HTTPException(404, 'The server has forgotten this photo; drop it again.')
        photos.move_to_end(photo_id)
        return photos[photo_id]

    @router.get('/model')
    async def model() -> dict[str, Any]:
        test_cfg = infer.model.test_cfg
        return {
            'name': name,
            'classes': list(infer.dataset_meta['classes']),
            'colors': infer.colors,
            'object_mask_thr': test_cfg.object_mask_thr,
            'overlap_thr': test_cfg.overlap_thr,
            'max_bytes': limits.max_bytes,
            'exports': [{'format': key, 'title': one.title, 'tasks': one.tasks} for key, one in EXPORTS.items()],
        }

    @router.post('/photos')
    async def add(request: Request) -> dict[str, Any]:
        photo = await request.app.state.service.look(request)
        photo_id = secrets.token_urlsafe(12)
        photos[photo_id] = photo
        while len(photos) > KEPT_PHOTOS:
            photos.popitem(last=False)
        return {'id': photo_id, 'width': photo.image.shape[1], 'height': photo.image.shape[0]}

    @router.get('/photos/{photo_id}/picture')
    async def picture(photo_id: str) -> Response:
        photo = find(photo_id)
        return Response(await run_sync(lambda: cv2.imencode('.png', photo.image)[1].tobytes()), media_type='image/png')

    @router.get('/photos/{photo_id}/answers')
    async def answers(
        photo_id: str, token: Task | None = None, object_mask_thr: Share = None, overlap_thr: Share = None
    ) -> Response:
        photo, thresholds = find(photo_id), _given(object_mask_thr=object_mask_thr, overlap_thr=overlap_thr)
        content = await run_sync(lambda: json.dumps(page_answers(photo.answer(TASKS, token, **thresholds))))
        return Response(content, media_type='application/json')

    @router.get('/photos/{photo_id}/exports/{form}')
    async def exports(
        photo_id: str,
        form: str,
        task: Task,
        score_thr: Annotated[float, Query(ge=0, le=1)] = 0.5,
        token: Task | None = None,
        object_mask_thr: Share = None,
        overlap_thr: Share = None,
    ) -> Response:
        photo, thresholds = find(photo_id), _given(object_mask_thr=object_mask_thr, overlap_thr=overlap_thr)
        if form not in EXPORTS or task not in EXPORTS[form].tasks:
            raise HTTPException(404, f'There is no {form} of the {task} answer; choose one of {", ".join(EXPORTS)}.')
        result = await run_sync(lambda: photo.answer(task, token, **thresholds))
        content = await run_sync(lambda: export(form, result, task, score_thr))
        headers = {'Content-Disposition': f'attachment; filename="{task}{EXPORTS[form].suffix}"'}
        return Response(content, media_type=EXPORTS[form].media_type, headers=headers)

    return router


def _given(**values: float | None) -> dict[str, float]:
    return {key: value for key, value in values.items() if value is not None}
