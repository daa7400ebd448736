"""Graphs built once, batches as selections from them."""

from dataclasses import fields
from itertools import chain

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from multiace.data.dataset import Batch, Dataset
from multiace.data.read import Frame
from multiace.errors import InputError
from multiace.graph.graph import Graph
from multiace.graph.neighbors import build_graph

ELEMENTS = ("H", "C", "O", "Cu")
CUTOFF = 3.0


def frames():
    copper = bulk("Cu")
    return [
        Frame(molecule("H2O"), energy=-1.0, forces=np.full((3, 3), 0.5), weight=2.0),
        Frame(copper, energy=-2.0, stress=np.diag([1.0, 2.0, 3.0])),
        Frame(Atoms("H"), energy=-3.0, forces=np.zeros((1, 3))),
        Frame(molecule("CH3OH")),
        Frame(molecule("CH4"), energy=-5.0, forces=np.full((5, 3), 1.5)),
    ]


@pytest.fixture
def dataset():
    return Dataset(frames(), ELEMENTS, CUTOFF)


@pytest.mark.parametrize("indices", [[0], [2], [3, 1], [4, 2, 0], [0, 1, 2, 3, 4], [1, 1]])
def test_a_batch_is_the_graphs_joined(dataset, indices):
    batch = dataset.collate(indices)
    expected = Graph.batch([build_graph(frames()[i].atoms, ELEMENTS, CUTOFF) for i in indices])
    for field in fields(Graph):
        found, wanted = getattr(batch.graph, field.name), getattr(expected, field.name)
        if wanted is None:
            assert found is None
        else:
            assert found.dtype == wanted.dtype
            assert torch.equal(found, wanted), field.name
    assert batch.indices.tolist() == indices


def test_labels_follow_their_frames_and_are_nan_where_missing(dataset):
    batch = dataset.collate([3, 1, 0])
    assert batch.energy.isnan().tolist() == [True, False, False]
    assert batch.energy[1:].tolist() == [-2.0, -1.0]
    assert batch.weights.tolist() == [1.0, 1.0, 2.0]
    assert batch.num_atoms.tolist() == [6, 1, 3]
    assert batch.forces[:7].isnan().all()
    assert (batch.forces[7:] == 0.5).all()
    assert torch.equal(batch.stress[1], torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)))
    assert batch.stress[[0, 2]].isnan().all()
    for name in ("energy", "forces", "stress", "weights"):
        assert getattr(batch, name).dtype == torch.float64


def test_all_is_every_frame_in_order(dataset):
    for field in fields(Batch):
        found, wanted = getattr(dataset.collate(range(5)), field.name), getattr(dataset.all, field.name)
        if field.name != "graph":
            assert torch.equal(found.nan_to_num(7), wanted.nan_to_num(7))


def test_a_batch_moves_to_a_device(dataset):
    batch = dataset.collate([0]).to("meta")
    assert batch.energy.device.type == batch.graph.positions.device.type == "meta"


def test_batches_have_at_most_batch_size_frames(dataset):
    assert dataset.plan(batch_size=2) == [[0, 1], [2, 3], [4]]
    assert [len(batch.energy) for batch in dataset.batches(batch_size=3)] == [3, 2]
    assert dataset.plan() == [[0, 1, 2, 3, 4]]


def test_batches_have_at_most_max_edges_edges(dataset):
    edges = dataset.num_edges.tolist()
    limit = max(edges) + 3
    plan = dataset.plan(max_edges=limit)
    assert list(chain(*plan)) == [0, 1, 2, 3, 4]
    assert 1 < len(plan) < 5
    for batch, following in zip(plan, [*plan[1:], None], strict=True):
        assert sum(edges[i] for i in batch) <= limit
        assert following is None or sum(edges[i] for i in batch) + edges[following[0]] > limit


def test_a_frame_with_more_edges_is_a_batch_of_its_own(dataset):
    plan = dataset.plan(max_edges=1)
    assert list(chain(*plan)) == [0, 1, 2, 3, 4]
    heavy = [i for i, edges in enumerate(dataset.num_edges.tolist()) if edges > 1]
    assert all([i] in plan for i in heavy)


def test_the_generator_alone_decides_the_order(dataset):
    generator = torch.Generator().manual_seed(3)
    first = dataset.plan(batch_size=2, generator=generator)
    state = generator.get_state()
    second = dataset.plan(batch_size=2, generator=generator)
    generator.set_state(state)
    assert sorted(chain(*first)) == sorted(chain(*second)) == [0, 1, 2, 3, 4]
    assert first != second
    assert dataset.plan(batch_size=2, generator=generator) == second
    assert dataset.plan(batch_size=2, generator=torch.Generator().manual_seed(3)) == first


def test_a_structure_without_sense_is_named():
    bad = Frame(Atoms("H2"), source="a.xyz frame 17")
    with pytest.raises(InputError, match=r"a\.xyz frame 17: atoms 0 and 1 are at one place"):
        Dataset([*frames(), bad], ELEMENTS, CUTOFF)
    with pytest.raises(InputError, match="without structures"):
        Dataset([], ELEMENTS, CUTOFF)
