"""Tests that need a GPU; elsewhere its kernels run in Triton's interpreter (tests/ops)."""
