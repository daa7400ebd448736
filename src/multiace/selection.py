"""Which structures of a pool to label next: those whose labels would tell a fitted model most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms

from multiace.config import read_yaml
from multiace.data.dataset import Dataset
from multiace.data.read import Frame, check_structure, find_elements, has_volume, read_structures
from multiace.data.shape import SUMS, kind, same, shape
from multiace.errors import InputError
from multiace.linear.gain import Knowledge, choose
from multiace.model.potential import Potential
from multiace.train.config import RunConfig
from multiace.train.folder import RunFolder
from multiace.train.linear_rows import ROWS, LinearRows
from multiace.train.prepare import Prepared, prepare

__all__ = ["Selection", "select"]

MEMORY = 2**31
"""Bytes of whitened rows that are kept; those of other structures are made again when looked at."""


@dataclass(frozen=True)
class Selection:
    """Structures that were chosen.

    Attributes:
        structures: In the order of their choice; ``info`` has ``information_gain`` [nats] and ``pool_index``.
        gains: Information gain of each [nats], given those before it, (n,).
        repeated: Structures of the pool that occur in it before, up to rotation and translation.
        trained: Those that the model is fitted to.
    """

    structures: list[Atoms]
    gains: np.ndarray
    repeated: int
    trained: int


def select(
    folder: str | Path,
    pool: str | Path | Sequence[Atoms],
    number: int,
    show: Callable[[int, int], None] = lambda done, total: None,
    reading: Callable[[int, int], None] = lambda done, total: None,
) -> Selection:
    """Choose the structures whose labels would tell most about the coefficients of a fitted model.

    The labels are those that the run weights: energies, forces, stresses. They need not be known. Structures that
    the model is fitted to, and those that occur twice, are left out.

    Args:
        folder: Run folder of a fit by linear algebra, with its rows; its training data must be where they were.
        pool: File or structures.
        number: How many to choose.
        show: Called with how many are chosen, and how many are to be.
        reading: Called before, with how many per cent of the rows that directions are taken from are made.

    Raises:
        InputError: If the folder has no such fit or its data have changed, the pool has elements that the model does
            not know or positions that are not finite, or fewer different structures than are asked for.
    """
    structures = read_structures(pool) if isinstance(pool, str | Path) else list(pool)
    name = str(pool) if isinstance(pool, str | Path) else "the pool"
    for n, atoms in enumerate(structures):
        check_structure(atoms, f"{name} frame {n}")
    if number < 1:
        raise InputError(f"{number} structures were asked for; ask for 1 or more.")
    rows, knowledge_of = fitted(Path(folder))
    potential = rows.matrix.potential
    spare = [z for z in find_elements([Frame(a) for a in structures]) if z not in potential.elements]
    if spare:
        raise InputError(
            f"{name} has structures with {', '.join(spare)}, but the model of {folder} knows only "
            f"{', '.join(potential.elements)}; leave them out, or label some and fit with them."
        )
    different, repeated, trained = news(structures, [frame.atoms for frame in rows.data.train.frames])
    if number > len(different):
        raise InputError(
            f"{number} structures were asked for, but {name} has {len(different)} ({len(structures)} less {repeated} "
            f"that occur twice and {trained} of the training data); ask for fewer, or give a larger pool."
        )
    rows.reduce(lambda part: reading(round(100 * part), 100))
    of_pool = PoolRows(rows, knowledge_of, [structures[n] for n in different])
    chosen = choose(of_pool, len(different), number, show)
    found = []
    for k, gain in chosen:
        atoms = structures[different[k]].copy()
        atoms.info.update(information_gain=gain, pool_index=different[k])
        found.append(atoms)
    return Selection(found, np.array([gain for _, gain in chosen]), repeated, trained)


KnowledgeOf = Callable[[np.ndarray, np.ndarray], Knowledge]
"""Makes what is known, of the prior of columns and which of them the data have seen."""


def fitted(folder: Path) -> tuple[LinearRows, KnowledgeOf]:
    """Return the rows of a run that was solved for.

    Raises:
        InputError: If it was not, or what it was made from is no longer there.
    """
    place = RunFolder(folder)
    potential = Potential.load(place.path)
    if not place.config.is_file():
        raise InputError(
            f"{folder} is no run folder; give the folder of a fit by linear algebra, such as runs/run."
        )
    strength = potential.metadata.get("linear_fit", {}).get("strength")
    if strength is None:
        raise InputError(
            f"{folder} was not solved for with a prior of one strength, which select needs: fit it with train.solver = "
            "bayesian_ridge, ridge or lsqr (of a trained model, its last layers: train.start_from)."
        )
    run = RunConfig.from_dict(read_yaml(place.config))
    data = prepare(run)
    rows = LinearRows(run, data, potential)
    path = place.checkpoints / ROWS
    saved, frames, _ = rows.read(path) if path.is_file() else (None, 0, None)
    if saved is None or frames != len(data.train):
        raise InputError(f"{path} is not there, or not of the data as they are now; fit again.")
    system = saved.total()
    return rows, lambda prior, known: Knowledge(system, strength, prior, known, rows.subspace)


def news(structures: Sequence[Atoms], trained: Sequence[Atoms]) -> tuple[list[int], int, int]:
    """Return which structures are new, how many occur twice, and how many are of the training data."""
    every = [*trained, *structures]
    kinds = np.array([kind(atoms) for atoms in every], dtype=np.uint64)
    numbers = same(kinds, np.array([shape(atoms) for atoms in every]).reshape(-1, SUMS))
    known, met = set(numbers[: len(trained)].tolist()), set()
    new, n_trained = [], 0
    for n, number in enumerate(numbers[len(trained) :].tolist()):
        if number in known:
            n_trained += 1
        elif number not in met:
            new.append(n)
            met.add(number)
    return new, len(structures) - len(new) - n_trained, n_trained


class PoolRows:
    """Whitened rows of the structures of a pool, kept as far as there is room.

    Args:
        rows: Of the fit.
        knowledge_of: What is known of columns.
        structures: The pool.
    """

    def __init__(self, rows: LinearRows, knowledge_of: KnowledgeOf, structures: Sequence[Atoms]) -> None:
        potential = rows.matrix.potential
        frames = [unlabelled(atoms) for atoms in structures]
        data: Prepared = replace(rows.data, train=Dataset(frames, potential.elements, potential.cutoff))
        self.rows = LinearRows(rows.run, data, potential)
        columns = np.union1d(rows.columns, self.rows.columns)
        self.rows.columns = columns
        self.rows.matrix.choose(columns)
        self.knowledge = knowledge_of(self.rows.prior, np.isin(columns, rows.columns))
        self.kept: dict[int, np.ndarray] = {}
        self.room = MEMORY

    def __call__(self, n: int) -> np.ndarray:
        """Return Y of a structure."""
        if n in self.kept:
            return self.kept[n]
        labels = list(self.rows.of([n]))
        weights = np.concatenate([np.full(len(part.y), part.weight) for part in labels])
        Y = self.knowledge.whiten(np.concatenate([part.X for part in labels]), weights)
        if Y.nbytes <= self.room:
            self.kept[n] = Y
            self.room -= Y.nbytes
        return Y


def unlabelled(atoms: Atoms) -> Frame:
    """A structure all of whose labels are asked for; their values do not matter."""
    stress = np.zeros((3, 3)) if has_volume(atoms) else None
    return Frame(atoms, 0.0, np.zeros((len(atoms), 3)), stress)
