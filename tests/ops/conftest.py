"""Implementations of the operations."""

import pytest

from multiace.ops import cpu, reference


@pytest.fixture(params=["reference", "cpu", "triton"])
def implementation(request, monkeypatch):
    """Each implementation; Triton's kernels run in its interpreter, backward passes too."""
    if request.param == "triton":
        pytest.importorskip("triton")
        monkeypatch.setenv("MULTIACE_OPS", "triton")
    return reference if request.param == "reference" else cpu


@pytest.fixture
def convolution(implementation):
    return implementation.convolution


@pytest.fixture
def symmetric_product(implementation):
    return implementation.symmetric_product
