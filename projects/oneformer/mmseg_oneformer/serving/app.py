"""The HTTP service: ``/predict`` takes a photo and returns predictions.

Decisions:
* A photo is the raw body of the request (``curl --data-binary @photo.jpg``): there is no form to parse, and it can be
  rejected before it has arrived.
* Every error is ``{"detail": sentence}``.
* The description (``/openapi.json``, and ``/docs`` for people) is generated from the types of requests and responses.
  FastAPI's own pages load their scripts from another server, so ``/docs`` is ours.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, fields
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from ..apis.inferencer import OneFormerInferencer
from ..apis.photo_logits import PhotoLogits
from ..photos.header import FORMATS
from ..tasks import TASKS, check_tasks
from ..version import __version__
from .batching import MicroBatcher
from .docs_page import STYLE, docs_page
from .payloads import ClassInfo, ErrorMessage, Health, Prediction, RequestOptions, class_infos, prediction
from .service import Batcher, Service
from .uploads import DEFAULT_LIMITS, Limits, RequestError

__all__ = ['create_app']

PARAMETERS = ('tasks', 'score_thr', *(field.name for field in fields(RequestOptions)))
"""Of /predict."""
LEFT = 499
"""Status in the log for a request whose client disconnected; nginx's number."""

BODY = {
    'requestBody': {
        'required': True,
        'description': f'The bytes of a photo: {", ".join(FORMATS)}.',
        'content': {'image/*': {'schema': {'type': 'string', 'format': 'binary'}}},
    }
}
REASONS = {
    400: 'No body, or a damaged photo.',
    408: 'The photo did not arrive in time, or too slowly.',
    413: 'Too many bytes or pixels.',
    415: 'Not a photo, or a form.',
    422: 'A parameter is wrong.',
    500: 'A bug; the log of the service has its traceback.',
    503: 'Too many uploads or requests, or memory ran out; the header Retry-After states when to try again.',
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {'model': ErrorMessage, 'description': reason} for status, reason in REASONS.items()
}


def create_app(
    infer: OneFormerInferencer,
    name: str,
    limits: Limits = DEFAULT_LIMITS,
    max_batch: int = 1,
    max_wait: float = 0.0,
    max_waiting: int = 64,
) -> FastAPI:
    """Create the application; run it with one worker process.

    Args:
        infer: The model.
        name: Name of the model, for its users.
        limits: Limits of uploads.
        max_batch: Maximum number of photos in a batch.
        max_wait: Seconds that a photo waits for others.
        max_waiting: Maximum number of requests in progress.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        batcher: Batcher = MicroBatcher(lambda key, batch: infer.logits(batch, key[1]), max_batch, max_wait)
        async with batcher:
            app.state.service = Service(infer, limits, batcher, max_waiting)
            yield

    app = FastAPI(
        title='OneFormer',
        version=__version__,
        summary=f'Semantic, instance and panoptic predictions of {name} for photos.',
        description=f'Photos have at most {limits.max_bytes / 1e6:g} MB and {limits.max_pixels / 1e6:g} megapixels.',
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(_routes(name))

    @app.get('/docs', include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(docs_page(app.openapi(), str(request.base_url)))

    @app.get('/docs.css', include_in_schema=False)
    async def style() -> Response:
        return Response(STYLE, media_type='text/css')

    _add_error_handlers(app)
    return app


def _routes(name: str) -> APIRouter:
    router = APIRouter()

    @router.post(
        '/predict',
        summary='Predict for a photo',
        operation_id='predict',
        response_description='The predictions.',
        response_model=Prediction,
        response_model_exclude_none=True,
        openapi_extra=BODY,
        responses=ERRORS,
    )
    async def predict(
        request: Request,
        options: Annotated[RequestOptions, Depends()],
        tasks: Annotated[
            str, Query(description='some of semantic, instance, panoptic, separated by commas')
        ] = ','.join(TASKS),
        score_thr: Annotated[float, Query(ge=0, le=1, description='instances of a lower score are left out')] = 0.5,
    ) -> Response:
        unknown = sorted(set(request.query_params) - set(PARAMETERS))
        if unknown:  # FastAPI would ignore it.
            raise RequestError(422, f'There is no parameter {unknown[0]!r}; there are {", ".join(PARAMETERS)}.')
        requested = ','.join(request.query_params.getlist('tasks') or [tasks])  # FastAPI uses the last of several.
        try:
            chosen = check_tasks(requested.replace(',', ' ').split())
        except ValueError as error:
            raise RequestError(422, f'The parameter tasks is {requested!r}: {error}, separated by commas.') from None

        def finish(photo: PhotoLogits) -> str:
            result = photo.predict(chosen, **asdict(options), mask_format='rle')
            return prediction(result, name, score_thr).model_dump_json(exclude_none=True)

        tokens = (options.token,) if options.token else chosen
        content = await request.app.state.service.serve(request, tokens, finish)
        return Response(content, media_type='application/json')

    @router.get(
        '/health',
        summary='Whether the service is ready, and how busy',
        operation_id='health',
        response_description='It is ready.',
    )
    async def health(request: Request) -> Health:
        service: Service = request.app.state.service
        return Health(
            status='ok',
            model=name,
            version=__version__,
            device=str(service.infer.device),
            max_batch=service.batcher.max_batch,
            uploads=len(service.uploads),
            waiting=service.waiting,
            max_waiting=service.max_waiting,
            photos=service.batcher.requests,
            batches=service.batcher.batches,
        )

    @router.head('/health', include_in_schema=False)  # as requested by some load balancers
    async def alive() -> Response:
        return Response()

    @router.get(
        '/classes',
        summary='The classes that the model knows',
        operation_id='classes',
        response_description='All classes, by index.',
    )
    async def classes(request: Request) -> list[ClassInfo]:
        infer = request.app.state.service.infer
        return class_infos(infer.dataset_meta, infer.colors)

    return router


def _add_error_handlers(app: FastAPI) -> None:
    """Make every error a sentence in JSON.

    None closes the connection: uvicorn discards the rest of a body, and the client sees the response; if the connection
    ended while it was sending, it would see a broken pipe.
    """

    def respond(status: int, reason: str, headers: dict[str, str] | None = None) -> JSONResponse:
        return JSONResponse(ErrorMessage(detail=reason).model_dump(), status, headers)

    @app.exception_handler(RequestError)
    async def wrong_request(request: Request, error: RequestError) -> Response:
        headers = None if error.retry_after is None else {'Retry-After': str(error.retry_after)}
        return respond(error.status, error.reason, headers)

    @app.exception_handler(MemoryError)
    async def out_of_memory(request: Request, error: MemoryError) -> Response:
        return respond(503, 'Memory ran out; try again, or send a smaller photo.', {'Retry-After': '5'})

    @app.exception_handler(ClientDisconnect)
    async def left(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=LEFT)

    @app.exception_handler(RequestValidationError)
    async def wrong_parameter(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return respond(422, f'The parameter {first["loc"][-1]} is {first.get("input")!r}: {first["msg"]}; see /docs.')

    @app.exception_handler(HTTPException)
    async def wrong_address(request: Request, error: HTTPException) -> Response:
        reason = {
            404: f'There is nothing at {request.url.path}; see /docs.',
            405: f'{request.url.path} does not take {request.method}; see /docs.',
        }
        # A route that raised its own sentence keeps it.
        own = error.detail not in ('Not Found', 'Method Not Allowed')
        return respond(error.status_code, error.detail if own else reason[error.status_code], dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        return respond(500, 'The service failed on this request; its log says why.')
