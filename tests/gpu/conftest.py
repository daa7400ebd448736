"""Only where PyTorch sees a GPU."""

import pytest
import torch

from tests.train.conftest import data, run  # noqa: F401


@pytest.fixture(autouse=True)
def _needs_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU")
