"""What the energies of structures are made of: terms of each structure, and of each atom."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from multiace.data.dataset import Dataset
from multiace.data.read import Frame, read_frames
from multiace.errors import InputError, did_you_mean
from multiace.evaluation import read_any, training_keys
from multiace.files import atomic
from multiace.model.potential import Potential
from multiace.model.split import SPLITS
from multiace.train.memory import batch_in_memory

__all__ = ["Explanation", "explain", "shortened"]

MOST_EDGES = 1_000  # at once


@dataclass(frozen=True, eq=False)
class Explanation:
    """Energies of structures as sums of terms.

    Attributes:
        by: How they are split, a key of ``multiace.model.split.SPLITS``.
        names: Of the terms.
        frames: The structures.
        energies: Of each structure [eV], (n_frames, n_terms); they sum to its energy.
        atoms: Of each structure, the part of each atom [eV], (n_atoms, n_terms).
        error: Largest difference between the sum of terms and the energy of a structure [eV].
        method: How the terms were found, in words.
    """

    by: str
    names: tuple[str, ...]
    frames: list[Frame]
    energies: np.ndarray
    atoms: list[np.ndarray]
    error: float
    method: str

    def write(self, path: str | Path) -> None:
        """Write everything as JSON."""
        structures: list[dict[str, Any]] = [
            {
                "source": frame.source,
                "formula": frame.atoms.get_chemical_formula(),
                "reference": frame.energy,
                "energy": float(energies.sum()),
                "terms": energies.tolist(),
                "atoms": atoms.tolist(),
            }
            for frame, energies, atoms in zip(self.frames, self.energies, self.atoms, strict=True)
        ]
        facts = {"by": self.by, "unit": "eV", "terms": self.names, "error": self.error, "method": self.method}
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with atomic(Path(path)) as temporary:
            text = json.dumps(facts | {"structures": structures}, indent=1, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")


def explain(
    potential: Potential,
    structures: str | Path | Sequence[Frame | Atoms],
    by: str = "order",
    advance: Callable[[int, int], None] | None = None,
) -> Explanation:
    """Split the energies of structures.

    Args:
        potential: The model; in float32, its weights are taken for float64.
        structures: A file, frames, or ASE structures; labels are not needed.
        by: ``order``, ``layer``, ``edges``, ``l`` or ``path``; see :mod:`multiace.model.split`.
        advance: Called with the number of structures done and in all, to show progress.

    Raises:
        InputError: If there is no such split, or not of this model; if the file cannot be read, or a structure has an
            element that the model does not know.
    """
    if by not in SPLITS:
        raise InputError(f"energies cannot be split by {by!r}.{did_you_mean(by, SPLITS)}")
    keys = training_keys(potential)
    if isinstance(structures, str | Path):
        frames = read_frames(structures, keys, strict=False)
    else:
        frames = read_any(structures, keys)
    dataset = Dataset(frames, potential.elements, potential.cutoff)
    complete = potential.config.channel_coupling == "complete"  # with many products of each atom
    energies, atoms, error, methods = [], [], 0.0, []
    for batch in dataset.batches(1 if complete else None, MOST_EDGES):
        with batch_in_memory(dataset, batch.indices.tolist(), "the split", "give fewer structures"):
            split = SPLITS[by](potential, batch.graph.to(potential.device))
        energies.append(split.energies.numpy(force=True))
        atoms += [part.numpy(force=True) for part in split.atoms.split(batch.num_atoms.tolist())]
        error = max(error, split.error)
        methods.append(split.method)
        if advance is not None:
            advance(len(atoms), len(dataset))
    method = " or ".join(dict.fromkeys(methods))
    return Explanation(by, split.names, dataset.frames, np.concatenate(energies), atoms, error, method)


def shortened(names: Sequence[str], terms: np.ndarray, most: int) -> tuple[list[str], np.ndarray]:
    """Return the largest terms in their order and, if there are more than ``most``, the sum of the others.

    Args:
        names: Of the terms.
        terms: (n_frames, n_terms).
        most: Largest number of terms, with that of the others.
    """
    if len(names) <= most:
        return list(names), terms
    by_size = np.argsort(-np.abs(terms).max(axis=0), kind="stable")
    kept, others = np.sort(by_size[: most - 1]), by_size[most - 1 :]
    rest = terms[:, others].sum(axis=1, keepdims=True)
    return [*(names[k] for k in kept), f"{len(others)} others"], np.hstack([terms[:, kept], rest])
