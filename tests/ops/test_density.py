"""The density of linear ACE and its radial functions: kernels against definitions, to the third derivative."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from multiace.graph import Graph
from multiace.graph.neighbors import build_graph
from multiace.ops import ProductBlocks, cpu, reference
from multiace.ops.forms import Form
from tests.potentials import crystal, methanol

BLOCKS: dict[str, ProductBlocks] = {
    "the same for each l": tuple((lm, 0, 3) for lm in range(9)),
    "of each l": tuple((lm, 11 * int(lm**0.5), 11) for lm in range(4)),
    "more with l = 0": (*((lm, 0, 17) for lm in range(4)), (0, 17, 2)),
}
SIZES = {"the same for each l": (9, 3), "of each l": (4, 22), "more with l = 0": (4, 19)}


def batch() -> Graph:
    return Graph.batch([build_graph(atoms, ["H", "C", "O"], 3.0) for atoms in (methanol(), crystal())])


def derivatives(function: Callable[..., Tensor], arguments: Sequence[Tensor]) -> list[Tensor]:
    """Value and three derivatives, each of a number that depends on all of those before."""
    value = function(*arguments)
    found, total = [value], value.sin().sum()
    for order in range(3):
        gradients = torch.autograd.grad(total, arguments, create_graph=order < 2, materialize_grads=True)
        found += gradients
        total = sum(gradient.square().sum() for gradient in gradients)
    return found


def compare(
    fast: Callable[..., Tensor], plain: Callable[..., Tensor], arguments: Sequence[Tensor], tolerance: float
) -> None:
    for found, expected in zip(derivatives(fast, arguments), derivatives(plain, arguments), strict=True):
        scale = expected.abs().max().clamp(min=1e-30) if expected.numel() else 1.0
        torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("one_hot", [True, False])
@pytest.mark.parametrize("name", BLOCKS)
def test_the_kernel_of_the_density_is_the_definition(
    name: str, one_hot: bool, shared: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    graph, (n_Y, n_R) = batch(), SIZES[name]
    h = torch.eye(3, dtype=dtype)[graph.species] if one_hot else torch.randn(graph.n_nodes, 3, dtype=dtype)
    Y = torch.randn(graph.n_edges, n_Y, dtype=dtype)
    R = torch.randn(graph.n_edges // 2 if shared else graph.n_edges, n_R, dtype=dtype)
    pairs = graph.pairs if shared else None

    def of(module: object) -> Callable[..., Tensor]:
        return lambda h, Y, R: module.density(
            h, Y, R, graph.senders, graph.receivers, BLOCKS[name], pairs, graph.order
        )

    arguments = [tensor.requires_grad_() for tensor in (h, Y, R)]
    compare(of(cpu), of(reference), arguments, 1e-12 if dtype is torch.float64 else 1e-4)


def test_an_atom_alone_has_no_density() -> None:
    graph = build_graph(methanol()[[0]], ["H", "C", "O"], 3.0)
    h, Y, R = torch.ones(1, 3), torch.ones(0, 9), torch.ones(0, 3)
    edges = (graph.senders, graph.receivers, BLOCKS["the same for each l"], graph.pairs, graph.order)
    for module in (cpu, reference):
        assert not module.density(h, Y, R, *edges).any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("powers", [4, 8, 10])
@pytest.mark.parametrize("pairs_of_elements", [True, False])
def test_the_kernel_of_pieces_is_the_definition(
    pairs_of_elements: bool, powers: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    graph = batch()
    tables = torch.randn(9 if pairs_of_elements else 1, 7, powers, 5, dtype=dtype)
    species = graph.species if pairs_of_elements else None
    edges = (2.7, species, graph.senders, graph.receivers, graph.pairs)  # some pairs are farther apart
    assert 0 < (graph.edge_lengths() > 2.7).sum() < graph.n_edges
    vectors = graph.edge_vectors().to(dtype).requires_grad_()
    tolerance = 1e-11 if dtype is torch.float64 else 1e-3
    compare(
        lambda v: cpu.piecewise(v, tables, *edges),
        lambda v: reference.piecewise(v, tables, *edges),
        [vectors],
        tolerance,
    )


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    torch.manual_seed(0)
    graph, (n_Y, n_R) = batch(), SIZES["more with l = 0"]
    arguments = [
        torch.randn(*shape, requires_grad=True)
        for shape in ((graph.n_nodes, 3), (graph.n_edges, n_Y), (graph.n_edges // 2, n_R))
    ]
    edges = (graph.senders, graph.receivers, BLOCKS["more with l = 0"], graph.pairs, graph.order)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(derivatives(lambda h, Y, R: cpu.density(h, Y, R, *edges), arguments))
    finally:
        torch.set_num_threads(before)
    for values in zip(*found, strict=True):
        assert all(torch.equal(value, values[0]) for value in values)


def test_the_forms_are_operators_of_pytorch() -> None:
    torch.manual_seed(0)
    graph, (n_Y, n_R) = batch(), SIZES["of each l"]
    h, Y = torch.randn(graph.n_nodes, 3, requires_grad=True), torch.randn(graph.n_edges, n_Y)
    R = torch.randn(graph.n_edges // 2, n_R, requires_grad=True)
    text = cpu.encode_blocks(BLOCKS["of each l"])
    constants = (graph.senders, *graph.pairs, *graph.order, 3, n_Y, n_R, text)
    form: Form = cpu.DENSITY
    torch.library.opcheck(form.operator, ([h, Y, R, h.new_empty((0,) * 5)], *constants, 3))
    tables, vectors = torch.randn(9, 7, 8, 5), graph.edge_vectors().float().requires_grad_()
    constants = (tables, graph.species, graph.senders, graph.receivers, graph.pairs[0], 2.7, 3, 7, 8, 5)
    form = cpu.PIECEWISE
    torch.library.opcheck(form.operator, ([vectors, vectors.new_empty((0,) * 5)], *constants, 1))
