"""The linear system of a run: rows of every structure, compressed as they come."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from multiace.linear.folds import Data, Folds
from multiace.linear.store import load
from multiace.linear.subspace import Subspace
from multiace.linear.system import System
from multiace.model.potential import Potential
from multiace.ops import AROUND, VOIGT
from multiace.solve.design import design_matrix
from multiace.train.clock import Spent
from multiace.train.config import RunConfig
from multiace.train.prepare import Prepared
from multiace.train.state import to_plain

__all__ = ["ROWS", "Labels", "LinearRows", "rigid_motions"]

BLOCK = 512  # rows that are made together
ROWS = "rows.safetensors"
"""Name of the file of rows, in the folder of checkpoints."""
OF_ROWS = ("energy_weight", "forces_weight", "stress_weight", "max_columns", "smoothness", "seed", "folds")
"""Fields of the train section that rows depend on."""


class Labels(NamedTuple):
    """Labels of one kind of a structure, as rows.

    Attributes:
        number: Of the structure in the training set.
        target: ``energy``, ``forces`` or ``stress``.
        X: Rows, (n, p).
        y: Labels without what is given (E0, shift, ZBL), (n,).
        weight: Of each row.
        redundant: How many rows follow from the others.
    """

    number: int
    target: str
    X: np.ndarray
    y: np.ndarray
    weight: float
    redundant: int = 0


class LinearRows:
    """What is solved for, and its rows: y - X c₀ = X (c - c₀) with the coefficients c₀ of ``train.start_from``, or 0.

    Args:
        run: The run.
        data: From :func:`multiace.train.prepare.prepare`.
        potential: What is fitted, with the weights of ``train.start_from``.

    Attributes:
        matrix: Makes the rows.
        centre: c₀, (n_columns,).
        centred: Whether there is a model to start from.
        columns: Columns that see the data, ascending.
        whole_prior: Γ of all columns, (n_columns,).
        shuffled: Numbers of the training structures in the order in which directions are taken from them.
        subspace: Directions of the columns that are solved for, where the columns are too many; from :meth:`reduce`.
    """

    def __init__(self, run: RunConfig, data: Prepared, potential: Potential) -> None:
        self.run, self.config, self.data = run, run.train, data
        self.matrix = design_matrix(potential)
        self.centred = data.start is not None
        self.centre = self.matrix.present if self.centred else np.zeros(self.matrix.n_columns)
        self.columns = np.flatnonzero(self.matrix.seen(data.train.all.graph))
        self.matrix.choose(self.columns)
        self.whole_prior = self.matrix.roughness() ** self.config.smoothness
        self.subspace: Subspace | None = None
        self.shuffled: list[int] = np.random.default_rng(run.train.seed).permutation(len(data.train)).tolist()

    @property
    def prior(self) -> np.ndarray:
        """Γ of the columns that see the data."""
        return np.asarray(self.whole_prior[self.columns])

    @property
    def n_solved(self) -> int:
        """Number of unknowns: columns or directions."""
        return len(self.columns) if self.subspace is None else self.subspace.V.shape[1]

    @property
    def solved_prior(self) -> np.ndarray:
        """Γ of the unknowns, (n_solved,)."""
        return self.prior if self.subspace is None else np.ones(self.n_solved)

    def coefficients(self, a: np.ndarray) -> np.ndarray:
        """Return the coefficients of the columns that see the data, of unknowns (n_solved,)."""
        return a if self.subspace is None else self.subspace.coefficients(a)

    def directions(self, c: np.ndarray) -> np.ndarray:
        """Return the unknowns, (n_solved,), that give what coefficients (n_columns,) give."""
        seen = c[self.columns]
        return seen if self.subspace is None else self.subspace.directions(seen)

    def reduce(self, show: Callable[[float], None]) -> None:
        """Choose directions if there are more functions than are solved for."""
        most = self.config.max_columns
        if len(self.columns) <= most:
            return
        parts: list[np.ndarray] = []
        left = most
        for block in self.blocks(self.shuffled):
            for labels in self.of(block):
                parts.append(math.sqrt(labels.weight) * labels.X)
                left -= len(labels.y) - labels.redundant
            show(min(1 - left / most, 1.0))
            if left <= 0:
                break
        X = np.concatenate(parts)
        parts.clear()
        self.subspace = Subspace.of_rows(X, self.prior, most, overwrite=True)

    def blocks(self, numbers: Sequence[int]) -> Iterator[list[int]]:
        """Structures in their order, as many together as have some hundred rows."""
        block, rows = [], 0
        for number in numbers:
            block.append(number)
            rows += 3 * len(self.data.train.frames[number].atoms) + AROUND
            if rows >= BLOCK:
                yield block
                block, rows = [], 0
        if block:
            yield block

    def add(self, data: Data, block: list[int]) -> None:
        """Add the rows of some structures; directions are read once for all of them."""
        parts = list(self.of(block))
        matrices = [labels.X for labels in parts]
        if self.subspace is not None and matrices:
            ends = np.cumsum([len(X) for X in matrices])
            matrices = np.split(self.subspace.project(np.concatenate(matrices)), ends[:-1])
        for X, labels in zip(matrices, parts, strict=True):
            system = data.systems[labels.number % len(data.systems)] if isinstance(data, Folds) else data
            source = str(self.data.train.frames[labels.number].source)
            system.add(X, labels.y, labels.weight, source, labels.redundant)

    def made_from(self, frames: int) -> dict[str, Any]:
        """What rows depend on, and how many structures they are of."""
        run = self.run.to_dict()
        return {
            "frames": frames,
            "model": self.data.model.model_dump(mode="json"),
            "weights": {name: run["train"][name] for name in OF_ROWS},
            "statistics": to_plain(self.data.statistics),
            "checksums": self.data.sources.checksums,
            "data": run["data"],
        }

    def empty(self) -> Data:
        """Return what rows are to be added to."""
        folds = self.config.folds
        return Folds(self.n_solved, folds) if folds else System(self.n_solved)

    def read(self, path: Path) -> tuple[Data | None, int, Spent]:
        """Return rows that were saved, None if they are of something else; of how many structures, and what they took.

        Raises:
            InputError: If they cannot be read.
        """
        data, state = load(path)
        frames, spent = int(state.get("frames", 0)), Spent(*state.pop("spent", ()))
        return (data if state == self.made_from(frames) else None), frames, spent

    def of(self, block: list[int]) -> Iterator[Labels]:
        """Rows of the labels of some structures."""
        batch, config = self.data.train.collate(block), self.config
        base, rows = self.matrix.potential.without_network(batch.graph), self.matrix(batch.graph)
        assert base.forces is not None
        assert base.stress is not None
        volumes, centre = batch.graph.volumes.numpy(), self.centre[self.columns]
        energies = (batch.energy - base.energy).numpy() - rows.energy @ centre
        all_forces = (batch.forces - base.forces).numpy() - (rows.forces @ centre).reshape(-1, 3)
        stresses = (batch.stress - base.stress).numpy()
        ends = batch.num_atoms.cumsum(0).tolist()
        for k, (number, end) in enumerate(zip(block, ends, strict=True)):
            atoms, weight = self.data.train.frames[number].atoms, float(batch.weights[k])
            if np.isfinite(energies[k]) and config.energy_weight * weight:
                w = weight * config.energy_weight / len(atoms)
                yield Labels(number, "energy", rows.energy[k : k + 1], energies[k : k + 1], w)
            forces = all_forces[end - len(atoms) : end].ravel()
            known = np.isfinite(forces)
            if known.any() and config.forces_weight * weight:
                X = rows.forces[3 * (end - len(atoms)) : 3 * end]
                redundant = rigid_motions(atoms) if known.all() else 0
                w = weight * config.forces_weight
                yield Labels(number, "forces", X[known], forces[known], w, redundant)
            stress = stresses[k][tuple(zip(*VOIGT, strict=True))]
            if volumes[k] > 0 and config.stress_weight * weight and np.isfinite(stress).all():
                X = rows.virial[k] / volumes[k]
                yield Labels(number, "stress", X, stress - X @ centre, weight * config.stress_weight)


def rigid_motions(atoms: Atoms) -> int:
    """Number of displacements of all atoms that change no energy: translations, and rotations of a molecule."""
    motions = [np.tile(axis, len(atoms)) for axis in np.eye(3)]
    if not atoms.pbc.any():
        motions += [
            np.cross(axis, atoms.positions - atoms.positions.mean(axis=0)).ravel() for axis in np.eye(3)
        ]
    return int(np.linalg.matrix_rank(np.array(motions), tol=1e-3))
