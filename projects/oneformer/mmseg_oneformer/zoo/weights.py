"""Weights by name: shipped with the package, in the local cache, or downloaded.

Decisions:
* Nothing is downloaded unless the caller wants to run a model: not on import, not for a list.
* The cache keeps the published files as they are, ``<cache>/<model>/<file>``: a file is converted when it is read,
  which is quick, and one that was brought by hand is as good as a downloaded one.
* A downloaded file has to have the published checksum, where there is one: other weights would give other scores.
* The SHA-256 of a file is recorded at its first use and checked at every later one.
"""

import hashlib
import os
import re
import urllib.parse
from pathlib import Path

from mmengine.logging import print_log

from ..errors import MissingFileError, NetworkError, UserError
from ..files import file_digest, shorten, user_path, write_atomic
from .configs import find_config, list_models, weights_root
from .download import DownloadError, check_url, download
from .metafile import ZooModel, read_zoo
from .model_file import is_model_file
from .work_dirs import WORK_DIRS, latest_checkpoint

CACHE_VARIABLE = 'MMSEG_ONEFORMER_CACHE'


def cache_root() -> Path:
    """Return the folder of downloaded weights: that of ``MMSEG_ONEFORMER_CACHE``, else the user's cache folder."""
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return user_path(own)
    return Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser() / 'mmseg_oneformer'


def find_weights(name: str | os.PathLike[str], download: bool = False) -> Path | None:
    """Return the weights of a model: those that are shipped, else those in the cache, else downloaded ones.

    Args:
        name: Name of a model, path of its config, or of a file that is a whole model.
        download: Get published weights that are not in the cache. Without it no connection is made.

    Returns:
        The file, or None if there is none.

    Raises:
        UserError: There is no such model, or the cached file is not what it was.
        ConnectionError: The weights cannot be downloaded; the message says where to get them by hand.
    """
    if is_model_file(name):
        return Path(name)
    name = find_config(name).stem
    shipped = weights_root() / f'{name}.safetensors'
    if shipped.is_file():
        return shipped
    model = read_zoo().get(name)
    if model is None or not model.urls:
        return None
    path = _cached(model)
    if not path.is_file():
        if not download:
            return None
        _download(model, path)
    _check_record(path)
    return path


def resolve_weights(source: str | os.PathLike[str], download: bool = True) -> Path:
    """Return the file that ``source`` stands for.

    Args:
        source: Path of a file, or of a folder of ``transformers``; an https address; or the name of a model.
        download: Get what is neither shipped nor cached.

    Raises:
        FileNotFoundError: A path that does not exist.
        UserError: No such model, or one without weights.
        ConnectionError: A download failed.
    """
    text, path = str(source), user_path(source)
    if path.exists():
        return path
    if '://' in text:
        return _from_url(text, download)
    if path.suffix or len(path.parts) > 1:
        raise missing_checkpoint(path)
    found = find_weights(text, download)
    if found is None:
        raise missing_weights(text)
    return found


def missing_checkpoint(path: str | os.PathLike[str]) -> MissingFileError:
    """Return the error for a path where no weights are; it names the latest checkpoint beside it, if there is one."""
    return MissingFileError(f'There is no checkpoint at {path}; {_remedy(Path(path).parent, "check the path")}.')


def missing_weights(model: str) -> UserError:
    """Return the error for a model without weights; it names the latest checkpoint of its training, if there is one."""
    remedy = _remedy(WORK_DIRS / Path(model).stem, 'give the path of its weights')
    return UserError(f'No weights are shipped or published for {model}; {remedy}.')


def _remedy(work_dir: Path, otherwise: str) -> str:
    found = latest_checkpoint(work_dir)
    return otherwise if found is None else f'there is {found}: give that'


def weights_states() -> dict[str, str]:
    """Return where the weights of each model are: 'included', 'cached', 'downloadable', or '-' if nowhere."""
    zoo = read_zoo()

    def state(name: str) -> str:
        if (weights_root() / f'{name}.safetensors').is_file():
            return 'included'
        if name not in zoo or not zoo[name].urls:
            return '-'
        return 'cached' if _cached(zoo[name]).is_file() else 'downloadable'

    return {name: state(name) for name in list_models()}


def _cached(model: ZooModel) -> Path:
    return cache_root() / model.name / model.file_name


def _download(model: ZooModel, path: Path) -> None:
    """Get the published file from the first place that has it."""
    reasons = []
    for url in model.urls:
        print_log(f'Downloading the weights of {model.name} from {url} to {path}.')
        try:
            download(url, path, checksum=model.checksum)
        except DownloadError as error:
            reasons.append(f'{url} ({error})')
            continue
        return
    raise NetworkError(
        f'The weights of {model.name} could not be downloaded: {", ".join(reasons)}; get the file by other means and '
        f'put it at {path}, or give the path of its weights.'
    )


def _from_url(url: str, fetch: bool) -> Path:
    """Return the cached copy of any address."""
    check_url(url)
    name = shorten(re.sub(r'[^\w.-]', '_', urllib.parse.urlsplit(url).path.rpartition('/')[2]))
    path = cache_root() / 'urls' / f'{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}'
    if not path.is_file():
        if not fetch:
            raise MissingFileError(f'{url} was not downloaded yet; give the path of the file.')
        print_log(f'Downloading {url} to {path}.')
        try:
            download(url, path)
        except DownloadError as error:
            raise NetworkError(
                f'{url} could not be downloaded: {error}; get it by other means and give its path.'
            ) from error
    _check_record(path)
    return path


def _check_record(path: Path) -> None:
    """Record a file's SHA-256, as ``sha256sum`` writes it, if that was not done yet; compare it otherwise."""
    record = path.with_name(f'{path.name}.sha256')
    found = file_digest(path)
    if not record.is_file():
        try:
            write_atomic(record, f'{found}  {path.name}\n')
        except OSError as error:  # A cache that several users share may be read-only.
            print_log(f'The checksum of {path} cannot be recorded ({error.strerror}): changes will go unnoticed.')
    elif record.read_text().split()[:1] != [found]:
        raise UserError(
            f'{path} is not the file that was used first: its SHA-256 is {found[:12]}... and not what {record.name} '
            'says; delete the file to download it again, or the record if you replaced it on purpose.'
        )
