"""The A-basis: equivariance, what full coupling spans, and what sums over neighbours are divided by."""

import pytest
import torch

from multiace.basis.irreps import Irreps
from multiace.layers.density import (
    DENSITIES,
    NEIGHBOR_NORMS,
    ChannelwiseDensity,
    FixedNorm,
    FullDensity,
    LearnedNorm,
)
from multiace.layers.embedding import OneHotEmbedding
from tests.layers.structure import N_NODES, graph, harmonics, radial, without_edges
from tests.rotations import orthogonal, turn

IN = Irreps.parse("3x0e + 2x1o + 1x1e")
OUT = Irreps.parse("2x0e + 3x1o + 2x2e + 1x0o")
L_MAX = 2
ELEMENTS = OneHotEmbedding(3, 0).double()
RADIAL = {
    "num_radial": 3,
    "embedding_dim": 3,
    "species": "pair",
    "widths": (5,),
    "activation": "silu",
    "bias": False,
}
LINEAR_RADIAL = {**RADIAL, "species": "none", "widths": ()}


def radial_weights(density, at):
    return density.radial_network(radial(at), ELEMENTS.table, at)


every_density = pytest.mark.parametrize("kind", DENSITIES)


@pytest.fixture(autouse=True)
def _plain(plain_operations):
    pass


def build(kind: str, radial_options: dict = RADIAL) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DENSITIES[kind](IN, OUT, L_MAX, radial_options, FixedNorm(2.0)).double()


def features() -> torch.Tensor:
    return torch.randn(N_NODES, IN.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def evaluate(density, h, at):
    return density(h, harmonics(at, L_MAX), radial_weights(density, at), at)


@every_density
@pytest.mark.parametrize("determinant", [1, -1], ids=["rotation", "reflection"])
def test_densities_turn_with_the_structure(kind, determinant):
    density, h, Q = build(kind), features(), orthogonal(0, determinant)
    A, turned = evaluate(density, h, graph()), evaluate(density, turn(h, IN, Q), graph(Q))
    torch.testing.assert_close(turned, turn(A, OUT, Q), rtol=1e-10, atol=1e-10)
    for part in OUT.slices().values():
        assert A[:, part].abs().max() > 1e-3


@every_density
def test_an_atom_without_neighbours_has_no_density(kind):
    A = evaluate(build(kind), features(), without_edges(graph()))
    assert A.shape == (N_NODES, OUT.dim)
    assert not A.any()


@every_density
def test_densities_sum_over_neighbours(kind):
    """Atom 0 sees what it sees of each of its neighbours alone."""
    density, h, at = build(kind), features(), graph()
    Y, R = harmonics(at, L_MAX), radial_weights(density, at)
    total = density(h, Y, R, at)[0]
    parts = torch.zeros_like(total)
    for neighbour in (1, 2, 3):
        only = h * 0.0
        only[neighbour] = h[neighbour]
        parts += density(only, Y, R, at)[0]
    torch.testing.assert_close(total, parts)


def test_full_coupling_spans_channelwise_coupling():
    """R_kk'η = W_kk'η R_k'η gives the same A, for any weights of the channelwise density."""
    channelwise, full = build("channelwise", LINEAR_RADIAL), build("full", LINEAR_RADIAL)
    assert isinstance(channelwise, ChannelwiseDensity)
    assert isinstance(full, FullDensity)
    full.linear_up.load_state_dict(channelwise.linear_up.state_dict())
    radial_weights = channelwise.radial_network.mlp.matrices()[0]  # (num_radial, (group, path, k'))
    blocks = []
    for mul, irrep in OUT:
        mixing = channelwise.linear.matrices()[irrep]  # ((group, path, k'), k)
        n = len(mixing)
        columns = torch.cat(
            [radial_weights[:, g.weights] for g in channelwise.paths.groups if g.irrep_out == irrep], dim=1
        )
        assert columns.shape[1] == n
        # Both divide by sqrt(n): channelwise in its linear map, full after its sum over (path, k').
        blocks.append((columns[:, :, None] * mixing).reshape(len(radial_weights), n * mul))
    with torch.no_grad():
        full.radial_network.mlp.matrices()[0].copy_(torch.cat(blocks, dim=1))
    h, at = features(), graph()
    torch.testing.assert_close(evaluate(full, h, at), evaluate(channelwise, h, at), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"), [("mean", 9.0), ("sqrt", 3.0), ("none", 1.0), ("learned", 9.0)]
)
def test_neighbour_norms_divide_by_what_they_say(name, expected):
    A = torch.tensor([1.0, -4.0], dtype=torch.float64)
    torch.testing.assert_close(NEIGHBOR_NORMS[name](9.0).double()(A), A / expected, rtol=1e-15, atol=0)


def test_each_neighbour_norm_is_tested():
    assert set(NEIGHBOR_NORMS) == {"mean", "sqrt", "none", "learned"}


def test_only_the_learned_norm_is_trained_and_it_stays_positive():
    assert not list(NEIGHBOR_NORMS["mean"](9.0).parameters())
    norm = LearnedNorm(9.0)
    (parameter,) = norm.parameters()
    norm(torch.ones(1)).sum().backward()
    assert parameter.grad.item() == pytest.approx(-1 / 9)
    with torch.no_grad():
        parameter.sub_(100.0)
    assert norm(torch.ones(1)) > 0
