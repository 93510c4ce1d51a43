"""The application itself, called without a server: what cannot be brought about from outside."""

import asyncio
import base64
import json
from contextlib import suppress

import cv2
import jsonschema
import numpy as np
import pytest
import torch

from mmseg_oneformer.serving import service
from mmseg_oneformer.serving.app import create_app
from mmseg_oneformer.serving.payloads import EXAMPLE, Prediction, class_infos, prediction


class Model:
    """The shipped model, with a network that may fail."""

    def __init__(self, infer, network=None):
        self.infer, self.network = infer, network or infer.logits

    def __getattr__(self, name):
        return getattr(self.infer, name)

    def logits(self, batch, tokens):
        return self.network(batch, tokens)


def ask(app, *requests):
    """Send (method, target, body) requests together; returns status, headers and JSON of each."""

    async def one(method, target, body):
        path, _, query = target.partition('?')
        sent, unread = [], [{'type': 'http.request', 'body': body}]
        scope = {
            'type': 'http', 'method': method, 'path': path, 'query_string': query.encode(), 'headers': [],
            'client': ('127.0.0.1', 1), 'server': ('127.0.0.1', 80), 'scheme': 'http', 'http_version': '1.1',
        }  # fmt: skip

        async def receive():
            if not unread:
                await asyncio.sleep(3600)
            return unread.pop()

        async def send(message):
            sent.append(message)

        with suppress(ZeroDivisionError, RuntimeError):  # It goes on to the server's log.
            await app(scope, receive, send)
        headers = {key.decode(): value.decode() for key, value in sent[0]['headers']}
        return sent[0]['status'], headers, json.loads(b''.join(message.get('body', b'') for message in sent[1:]))

    async def main():
        async with app.router.lifespan_context(app):
            return await asyncio.gather(*(one(*request) for request in requests))

    return asyncio.run(asyncio.wait_for(main(), 60))


def photo(value):
    return cv2.imencode('.png', np.full((40, 40, 3), value, np.uint8))[1].tobytes()


def cv2_resize():
    cv2.resize(np.zeros((2, 2), np.uint8), (1 << 22, 1 << 22))


def torch_empty():
    torch.empty(1 << 50, dtype=torch.uint8)


def no_gpu_memory():
    raise torch.OutOfMemoryError('CUDA out of memory')


@pytest.mark.parametrize('fail', [cv2_resize, torch_empty, no_gpu_memory, lambda: np.zeros(1 << 50)])
@pytest.mark.parametrize('where', ['prepare', 'logits', 'finish'])
def test_predict__memory_that_runs_out_is_said_and_the_next_is_served(infer, fail, where, monkeypatch):
    model, failing = Model(infer), [True]

    def first_fails(work):
        def run(*args, **kwargs):
            if failing:
                failing.pop()
                fail()
            return work(*args, **kwargs)

        return run

    if where == 'finish':
        monkeypatch.setattr('mmseg_oneformer.serving.app.prediction', first_fails(prediction))
    else:
        setattr(model, where, first_fails(getattr(infer, where)))
    app = create_app(model, 'm', max_batch=1)
    requests = [('POST', '/predict?tasks=semantic', photo(9))] * 2
    responses = sorted(ask(app, *requests), key=lambda response: response[0])
    assert [status for status, _, _ in responses] == [200, 503]
    assert responses[1][1]['retry-after'] == '5' and 'Memory ran out; try again' in responses[1][2]['detail']


@pytest.mark.parametrize('kind', [SystemExit, StopIteration, asyncio.CancelledError, KeyboardInterrupt])
@pytest.mark.parametrize('where', ['prepare', 'logits', 'finish'])
def test_predict__whatever_is_raised_leaves_no_request_hanging(infer, kind, where, monkeypatch):
    def fail(*args, **kwargs):
        raise kind

    model = Model(infer)
    with monkeypatch.context() as patched:
        if where == 'finish':
            patched.setattr('mmseg_oneformer.serving.app.prediction', fail)
        else:
            setattr(model, where, fail)
        ((status, _, content),) = ask(create_app(model, 'm'), ('POST', '/predict', photo(9)))
    assert (status, content['detail']) == (500, 'The service failed on this request; its log says why.')


def test_predict__a_photo_that_breaks_the_network_harms_nobody_else(infer):
    def network(batch, tokens):
        if any((one.image == 13).all() for one in batch):
            raise ZeroDivisionError
        return infer.logits(batch, tokens)

    app = create_app(Model(infer, network), 'm', max_batch=4, max_wait=3600)
    responses = ask(app, *(('POST', '/predict?tasks=semantic', photo(value)) for value in (9, 13, 40, 80)))
    assert [status for status, _, _ in responses] == [200, 500, 200, 200]
    assert responses[1][2] == {'detail': 'The service failed on this request; its log says why.'}


def test_predict__runs_the_tokens_that_are_needed(infer):
    seen = []

    def network(batch, tokens):
        seen.append((len(batch), tokens))
        return infer.logits(batch, tokens)

    app = create_app(Model(infer, network), 'm', max_batch=2, max_wait=3600)  # until there are two
    for queries in (
        ('tasks=panoptic', 'tasks=semantic,instance') * 2,
        ('token=instance', 'token=instance&tasks=semantic'),
    ):
        responses = ask(app, *(('POST', f'/predict?{query}', photo(9)) for query in queries))
        assert [status for status, _, _ in responses] == [200] * len(queries)
    assert sorted(seen) == [(2, ('instance',)), (2, ('panoptic',)), (2, ('semantic', 'instance'))]


def test_predict__few_photos_are_decoded_at_a_time(infer, monkeypatch):
    """Decoded photos are what fills the memory: at most two batches of them, however many requests there are."""
    decoded, most, decode = set(), [], service.decode

    def counted_decode(data, limits, read):
        decoded.add(id(data))
        most.append(len(decoded))
        return decode(data, limits, read)

    class Counted(service.Service):
        async def _serve(self, data, tokens, finish):
            try:
                return await super()._serve(data, tokens, finish)
            finally:
                decoded.discard(id(data))

    monkeypatch.setattr(service, 'decode', counted_decode)
    monkeypatch.setattr('mmseg_oneformer.serving.app.Service', Counted)
    app = create_app(infer, 'm', max_batch=2)
    responses = ask(app, *(('POST', '/predict?tasks=semantic', photo(value)) for value in range(20)))
    assert [status for status, _, _ in responses] == [200] * 20
    assert len(most) == 20 and max(most) <= 4


def test_prediction__category_ids_and_many_classes(infer):
    result = infer(np.full((30, 40, 3), 90, np.uint8), channel_order='bgr', progress=False)
    meta, many = result.dataset_meta, 300
    classes = (*meta['classes'], *(f'class {k}' for k in range(many - len(meta['classes']))))
    result.dataset_meta = {'classes': classes, 'thing_ids': meta['thing_ids'], 'category_ids': range(1000, 1000 + many)}
    sent = prediction(result, 'm', 0)
    index = {one.index for one in sent.semantic.classes}
    assert {one.category_id - 1000 for one in sent.semantic.classes} == index
    assert all(one.name == classes[one.category_id - 1000] for one in [*sent.instance, *sent.panoptic.segments_info])
    infos = class_infos(result.dataset_meta, result.colors)
    assert [one.is_thing for one in infos[:3]] == [k in meta['thing_ids'] for k in range(3)] and len(infos) == many
    png = np.frombuffer(base64.b64decode(sent.semantic.png), np.uint8)
    labels = cv2.imdecode(png, cv2.IMREAD_UNCHANGED)
    assert labels.dtype == np.uint16 and set(np.unique(labels).tolist()) == index


def test_example__is_a_prediction(infer):
    assert Prediction(**EXAMPLE).model_dump(exclude_none=True) == EXAMPLE
    api = create_app(infer, 'm').openapi()
    schema = api['components']['schemas']['Prediction']
    jsonschema.Draft202012Validator({**schema, 'components': api['components']}).validate(schema['example'])


@pytest.mark.parametrize('number', [0, -1])
def test_create_app__nonsense_is_rejected(infer, number):
    with pytest.raises(ValueError, match='let one request or more be under way'):
        ask(create_app(infer, 'm', max_waiting=number))
