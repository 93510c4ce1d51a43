"""Downloads from a server on this machine that behaves as servers do, badly too."""

import hashlib
import json
import multiprocessing
from types import SimpleNamespace

import pytest

from mmseg_oneformer.zoo import download as module
from mmseg_oneformer.zoo.download import DownloadError, download


@pytest.fixture
def content(server):
    return server.rules.content


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_download__whole_file_and_nothing_beside_it(server, content, tmp_path):
    path = tmp_path / 'cache/model/weights.pth'
    download(server.url, path)
    assert path.read_bytes() == content
    assert names(path.parent) == ['weights.pth', 'weights.pth.lock']
    download(server.url, path)
    assert len(server.requests) == 1


def test_check_url__no_address():
    with pytest.raises(DownloadError, match='is not a web address'):
        module.check_url('https://[bad/a.pth')


def test_download__goes_on_where_it_broke_off(server, content, tmp_path):
    server.rules.cuts = [100_000, 150_000]
    download(server.url, tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').read_bytes() == content
    assert [requested for _, requested in server.requests] == [None, 'bytes=100000-', 'bytes=250000-']


def test_download__parts_that_end_before_the_file_are_no_file(server, content, tmp_path):
    server.rules.cuts, server.rules.most = [100_000], 90_000
    download(server.url, tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').read_bytes() == content
    assert [requested for _, requested in server.requests][1:] == [f'bytes={k}-' for k in (100_000, 190_000, 280_000)]


def test_download__chunks_of_fewer_bytes_than_announced_are_no_file(server, content, tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'ATTEMPTS', 1)
    server.rules.chunked, server.rules.cuts = True, [100_000]
    with pytest.raises(DownloadError, match='broke off after 100000 of 300000 bytes'):
        download(server.url, tmp_path / 'a.pth')
    assert not (tmp_path / 'a.pth').exists()


@pytest.mark.parametrize('kind', ['md5', 'sha256'])
def test_download__another_file_than_the_published_one_is_not_kept(server, content, tmp_path, kind):
    checksum = f'{kind}:{hashlib.new(kind, content).hexdigest()}'
    server.rules.content = content[::-1]
    with pytest.raises(DownloadError, match=f'its {kind} is .* and not the published ') as caught:
        download(server.url, tmp_path / 'a.pth', checksum=checksum)
    assert caught.value.final and names(tmp_path) == ['a.pth.lock']
    server.rules.content = content
    download(server.url, tmp_path / 'a.pth', checksum=checksum)
    assert (tmp_path / 'a.pth').read_bytes() == content


def test_download__next_call_goes_on_too(server, content, tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'ATTEMPTS', 1)
    server.rules.cuts = [100_000]
    with pytest.raises(DownloadError, match='broke off after 100000 of 300000 bytes'):
        download(server.url, tmp_path / 'a.pth')
    assert not (tmp_path / 'a.pth').exists()
    download(server.url, tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').read_bytes() == content
    assert server.requests[-1][1] == 'bytes=100000-'


def test_download__complete_part_needs_no_connection(server, content, tmp_path):
    (tmp_path / 'a.pth.part').write_bytes(content)
    state = {'url': server.url, 'validator': '"one"', 'size': len(content)}
    (tmp_path / 'a.pth.part.json').write_text(json.dumps(state))
    download(server.url, tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').read_bytes() == content and not server.requests


@pytest.mark.parametrize(
    'rules, requested', [({'ranges': False}, 'bytes=100000-'), ({'etag': None}, None), ({'etag': 'W/"weak"'}, None)]
)
def test_download__server_that_cannot_go_on_starts_again(server, content, tmp_path, rules, requested):
    """A weak ETag is the same for files that differ in bytes."""
    vars(server.rules).update(rules, cuts=[100_000])
    download(server.url, tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').read_bytes() == content
    assert [requested for _, requested in server.requests] == [None, requested]


@pytest.mark.parametrize('minds_if_range', [True, False])
def test_download__file_that_changed_in_between_is_not_mixed(server, content, tmp_path, monkeypatch, minds_if_range):
    monkeypatch.setattr(module, 'ATTEMPTS', 1)
    server.rules.cuts = [100_000]
    with pytest.raises(DownloadError, match='broke off'):
        download(server.url, tmp_path / 'a.pth')
    monkeypatch.setattr(module, 'ATTEMPTS', 4)
    server.rules.content = content[::-1]
    server.rules.etag, server.rules.minds_if_range = '"two"', minds_if_range
    download(server.url, tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').read_bytes() == content[::-1]


def test_download__part_longer_than_the_file_starts_again(server, content, tmp_path):
    (tmp_path / 'a.pth.part').write_bytes(content + b'more')
    (tmp_path / 'a.pth.part.json').write_text(json.dumps({'url': server.url, 'validator': '"one"', 'size': None}))
    download(server.url, tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').read_bytes() == content


def test_download__part_of_another_address_is_not_used(server, content, tmp_path):
    (tmp_path / 'a.pth.part').write_bytes(b'x' * 1000)
    (tmp_path / 'a.pth.part.json').write_text(json.dumps({'url': 'http://b', 'validator': '"one"', 'size': 300_000}))
    download(server.url, tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').read_bytes() == content


def test_download__busy_server_is_asked_again(server, content, tmp_path):
    server.rules.failures = [503, 429]
    download(server.url, tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').read_bytes() == content


@pytest.mark.parametrize(
    'rules, sentence, requests',
    [
        ({'failures': [404] * 9}, 'responds with 404 Not Found', 1),
        ({'failures': [500] * 9}, 'responds with 500', 4),
        ({'cuts': [0] * 9}, 'broke off after 0 of 300000 bytes', 4),
        ({'kind': 'text/html; charset=utf-8'}, 'a web page and no checkpoint', 1),
        ({'length': False}, 'does not say how long', 1),
    ],
)
def test_download__gives_up_with_a_reason(server, content, tmp_path, rules, sentence, requests):
    vars(server.rules).update(rules)
    with pytest.raises(DownloadError, match=sentence):
        download(server.url, tmp_path / 'a.pth')
    assert len(server.requests) == requests
    assert 'a.pth' not in names(tmp_path)


def test_download__full_disk_is_said_before(server, content, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, 'disk_usage', lambda folder: SimpleNamespace(free=200_000))
    with pytest.raises(DownloadError, match=r'0\.0 GB left and 0\.0 GB are needed'):
        download(server.url, tmp_path / 'a.pth')


def test_download__no_server_there(server, content, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(DownloadError, match='cannot be reached') as caught:
        download(server.url, tmp_path / 'a.pth')
    assert caught.value.final


def test_download__follows_redirects_but_not_to_other_schemes(server, content, tmp_path):
    server.rules.redirects = {'/here': '/weights.pth', '/there': 'ftp://127.0.0.1/etc/passwd'}
    base = server.url.removesuffix('/weights.pth')
    download(f'{base}/here', tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').read_bytes() == content
    with pytest.raises(DownloadError, match=r'ftp://.*/etc/passwd is rejected'):
        download(f'{base}/there', tmp_path / 'b.pth')


@pytest.mark.parametrize('url', ['http://a.org/x.pth', 'file:///etc/passwd', 'ftp://a.org/x', 'https://', 'x.pth'])
def test_download__only_https(tmp_path, url):
    with pytest.raises(DownloadError, match='only https addresses'):
        download(url, tmp_path / 'a')
    assert not names(tmp_path)


def test_download__https_does_not_turn_into_http(server, content, tmp_path, monkeypatch):
    # The handler is called directly: a server with a certificate would be needed to get there.
    monkeypatch.setattr(module, 'SCHEMES', ('https',))
    with pytest.raises(DownloadError, match='only https addresses'):
        module._SameSchemes().redirect_request(None, None, 302, 'Found', None, server.url)


def test_download__two_processes_ask_once(server, content, tmp_path):
    context = multiprocessing.get_context('fork')
    workers = [context.Process(target=download, args=(server.url, tmp_path / 'a.pth', False)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert (tmp_path / 'a.pth').read_bytes() == content
    assert len(server.requests) == 1
