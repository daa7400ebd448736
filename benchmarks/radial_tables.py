"""Training steps that read radial weights from tables, against those that evaluate the networks, in turns.

``python benchmarks/radial_tables.py`` prints three tables: errors of energies, forces and gradients of the
parameters; time of a step; errors of two fits from the same seed. Labels of silicon are those of a Lennard-Jones
potential, those of copper of the effective-medium theory: what matters here are the numbers of atoms and neighbours.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import ase.build
import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from lightning_fabric import Fabric

from multiace import PRESETS, RunConfig, fit
from multiace.data.dataset import Batch, Dataset
from multiace.data.read import Frame, read_frames
from multiace.layers.table import TOLERANCE, RadialTables, tabulate
from multiace.model.potential import Potential, Statistics
from multiace.train import radial
from multiace.train.config import TrainConfig
from multiace.train.loss import Loss
from multiace.train.optimizer import OPTIMIZERS, FlatParameters
from multiace.train.processes import keep_memory
from multiace.train.step import Step

SILICON = {"64": 2, "216": 3}
"""Atoms of a frame, and cells along each edge."""


def silicon(cells: int, count: int) -> list[Frame]:
    """Bulk silicon, disordered."""
    frames = []
    for seed in range(count):
        atoms = ase.build.bulk("Si", cubic=True).repeat(cells)
        atoms.rattle(0.1, seed=seed)
        frames.append(labelled(atoms, LennardJones(sigma=2.1, epsilon=1.0, rc=5.0, smooth=True)))
    return frames


def labelled(atoms: Atoms, calculator: object) -> Frame:
    """A frame with the energy and the forces of a calculator."""
    atoms.calc = calculator
    return Frame(atoms, energy=atoms.get_potential_energy(), forces=atoms.get_forces())


def build(frames: list[Frame], dtype: str, preset: str) -> tuple[Potential, Batch]:
    """A model with random weights, the same at every call, and all frames, of mean energy 0, as a batch."""
    mean = np.mean([frame.energy for frame in frames])
    frames = [replace(frame, energy=frame.energy - mean) for frame in frames]
    elements = tuple(sorted({symbol for frame in frames for symbol in frame.atoms.symbols}))
    config = PRESETS[preset].replace(elements=elements, cutoff=5.0, dtype=dtype, energy_reference="none")
    batch = Dataset(frames, elements, config.cutoff).collate(list(range(len(frames))))
    neighbors = batch.graph.n_edges / batch.graph.n_nodes
    torch.manual_seed(0)
    return Potential(config, Statistics(np.zeros(len(elements)), 1.0, 0.0, neighbors)), batch


def trainer(potential: Potential) -> Step:
    """What takes steps."""
    flat = FlatParameters(potential)
    optimizer = OPTIMIZERS["adam"](flat.groups(0.0))
    return Step(Fabric(accelerator="cpu"), TrainConfig(), potential, flat, optimizer, None)


# --- errors ---------------------------------------------------------------------------------------------------


def results(potential: Potential, batch: Batch, intervals: int) -> tuple[torch.Tensor, ...]:
    """Energies per atom, forces, and the gradient of the loss with respect to all parameters; float64."""
    network, loss = potential.network, Loss(TrainConfig())
    tables = None
    if intervals:
        layers = [function.tabulate(intervals) for function in network.radial_functions]
        tables = RadialTables(layers, network.elements)
    prediction = potential(batch.graph, create_graph=True, tables=tables)
    total = loss.combine(*loss.sums(prediction, batch))
    gradients = torch.autograd.grad(total, list(potential.parameters()), materialize_grads=True)
    gradient = torch.cat([g.reshape(-1).double() for g in gradients])
    return (prediction.energy / batch.num_atoms).detach(), prediction.forces.detach(), gradient


def differences(one: tuple[torch.Tensor, ...], other: tuple[torch.Tensor, ...]) -> str:
    """Root mean square differences of energies [meV/atom], and relative ones of forces and gradients."""
    energy = float((one[0] - other[0]).square().mean().sqrt()) * 1000.0
    relative = [float((a - b).norm() / b.norm()) for a, b in zip(one[1:], other[1:], strict=True)]
    return f"{energy:.1e} | " + " | ".join(f"{value:.1e}" for value in relative)


def errors(name: str, frames: list[Frame], preset: str, steps: int) -> Iterator[str]:
    """Lines of a table: with random weights, and after some steps."""
    for after in (0, steps):
        exact, batch = build(frames, "float64", preset)
        step = trainer(exact)
        for number in range(after):
            step(batch, 0.01, number)
        found = tabulate(exact.network.radial_functions, TOLERANCE)
        assert found is not None, "no table is close enough"
        (table, *_), error = found
        intervals = table.values.shape[1] - 1
        single, _ = build(frames, "float32", preset)
        single.load_state_dict(exact.state_dict())
        line = f"| {name}, {after} steps | {intervals}, {error:.1e} "
        reference = results(exact, batch, 0)
        yield line + f"| tables, float64 | {differences(results(exact, batch, intervals), reference)} |"
        yield line + f"| tables, float32 | {differences(results(single, batch, intervals), reference)} |"
        yield line + f"| networks, float32 | {differences(results(single, batch, 0), reference)} |"


# --- time -----------------------------------------------------------------------------------------------------


def times(name: str, frames: list[Frame], preset: str, rounds: int, intervals: int = 256) -> str:
    """Line of a table: medians of steps in turns, after one of each that warms up."""
    potential, batch = build(frames, "float32", preset)
    step, seconds = trainer(potential), {0: [], intervals: []}
    for turn in range(rounds + 1):
        for choice, taken in seconds.items():
            started = time.perf_counter()
            step(batch, 1e-4, 2 * turn, choice)
            if turn:
                taken.append(time.perf_counter() - started)
    networks, tables = (1000.0 * median(taken) for taken in seconds.values())
    made = radial.tables_for(potential.network, batch.graph, intervals)
    knots = int(made.values[0][0].flatten(1).any(dim=1).sum()) + 1  # R is 0 at the last
    pairs, ratio = batch.graph.n_edges // 2, networks / tables
    return (
        f"| {name} | {pairs} | {knots} | {pairs / knots:.1f} | {networks:.0f} | {tables:.0f} | {ratio:.2f} |"
    )


# --- fits -----------------------------------------------------------------------------------------------------


def fits(folder: Path, preset: str, epochs: int, count: int = 40) -> Iterator[str]:
    """Lines of a table: errors of two fits of copper, 108 atoms a frame."""
    for name, frames, first in (("train", count, 0), ("test", 10, 1000)):
        for seed in range(first, first + frames):
            atoms = ase.build.bulk("Cu", cubic=True).repeat(3)
            atoms.rattle(0.1, seed=seed)
            atoms.calc = EMT()
            energy, forces = atoms.get_potential_energy(), atoms.get_forces()
            atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
            ase.io.write(folder / f"{name}.xyz", atoms, append=True)
    for choice in ("network", "auto"):
        config = {
            "model": {"preset": preset, "cutoff": 5.0, "energy_reference": "mean"},
            "data": {"train": str(folder / "train.xyz"), "valid": 0.1, "test": str(folder / "test.xyz")},
            "train": {
                "max_epochs": epochs,
                "radial": choice,
                "verify": False,
                "threads": torch.get_num_threads(),
            },
        }
        fit(RunConfig.from_dict(config), folder / choice)
        summary = json.loads((folder / choice / "summary.json").read_text())
        *_, test = summary["errors"].values()
        energy, forces = test["energy_per_atom"]["rmse"], test["forces"]["rmse"]
        of_tables = (
            "" if choice == "network" else f"{summary['radial_intervals']}, {summary['radial_error']:.1e}"
        )
        yield f"| {choice} | {of_tables} | {energy:.3f} | {forces:.2f} | {summary['seconds']:.0f} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Training steps with radial tables against the networks.")
    here = Path(__file__).parent
    data = Path(os.environ.get("MULTIACE_DATA", here / "data"))
    parser.add_argument("parts", nargs="*", help="errors, time, fits; by default all")
    parser.add_argument("--data", type=Path, default=data, help="folder with acac/ (%(default)s)")
    parser.add_argument("--preset", default="botnet-small", help="model (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="turns (%(default)s)")
    parser.add_argument("--epochs", type=int, default=30, help="of each fit (%(default)s)")
    options = parser.parse_args()
    parts = options.parts or ["errors", "time", "fits"]
    torch.set_num_threads(options.threads)
    keep_memory()
    if "errors" in parts:
        print(
            "| frames | intervals, error of R | | energy [meV/atom] | forces | gradient |\n|---|---|---|---|---|---|"
        )
        acac = read_frames(options.data / "acac/train_300K.xyz")[:5]
        for name, frames in (("AcAc, 5 x 15", acac), ("silicon, 5 x 64", silicon(2, 5))):
            print(*errors(name, frames, options.preset, 50), sep="\n", flush=True)
    if "time" in parts:
        radial.PAYS = 0  # below its bound, too
        print(
            "| silicon | pairs | knots | pairs / knots | networks [ms] | tables [ms] | ratio |",
            "|---" * 7 + "|",
            sep="\n",
        )
        for atoms, cells in SILICON.items():
            for count in (1, 2, 5):
                line = times(f"{count} x {atoms}", silicon(cells, count), options.preset, options.rounds)
                print(line, flush=True)
    if "fits" in parts:
        print(
            "| radial | intervals, error of R | energy [meV/atom] | forces [meV/Å] | seconds |\n|---|---|---|---|---|"
        )
        with tempfile.TemporaryDirectory() as folder:
            print(*fits(Path(folder), options.preset, options.epochs), sep="\n")


if __name__ == "__main__":
    main()
