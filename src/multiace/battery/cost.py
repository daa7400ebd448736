"""What a prediction costs: time, memory, parameters."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch
from ase import Atoms

from multiace.battery.job import Job
from multiace.battery.subject import Subject
from multiace.data.read import read_structures
from multiace.errors import InputError, brief
from multiace.memory import Growth

__all__ = ["cost"]

WARM_UP = 5  # predictions before the clock starts
MOVED = 0.01  # [Å] by which each coordinate of each atom has moved since the last step, standard deviation
MANY = 1000  # atoms, at least, whose prediction takes the memory that is measured, and that it is told for
APART = 10.0  # [Å] between copies of a molecule


def cost(job: Job) -> dict[str, Any]:
    """Time of a step, largest growth of memory, number of parameters; what cannot be known is left out."""
    config = job.battery.cost
    assert config is not None
    job.show("cost", 0, 1)
    found: dict[str, Any] = {}
    if job.subject.parameters is not None:
        found["parameters"] = job.subject.parameters
    with job.skipping("cost"):
        atoms = structure(job, config.file)
        try:
            found["microseconds_per_atom"] = microseconds(job.subject, atoms, config.repeats)
            found["threads"] = torch.get_num_threads()
            memory = growth(job.subject, atoms)
        except InputError:
            raise
        except Exception as error:  # code of others
            raise InputError(
                f"the calculator cannot predict {atoms.get_chemical_formula()}: {type(error).__name__}: "
                f"{brief(error, 200)}."
            ) from error
        if memory is not None:
            found["memory"] = memory
    job.show("cost", 1, 1)
    return found


def structure(job: Job, file: str | None) -> Atoms:
    """Return the first structure of the file that is named, or of any that is there.

    Raises:
        InputError: If there is none.
    """
    paths = job.found.values() if file is None else [job.found[file]]
    path = next(filter(None, paths), None)
    if path is None:
        raise InputError("there is no structure to predict; set cost.file.")
    return read_structures(path)[0].copy()


def microseconds(subject: Subject, atoms: Atoms, repeats: int) -> float:
    """Return the time of energy and forces of one structure [µs/atom], as between two steps of dynamics: atoms move.

    A calculator that keeps its list of neighbours while atoms have moved little, as ours does, does not make it again.
    Of several predictions the fastest: what other programs do only makes them slower.
    """
    rng, moved = np.random.default_rng(0), atoms.copy()
    moved.calc = subject.calculator
    times = []
    for _ in range(WARM_UP + repeats):
        moved.positions = atoms.positions + rng.normal(scale=MOVED, size=atoms.positions.shape)
        began = time.perf_counter()
        moved.get_forces()
        times.append(time.perf_counter() - began)
    return 1e6 * min(times[WARM_UP:]) / len(atoms)


def growth(subject: Subject, atoms: Atoms) -> float | None:
    """Return by how much the memory in use grows at most while many atoms are predicted [MB/1,000 atoms].

    On a GPU what PyTorch reserves, else the resident memory of the process; None where the system does not tell it.
    """
    crowd = copies(atoms, math.ceil(MANY / len(atoms)))
    crowd.calc = subject.calculator
    grown = Growth(torch.device(subject.device))
    crowd.get_forces()
    most = grown.most()
    return None if most is None else most / 1e6 * MANY / len(crowd)


def copies(atoms: Atoms, n: int) -> Atoms:
    """Return n or more copies: of a molecule side by side, of a cell as a larger one that is about as long as wide."""
    if atoms.pbc.any():
        repeats = np.ones(3, dtype=int)
        while repeats.prod() < n:
            repeats[np.where(atoms.pbc, repeats * atoms.cell.lengths(), np.inf).argmin()] += 1
        return atoms.repeat(repeats)
    width = float(np.ptp(atoms.positions[:, 0])) + APART
    shifts = width * np.arange(n)[:, None, None] * [1.0, 0.0, 0.0]
    return Atoms(np.tile(atoms.numbers, n), (atoms.positions + shifts).reshape(-1, 3), info=atoms.info)
