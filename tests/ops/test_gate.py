"""Gates against their definition."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from multiace.basis.irreps import Irreps
from multiace.layers.activations import ACTIVATIONS, ODD_ACTIVATIONS, Activation
from multiace.ops import cpu, reference
from multiace.ops.paths import gate_irreps
from tests.ops.operands import GATES, every_gated, random

every_gate = pytest.mark.parametrize("gate", [reference.gate, cpu.gate], ids=["reference", "cpu"])


@every_gate
def test_gate_order_of_scalars_gates_and_blocks(gate):
    irreps = Irreps.parse("1x0e + 2x1o + 1x0o + 1x2e")
    even, odd = Activation("silu"), Activation("tanh", odd=True)
    x = random(3, gate_irreps(irreps).dim)
    scalar, gates = even(x[:, :1]), even(x[:, 1:4])
    vectors = (x[:, 4:10].view(3, 3, 2) * gates[:, None, :2]).flatten(1)
    expected = torch.cat([scalar, vectors, odd(x[:, 10:11]), x[:, 11:] * gates[:, 2:]], dim=1)
    torch.testing.assert_close(gate(x, irreps, even, odd), expected, rtol=1e-14, atol=1e-14)


@every_gated
@pytest.mark.parametrize("name", cpu.ACTIVATIONS)
def test_gradients_of_gate_are_those_of_its_definition(irreps, name):
    """Up to the third."""
    even = Activation(name if name in ACTIVATIONS else "silu")
    odd = Activation(name if name in ODD_ACTIVATIONS else "tanh", odd=True)
    x, results = (3.0 * random(4, gate_irreps(irreps).dim, seed=1)).requires_grad_(), []
    for function in (cpu.gate, reference.gate):
        y = function(x, irreps, even, odd)
        gradients = [y]
        for order in range(3):
            total = (
                (gradients[-1] * gradients[-1].tanh() + gradients[-1]).sum()
                if order
                else (y * y.tanh()).sum()
            )
            (g,) = torch.autograd.grad(total, x, create_graph=True)
            gradients.append(g / g.detach().abs().max())
        results.append(gradients)
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


@every_gate
@every_gated
def test_derivatives_of_gate(gate, irreps):
    even, odd = Activation("silu"), Activation("tanh", odd=True)
    x = random(2, gate_irreps(irreps).dim, seed=1).requires_grad_()
    assert gradcheck(lambda x: gate(x, irreps, even, odd), x, fast_mode=True)
    assert gradgradcheck(lambda x: gate(x, irreps, even, odd), x, fast_mode=True)


@every_gate
def test_gate_of_no_atoms_and_in_float32(gate):
    irreps, even, odd = Irreps.parse(GATES["all"]), Activation("silu"), Activation("tanh", odd=True)
    x = random(9, gate_irreps(irreps).dim)
    assert gate(x[:0], irreps, even, odd).shape == (0, irreps.dim)
    expected = reference.gate(x, irreps, even, odd).float()
    torch.testing.assert_close(gate(x.float(), irreps, even, odd), expected, rtol=1e-5, atol=1e-6)
