"""Models on a GPU: predictions, replays of CUDA graphs, the calculator and training."""

import numpy as np
import pytest
import torch
from ase.calculators.fd import calculate_numerical_forces

from multiace.deploy.ase import Calculator
from multiace.graph.neighbors import build_graph
from multiace.model.replay import Predictor
from multiace.ops.choice import definitions
from multiace.train.loop import fit
from tests.potentials import KINDS, crystal, methanol, small_potential


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 2e-4)])
@pytest.mark.parametrize("changes", KINDS, ids=str)
@pytest.mark.parametrize("atoms", [methanol(), crystal()], ids=["molecule", "crystal"])
def test_predictions_are_those_of_the_definitions(atoms, changes, dtype, tolerance):
    """Five steps of one size: two run, one captured, two replayed, with weights that change."""
    exact, potential = small_potential(**changes), small_potential(**changes, dtype=dtype).to("cuda")
    predictor, stress = Predictor(potential), bool(atoms.pbc.any())
    for step in range(5):
        atoms.rattle(0.002, seed=step)
        graph = build_graph(atoms, exact.elements, exact.cutoff)
        with definitions():
            expected = exact(graph, stress=stress)
        found = predictor(build_graph(atoms, potential.elements, potential.cutoff), stress=stress)
        for name in ("energy", "site_energies", "forces", "stress"):
            ours, theirs = getattr(found, name), getattr(expected, name)
            if theirs is not None:
                bound = tolerance * max(1.0, float(theirs.abs().max()))
                if (name, dtype) == ("energy", "float32"):
                    bound = 1e-2  # of thousands of eV
                torch.testing.assert_close(ours.cpu().double(), theirs, rtol=0, atol=bound)
        with torch.no_grad():
            for one in (exact, potential):
                next(iter(one.parameters())).mul_(1.01)


def test_the_calculator_gives_gradients():
    atoms = methanol()
    atoms.calc = Calculator(small_potential(), device="cuda")
    for step in range(4):
        atoms.rattle(0.01, seed=step)
        numeric = calculate_numerical_forces(atoms, 1e-4, range(2))
        np.testing.assert_allclose(atoms.get_forces()[:2], numeric, atol=1e-5)


@pytest.mark.parametrize("graphs", [True, False], ids=["replayed", "as they are"])
def test_a_run_is_that_of_a_cpu(run, tmp_path, graphs):
    """Weights after ten epochs with two stages, stress, clipping and an average of weights."""
    weights = []
    for device in ("cpu", "cuda"):
        config = run(
            ("clusters.xyz", "crystals.xyz"),
            max_epochs=10,
            model={"dtype": "float64", "correlation": 2},
            second_stage_start=0.5,
            second_stage_energy_weight=9.0,
            stress_weight=10.0,
            clip_norm=0.5,
            device=device,
            **({"cuda_graphs": graphs} if device == "cuda" else {}),
        )
        weights.append([p.detach().cpu() for p in fit(config, tmp_path / device).parameters()])
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
