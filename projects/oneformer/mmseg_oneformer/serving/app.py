"""The HTTP service: ``/predict`` for programs; :mod:`.page_routes` adds the page of the demo, for people.

Decisions:
* A photo is the request's body as it is (``curl --data-binary @photo.jpg``): no form to parse, and it can be refused
  before it has arrived.
* Decoding, post-processing and packing run in threads of their own; the network in one, batch by batch.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, FastAPI, HTTPException, Query, Request
from fastapi.responses import JSONResponse

from ..apis.inferencer import OneFormerInferencer, Prepared
from ..apis.photo_logits import PhotoLogits
from ..tasks import TASKS
from .batching import BusyError, MicroBatcher
from .payloads import predictions
from .uploads import DEFAULT_LIMITS, Limits, RefusedError, decode, receive

__all__ = ['create_app']

Task = Literal['semantic', 'instance', 'panoptic']
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
) -> FastAPI:
    """Make the application; run it with one worker process.

    Args:
        infer: The model.
        name: Of the model, for ``/health`` and the page.
        limits: Of uploads.
        max_batch: Photos in a batch at most.
        max_wait: Seconds that a photo waits for others.
        max_waiting: Photos that wait for the network at most.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with MicroBatcher(infer.logits, max_batch, max_wait, max_waiting) as batcher:
            app.state.service = Service(infer, limits, batcher)
            yield

    app = FastAPI(title='OneFormer', description=f'Answers of {name} for photos.', lifespan=lifespan)
    app.include_router(_programs(name))

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
