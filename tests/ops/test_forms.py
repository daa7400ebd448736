"""What all operations have in common: operators of torch, threads, errors, orders of derivatives."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from multiace import ops
from multiace.basis.irreps import Irreps
from multiace.errors import InputError
from multiace.layers.activations import Activation
from multiace.ops import cpu
from multiace.ops.paths import gate_irreps, n_norm_weights
from tests.ops.operands import (
    GATES,
    N_NODES,
    PATHS,
    PRODUCTS,
    RECEIVERS,
    SENDERS,
    arguments,
    mlp_operands,
    plain_bessel,
    product_operands,
    random,
)


def test_gradients_that_nobody_asked_for_are_not_computed(monkeypatch):
    irreps = Irreps.parse("3x0e + 2x1o")
    x, W = random(4, 9, seed=1).requires_grad_(), random(1, 13, seed=2).requires_grad_()
    y = cpu.linear(x * 1.0, W * 1.0, None, irreps, irreps).square().sum()
    computed = []
    run = cpu.LINEAR.run
    monkeypatch.setattr(cpu.LINEAR, "run", lambda *inputs: (computed.append(inputs[2]), run(*inputs)))
    torch.autograd.grad(y, x)
    assert computed == [0]


def operands_of_convolution():
    paths = PATHS["natural"]
    tensors = [*arguments(paths)[:3], random(N_NODES, paths.irreps_out.dim, seed=4)]
    return tensors, (SENDERS, RECEIVERS, None, None, None, None, cpu.encode_paths(paths)), 3


def operands_of_linear():
    irreps = Irreps.parse("3x0e + 2x1o")
    tensors = [random(3, 9, seed=1), random(2, 13, seed=2), random(3, 9, seed=3)]
    return tensors, (torch.tensor([1, 0, 1]), 2, cpu.encode_irreps(irreps, irreps)), 2


def operands_of_product():
    paths = PRODUCTS["0e + 1o + 2e to 0e 1o 2e, 3"]
    tensors = [*product_operands(paths), random(3, 9, 2, seed=3)]
    return tensors, (torch.tensor([1, 0, 1]), 2, tensors[0].shape[2], cpu.encode_products(paths)), 2


def operands_of_mlp():
    tensors = [*mlp_operands([4, 9, 6]), random(7, 6, seed=3)]
    return tensors, (Activation("silu").scale, "silu", 4, [4, 9, 6]), 2


def operands_of_gate():
    irreps = Irreps.parse(GATES["all"])
    tensors = [random(3, gate_irreps(irreps).dim, seed=1), random(3, irreps.dim, seed=2)]
    scales = Activation("silu").scale, Activation("tanh", odd=True).scale
    return tensors, (*scales, "silu", "tanh", str(irreps)), 1


def operands_of_layer_norm():
    irreps = Irreps.parse(GATES["all"])
    W = random(1, n_norm_weights(irreps), seed=3)
    return [random(3, irreps.dim, seed=1), W, random(3, irreps.dim, seed=2)], (str(irreps),), 2


def operands_of_harmonics():
    return [random(5, 3, seed=1), random(5, 9, seed=2)], (2,), 1


def operands_of_bessel():
    return [random(5, seed=1).abs() + 0.1, random(5, 4, seed=2)], (4, 3.0, 6), 1


def operands_of_table():
    tensors = [random(5, seed=1).abs() + 0.1, random(2, 9, 2, 4, seed=3), random(5, 4, seed=2)]
    return tensors, (torch.tensor([0, 1, 1, 0, 1]), 0.5, 2, 9, 4), 2


FORMS = {
    "convolution": (cpu.CONVOLUTION, operands_of_convolution),
    "linear": (cpu.LINEAR, operands_of_linear),
    "product": (cpu.PRODUCT, operands_of_product),
    "mlp": (cpu.MLP, operands_of_mlp),
    "gate": (cpu.GATE, operands_of_gate),
    "layer norm": (cpu.LAYER_NORM, operands_of_layer_norm),
    "harmonics": (cpu.HARMONICS, operands_of_harmonics),
    "bessel": (cpu.BESSEL, operands_of_bessel),
    "table": (cpu.TABLE, operands_of_table),
}


@pytest.mark.parametrize(("form", "operands"), FORMS.values(), ids=FORMS)
def test_operators_pass_the_checks_of_torch_library(form, operands):
    tensors, constants, slot = operands()
    tensors = [tensor.requires_grad_() for tensor in tensors]
    torch.library.opcheck(form.operator, (tensors, *constants, slot))


@pytest.mark.parametrize(("form", "operands"), FORMS.values(), ids=FORMS)
def test_traced_operators_have_the_derivatives_of_the_eager_ones(form, operands):
    tensors, constants, slot = operands()
    inputs = [tensor.requires_grad_() for b, tensor in enumerate(tensors) if b != slot]
    results = []
    for function in (
        lambda: form.operator([*inputs, torch.empty(0)], *constants, slot),
        lambda: form(inputs, constants),
    ):
        first = torch.autograd.grad(function().pow(3).sum(), inputs, create_graph=True)
        results.append((first, torch.autograd.grad(sum(g.pow(2).sum() for g in first), inputs)))
    torch.testing.assert_close(*results, rtol=1e-11, atol=1e-11)


@pytest.fixture
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [2, 5], indirect=True)
@pytest.mark.parametrize("operands", [case[1] for case in FORMS.values()], ids=FORMS)
def test_several_threads_give_the_numbers_of_one(operands, threads):
    """Value, first and second derivatives of every form."""
    form = next(form for form, case in FORMS.values() if case is operands)
    tensors, constants, slot = operands()
    inputs = [tensor.requires_grad_() for b, tensor in enumerate(tensors) if b != slot]
    results = []
    for number in (threads, 1):
        torch.set_num_threads(number)
        value = form(inputs, constants)
        first = torch.autograd.grad(value.pow(3).sum(), inputs, create_graph=True)
        results.append((value, first, torch.autograd.grad(sum(g.pow(2).sum() for g in first), inputs)))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("form", "operands"), FORMS.values(), ids=FORMS)
def test_what_a_kernel_would_misread_is_refused(form, operands):
    tensors, constants, slot = operands()
    inputs = [tensor for b, tensor in enumerate(tensors) if b != slot]
    with pytest.raises(TypeError, match=r"must be float32, or all float64"):
        form([tensor.half() for tensor in inputs], constants)
    if len(inputs) > 1:
        with pytest.raises(TypeError, match=r"must be float32, or all float64"):
            form([inputs[0].float(), *inputs[1:]], constants)
        with pytest.raises(ValueError, match="has shape"):
            form([*inputs[:-1], inputs[-1][..., :-1]], constants)
    indices = [isinstance(c, torch.Tensor) and c.dtype == torch.int64 for c in constants]
    if any(indices):
        short = [c.int() if index else c for c, index in zip(constants, indices, strict=True)]
        with pytest.raises(TypeError, match="they must be int64"):
            form(inputs, short)


def test_fourth_derivatives_exist_and_fifth_ones_are_refused():
    r, results = torch.tensor([0.7, 1.3], dtype=torch.float64, requires_grad=True), []
    for function in (cpu.bessel, plain_bessel):
        derivative = function(r, 3, 3.0, 6).sum()
        for _ in range(4):
            (g,) = torch.autograd.grad(derivative, r, create_graph=True)
            derivative = g.sum()
        results.append(derivative)
        if function is cpu.bessel:
            with pytest.raises(NotImplementedError, match="beyond the fourth"):
                torch.autograd.grad(derivative, r)
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)


@pytest.mark.filterwarnings("ignore:.*functools.lru_cache.*:UserWarning")
def test_operations_are_seen_by_tracers():
    irreps = Irreps.parse("3x0e + 2x1o")
    x, W = random(4, 9, seed=1), random(1, 13, seed=2)
    expected = ops.linear(x, W, None, irreps, irreps)
    traced = make_fx(lambda x, W: ops.linear(x, W, None, irreps, irreps))(x, W)
    assert any("multiace.linear" in str(node.target) for node in traced.graph.nodes)
    torch.testing.assert_close(traced(2 * x, W), 2 * expected)
    compiled = torch.compile(ops.linear, backend="aot_eager")
    torch.testing.assert_close(compiled(x, W, None, irreps, irreps), expected)
    r = torch.zeros(0, dtype=torch.float64)
    assert cpu.BESSEL.operator([r, torch.empty((0,) * 5)], 3, 3.0, 6, 1).shape == (0, 3)


def test_unknown_choices_of_operations_are_refused(monkeypatch):
    monkeypatch.setenv("MULTIACE_OPS", "cuda")
    irreps = Irreps.parse("3x0e")
    with pytest.raises(InputError, match="MULTIACE_OPS = 'cuda' in the environment is not one of"):
        ops.linear(random(1, 3), random(1, 9), None, irreps, irreps)
