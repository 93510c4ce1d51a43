"""The shipped model, a drawn photo, and the page's server in a thread."""

import json
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import uvicorn

from mmseg_oneformer.apis import OneFormerInferencer
from mmseg_oneformer.datasets.drawing import draw_scene
from mmseg_oneformer.serving.app import create_app
from mmseg_oneformer.serving.guard import Guard
from mmseg_oneformer.serving.page_routes import add_page
from mmseg_oneformer.serving.server import listen, url_of
from mmseg_oneformer.serving.uploads import Limits

MODEL = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'


@pytest.fixture(scope='session')
def infer():
    """The shipped model; ``infer.passes`` counts how often its network ran."""
    infer = OneFormerInferencer(MODEL, device='cpu')
    run, infer.passes = infer.model.predict_logits, 0

    def counted(*args, **kwargs):
        infer.passes += 1
        return run(*args, **kwargs)

    infer.model.predict_logits = counted
    return infer


@pytest.fixture(scope='session')
def scene():
    """A photo (72, 96, 3) BGR, wider than high."""
    return np.ascontiguousarray(draw_scene(96, np.random.default_rng(4)).image[12:84, :, ::-1])


@pytest.fixture(scope='session')
def scene_png(scene):
    return cv2.imencode('.png', scene)[1].tobytes()


@pytest.fixture(scope='session')
def looked_at(infer, scene):
    """The scene's logits: what any prediction has to be made of."""
    return infer.logits([infer.prepare(scene)])[0]


def ask(url, data=None, method=None, **headers):
    """Status, headers and body of a response; a body that is JSON is read."""
    names = {name.replace('_', '-'): value for name, value in headers.items()}
    request = urllib.request.Request(url, data, names, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            status, kind, content = response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        status, kind, content = error.code, error.headers, error.read()
    is_json = kind.get('Content-Type', '').startswith('application/json')
    return SimpleNamespace(status=status, headers=kind, body=json.loads(content) if is_json else content)


@pytest.fixture(scope='session')
def serve_page(infer):
    """A context manager that serves the page and yields its address and a function that asks it."""

    @contextmanager
    def serve(limits=None, kept_bytes=1_000_000_000):
        limits = limits or Limits(max_bytes=500_000, max_pixels=400_000)
        app = create_app(infer, MODEL, limits, max_waiting=8)
        app.add_middleware(Guard)
        add_page(app, infer, MODEL, limits, kept_bytes)
        with listen('127.0.0.1', 0) as taken:
            config = uvicorn.Config(app, log_level='error', timeout_graceful_shutdown=1)
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, kwargs={'sockets': [taken]}, daemon=True)
            thread.start()
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            url = url_of(taken)
            yield SimpleNamespace(
                url=url, ask=lambda path, *args, **kwargs: ask(url + path, *args, **kwargs), limits=limits
            )
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()

    return serve
