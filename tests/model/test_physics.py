"""Physical laws, and derivatives against finite differences, at every point of the design space."""

import ase
import numpy as np
import pytest
import torch

from multiace.model import ModelConfig
from tests.model.design_space import (
    E0,
    POINTS,
    STENCIL,
    assert_close,
    batch_of,
    crystal,
    derivative,
    differentiable,
    displaced,
    energies_of,
    graph_of,
    molecule,
    potential,
    strained,
)

every_point = pytest.mark.parametrize("name", POINTS)
STEP = 2e-5  # small: kinks of relu and abs are rarely within it


def direction(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def jumps_at_the_cutoff(config: ModelConfig) -> bool:
    layers = (config.of_layer(t) for t in range(config.num_layers))
    return any(layer.radial_bias and not layer.normalises_radial for layer in layers)


def test_no_pair_crosses_the_cutoff_in_a_finite_difference():
    for cutoff in {config.cutoff for config in POINTS.values()}:
        for atoms in (molecule(), crystal()):
            distances = atoms.repeat((5, 5, 5) if atoms.pbc.all() else 1).get_all_distances()
            assert abs(distances - cutoff).min() > 0.02


@every_point
def test_forces_are_minus_the_gradient_of_the_energy(name):
    at, atoms = potential(name), molecule()
    forces = at(graph_of(atoms, at)).forces
    for seed in range(2):
        step = direction(seed, len(atoms), 3)
        slope = derivative(energies_of(at, [displaced(atoms, n * STEP * step) for n in STENCIL]), STEP)
        assert_close(-(forces * torch.from_numpy(step)).sum(), slope, 1e-7, scale=forces)


@every_point
def test_stress_is_the_derivative_of_the_energy_with_respect_to_strain(name):
    at, atoms = potential(name), crystal()
    stress = at(graph_of(atoms, at), stress=True).stress[0]
    for seed in range(2):
        half = 0.3 * direction(seed, 3, 3)
        strain = half + half.T
        slope = derivative(energies_of(at, [strained(atoms, n * STEP * strain) for n in STENCIL]), STEP)
        expected = slope / atoms.get_volume()
        assert_close((stress * torch.from_numpy(strain)).sum(), expected, 1e-7, scale=stress)


@every_point
def test_forces_sum_to_zero_and_have_no_torque(name):
    at = potential(name)
    for atoms in (molecule(), crystal()):
        forces = at(graph_of(atoms, at)).forces
        assert_close(forces.sum(dim=0), torch.zeros(3), 1e-12, scale=forces)
        if not atoms.pbc.any():
            torque = torch.linalg.cross(torch.from_numpy(atoms.positions), forces).sum(dim=0)
            assert_close(torque, torch.zeros(3), 1e-11, scale=forces)


@every_point
def test_energy_is_extensive(name):
    at, atoms = potential(name), crystal()
    one = at(graph_of(atoms, at), stress=True)
    two = at(graph_of(atoms.repeat((1, 2, 1)), at), stress=True)
    assert_close(two.energy, 2 * one.energy, 1e-10)
    assert_close(two.forces, one.forces.repeat(2, 1), 1e-10)
    assert_close(two.stress, one.stress, 1e-10)


@every_point
def test_site_energies_see_num_layers_edges_far_and_no_further(name):
    at = potential(name)
    reach = at.config.num_layers
    chain = ase.Atoms("CHO" * 3)[: reach + 2]
    chain.positions[:, 0] = 0.6 * at.cutoff * np.arange(len(chain))
    chain.positions[:, 1] = 0.1 * np.cos(np.arange(len(chain)))

    def first_site(atoms: ase.Atoms) -> torch.Tensor:
        with torch.no_grad():
            return at(graph_of(atoms, at), forces=False).site_energies[0]

    def first_site_when_moved(atom: int) -> torch.Tensor:
        moved = chain.copy()
        moved.positions[atom] += [0.02, 0.05, -0.03]
        return first_site(moved)

    undisturbed = first_site(chain)
    assert torch.equal(first_site_when_moved(reach + 1), undisturbed)
    assert not torch.equal(first_site_when_moved(reach), undisturbed)


def has_energy_without_neighbors(config: ModelConfig) -> bool:
    """h⁰ reaches a readout without passing an edge only where the first self-connection adds it."""
    return config.first_self_connection == "residual"


@every_point
def test_isolated_atoms_have_exactly_their_E0(name):
    at = potential(name)
    far_apart = ase.Atoms("CHOH", positions=[[0, 0, 0], [at.cutoff, 0, 0], [0, 40, 0], [0, 0, 40]])
    prediction = at(graph_of(far_apart, at))
    assert not prediction.forces.any()
    exactly = np.array_equal(prediction.site_energies.detach(), E0[[1, 0, 2, 0]])
    assert exactly == (not has_energy_without_neighbors(at.config))


@pytest.mark.parametrize("name", [name for name, config in POINTS.items() if not jumps_at_the_cutoff(config)])
def test_energy_goes_to_zero_at_the_cutoff_with_two_derivatives(name):
    """Near the cutoff the energy is O((r_c - r)³), with the cosine envelope O((r_c - r)²), two-sided to the power."""
    at = potential(name)

    def energy(beyond: float) -> torch.Tensor:
        """Atom 2 is at r_c + beyond from atom 0, and further from atom 1."""
        positions = [[0, 0, 0], [-0.5, 0.8, 0.2], [at.cutoff + beyond, 0, 0]]
        return energies_of(at, [ase.Atoms("COH", positions=positions)])

    outside = energy(0.0)
    assert torch.equal(outside, energy(1.0))
    orders = {"cosine": 2, "two_sided": at.config.envelope_power}
    expected = orders.get(at.config.envelope, 3)
    distances = {2: (0.002, 0.001), 3: (0.01, 0.005)}.get(expected, (0.1, 0.05))
    near, nearer = (abs(energy(-distance) - outside) for distance in distances)
    order = torch.log2(near / nearer).item()
    assert near > 1e-12
    assert order > expected - (0.1 if expected == 2 else 0.2)


@pytest.mark.parametrize("name", [name for name, config in POINTS.items() if jumps_at_the_cutoff(config)])
def test_radial_biases_make_the_energy_jump_at_the_cutoff(name):
    at = potential(name)
    pairs = [ase.Atoms("CO", positions=[[0, 0, 0], [at.cutoff + beyond, 0, 0]]) for beyond in (-1e-9, 1e-9)]
    inside, outside = energies_of(at, pairs)
    assert abs(inside - outside) > 1e-4


@every_point
def test_second_derivatives_are_those_of_the_forces(name):
    at, atoms = potential(name), molecule()
    u, v = (torch.from_numpy(direction(seed, len(atoms), 3)) for seed in (1, 2))
    graph = differentiable(graph_of(atoms, at))
    forces = at(graph, create_graph=True).forces
    Hu, Hv = (-torch.autograd.grad((forces * w).sum(), graph.positions, retain_graph=True)[0] for w in (u, v))
    assert_close((v * Hu).sum(), (u * Hv).sum(), 1e-11, scale=Hv)
    batch = batch_of((displaced(atoms, n * STEP * v) for n in STENCIL), at)
    around = at(batch).forces.unflatten(0, (len(STENCIL), -1))
    assert_close(-Hv, derivative(around, STEP), 1e-6)


@every_point
def test_gradient_of_a_loss_on_forces_is_right_for_every_parameter(name):
    at, atoms = potential(name), molecule()
    graph = graph_of(atoms, at)
    target = torch.from_numpy(direction(0, len(atoms), 3))
    parameters = dict(at.named_parameters())
    steps = {key: torch.from_numpy(direction(1, *parameter.shape)) for key, parameter in parameters.items()}
    loss = (at(graph, create_graph=True).forces - target).square().sum()
    gradients = torch.autograd.grad(loss, list(parameters.values()))  # each of them takes part
    slope = sum((g * step).sum() for g, step in zip(gradients, steps.values(), strict=True))

    def loss_at(n: int) -> torch.Tensor:
        moved = {key: parameter + n * h * steps[key] for key, parameter in parameters.items()}
        forces = torch.func.functional_call(at, moved, (graph,)).forces
        return (forces - target).square().sum()

    h = 1e-5
    assert_close(slope, (loss_at(1) - loss_at(-1)) / (2 * h), 1e-6)
