import asyncio

import pytest

from mmseg_oneformer.serving.guard import Guard, is_loopback


def ask(method='GET', local=True, fetch=None, **headers):
    """Status and headers of a response; the guarded app itself responds with 200."""
    sent = []

    async def app(scope, receive, send):
        await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'cache-control', b'max-age=9')]})
        await send({'type': 'http.response.body', 'body': b'secret'})

    async def send(message):
        sent.append(message)

    if fetch is not None:
        headers |= dict(zip(('sec-fetch-site', 'sec-fetch-mode'), fetch.split()))
    raw = [(key.encode(), value.encode('latin-1')) for key, value in headers.items()]
    scope = {'type': 'http', 'method': method, 'path': '/', 'headers': raw}
    asyncio.run(Guard(app, local)(scope, None, send))
    assert (sent[0]['status'] == 200) == (sent[1]['body'] == b'secret')
    return sent[0]['status'], {key.decode().lower(): value.decode() for key, value in sent[0]['headers']}


@pytest.mark.parametrize('host', ['127.0.0.1', '127.8.9.1:8000', 'localhost:81', 'LOCALHOST', '[::1]:8000', '[::1]'])
def test_host__loopback_names_are_served(host):
    assert ask(host=host)[0] == 200


@pytest.mark.parametrize(
    'host',
    ['user@localhost', 'user:word@localhost:8000', '@localhost', 'localhost/', 'localhost:8000@x', '[::1', 'a b'],
)
@pytest.mark.parametrize('local', [True, False])
def test_host__with_anything_but_a_name_and_a_port_is_rejected(host, local):
    assert ask(local=local, host=host)[0] == 403
    assert ask('POST', local=local, host=host, origin=f'http://{host}')[0] == 403


@pytest.mark.parametrize('host', ['evil.example', 'evil.example:8000', '127.0.0.1.evil.example', ''])
def test_host__rebound_names_are_rejected(host):
    assert ask(host=host)[0] == 403
    assert ask(host=host, local=False)[0] == 200


def test_host__missing_is_rejected():
    assert ask()[0] == 403


@pytest.mark.parametrize(
    'origin',
    [
        'https://evil.example',
        'null',
        'http://localhost:8001',
        'http://localhost',
        'http://localhost:8000.evil.example',
        'http://user@localhost:8000',
        'http://evil.example://localhost:8000',
        'localhost:8000',
        '',
    ],
)
@pytest.mark.parametrize('local', [True, False])
def test_post__of_another_origin_is_rejected(origin, local):
    assert ask('POST', local, host='localhost:8000', origin=origin)[0] == 403


def test_post__of_the_own_page_and_of_programs_is_served():
    assert ask('POST', host='localhost:8000', origin='http://localhost:8000')[0] == 200
    assert ask('POST', host='localhost:8000')[0] == 200


@pytest.mark.parametrize('fetch', ['cross-site no-cors', 'same-site cors', 'cross-site cors', 'cross-site'])
def test_get__embedded_by_another_site_is_rejected(fetch):
    assert ask(host='localhost', fetch=fetch)[0] == 403


@pytest.mark.parametrize('fetch', ['cross-site navigate', 'none navigate', 'same-origin cors', 'same-origin no-cors'])
def test_get__a_link_and_the_own_page_are_served(fetch):
    assert ask(host='localhost', fetch=fetch)[0] == 200
    foreign_form = ask('POST', host='localhost', origin='https://evil.example', fetch=fetch)
    assert foreign_form[0] == 403


def test_headers__are_added_and_the_apps_own_stay():
    headers = ask(host='localhost')[1]
    assert headers['cache-control'] == 'max-age=9'
    assert headers['x-content-type-options'] == 'nosniff'
    policy = headers['content-security-policy']
    assert "default-src 'none'" in policy and 'unsafe' not in policy and '*' not in policy


def test_is_loopback():
    assert all(map(is_loopback, ('127.0.0.1', '127.8.9.1', '::1', 'localhost')))
    assert not any(map(is_loopback, ('0.0.0.0', '::', '192.168.0.4', 'example.org', '')))
