"""The page for people: its files, and the URLs that it requests.

Decisions:
* A photo goes through the network once, under all three tokens. Its logits are kept, and every switch and slider needs
  only post-processing: no URL except ``POST /api/photos`` uses the network.
* Post-processing runs in threads, two at a time: an impatient page does not exhaust the memory for others.
* A page that has disconnected gets no response, and its pending results are not computed.
* The page is plain files without a build step, and loads nothing from elsewhere.
"""

import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

import cv2
import numpy as np
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles

from ..apis.inferencer import OneFormerInferencer
from ..apis.photo_logits import PhotoLogits
from ..datasets.drawing import draw_scene
from ..files import shorten
from ..tasks import TASKS
from .failures import contain
from .page_exports import EXPORTS, archive
from .page_predictions import LEAST_SCORE, page_picture, page_prediction, page_size
from .payloads import RequestOptions, Task
from .photo_cache import PhotoCache
from .service import unless_left
from .uploads import Limits

__all__ = ['add_page']

FILES = Path(__file__).parent / 'page'
KEPT_BYTES = 1_000_000_000
SAMPLE_SIZE, SAMPLE_SEED = 480, 1
"""Size of the drawn picture that the page offers."""
Options = Annotated[RequestOptions, Depends()]
Score = Annotated[float, Query(ge=0, le=1)]
Made = TypeVar('Made')


def add_page(app: FastAPI, infer: OneFormerInferencer, name: str, limits: Limits, kept_bytes: int = KEPT_BYTES) -> None:
    """Add the page to a service, at ``/``.

    Args:
        app: Made by :func:`create_app`; no route can be added after the page.
        infer: Its model.
        name: Name of the model.
        limits: Limits of uploads, which the page shows.
        kept_bytes: Maximum size of the pictures and logits that are kept.
    """
    app.include_router(_facts(infer, name, limits))
    app.include_router(_photos(PhotoCache(kept_bytes)))
    app.mount('/', StaticFiles(directory=FILES, html=True))


def _facts(infer: OneFormerInferencer, name: str, limits: Limits) -> APIRouter:
    """Routes for what the page shows before there is a photo."""
    router = APIRouter(prefix='/api', include_in_schema=False)

    @router.get('/model')
    async def model() -> dict[str, Any]:
        return {
            'name': name,
            'classes': len(infer.dataset_meta['classes']),
            'known': infer.known_classes,
            'colors': infer.colors,
            'object_mask_thr': infer.model.test_cfg.object_mask_thr,
            'overlap_thr': infer.model.test_cfg.overlap_thr,
            'least_score': LEAST_SCORE,
            'max_bytes': limits.max_bytes,
            'max_pixels': limits.max_pixels,
            'exports': [
                {'form': one.form, 'title': one.title, 'tasks': one.tasks, 'suffix': one.suffix} for one in EXPORTS
            ],
        }

    @router.get('/sample')
    async def sample() -> Response:
        return Response(await run_sync(_draw_sample), media_type='image/png')

    return router


def _photos(cache: PhotoCache) -> APIRouter:
    """Routes for what the page requests for a photo."""
    router = APIRouter(prefix='/api/photos', include_in_schema=False)
    seats = CapacityLimiter(2)

    async def work(request: Request, make: Callable[[], Made]) -> Made:
        return await unless_left(request, run_sync(partial(contain, make), limiter=seats))

    def find(photo_id: str) -> PhotoLogits:
        photo = cache.find(photo_id)
        if photo is None:
            raise HTTPException(404, 'The server has forgotten this photo; send it again.')
        return photo

    @router.post('')
    async def add(request: Request, name: str = 'photo') -> dict[str, Any]:
        photo = await request.app.state.service.look(request)
        photo.source = replace(photo.source, **_safe_names(name))
        (height, width), (map_height, map_width) = photo.image.shape[:2], page_size(photo.image.shape[:2])
        sizes = {'width': width, 'height': height, 'map_width': map_width, 'map_height': map_height}
        return {'id': cache.add(photo), 'name': photo.source.name, **sizes}

    @router.get('/{photo_id}/picture')
    async def picture(request: Request, photo_id: str) -> Response:
        photo = find(photo_id)
        return Response(await work(request, lambda: page_picture(photo.image)), media_type='image/png')

    @router.get('/{photo_id}/predictions/{task}')
    async def predictions(request: Request, photo_id: str, task: Task, options: Options) -> Response:
        photo = find(photo_id)
        content = await work(request, lambda: json.dumps(page_prediction(photo.predict(task, **asdict(options)), task)))
        return Response(content, media_type='application/json')

    @router.get('/{photo_id}/files/all')
    async def everything(request: Request, photo_id: str, options: Options, score_thr: Score = 0.5) -> Response:
        photo = find(photo_id)
        content = await work(request, lambda: archive(photo.predict(TASKS, **asdict(options)), score_thr))
        return _download(content, 'application/zip', f'{photo.source.name}.zip')

    @router.get('/{photo_id}/files/{task}/{form}')
    async def file(
        request: Request, photo_id: str, task: Task, form: str, options: Options, score_thr: Score = 0.5
    ) -> Response:
        photo = find(photo_id)
        export = next((one for one in EXPORTS if one.form == form and task in one.tasks), None)
        if export is None:
            raise HTTPException(404, f'The {task} prediction is not available as {form}.')
        content = await work(request, lambda: export.make(photo.predict(task, **asdict(options)), task, score_thr))
        return _download(content, export.media_type, f'{photo.source.name}_{task}{export.suffix}')

    return router


def _safe_names(name: str) -> dict[str, str]:
    """Return safe names for an untrusted name of a photo: they become names of files and parts of JSON."""
    plain = re.sub(r'[^\w.()+ -]', '_', PurePosixPath(name.replace('\\', '/')).name)
    file_name = shorten(plain).strip('. ') or 'photo'
    return {'file_name': file_name, 'name': PurePosixPath(file_name).stem}


def _download(content: bytes, media_type: str, file_name: str) -> Response:
    disposition = f"attachment; filename*=utf-8''{quote(file_name)}"
    return Response(content, media_type=media_type, headers={'Content-Disposition': disposition})


@cache
def _draw_sample() -> bytes:
    image = draw_scene(SAMPLE_SIZE, np.random.default_rng(SAMPLE_SEED)).image
    return cv2.imencode('.png', image[:, :, ::-1])[1].tobytes()
