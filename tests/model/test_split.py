"""Energies are split exactly: by order, by readout, and by groups of what edges contribute."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms

from multiace.errors import InputError
from multiace.graph import Graph
from multiace.graph.neighbors import build_graph
from multiace.layers.complete import CompleteProduct
from multiace.layers.density import FixedNorm
from multiace.model import PRESETS, ModelConfig, Potential, Statistics, split
from multiace.model.potential import Prediction
from multiace.model.scaled import ScaledEdges
from multiace.model.split import SPLITS, Split, by_group, by_layer, by_order, highest_order, powers
from tests.model.design_space import COMBINATIONS, CUTOFF, shrink
from tests.potentials import crystal, methanol

pytestmark = pytest.mark.usefixtures("plain_operations")

LINEAR = {"readout_width": 0}
SHAPES = (
    "full, correlation=2",
    "complete, R of pairs",
    "complete, continuous",
    "both parities, correlation=2",
)
SMALL_ACE = {"l_max": 2, "num_radial": 3, "pair_num_radial": 3, "total_degree": (5.0,)}
BASE = shrink(PRESETS["botnet-small"])

POLYNOMIALS: dict[str, ModelConfig] = {
    "ace": shrink(PRESETS["ace-small"].replace(**SMALL_ACE), 1),
    "ace-tensor-reduced": shrink(PRESETS["ace-tensor-reduced-small"]),
    "botnet": shrink(PRESETS["botnet-small"].replace(**LINEAR)),
    "botnet, both parities": shrink(PRESETS["botnet"].replace(num_layers=3, l_max=2, **LINEAR), 2),
    "nequip-linear": shrink(PRESETS["nequip-linear-small"].replace(**LINEAR)),
    "mace": shrink(PRESETS["mace-small"].replace(**LINEAR)),
    **{name: BASE.replace(**{**COMBINATIONS[name], **LINEAR, "num_layers": 1}) for name in SHAPES[:3]},
    SHAPES[3]: BASE.replace(**COMBINATIONS[SHAPES[3]], **LINEAR, num_layers=2),
}
"""Models that are polynomials in what edges contribute."""

IN_PART: dict[str, ModelConfig] = {
    "ace-fs": shrink(PRESETS["ace-fs-small"].replace(**SMALL_ACE), 2),
    "botnet": BASE,
    "mace": shrink(PRESETS["mace-small"]),
}
"""Models whose last readout is not linear, or not all of it."""

ALL = POLYNOMIALS | {f"{name}, in part": config for name, config in IN_PART.items()}
GATED = shrink(PRESETS["nequip-small"])


def potential(config: ModelConfig, shift: float = 0.3) -> Potential:
    torch.manual_seed(3)
    return Potential(
        config, Statistics(np.array([-1.0, -2.0, -3.0])[: len(config.elements)], 1.7, shift, 5.0)
    )


def graph_of(*structures: Atoms, elements: tuple[str, ...] = ("H", "C", "O")) -> Graph:
    return Graph.batch([build_graph(atoms, elements, CUTOFF) for atoms in structures])


def of_network(found: Split) -> torch.Tensor:
    """Parts of atoms that come from the network, without E0, shift and ZBL."""
    outside = sum(name in found.names for name in ("E0", "shift", "ZBL"))
    return found.atoms[:, outside:]


def close(found: torch.Tensor, expected: torch.Tensor, rtol: float = 1e-10) -> None:
    """Equal, relative to the largest value."""
    torch.testing.assert_close(found, expected, rtol=0, atol=rtol * float(expected.abs().max()) + 1e-14)


def predicted(at: Potential, graph: Graph) -> Prediction:
    with torch.no_grad():
        return at(graph, forces=False)


def denser(at: Potential) -> Potential:
    """The same with smaller divisors of sums over neighbours, so that high orders count."""
    with torch.no_grad():
        for layer in at.network.layers:
            norm = layer.density.norm
            if isinstance(norm, FixedNorm):
                norm.value /= 6.0
    return at


@pytest.mark.parametrize("by", SPLITS)
@pytest.mark.parametrize("name", ALL)
def test_terms_sum_to_the_energy(name: str, by: str) -> None:
    structures = (methanol(), crystal()) if by == "order" else (methanol(),)
    at, graph = potential(ALL[name]), graph_of(*structures)
    found, expected = SPLITS[by](at, graph), predicted(at, graph)
    tolerance = 1e-10 if at.config.readout_function == "mlp" or by in ("order", "layer") else 1e-7
    close(found.energies.sum(dim=1), expected.energy, tolerance)
    assert found.error <= tolerance * float(expected.energy.abs().max())
    if by in ("order", "layer"):
        close(found.atoms.sum(dim=1), expected.site_energies)


@pytest.mark.parametrize("name", [n for n, c in POLYNOMIALS.items() if c.neighbor_norm != "learned"])
def test_orders_are_those_of_a_network_whose_sums_over_neighbours_are_scaled(name: str) -> None:
    """The divisor λ of sums over neighbours, taken for the scale, is not how the split finds it."""
    at, graph = potential(POLYNOMIALS[name]), graph_of(methanol(), crystal())
    orders = of_network(by_order(at, graph))
    other = Potential(at.config, Statistics(np.zeros(3)))
    other.load_state_dict(at.state_dict())
    for factor in (0.4, -1.3):
        for layer, given in zip(other.network.layers, at.network.layers, strict=True):
            layer.density.norm.value = given.density.norm.value / factor
        with torch.no_grad():
            expected = at.scale * other.network(graph).sum(dim=1)
        close(orders @ factor ** torch.arange(orders.shape[1]).double(), expected)


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_orders_above_the_bound_vanish(name: str) -> None:
    at, graph = denser(potential(POLYNOMIALS[name])), graph_of(methanol())
    edges = ScaledEdges(at.network, graph, torch.complex128)
    highest = highest_order(at.config, at.config.num_layers)
    orders = powers(lambda λ: edges.read(edges.features(λ), edges.readouts), highest + 3)
    assert orders[:, highest + 1 :].abs().max() <= 1e-13 * orders.abs().max()
    assert orders[:, highest].abs().max() > 1e-11 * orders.abs().max()
    matrix = np.exp(
        2j * np.pi * np.outer(np.arange(highest + 1) + 0.5, np.arange(highest + 1)) / (highest + 1)
    )
    assert np.linalg.cond(matrix) == pytest.approx(1.0)  # as is told


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_order_1_is_the_sum_over_pairs_alone(name: str) -> None:
    at, atoms = potential(POLYNOMIALS[name]), methanol()
    whole = by_order(at, graph_of(atoms))
    number = whole.names.index("order 1")
    pairs = [atoms[[i, j]] for i in range(len(atoms)) for j in range(i) if atoms.get_distance(i, j) < CUTOFF]
    alone = by_order(at, graph_of(*pairs)).energies[:, number].sum()
    close(whole.energies[0, number], alone)
    assert abs(alone) > 1e-6


def test_one_layer_of_one_factor_is_order_1_alone() -> None:
    config = POLYNOMIALS["botnet"].replace(num_layers=1, hidden_irreps="3x0e", l_max=0)
    at, atoms = potential(config), methanol()
    found = by_order(at, graph_of(atoms))
    assert found.names == ("E0", "shift", "order 0", "order 1")
    pairs = graph_of(
        *(atoms[[i, j]] for i in range(6) for j in range(i) if atoms.get_distance(i, j) < CUTOFF)
    )
    with torch.no_grad():
        energies = at.scale * at.network(pairs).sum()
    close(found.energies[0, 3], energies)


@pytest.mark.parametrize("by", SPLITS)
@pytest.mark.parametrize("name", ["ace", "botnet", "nequip-linear"])
def test_an_isolated_atom_has_no_order_but_0(name: str, by: str) -> None:
    at, graph = potential(POLYNOMIALS[name]), graph_of(Atoms("C"), Atoms("O"))
    found = SPLITS[by](at, graph)
    close(found.energies.sum(dim=1), predicted(at, graph).energy)
    if by != "layer":
        first = found.names.index("order 0" if by == "order" else "atom alone")
        assert found.energies[:, first + 1 :].abs().max() < 1e-14
        assert bool(found.energies[:, first].abs().max() > 1e-3) == (name == "nequip-linear")


def test_an_isolated_atom_has_no_remainder() -> None:
    config = GATED.replace(nonlinearity="none", readout="every")
    found = by_order(potential(config), graph_of(Atoms("C")))
    assert found.names[-1] == "remainder"
    assert found.energies[0, found.names.index("order 0")].abs() > 1e-3
    assert found.energies[0, -1] == 0


@pytest.mark.parametrize("by", SPLITS)
@pytest.mark.parametrize("config", [POLYNOMIALS["ace"], IN_PART["mace"]], ids=["ace", "mace"])
def test_a_batch_is_its_structures(config: ModelConfig, by: str) -> None:
    at, structures = potential(config), (methanol(), crystal(), Atoms("H"))
    batch = SPLITS[by](at, graph_of(*structures))
    singles = [SPLITS[by](at, graph_of(atoms)) for atoms in structures]
    torch.testing.assert_close(
        batch.energies, torch.cat([one.energies for one in singles]), rtol=0, atol=1e-11
    )
    torch.testing.assert_close(batch.atoms, torch.cat([one.atoms for one in singles]), rtol=0, atol=1e-11)


def test_zero_order_terms_have_names() -> None:
    graph = graph_of(methanol())
    assert by_layer(potential(BASE, 0.0), graph).names[:2] == ("E0", "readout of layer 1")
    at = potential(BASE.replace(zbl=True))
    close_pair = graph_of(Atoms("CO", [[0, 0, 0], [0, 0, 0.7]]))
    found = by_layer(at, close_pair)
    assert found.names[:3] == ("E0", "shift", "ZBL")
    torch.testing.assert_close(found.atoms[:, 0], torch.tensor([-2.0, -3.0]).double())
    torch.testing.assert_close(found.atoms[:, 2], at.zbl(close_pair))
    torch.testing.assert_close(found.energies.sum(dim=1), predicted(at, close_pair).energy)


def test_readouts_are_the_contributions_of_the_potential() -> None:
    at = potential(BASE)
    expected = at.contributions(methanol())
    found = by_layer(at, graph_of(methanol())).energies[0].numpy()
    np.testing.assert_allclose(found[:2].sum(), expected[0], rtol=1e-12)
    np.testing.assert_allclose(found[2:], expected[1:], rtol=1e-10)


def only(at: Potential, kept) -> Potential:
    """The same linear ACE with the coefficients alone of the multisets that ``kept`` says."""
    other = Potential(at.config, Statistics(np.zeros(len(at.elements)), float(at.scale), 0.0, 5.0))
    other.load_state_dict(at.state_dict())
    product = other.network.layers[0].product
    assert isinstance(product, CompleteProduct)
    for multiset in product.basis.multisets:
        if not kept(multiset):
            product.weight.data[:, multiset.first : multiset.first + multiset.n_paths] = 0.0
    return other


PAIR_FUNCTIONS = {"pair_num_radial": 3, "pair_envelope": "inverse"}


@pytest.mark.parametrize("changes", [PAIR_FUNCTIONS, {"pair_num_radial": 0}], ids=["own pair", "no own pair"])
def test_orders_of_linear_ace_are_those_of_its_basis(changes: dict) -> None:
    at, graph = potential(POLYNOMIALS["ace"].replace(**changes)), graph_of(methanol())
    orders = of_network(by_order(at, graph))
    assert orders.shape[1] == 1 + at.config.correlation
    for order in range(1, orders.shape[1]):
        alone = only(at, lambda multiset, order=order: len(multiset.factors) == order)
        with torch.no_grad():
            close(orders[:, order], at.scale * alone.network(graph)[:, 0])


@pytest.mark.parametrize("by", ["l", "path"])
def test_degrees_of_linear_ace_with_two_factors_are_those_of_its_basis(by: str) -> None:
    """Both factors have the same l, and so has the energy of the product; that of pair functions is of l = 0."""
    config = POLYNOMIALS["ace"].replace(correlation=2, total_degree=(5.0,), **PAIR_FUNCTIONS)
    at, graph = potential(config), graph_of(methanol())
    parts = of_network(SPLITS[by](at, graph))[:, 1:]
    assert parts.shape[1] == config.l_max + 1
    for number in range(config.l_max + 1):
        alone = only(at, lambda multiset, number=number: multiset.factors[0].l == number)
        with torch.no_grad():
            close(parts[:, number], at.scale * alone.network(graph)[:, 0])


COINCIDING = ModelConfig(
    elements=("C",),
    cutoff=CUTOFF,
    l_max=1,
    hidden_irreps="3x0e",
    num_layers=1,
    correlation=2,
    radial_basis="legendre",
    num_radial=2,
    radial_network="linear",
    neighbor_norm="none",
    first_self_connection="none",
    readout_width=0,
    dtype="float64",
)
"""One layer whose products are sums of those of ``COMPLETE``."""

COMPLETE = COINCIDING.replace(
    channel_coupling="complete",
    hidden_irreps="1x0e",
    radial_network="none",
    total_degree=(20.0,),
    product_elements=True,
)


def test_splits_of_models_that_are_the_same_function_agree() -> None:
    """Linear ACE is given the coefficients of a tensor-reduced model, solved for from energies of atoms."""
    reduced, complete = potential(COINCIDING), potential(COMPLETE)
    weight = complete.network.layers[0].product.weight
    structures = []
    for seed in range(4):
        atoms = Atoms("C6", methanol().positions)
        atoms.rattle(0.3, seed=seed)
        structures.append(atoms)
    fitted, unseen = graph_of(*structures[:3], elements=("C",)), graph_of(structures[3], elements=("C",))
    with torch.no_grad():
        columns = []
        for function in range(weight.shape[1]):
            weight.zero_()
            weight[:, function] = 1.0
            columns.append(complete.network(fitted)[:, 0])
        solution = torch.linalg.lstsq(torch.stack(columns, dim=1), reduced.network(fitted)).solution
        weight[0] = solution
        close(complete.network(unseen)[:, 0], reduced.network(unseen)[:, 0], 1e-9)
    for by in ("order", "l"):
        found, expected = (of_network(SPLITS[by](at, unseen)) for at in (complete, reduced))
        close(found, expected, 1e-8)
        assert (expected.abs().amax(dim=0) > 1e-4).sum() >= 2


def test_a_product_is_divided_equally_among_its_factors() -> None:
    """Vectors of the first layer reach the energy through vectors of the second alone."""
    config = POLYNOMIALS["botnet"].replace(num_layers=2, l_max=1, hidden_irreps="3x0e + 3x1o")
    at, graph = potential(config), graph_of(methanol())
    found = by_group(at, graph, "path")
    first, second = (
        found.energies[:, found.names.index(name)]
        for name in ("layer 1: 0e × 1 → 1o", "layer 2: 1o × 1 → 0e")
    )
    close(first, second)
    assert first.abs().min() > 1e-4


@pytest.mark.parametrize(
    "config", [POLYNOMIALS["mace"], POLYNOMIALS["ace"], GATED], ids=["mace", "ace", "gate"]
)
def test_finer_groups_sum_to_coarser_ones(config: ModelConfig) -> None:
    at, graph = potential(config), graph_of(methanol())
    paths, edges, of_l = (by_group(at, graph, group) for group in ("path", "edges", "l"))

    def summed(part: str) -> torch.Tensor:
        return sum(E for name, E in zip(paths.names, paths.atoms.T, strict=True) if part in name)

    for t in range(1, config.num_layers + 1):
        close(edges.atoms[:, edges.names.index(f"edges of layer {t}")], summed(f"layer {t}:"), 1e-9)
    for degree_of_Y in range(config.l_max + 1):
        close(of_l.atoms[:, of_l.names.index(f"l = {degree_of_Y}")], summed(f" {degree_of_Y} →"), 1e-9)


@pytest.mark.parametrize("name", ["mace", "botnet"])
def test_fewest_nodes_are_exact_for_polynomials_and_no_fewer(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = POLYNOMIALS[name]
    at, graph = denser(potential(config)), graph_of(methanol())
    found, highest = by_group(at, graph, "path"), highest_order(config, config.num_layers)
    monkeypatch.setattr(split, "highest_order", lambda *_: 4 * highest)
    close(found.atoms, by_group(at, graph, "path").atoms, 1e-12)
    monkeypatch.setattr(split, "highest_order", lambda *_: highest - 2)
    assert by_group(at, graph, "path").error > 1e3 * found.error


def test_the_error_of_the_quadrature_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    at, graph = potential(GATED), graph_of(methanol())
    assert by_group(at, graph, "l").error < 1e-9
    monkeypatch.setattr(split, "NODES", (1,))
    found = by_group(at, graph, "l")
    missing = predicted(at, graph).energy - found.energies.sum(dim=1)
    assert found.error == pytest.approx(float(missing.abs()), rel=1e-6)
    assert found.error > 1e-9
    assert "not exact" in found.method


def test_a_gated_model_has_no_orders() -> None:
    with pytest.raises(InputError, match=r"nonlinearity = gate.*Splits by layer, edges, l, path work"):
        by_order(potential(GATED), graph_of(methanol()))
    first = BASE.replace(first_layer={"nonlinearity": "norm"})
    with pytest.raises(InputError, match="nonlinearity = norm"):
        by_order(potential(first), graph_of(methanol()))


def test_normalised_features_have_no_orders_but_in_the_first_layer() -> None:
    graph = graph_of(methanol())
    with pytest.raises(InputError, match="feature_norm = layer"):
        by_order(potential(BASE.replace(feature_norm="layer")), graph)
    at = potential(BASE.replace(first_layer={"feature_norm": "layer"}))
    torch.testing.assert_close(by_order(at, graph).energies.sum(dim=1), predicted(at, graph).energy)


def test_a_model_read_by_a_perceptron_alone_has_no_orders() -> None:
    with pytest.raises(InputError, match="the only readout is not linear"):
        by_order(potential(BASE.replace(readout="last")), graph_of(methanol()))


def test_densities_of_exponent_1_are_split_and_others_remain() -> None:
    config = IN_PART["ace-fs"]
    at, graph = potential(config), graph_of(methanol())
    found = by_order(at, graph)
    linear = Potential(config.replace(readout_exponents=(1.0, 1.0)), Statistics(np.zeros(3), 1.7, 0.0, 5.0))
    linear.load_state_dict(at.state_dict())
    linear.network.readouts[0].weight.data[:, 1] = 0.0
    assert by_order(linear, graph).names[-1] == "order 3"
    close(of_network(found)[:, :-1], of_network(by_order(linear, graph))[:, -4:])
    assert found.names[-1] == "remainder"
    assert found.energies[:, -1].abs().min() > 1e-4


def test_a_float32_model_is_split_in_float64() -> None:
    single, double = (potential(BASE.replace(dtype=dtype)) for dtype in ("float32", "float64"))
    double.load_state_dict(single.state_dict())
    graph = graph_of(methanol())
    found, expected = by_order(single, graph), by_order(double, graph)
    close(found.atoms, expected.atoms, 1e-7)
    assert found.error < 1e-14
    assert next(single.network.parameters()).dtype == torch.float32


def test_a_split_leaves_the_model_as_it_was() -> None:
    at, graph = potential(BASE), graph_of(methanol())
    before, state = at(graph), {name: value.clone() for name, value in at.state_dict().items()}
    for by in SPLITS:
        SPLITS[by](at, graph)
    after = at(graph)
    assert torch.equal(before.energy, after.energy)
    assert torch.equal(before.forces, after.forces)
    assert all(torch.equal(value, state[name]) for name, value in at.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in at.network.parameters())
