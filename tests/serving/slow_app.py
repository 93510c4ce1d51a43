"""A service without a model, for test_server.py: ``slow_app.py HEADER_SECONDS=0.4 ...``, constants of its modules.

/slow answers half a second after eight have asked for it, /count says how many have, /much is 50 MB. /leave waits until
its client has left, /left says how many have; /body reads the request's body first.
"""

import asyncio
import sys

from mmseg_oneformer.serving import connections, server

server.STOP_SECONDS = 3600
for setting in sys.argv[1:]:
    name, value = setting.split('=')
    setattr(server if hasattr(server, name) else connections, name, float(value) if '.' in value else int(value))
asked = left = 0


async def app(scope, receive, send):
    global asked, left
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
    if scope['path'] == '/leave':
        asked += 1
        while (await receive())['type'] != 'http.disconnect':
            pass
        left += 1
        return
    if scope['path'] == '/left':
        body = b'%d' % left
    if scope['path'] == '/body':
        while (await receive()).get('more_body'):
            pass
    if scope['path'] == '/much':
        body = b'x' * 50_000_000
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'%d' % len(body))]})
    await send({'type': 'http.response.body', 'body': body})


taken = server.listen('127.0.0.1', 0)
server.run(app, taken, lambda: print(server.url_of(taken), flush=True))
print('finished', flush=True)
