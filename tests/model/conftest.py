"""Models here are many and small."""

import pytest


@pytest.fixture(autouse=True)
def _plain(plain_operations):
    pass


@pytest.fixture
def compiled(monkeypatch):
    """Run the kernels all the same."""
    monkeypatch.delenv("MULTIACE_OPS")
