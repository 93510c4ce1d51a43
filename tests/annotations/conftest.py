import pytest
from hypothesis.configuration import set_hypothesis_home_dir


@pytest.fixture(scope='session', autouse=True)
def _home(tmp_path_factory):
    set_hypothesis_home_dir(str(tmp_path_factory.mktemp('hypothesis')))  # Else it makes a folder in the checkout.
