"""Predictions that are replayed are those of the potential."""

import pytest
import torch

from multiace.graph.neighbors import build_graph
from multiace.model.replay import MOST_SIZES, Predictor, Replay
from tests.capture import recorded
from tests.potentials import KINDS, crystal, methanol, small_potential

CPU = torch.device("cpu")


def counted(captures):
    def capture(run):
        captures.append(run)
        return recorded(run)

    return capture


def assert_same(found, expected):
    for name in ("energy", "site_energies", "forces", "stress"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("changes", KINDS, ids=str)
@pytest.mark.parametrize("atoms", [methanol(), crystal()], ids=["molecule", "crystal"])
def test_a_moving_structure_is_captured_once(changes, atoms):
    """Nothing in a prediction waits for the device, and positions, cell and weights are read anew at each replay."""
    potential, captures = small_potential(**changes), []
    predictor = Predictor(potential, counted(captures))
    periodic = bool(atoms.pbc.any())
    for step in range(5):
        atoms.rattle(0.002, seed=step)
        atoms.set_cell(1.0001 * atoms.cell[:], scale_atoms=True)
        graph = build_graph(atoms, potential.elements, potential.cutoff)
        assert_same(predictor(graph, stress=periodic), potential(graph, stress=periodic))
        with torch.no_grad():
            next(iter(potential.parameters())).mul_(1.01)
    assert len(captures) == 1


def test_tables_are_read_in_replays_and_other_tables_captured_anew():
    potential, captures = small_potential(dtype="float32"), []
    predictor = Predictor(potential, counted(captures))
    graph = build_graph(methanol(), potential.elements, potential.cutoff)
    for _ in range(2):
        tables = potential.network.tabulate()
        for _ in range(4):
            found, expected = predictor(graph, False, tables), potential(graph, tables=tables)
            torch.testing.assert_close(found.forces, expected.forces, rtol=1e-5, atol=1e-5)
    assert len(captures) == 2


def test_what_cannot_be_captured_runs_as_it_is():
    replay = Replay(lambda tensors: (tensors["x"] * tensors["x"].sum().item(),), CPU, recorded)
    for n in range(5):
        x = torch.full((2,), float(n))
        if n == 2:
            with pytest.warns(UserWarning, match="cannot be captured as a CUDA graph"):
                (y,) = replay({"x": x})
        else:
            (y,) = replay({"x": x})
        assert torch.equal(y, 2 * n * x)


def test_sizes_that_were_not_used_for_long_are_forgotten():
    replay = Replay(lambda tensors: (2 * tensors["x"],), CPU, recorded)
    for n in range(MOST_SIZES + 3):
        assert torch.equal(replay({"x": torch.ones(n)})[0], torch.full((n,), 2.0))
        replay({"x": torch.ones(0)})
    assert len(replay.sizes) == MOST_SIZES
    assert any(shape == (0,) for ((_, _, shape),) in replay.sizes)
