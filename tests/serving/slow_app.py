"""A service without a model, for test_server.py: ``slow_app.py HEADER_SECONDS IDLE_SECONDS``.

/slow answers half a second after eight have asked for it, /count says how many have, /much is 50 MB.
"""

import asyncio
import sys

from mmseg_oneformer.serving import server

server.HEADER_SECONDS, server.IDLE_SECONDS = map(float, sys.argv[1:])
server.STOP_SECONDS = 3600
asked = 0


async def app(scope, receive, send):
    global asked
    if scope['type'] == 'lifespan':
        while True:
            message = await receive()
            await send({'type': f'{message["type"]}.complete'})
            if message['type'] == 'lifespan.shutdown':
                return
    body = b'xx'
    if scope['path'] == '/bug':
        raise ZeroDivisionError('a bug')
    if scope['path'] == '/slow':
        asked += 1
        while asked < 8:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
    if scope['path'] == '/count':
        body = b'%d' % asked
    if scope['path'] == '/much':
        body = b'x' * 50_000_000
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'%d' % len(body))]})
    await send({'type': 'http.response.body', 'body': body})


taken = server.listen('127.0.0.1', 0)
server.run(app, taken, lambda: print(server.url_of(taken), flush=True))
print('finished', flush=True)
