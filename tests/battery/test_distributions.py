"""Distributions of distances: against integrals that are known."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from scipy.special import erf

from multiace.battery.distributions import bond_error, pair_density, pair_error
from tests.battery.calculators import dimer


def bonds(mean, width, n=3000, seed=0):
    """Dimers whose lengths are normally distributed."""
    return [dimer(r) for r in np.random.default_rng(seed).normal(mean, width, n)]


def test_a_distribution_is_at_no_distance_from_itself():
    frames = bonds(1.2, 0.05, 50)
    assert bond_error(frames, frames) == pair_error(frames, frames) == 0.0


def test_distributions_without_a_common_length_are_at_a_distance_of_2():
    assert bond_error(bonds(1.1, 0.01, 50), bonds(1.5, 0.01, 50)) == pytest.approx(2.0)
    assert pair_error(bonds(1.1, 0.01, 50), bonds(1.5, 0.01, 50)) == pytest.approx(2.0)


def test_the_error_of_shifted_harmonic_bonds_is_the_integral():
    r"""∫ |N(μ₁, σ) - N(μ₂, σ)| = 2 erf(|μ₁ - μ₂| / √8 σ)."""
    shift, width = 0.03, 0.05
    error = bond_error(bonds(1.2, width), bonds(1.2 + shift, width, seed=1))
    assert error == pytest.approx(2 * erf(shift / (8**0.5 * width)), abs=0.06)


def test_errors_of_bonds_are_weighted_by_their_share():
    """Of three bonds C-H, one C-O: that one is wrong."""
    molecule = Atoms("COH3", [[0, 0, 0], [1.4, 0, 0], [-0.6, 0.9, 0], [-0.6, -0.9, 0], [-0.6, 0, 0.9]])
    stretched = molecule.copy()
    stretched.positions[1, 0] = 1.6
    assert bond_error([stretched], [molecule]) == pytest.approx(2 / 4)


def test_bonds_that_are_nowhere_count_as_missing():
    apart, together = dimer(4.0), dimer(1.2)
    assert bond_error([apart], [together]) == pytest.approx(2.0)
    assert bond_error([together], [apart]) is None


def test_bonds_of_large_atoms_are_told_apart():
    assert bond_error([dimer(4.1, "K2")], [dimer(5.0, "K2")]) == pytest.approx(2.0)


def test_single_atoms_have_no_pairs():
    assert pair_error([Atoms("C")], [Atoms("C")]) is None


def test_a_crystal_of_one_atom_has_pairs():
    primitive, cubic = bulk("Cu", a=3.6), bulk("Cu", a=3.6, cubic=True)
    assert pair_error([cubic], [primitive]) == pytest.approx(0.0, abs=1e-6)
    assert pair_error([bulk("Cu", a=3.7)], [primitive]) > 1


def test_the_density_of_a_molecule_is_normalised():
    rng = np.random.default_rng(0)
    cloud = Atoms("C8", rng.uniform(0, 5, (8, 3)))
    assert pair_density(cloud).sum() * 0.05 == pytest.approx(1.0)


def test_g_of_an_ideal_gas_is_1():
    rng = np.random.default_rng(0)
    gas = [Atoms("Ar300", rng.uniform(0, 14, (300, 3)), cell=[14] * 3, pbc=True) for _ in range(5)]
    g = np.mean([pair_density(atoms) for atoms in gas], axis=0)
    assert g[60:].mean() == pytest.approx(1.0, abs=0.02)


def test_g_counts_the_neighbours_of_a_crystal():
    crystal = bulk("Cu", a=3.6, cubic=True)
    edges = np.arange(0, 6.025, 0.05)
    density = len(crystal) / crystal.get_volume()
    shells = pair_density(crystal) * density * 4 / 3 * np.pi * np.diff(edges**3)
    assert shells[edges[1:] < 3.0].sum() == pytest.approx(12)
