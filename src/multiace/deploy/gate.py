"""The numeric gate: whatever runs a potential must give the energies, forces and stress of its definition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms

from multiace.graph.neighbors import build_graph
from multiace.model.potential import Potential, Prediction, Statistics
from multiace.ops.choice import definitions

__all__ = ["TOLERANCE", "Predicted", "converted", "definition", "fragment"]

TOLERANCE = {"float32": 1e-4, "float64": 1e-9, "tables": 5e-4}
"""Largest difference from the definition in float64, by precision, and where radial weights are read from tables;
see :meth:`Predicted.difference`."""

PROBE = 64  # atoms on which a large structure is compared


@dataclass(frozen=True)
class Predicted:
    """What a model or calculator gives for one structure.

    Attributes:
        energy: E [eV].
        forces: F [eV/Å], (n_atoms, 3), or None.
        stress: σ [eV/Å³], positive in tension, (3, 3), or None.
        volume: V of the cell [Å³]; 0 without stress.
        site_energies: E_i [eV], (n_atoms,), or None.
    """

    energy: float
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    volume: float = 0.0
    site_energies: np.ndarray | None = None

    @property
    def size(self) -> float:
        """Largest force component, at least 1 eV/Å: what errors are relative to."""
        return max(1.0, float(np.abs(self.forces).max(initial=0.0)) if self.forces is not None else 1.0)

    def difference(self, other: Predicted, n_atoms: int) -> float:
        """Return the largest of |ΔE|/N [eV], |ΔF| [eV/Å] and |Δσ| V/N [eV], over ``size``; what both have."""
        parts = [abs(self.energy - other.energy) / n_atoms]
        if self.forces is not None and other.forces is not None:
            parts.append(float(np.abs(self.forces - other.forces).max(initial=0.0)))
        if self.stress is not None and other.stress is not None:
            parts.append(float(np.abs(self.stress - other.stress).max()) * self.volume / n_atoms)
        return float(np.max(parts)) / self.size  # np.max keeps NaN

    @classmethod
    def of(cls, prediction: Prediction, volume: float) -> Predicted:
        """Take the prediction of a graph of one structure."""
        stress = _numpy(prediction.stress if volume > 0 else None)
        return cls(
            float(prediction.energy),
            _numpy(prediction.forces),
            None if stress is None else stress[0],
            volume,
            _numpy(prediction.site_energies),
        )


def definition(potential: Potential, atoms: Atoms) -> Predicted:
    """Predict as the equations say: plain operations in float64 on the CPU, the networks themselves."""
    exact = converted(potential, "cpu", "float64")
    volume = atoms.get_volume() if atoms.pbc.all() else 0.0
    with definitions():
        graph = build_graph(atoms, exact.elements, exact.cutoff)
        return Predicted.of(exact(graph, stress=volume > 0), volume)


def fragment(atoms: Atoms, n_atoms: int = PROBE) -> Atoms:
    """Return the structure, or the atoms nearest to the first one of it if it has more than ``n_atoms``."""
    if len(atoms) <= n_atoms:
        return atoms.copy()
    vectors = atoms.get_distances(0, range(len(atoms)), mic=bool(atoms.pbc.any()), vector=True)
    near = np.argsort(np.linalg.norm(vectors, axis=1), kind="stable")[:n_atoms]
    return Atoms(numbers=atoms.numbers[near], positions=vectors[near])


def converted(potential: Potential, device: str | None, dtype: str | None) -> Potential:
    """Return a copy of the potential on another device or in another precision."""
    config = potential.config if dtype is None else potential.config.replace(dtype=dtype)
    with torch.random.fork_rng(devices=[]):  # the first weights are drawn, and replaced
        copy = Potential(config, Statistics(np.zeros(len(config.elements))), potential.metadata)
    copy.load_state_dict(potential.state_dict())
    copy.committee = potential.committee
    return copy.to(device or potential.device).eval()


def _numpy(tensor: torch.Tensor | None) -> np.ndarray | None:
    return None if tensor is None else tensor.detach().to("cpu", torch.float64).numpy()
