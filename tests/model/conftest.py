"""Models here are many and small."""

import pytest


@pytest.fixture(autouse=True)
def _plain(plain_operations):
    pass
