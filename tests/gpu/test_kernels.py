"""What a GPU computes, against the definitions on the CPU."""

from itertools import zip_longest

import pytest
import torch

from multiace import ops
from multiace.ops import reference
from tests.ops.operands import (
    arguments,
    every_map,
    every_path_table,
    every_product_table,
    linear_operands,
    product_operands,
    random,
)

TOLERANCES = {torch.float64: 1e-10, torch.float32: 2e-4}
every_dtype = pytest.mark.parametrize("dtype", TOLERANCES, ids=str)


def derivatives(function, operands, order=3):
    """The value, and the gradients of random sums of gradients, to an order; each by its largest number."""
    operands = [operand.detach().requires_grad_() for operand in operands]
    results, found = [], [function(*operands)]
    for k in range(order + 1):
        results += [x.detach().cpu().double() / max(float(x.detach().abs().max()), 1e-300) for x in found]
        total = sum(
            (x * random(*x.shape, seed=10 * k + n).to(x)).sum()
            for n, x in enumerate(found)
            if x.requires_grad
        )
        if k == order or not torch.is_tensor(total) or not total.requires_grad:
            return results
        found = torch.autograd.grad(total, operands, create_graph=True, materialize_grads=True)
    return results


def assert_same(name, operands, constants, dtype):
    device = [x.cuda() if torch.is_tensor(x) else x for x in constants]
    ours = derivatives(lambda *a: getattr(ops, name)(*a, *device), [x.to("cuda", dtype) for x in operands])
    theirs = derivatives(lambda *a: getattr(reference, name)(*a, *constants), operands)
    assert len(ours) >= len(theirs) > len(operands)
    for one, other in zip_longest(ours, theirs):  # the definition's graph ends where derivatives are 0
        expected = torch.zeros_like(one) if other is None else other
        torch.testing.assert_close(one, expected, rtol=0, atol=TOLERANCES[dtype])


@every_dtype
@every_path_table
def test_convolution(paths, dtype):
    h, Y, R, *constants = arguments(paths)
    assert_same("convolution", (h, Y, R), constants, dtype)


@every_dtype
@every_product_table
def test_symmetric_product(paths, dtype):
    A, W = product_operands(paths, channels=19)
    if W.numel():
        assert_same("symmetric_product", (A, W), (torch.tensor([1, 0, 1]), paths), dtype)


@every_dtype
@every_map
def test_linear(maps, dtype):
    x, W = linear_operands(maps, 3)
    assert_same("linear", (x, W), (torch.tensor([2, 0, 0, 2, 2, 0]), *maps), dtype)
