"""Neighbour lists against ASE's, and the graphs built from them."""

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from ase.neighborlist import primitive_neighbor_list
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from multiace.errors import InputError
from multiace.graph.neighbors import build_graph, neighbor_list

ALL_PBC = [(bool(n & 1), bool(n & 2), bool(n & 4)) for n in range(8)]
TRICLINIC = np.array([[4.0, 0.3, -0.2], [1.5, 3.5, 0.4], [-0.7, 0.9, 5.0]])
LEFT_HANDED = TRICLINIC[[1, 0, 2]]


def edges_of_ase(positions, cell, pbc, cutoff):
    """Edges in our convention: ASE's vector runs i -> j, r_j - r_i + S C, so its j receives."""
    senders, receivers, shifts = primitive_neighbor_list("ijS", pbc, cell, positions, cutoff)
    return {(j, i, *s) for j, i, s in zip(senders.tolist(), receivers.tolist(), shifts.tolist(), strict=True)}


def as_set(edges):
    return {(j, i, *s) for j, i, s in zip(*(e.tolist() for e in edges), strict=True)}


def random_atoms(seed, number=6, spread=8.0):
    """Well away from the cell and from each other."""
    return np.random.default_rng(seed).uniform(-spread, spread, size=(number, 3))


@pytest.mark.parametrize("pbc", ALL_PBC, ids=lambda pbc: "".join("FT"[p] for p in pbc))
@pytest.mark.parametrize("cell", [TRICLINIC, LEFT_HANDED, TRICLINIC / 2], ids=["triclinic", "left", "tiny"])
def test_edges_are_those_of_ase(cell, pbc):
    positions = random_atoms(1)
    edges = neighbor_list(positions, cell, pbc, 4.3)
    assert as_set(edges) == edges_of_ase(positions, cell, pbc, 4.3)
    assert len(edges[0]) == len(as_set(edges)) > 0


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    number=st.integers(1, 6),
    pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    size=st.floats(0.8, 6.0),
    skew=st.floats(0.0, 0.9),
    cutoff=st.floats(0.5, 5.0),
)
def test_edges_are_those_of_ase_for_any_cell(seed, number, pbc, size, skew, cutoff):
    random = np.random.default_rng(seed)
    cell = size * (np.eye(3) + skew * random.uniform(-1, 1, size=(3, 3)))
    assume(abs(np.linalg.det(cell)) > 0.2 * size**3)
    positions = random.uniform(-3 * size, 3 * size, size=(number, 3))
    edges = neighbor_list(positions, cell, pbc, cutoff)
    assert as_set(edges) == edges_of_ase(positions, cell, pbc, cutoff)
    senders, receivers, shifts = edges
    lengths = np.linalg.norm(positions[receivers] - positions[senders] + shifts @ cell, axis=1)
    assert (lengths < cutoff).all()
    assert not shifts[:, ~np.array(pbc)].any()


@pytest.mark.parametrize("pbc", ALL_PBC, ids=lambda pbc: "".join("FT"[p] for p in pbc))
def test_vectors_of_non_periodic_directions_do_not_matter(pbc):
    positions = random_atoms(2)
    expected = neighbor_list(positions, TRICLINIC, pbc, 5.0)
    for vector in (np.zeros(3), np.full(3, np.nan), TRICLINIC.sum(axis=0)):
        cell = np.where(np.array(pbc)[:, None], TRICLINIC, vector)
        for found, wanted in zip(neighbor_list(positions, cell, pbc, 5.0), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_edges_are_sorted_by_receiver_then_sender_then_shift():
    senders, receivers, shifts = neighbor_list(random_atoms(3), TRICLINIC / 2, (True, True, True), 4.0)
    rows = list(zip(receivers.tolist(), senders.tolist(), shifts.tolist(), strict=True))
    assert rows == sorted(rows)
    assert senders.dtype == receivers.dtype == shifts.dtype == np.int64


def test_each_edge_has_its_reverse():
    senders, receivers, shifts = neighbor_list(random_atoms(4), TRICLINIC, (True, True, False), 4.0)
    forward = as_set((senders, receivers, shifts))
    assert forward == as_set((receivers, senders, -shifts))


def test_translating_atoms_by_lattice_vectors_keeps_the_vectors():
    positions = random_atoms(5, number=4, spread=2.0)
    moved = positions + np.array([[0, 0, 0], [3, -2, 7], [-40, 0, 1], [5, 5, 5]]) @ TRICLINIC
    vectors = []
    for where in (positions, moved):
        senders, receivers, shifts = neighbor_list(where, TRICLINIC, (True, True, True), 5.0)
        rows = where[receivers] - where[senders] + shifts @ TRICLINIC
        vectors.append(sorted(zip(receivers, senders, rows.round(6).tolist(), strict=True)))
    assert vectors[0] == vectors[1]


def test_the_cutoff_itself_is_outside():
    positions = np.array([[0.0, 0, 0], [3.0, 0, 0]])
    assert len(neighbor_list(positions, np.zeros((3, 3)), (False,) * 3, 3.0)[0]) == 0
    assert len(neighbor_list(positions, np.zeros((3, 3)), (False,) * 3, np.nextafter(3.0, 4))[0]) == 2


def test_an_atom_sees_its_own_images():
    senders, receivers, shifts = neighbor_list(np.zeros((1, 3)), np.diag([2.0, 9, 9]), (True,) * 3, 4.5)
    assert senders.tolist() == receivers.tolist() == [0] * 4
    assert shifts.tolist() == [[-2, 0, 0], [-1, 0, 0], [1, 0, 0], [2, 0, 0]]


def test_copper_has_twelve_nearest_neighbours():
    graph = build_graph(bulk("Cu", "fcc", a=3.6), ["Cu"], 3.0)
    lengths = graph.edge_lengths()
    assert graph.n_edges == 12
    np.testing.assert_allclose(lengths, 3.6 / np.sqrt(2), rtol=1e-14)


def test_edge_vector_points_from_sender_to_receiver():
    atoms = ase.Atoms("HO", positions=[[0, 0, 0], [0, 0, 1]])
    graph = build_graph(atoms, ["H", "O"], 2.0)
    vectors = graph.edge_vectors()
    assert graph.receivers.tolist() == [0, 1]
    assert graph.senders.tolist() == [1, 0]
    assert vectors.tolist() == [[0, 0, -1], [0, 0, 1]]


def test_graph_distances_are_those_of_ase():
    atoms = bulk("NaCl", "rocksalt", a=4.0)
    atoms.rattle(0.3, seed=0)
    graph = build_graph(atoms, ["Cl", "Na"], 5.0)
    lengths = graph.edge_lengths()
    wanted = primitive_neighbor_list("d", atoms.pbc, atoms.cell.array, atoms.positions, 5.0)
    np.testing.assert_allclose(np.sort(lengths), np.sort(wanted), rtol=1e-12)


def test_molecule_in_a_box_is_not_periodic():
    atoms = molecule("CH3CH2OH")
    boxed = atoms.copy()
    boxed.set_cell([3.0, 3.0, 3.0])
    free, inside = (build_graph(a, ["H", "C", "O"], 5.0) for a in (atoms, boxed))
    assert not inside.cells.any()
    assert not inside.shifts.any()
    assert torch.equal(free.senders, inside.senders)
    assert free.n_edges == 9 * 8


def test_species_follow_the_table_of_elements():
    graph = build_graph(molecule("H2O"), ["O", "C", "H"], 2.0)
    assert graph.species.tolist() == [0, 2, 2]
    assert graph.positions.dtype == graph.shifts.dtype == graph.cells.dtype == torch.float64


def test_isolated_atom_has_no_edges():
    graph = build_graph(ase.Atoms("H"), ["H"], 5.0)
    assert (graph.n_nodes, graph.n_edges, graph.n_graphs) == (1, 0, 1)
    assert graph.shifts.shape == (0, 3)
    assert graph.edge_vectors().shape == (0, 3)


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (ase.Atoms(), "without atoms"),
        (molecule("CH3OH"), "element C, O of CH4O is not among the model's elements H, N"),
        (ase.Atoms("H2", [[0, 0, 0], [0, np.nan, 0]]), "atom 1 has position"),
        (ase.Atoms("H2", [[1, 1, 1], [1, 1, 1 + 1e-8]]), "atoms 0 and 1 are at one place"),
        (ase.Atoms("H2", [[0, 0, 0], [9, 0, 0]], cell=[3, 3, 3], pbc=True), "atoms 0 and 1 are at one place"),
        (ase.Atoms("H", pbc=True), "span no volume"),
        (ase.Atoms("H", cell=[3, 0, 3], pbc=True), "span no volume"),
        (ase.Atoms("H", cell=[[3, 0, 0], [6, 0, 0], [0, 0, 3]], pbc=(True, True, False)), "span no volume"),
        (ase.Atoms("H", cell=[[3, 0, np.nan], [0, 3, 0], [0, 0, 3]], pbc=True), "span no volume"),
    ],
    ids=["empty", "element", "nan", "coincident", "image", "no cell", "flat", "dependent", "nan cell"],
)
def test_structures_without_sense_are_refused(atoms, message):
    with pytest.raises(InputError, match=message):
        build_graph(atoms, ["H", "N"], 4.0)


def test_shapes_are_searched_as_far_as_they_can_be_cut_into_boxes():
    """vesin divides by zero beyond; the process would end."""
    for cell in ([2.5, 2.5, 1e5], [1e3, 1e3, 2.5], [1e7, 1e7, 1e7]):
        atoms = ase.Atoms("H", cell=cell, pbc=True)
        assert build_graph(atoms, ("H",), 5.0).n_edges == (2.5 in cell) * (2 if cell[0] > 2.5 else 8)
    for far in ([4e5, 0, 0], [1e6, 1e6, 1e6]):
        assert build_graph(ase.Atoms("H2", [[0, 0, 0], far]), ("H",), 5.0).n_edges == 0
    for far, pbc in (([1e7, 0, 0], False), ([1e6, 1e6, 0], (False, False, True))):
        with pytest.raises(InputError, match="too far to search for neighbours"):
            build_graph(ase.Atoms("H2", [[0, 0, 0], far], cell=[4, 4, 4], pbc=pbc), ("H",), 5.0)
