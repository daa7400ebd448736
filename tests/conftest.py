"""Settings of all tests."""

import os
import signal

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)  # tensors are tiny here, and pytest-xdist uses the other cores
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a script; tests raise it
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Before Triton is imported: without a GPU its kernels run in the interpreter.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture
def plain_operations(monkeypatch):
    """Run the definitions of the operations: compiling kernels for a hundred small models takes minutes."""
    monkeypatch.setenv("MULTIACE_OPS", "reference")
