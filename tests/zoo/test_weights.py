import hashlib
from pathlib import Path

import pytest

from mmseg_oneformer.apis import OneFormerInferencer
from mmseg_oneformer.zoo import weights
from mmseg_oneformer.zoo.configs import find_config
from mmseg_oneformer.zoo.metafile import ZooModel, read_zoo
from mmseg_oneformer.zoo.weights import find_weights, resolve_weights

QUICKSTART = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
PUBLISHED = 'oneformer_r50_8xb2-50e_coco-1024x1024'
"""A model of the checkout that the tests give weights on their own server."""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('MMSEG_ONEFORMER_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.fixture
def publish(server, cache, monkeypatch):
    """Give ``PUBLISHED``, or the model of another config, weights at an address of the test server."""

    def publish(name=PUBLISHED, **fields):
        model = ZooModel(name, 'x.py', 'COCO', 1, {}, '', server.url, None, None)._replace(**fields)
        monkeypatch.setattr(weights, 'read_zoo', lambda: {name: model})
        return cache / name / 'weights.pth'

    return publish


@pytest.fixture
def content_sha256(server):
    return hashlib.sha256(server.rules.content).hexdigest()


def test_cache_root__environment_and_default(monkeypatch, tmp_path):
    monkeypatch.delenv('MMSEG_ONEFORMER_CACHE', raising=False)
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    monkeypatch.setenv('HOME', str(tmp_path))
    assert weights.cache_root() == tmp_path / '.cache/mmseg_oneformer'
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'xdg'))
    assert weights.cache_root() == tmp_path / 'xdg/mmseg_oneformer'
    monkeypatch.setenv('MMSEG_ONEFORMER_CACHE', '~/own')
    assert weights.cache_root() == tmp_path / 'own'


def test_find_weights__shipped_ones_need_no_cache(cache):
    shipped = find_weights(QUICKSTART, download=True)
    assert shipped == find_weights(find_config(QUICKSTART)) and shipped.suffix == '.safetensors'
    assert not cache.exists()


def test_find_weights__no_connection_unless_asked(publish, server, cache):
    publish()
    assert find_weights(PUBLISHED) is None
    assert weights.weights_states()[PUBLISHED] == 'downloadable'
    assert not server.requests and not cache.exists()


def test_find_weights__downloaded_once_and_recorded(publish, server, content_sha256):
    path = publish()
    assert find_weights(PUBLISHED, download=True) == path
    assert path.read_bytes() == server.rules.content
    assert (path.parent / 'weights.pth.sha256').read_text() == f'{content_sha256}  weights.pth\n'
    assert find_weights(PUBLISHED) == path and find_weights(PUBLISHED, download=True) == path
    assert len(server.requests) == 1
    assert weights.weights_states()[PUBLISHED] == 'cached'


def test_find_weights__brought_by_hand(publish, server):
    path = publish()
    path.parent.mkdir(parents=True)
    path.write_bytes(b'by hand')
    assert find_weights(PUBLISHED, download=True) == path and not server.requests
    assert (path.parent / 'weights.pth.sha256').is_file()


def test_find_weights__changed_file_is_rejected(publish):
    path = publish()
    find_weights(PUBLISHED, download=True)
    path.write_bytes(b'something else')
    with pytest.raises(ValueError, match=r'not the file that was used first.*delete the file to download it again'):
        find_weights(PUBLISHED)
    (path.parent / 'weights.pth.sha256').unlink()
    assert find_weights(PUBLISHED) == path


def test_find_weights__read_only_cache(publish, monkeypatch, capsys):
    path = publish()
    path.parent.mkdir(parents=True)
    path.write_bytes(b'by hand')

    def reject(*args):
        raise PermissionError(13, 'Permission denied', str(path))

    monkeypatch.setattr(weights, 'write_atomic', reject)
    assert find_weights(PUBLISHED) == path
    assert 'cannot be recorded (Permission denied)' in capsys.readouterr().out


def test_find_weights__another_file_than_the_published_one_is_an_error(publish, server):
    md5 = hashlib.md5(server.rules.content, usedforsecurity=False).hexdigest()
    path = publish(checksum=f'md5:{"0" * 32}')
    with pytest.raises(
        ConnectionError, match=f'its md5 is {md5} and not the published 000.*get the file by other means'
    ):
        find_weights(PUBLISHED, download=True)
    assert not path.exists() and find_weights(PUBLISHED) is None
    path = publish(checksum=f'md5:{md5}')
    assert find_weights(PUBLISHED, download=True) == path


def test_find_weights__mirror_where_the_first_place_fails(publish, server, cache, monkeypatch):
    monkeypatch.setattr('mmseg_oneformer.zoo.metafile.HUB', server.url.replace('weights.pth', '{repository}/{file}'))
    path = publish(weights=server.url.replace('weights', 'gone/weights'), hub='group/repo')
    server.rules.failures = [404]
    assert find_weights(PUBLISHED, download=True) == path
    assert [requested for requested, _ in server.requests] == ['/gone/weights.pth', '/group/repo/weights.pth']


def test_find_weights__offline_says_what_to_do(publish, server, capsys):
    path = publish()
    server.shutdown()
    server.server_close()
    with pytest.raises(ConnectionError) as caught:
        find_weights(PUBLISHED, download=True)
    sentence = str(caught.value)
    assert 'cannot be reached' in sentence and f'get the file by other means and put it at {path}' in sentence
    assert sentence.count('\n') == 0 and sentence.count('127.0.0.1') == 1


def test_resolve_weights__paths_names_and_addresses(publish, server, cache, tmp_path, monkeypatch):
    path = publish()
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'own.pth').touch()
    assert resolve_weights('~/own.pth') == resolve_weights(tmp_path / 'own.pth') == tmp_path / 'own.pth'
    assert resolve_weights(tmp_path / 'folder') == tmp_path / 'folder'
    assert resolve_weights(PUBLISHED) == path
    assert resolve_weights(QUICKSTART).suffix == '.safetensors'
    fetched = resolve_weights(f'{server.url}?download=../../../evil.pth')
    assert fetched.parent == cache / 'urls' and fetched.name.endswith('-weights.pth')
    assert fetched.read_bytes() == server.rules.content
    assert resolve_weights(f'{server.url}?download=../../../evil.pth', download=False) == fetched


@pytest.mark.parametrize(
    'source, error, sentence',
    [
        ('nowhere.pth', FileNotFoundError, r'no checkpoint at nowhere\.pth'),
        ('folder/nowhere', FileNotFoundError, 'no checkpoint at folder/nowhere'),
        ('oneformer_r51_coco', ValueError, 'neither a config file nor the name of a model'),
        ('oneformer_swin-t_8xb2-50e_coco-1024x1024', ValueError, 'No weights are shipped or published'),
        ('ftp://a.org/x.pth', ConnectionError, 'ftp://a.org/x.pth is rejected'),
    ],
)
def test_resolve_weights__mistakes(publish, source, error, sentence):
    publish()
    with pytest.raises(error, match=sentence):
        resolve_weights(source)


def test_resolve_weights__address_offline(publish, server):
    server.rules.failures = [404]
    with pytest.raises(
        ConnectionError,
        match=r'weights.pth could not be downloaded: the server responds with 404.*; get it by other means and give',
    ):
        resolve_weights(server.url)
    with pytest.raises(FileNotFoundError, match='was not downloaded yet'):
        resolve_weights(server.url, download=False)


def test_inferencer__by_name_with_published_weights(tiny_model, publish, server, make_photo):
    config, checkpoint = tiny_model
    server.rules.content = Path(checkpoint).read_bytes()
    path = publish(config.stem)
    by_name = OneFormerInferencer(config, device='cpu')(make_photo(), tasks='semantic', channel_order='bgr')
    assert path.is_file()
    given = OneFormerInferencer(config, checkpoint, device='cpu')(make_photo(), tasks='semantic', channel_order='bgr')
    assert (by_name.semantic == given.semantic).all()


def test_inferencer__no_weights_anywhere(publish):
    publish()
    with pytest.raises(ValueError, match='No weights are shipped or published for oneformer_swin-t'):
        OneFormerInferencer('oneformer_swin-t_8xb2-50e_coco-1024x1024', device='cpu')


def test_published_files__have_a_place_of_their_own(cache):
    """No two models share a file of the cache, and no file name leaves its folder."""
    paths = [weights._cached(model) for model in read_zoo().values() if model.urls]
    assert len(paths) == len(set(paths)) > 20
    assert all(path.parent.parent == cache and path.suffix in ('.pth', '.bin') for path in paths)


def test_resolve_weights__names_the_checkpoint_of_a_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = 'oneformer_swin-t_8xb2-50e_coco-1024x1024'
    folder = Path('work_dirs') / name
    folder.mkdir(parents=True)
    for iteration in (90, 800):
        (folder / f'iter_{iteration}.pth').touch()
    with pytest.raises(ValueError, match=rf'No weights .* for {name}; there is {folder}/iter_800\.pth: give that\.'):
        resolve_weights(name)
    with pytest.raises(FileNotFoundError, match=rf'no checkpoint at {folder}/last\.pth; there is {folder}/iter_800\.p'):
        resolve_weights(folder / 'last.pth')
