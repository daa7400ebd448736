"""How much memory work takes."""

import numpy as np
import pytest
import torch

from multiace.memory import Growth


def growth(work):
    grown = Growth(torch.device("cpu"))
    work()
    return grown.most()


def test_memory_that_is_freed_again_is_seen():
    found = growth(lambda: np.ones(8_000_000).sum())
    if found is None:
        pytest.skip("this system does not tell")
    assert found == pytest.approx(64e6, rel=0.1)
    assert growth(lambda: None) < 1e6
