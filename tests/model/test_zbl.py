"""Repulsion of bare nuclei."""

import ase
import numpy as np
import pytest
import torch
from ase.data import covalent_radii

from multiace.graph import Graph
from multiace.graph.neighbors import build_graph
from multiace.model.zbl import ZBL

ELEMENTS = ("H", "O", "Si")


def pair(symbols: str, r: float) -> Graph:
    return build_graph(ase.Atoms(symbols, positions=[[0, 0, 0], [0, 0, r]]), ELEMENTS, 4.0)


def energy(symbols: str, r: float) -> float:
    return ZBL(ELEMENTS, 4.0)(pair(symbols, r)).sum().item()


def screened_coulomb(Zi: int, Zj: int, r: float) -> float:
    """The universal potential of Ziegler, Biersack and Littmark [eV], r in Å; e²/(4πε₀) = 14.3996 eV Å."""
    a = 0.8854 * 0.529177 / (Zi**0.23 + Zj**0.23)
    x = r / a
    phi = (
        0.18175 * np.exp(-3.19980 * x)
        + 0.50986 * np.exp(-0.94229 * x)
        + 0.28022 * np.exp(-0.40290 * x)
        + 0.02817 * np.exp(-0.20162 * x)
    )
    return 14.3996 * Zi * Zj / r * phi


@pytest.mark.parametrize(("symbols", "Zi", "Zj"), [("H2", 1, 1), ("OSi", 8, 14), ("Si2", 14, 14)])
def test_nuclei_repel_as_the_universal_potential_says(symbols, Zi, Zj):
    assert energy(symbols, 0.1) == pytest.approx(screened_coulomb(Zi, Zj, 0.1), rel=1e-3)


def test_repulsion_ends_smoothly_at_the_sum_of_the_covalent_radii():
    reach = covalent_radii[8] + covalent_radii[14]
    assert energy("OSi", reach) == energy("OSi", reach + 0.5) == 0.0
    near, nearer = energy("OSi", reach - 0.02), energy("OSi", reach - 0.01)
    assert 0 < nearer < near
    assert np.log2(near / nearer) > 2.8


def test_repulsion_never_reaches_beyond_the_cutoff():
    zbl = ZBL(ELEMENTS, 1.5)
    graph = build_graph(ase.Atoms("Si2", positions=[[0, 0, 0], [0, 0, 1.4999]]), ELEMENTS, 1.5)
    assert covalent_radii[14] * 2 > 1.5
    assert 0 <= zbl(graph).sum() < 1e-9


def test_repulsion_falls_with_the_distance():
    energies = [energy("O2", r) for r in np.linspace(0.05, 1.3, 40)]
    assert (np.diff(energies) < 0).all()


def test_both_atoms_have_half_of_the_energy_of_a_pair():
    halves = ZBL(ELEMENTS, 4.0)(pair("OSi", 0.8))
    assert halves[0] == halves[1] > 0
    assert halves.dtype == torch.float64


def test_there_is_nothing_to_train_and_the_radii_are_saved():
    assert not list(ZBL(ELEMENTS, 4.0).parameters())
    assert list(ZBL(ELEMENTS, 4.0).state_dict()) == ["radii"]
