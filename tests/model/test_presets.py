"""Presets: what they are, and that every one-key change from each is a sound model."""

import ase
import numpy as np
import pytest
import torch

from multiace.errors import InputError
from multiace.model import PRESETS, ModelConfig
from tests.model.design_space import (
    STENCIL,
    assert_close,
    batch_of,
    crystal,
    derivative,
    displaced,
    graph_of,
    molecule,
    one_key_changes,
    random_potential,
    shrink,
    strained,
)
from tests.rotations import orthogonal

NAMES = [
    "recommended",
    "ace",
    "ace-fs",
    "ace-tensor-reduced",
    "nequip",
    "nequip-linear",
    "botnet",
    "botnet-elements",
    "botnet-e0",
    "mace",
    "schnet",
    "painn",
]
STEP = 2e-6  # small: kinks of relu and abs are rarely within it


def test_each_preset_has_a_small_size():
    assert sorted(PRESETS) == sorted([*NAMES, *(f"{name}-small" for name in NAMES)])


def number_of_parameters(config: ModelConfig) -> int:
    return sum(parameter.numel() for parameter in random_potential(config).parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_small_size_is_the_same_architecture_with_fewer_channels_or_layers(name):
    sizes = {"hidden_irreps", "num_layers", "l_max", "num_radial", "cutoff", "correlation"}
    sizes |= {"total_degree", "degree_weight"}
    full, small = (config.model_dump(exclude=sizes) for config in (PRESETS[name], PRESETS[f"{name}-small"]))
    assert full == small
    assert name in ("ace", "ace-fs") or PRESETS[f"{name}-small"].channels <= PRESETS[name].channels / 2
    elements = ("H", "C", "O")
    assert number_of_parameters(PRESETS[f"{name}-small"].replace(elements=elements)) < 150_000


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_of_a_small_preset_acts(name):
    at = random_potential(shrink(PRESETS[f"{name}-small"]))
    corners = [[0, 0, 0], [1.3, 0.1, 0], [0.2, 1.2, 0.1], [1.2, 1.4, 0.3], [0.1, 0.2, 1.3], [1.1, 1.0, 1.5]]
    every_pair = ase.Atoms("HHCCOO", positions=corners)
    result = at(graph_of(every_pair, at), create_graph=True)
    weights = torch.randn(
        result.forces.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    loss = result.site_energies.sum() + (weights * result.forces).sum()
    gradients = torch.autograd.grad(loss, list(at.parameters()), materialize_grads=True)
    for (parameter, _), gradient in zip(at.named_parameters(), gradients, strict=True):
        assert gradient.flatten(1).any(dim=0).all() if gradient.ndim > 1 else gradient.any(), parameter


@pytest.mark.parametrize(
    ("name", "base", "changes"),
    [
        ("nequip-linear", "nequip", {"nonlinearity"}),
        ("botnet-elements", "botnet", {"radial_network", "radial_species"}),
        ("botnet-e0", "botnet", {"scale", "shift"}),
    ],
)
def test_variants_differ_in_the_fields_that_name_them(name, base, changes):
    variant, original = PRESETS[name].model_dump(), PRESETS[base].model_dump()
    assert {field for field in variant if variant[field] != original[field]} == changes


def test_body_order_is_kept_where_the_paper_keeps_it():
    for name in ("botnet", "botnet-elements", "nequip-linear"):
        assert (PRESETS[name].nonlinearity, PRESETS[name].correlation) == ("none", 1)


def energy_is_linear_in_the_readout_and_products(config: ModelConfig) -> bool:
    return config.num_layers == 1 and config.nonlinearity == "none" and config.readout_width == 0


@pytest.mark.parametrize(("name", "weights"), [("ace", "weight"), ("ace-tensor-reduced", "weights.0e")])
def test_ace_is_linear_in_its_product_weights(name, weights):
    assert energy_is_linear_in_the_readout_and_products(PRESETS[name])
    at = random_potential(shrink(PRESETS[f"{name}-small"]))
    weights = at.network.get_parameter(f"layers.0.product.{weights}")
    graph = graph_of(molecule(), at)
    energies = []
    with torch.no_grad():
        for factor in (0.0, 1.0, 2.0):
            original = weights.clone()
            weights.mul_(factor)
            energies.append(at(graph, forces=False).site_energies)
            weights.copy_(original)
    assert_close(energies[2] - energies[1], energies[1] - energies[0], 1e-12)
    assert (energies[1] - energies[0]).abs().max() > 1e-3


CHANGES = {
    f"{name}/{change}": (shrink(PRESETS[f"{name}-small"], mul=2), fields)
    for name in NAMES
    if name != "botnet-e0"  # the network of botnet
    for change, fields in one_key_changes(shrink(PRESETS[f"{name}-small"], mul=2)).items()
}

REFUSED = {f"{name}/trainable_radial=True" for name in ("ace", "ace-fs", "ace-tensor-reduced")}
"""One-key changes that make no sense: polynomials have nothing to train."""


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_changes_that_make_no_sense_are_refused(name):
    base, fields = CHANGES[name]
    with pytest.raises(InputError):
        base.replace(**fields)


def lively_potential(config):
    """The first random potential with forces to speak of: two channels can both die in a gate or relu."""
    for seed in range(10):
        at = random_potential(config, seed)
        if all(at(graph_of(atoms, at)).forces.abs().max() > 1e-3 for atoms in (molecule(), crystal())):
            return at
    raise AssertionError("ten random potentials in a row have no forces")


@pytest.mark.parametrize("name", [name for name in CHANGES if name not in REFUSED])
def test_every_one_key_change_is_symmetric_and_conservative(name):
    base, fields = CHANGES[name]
    at = lively_potential(base.replace(**fields))
    Q = orthogonal(3, -1)
    atoms, solid = molecule(), crystal()
    turned, turned_solid = atoms.copy(), solid.copy()
    turned.positions = atoms.positions @ Q.numpy().T
    turned_solid.set_cell(solid.cell.array @ Q.numpy().T, scale_atoms=True)
    step = np.random.default_rng(0).normal(size=(len(atoms), 3))
    strain = np.random.default_rng(1).normal(size=(3, 3))
    strain += strain.T
    structures = [atoms, turned, solid, turned_solid]
    structures += [displaced(atoms, n * STEP * step) for n in STENCIL]
    structures += [strained(solid, n * STEP * strain) for n in STENCIL]
    result = at(batch_of(structures, at), stress=True)
    forces, forces_turned = result.forces[:6], result.forces[6:12]
    stress, stress_turned = result.stress[2:4]

    assert_close(result.energy[1], result.energy[0], 1e-10)
    assert_close(result.energy[3], result.energy[2], 1e-10)
    assert_close(forces_turned, forces @ Q.T, 1e-10)
    assert_close(stress_turned, Q @ stress @ Q.T, 1e-10)
    slope = derivative(result.energy[4:8], STEP)
    assert_close(-(forces * torch.from_numpy(step)).sum(), slope, 1e-6, scale=forces)
    slope = derivative(result.energy[8:12], STEP) / solid.get_volume()
    assert_close((stress * torch.from_numpy(strain)).sum(), slope, 1e-6, scale=stress)
