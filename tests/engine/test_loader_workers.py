"""What ends while a batch is on its way from a loader worker is told in a sentence, or is a bug."""

import pytest
from torch.utils.data import DataLoader

from mmseg_oneformer.engine.loader_workers import Batches
from mmseg_oneformer.errors import NetworkError, UserError


def batches(error):
    """Batches whose next one raises an error."""
    found = Batches(DataLoader([0, 1]))

    class Failing:
        def __next__(self):
            raise error

    found._batches = Failing()
    return found


@pytest.mark.parametrize('error', [ConnectionResetError(104, 'Connection reset by peer'), EOFError()])
def test_batches__a_worker_that_dies_while_it_passes_on_a_batch(error):
    with pytest.raises(UserError, match=r'A loader worker died \(.*Error while it passed on a batch\).*--resume'):
        next(batches(error))


@pytest.mark.parametrize(
    'error',
    [
        ConnectionError('Caught ConnectionError in DataLoader worker process 0.\nOriginal Traceback ...'),
        NetworkError('no network'),
        KeyError('bug'),
    ],
)
def test_batches__what_a_data_set_raises_stays_what_it_is(error):
    with pytest.raises(type(error)) as raised:
        next(batches(error))
    assert raised.value is error
