"""A service without a model: answers after a while, or with much; run by test_server.py as a process of its own."""

import asyncio
import importlib.util
import sys
from pathlib import Path

# The file alone: importing the package takes seconds, for PyTorch and OpenMMLab.
path = Path(__file__).resolve().parents[2] / 'projects/oneformer/mmseg_oneformer/serving/server.py'
spec = importlib.util.spec_from_file_location('server', path)
server = importlib.util.module_from_spec(spec)
spec.loader.exec_module(server)
server.HEADER_SECONDS, server.IDLE_SECONDS = 0.4, 0.8


async def app(scope, receive, send):
    if scope['type'] == 'lifespan':
        while True:
            message = await receive()
            await send({'type': f'{message["type"]}.complete'})
            if message['type'] == 'lifespan.shutdown':
                return
    if scope['path'] == '/bug':
        raise ZeroDivisionError('a bug')
    await asyncio.sleep(0.5 if scope['path'] == '/slow' else 0)
    body = b'x' * (50_000_000 if scope['path'] == '/much' else 2)
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'%d' % len(body))]})
    await send({'type': 'http.response.body', 'body': body})


taken = server.listen('127.0.0.1', 0)
server.run(app, taken, lambda: print(server.url_of(taken), flush=True))
print('finished', flush=True)
sys.exit(0)
