"""Models with normalised features and radial networks: what is normalised, and what physics is left."""

import ase
import ase.build
import numpy as np
import pytest
import torch

from multiace.errors import InputError
from multiace.model import PRESETS, ModelConfig, Potential
from tests.model.design_space import (
    BASE,
    E0,
    STATISTICS,
    batch_of,
    differentiable,
    energies_of,
    graph_of,
    molecule,
    random_potential,
)

NORMS = {
    "radial": {"radial_norm": "layer"},
    "features": {"feature_norm": "layer"},
    "both": {"radial_norm": "layer", "feature_norm": "layer"},
}
every_norm = pytest.mark.parametrize("changes", NORMS.values(), ids=NORMS)


def test_no_preset_is_normalised():
    assert {(config.radial_norm, config.feature_norm) for config in PRESETS.values()} == {("none", "none")}


def test_each_layer_but_not_its_residual_nor_a_readout_sees_normalised_features():
    at = Potential(BASE.replace(feature_norm="layer", first_self_connection="residual"), STATISTICS)
    graph = graph_of(molecule(), at)
    read: dict[str, torch.Tensor] = {}
    last = at.network.layers[1]
    for name, part in {
        "density": last.density,
        "residual": last.residual,
        "readout": at.network.readouts[0],
    }.items():
        part.register_forward_pre_hook(lambda _, inputs, name=name: read.update({name: inputs[0]}))
    at(graph, forces=False)
    h = read["residual"]
    invariants = read["density"][:, last.irreps.h_in.slices()[last.irreps.h_in[0].irrep]]
    assert torch.equal(read["readout"], h)
    torch.testing.assert_close(invariants.mean(dim=1), torch.zeros(6).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(invariants.square().mean(dim=1), torch.ones(6).double(), rtol=0.02, atol=0)
    assert torch.equal(read["density"], last.norm(h))
    assert not torch.equal(read["density"], h)


@every_norm
def test_an_atom_that_leaves_goes_to_E0_as_the_envelope_does(changes):
    """No energy is left to change in a narrow shell before the cutoff, as normalised features do."""
    at = random_potential(BASE.replace(num_layers=3, **changes))
    distances = at.cutoff * np.linspace(0.7, 1.0, 31)
    energies = energies_of(at, [ase.Atoms("CO", positions=[[0, 0, 0], [r, 0, 0]]) for r in distances])
    interaction = (energies - E0[1:].sum()).abs()
    assert interaction[-1] == 0.0
    assert (interaction[-4:-1] < 1e-2 * interaction[0]).all()
    steps = energies.diff().abs()
    assert steps.max() < 0.25 * steps.sum()


@every_norm
def test_derivatives_are_finite_where_all_features_but_invariants_vanish(changes):
    """On a cubic lattice they vanish by symmetry; forces do too, and force constants are those of a moved atom."""
    at = random_potential(BASE.replace(num_layers=3, **changes))
    atoms = ase.build.bulk("O", "sc", a=2.4)
    graph = differentiable(batch_of([atoms * (2, 1, 1)], at))
    forces = at(graph, create_graph=True).forces
    assert forces.abs().max() < 1e-10
    (row,) = torch.autograd.grad(forces[0, 0], graph.positions, create_graph=True)
    (third,) = torch.autograd.grad(row[1, 0], graph.positions)
    assert row.isfinite().all()
    assert third.isfinite().all()
    step = 1e-5
    moved = atoms * (2, 1, 1)
    moved.positions[0, 0] += step
    torch.testing.assert_close(at(graph_of(moved, at)).forces[0, 0] / step, row[0, 0], rtol=1e-3, atol=1e-6)
    assert row[0, 0].abs() > 1e-4


def test_normalised_features_have_no_body_order():
    """With linear updates and readouts, energies are polynomials in the sizes of edges; not where h is normalised."""
    found = {}
    for norm in ("none", "layer"):
        at = random_potential(BASE.replace(feature_norm=norm, readout_width=0))
        graph = graph_of(molecule(), at)

        def energy(size: float, at=at, graph=graph) -> float:
            with torch.no_grad():
                saved = [layer.density.linear.weight.clone() for layer in at.network.layers]
                for layer in at.network.layers:
                    layer.density.linear.weight.mul_(size)
                total = at(graph, forces=False).energy.item() - E0[[1, 2, 0, 0, 0, 0]].sum()
                for layer, weight in zip(at.network.layers, saved, strict=True):
                    layer.density.linear.weight.copy_(weight)
            return total

        sizes = np.array([0.25, 0.5, 0.75, 1.0, 1.25, 1.5])
        energies = np.array([energy(size) for size in sizes])
        fit = np.polynomial.Polynomial.fit(sizes, energies, 2)
        found[norm] = abs(fit(sizes) - energies).max() / abs(energies).max()
    assert found["none"] < 1e-12
    assert found["layer"] > 1e-5


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"preset": "ace", "feature_norm": "layer"},
            "model.channel_coupling = complete is one layer of products; set feature_norm = none.",
        ),
        (
            {"preset": "ace", "radial_network": "mlp", "radial_norm": "layer"},
            "model.channel_coupling = complete is one layer of products; set radial_norm = none.",
        ),
        (
            {"radial_widths": [8, 1], "radial_norm": "layer"},
            "model.radial_norm = layer needs hidden layers of two values or more, and radial_widths = [8, 1]: less its "
            "mean, a single one is zero.",
        ),
        (
            {"first_layer": {"radial_widths": [1], "radial_norm": "layer"}},
            "model.radial_norm = layer needs hidden layers of two values or more, and radial_widths = [1]: less its "
            "mean, a single one is zero.",
        ),
        (
            {"hidden_irreps": "1x0e + 4x1o", "feature_norm": "layer"},
            "model.feature_norm = layer needs two channels 0e or more, and hidden_irreps = 1x0e + 4x1o: less its mean, "
            "a single one is zero.",
        ),
    ],
)
def test_what_cannot_be_normalised_is_refused(fields, sentence):
    with pytest.raises(InputError) as error:
        ModelConfig.from_dict(fields)
    assert str(error.value) == sentence


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_normalised_or_says_why_not(name):
    complete = PRESETS[name].channel_coupling == "complete"
    for changes in NORMS.values():
        fields = {"preset": name, **changes}
        linear = "radial_norm" in changes and PRESETS[name].radial_network == "linear"
        if complete or linear:
            with pytest.raises(InputError, match=r"one layer of products|has no effect with radial_network"):
                ModelConfig.from_dict(fields)
        else:
            assert ModelConfig.from_dict(fields) == PRESETS[name].replace(**changes)
