"""Errors of a potential on labelled structures, and its predictions for them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms

from multiace.calibration import calibration
from multiace.data.config import LabelKeys
from multiace.data.dataset import Dataset
from multiace.data.read import Frame, count_labels, read_frame, read_frames, unused_stresses
from multiace.errors import InputError
from multiace.graph.graph import Graph
from multiace.model.committee import NO_COMMITTEE
from multiace.model.potential import Potential, Prediction
from multiace.train.memory import batch_in_memory
from multiace.train.metrics import UNITS, Metrics

__all__ = ["MAX_EDGES", "Evaluation", "check_limits", "evaluate", "write_metrics", "write_predictions"]

MAX_EDGES = 50_000
"""Most edges that are predicted at once, if nothing is said."""

OWN_KEYS = ("energy", "free_energy", "forces", "stress")  # written from the labels as they were read


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a potential predicts for a set of structures, and how far that is from their labels.

    Attributes:
        name: Of the set: the file's name without folder and ending.
        frames: The structures with their labels.
        energies: Predicted E [eV], shape (n_frames,).
        forces: Predicted F [eV/Å] of each frame, shape (n_atoms, 3).
        stresses: Predicted stress [eV/Å³] of each frame, shape (3, 3), None without a cell.
        metrics: Errors of each quantity and spread of its labels, overall, per config type and per element; and
            ``calibration`` of the error bars and ``extrapolation`` (largest grade, share of atoms above 1), if asked
            for.
        energy_std: Predicted standard deviations of E [eV], shape (n_frames,), or None.
        forces_std: Those of F [eV/Å] of each frame, shape (n_atoms, 3), or None.
        grades: Extrapolation grade of each atom of each frame, shape (n_atoms,), or None.
    """

    name: str
    frames: list[Frame]
    energies: np.ndarray
    forces: list[np.ndarray]
    stresses: list[np.ndarray | None]
    metrics: dict[str, Any]
    energy_std: np.ndarray | None = None
    forces_std: list[np.ndarray] | None = None
    grades: list[np.ndarray] | None = None

    @property
    def unlabelled(self) -> str:
        """A sentence on structures that have no label at all; empty if some have."""
        labels = count_labels(self.frames)
        if labels.energy or labels.forces or labels.stress:
            return ""
        found = ", ".join(labels.keys) or "none"
        return f"{self.name}: none of {labels.frames} structures has a label (keys found: {found})"

    def structures(self) -> Iterator[Atoms]:
        """Yield each structure with its info, its labels (``energy``, ...) and ``multiace_*``."""
        for n, (frame, E, F) in enumerate(zip(self.frames, self.energies, self.forces, strict=True)):
            stress = self.stresses[n]
            atoms = Atoms(
                numbers=frame.atoms.numbers,
                positions=frame.atoms.positions,
                cell=frame.atoms.cell,
                pbc=frame.atoms.pbc,
                info={key: value for key, value in frame.atoms.info.items() if key not in OWN_KEYS},
            )
            atoms.info.update(config_type=frame.config_type, source=frame.source)
            if frame.energy is not None:
                atoms.info["energy"] = frame.energy
            if frame.forces is not None:
                atoms.arrays["forces"] = frame.forces
            if frame.stress is not None:
                atoms.info["stress"] = frame.stress
            atoms.info["multiace_energy"] = float(E)
            atoms.arrays["multiace_forces"] = F
            if stress is not None:
                atoms.info["multiace_stress"] = stress
            if self.energy_std is not None and self.forces_std is not None:
                atoms.info["multiace_energy_std"] = float(self.energy_std[n])
                atoms.arrays["multiace_forces_std"] = self.forces_std[n]
            if self.grades is not None:
                atoms.arrays["multiace_extrapolation_grade"] = self.grades[n]
            yield atoms


def evaluate(
    potential: Potential,
    structures: str | Path | Sequence[Frame | Atoms],
    name: str | None = None,
    keys: LabelKeys | None = None,
    batch_size: int | None = None,
    max_edges: int | None = MAX_EDGES,
    advance: Callable[[int, int], None] | None = None,
    uncertainty: bool = False,
) -> Evaluation:
    """Predict energies, forces and (of periodic structures, and where there are labels) stresses; measure errors.

    Args:
        potential: The model.
        structures: A file, frames, or ASE structures. Missing labels are left out of the errors.
        name: Of the set; the file's name by default.
        keys: Names and units of the labels in a file or in ASE structures; as in training by default.
        batch_size: Most structures predicted at once.
        max_edges: Most edges predicted at once (memory); a structure with more goes alone.
        advance: Called with the number of structures done and in all, to show progress.
        uncertainty: Predict error bars and extrapolation grades too.

    Raises:
        InputError: If the file cannot be read, a structure has an element the model does not know, a limit
            is below 1, a batch does not fit into the memory, or error bars are asked for and there are none.

    Warns:
        UserWarning: If the file has stress labels that are not used, as their structures are not periodic.
    """
    check_limits(batch_size=batch_size, max_edges=max_edges)
    committee = potential.committee
    if uncertainty and committee is None:
        raise InputError(NO_COMMITTEE)
    frames = read_any(structures, keys or training_keys(potential))
    dataset = Dataset(frames, potential.elements, potential.cutoff)
    metrics = Metrics(dataset, potential.isolated_energies)
    has_stress = [frame.stress is not None or bool(frame.atoms.pbc.all()) for frame in frames]
    energies = np.zeros(len(frames))
    forces: list[np.ndarray] = [np.zeros((0, 3))] * len(frames)
    stresses: list[np.ndarray | None] = [None] * len(frames)
    energy_std, forces_std = np.zeros(len(frames)), list(forces)
    grades: list[np.ndarray] = [np.zeros(0)] * len(frames)
    potential.eval()
    for batch in dataset.batches(batch_size, max_edges):
        chosen = batch.indices.tolist()
        with batch_in_memory(dataset, chosen, "the evaluation", "lower max_edges (--max-edges)"):
            graph = batch.graph.to(potential.device)
            prediction = predict(potential, graph, any(has_stress))
            if uncertainty and committee is not None:
                spread = committee.spread(potential, graph)
                energy_std[chosen] = spread.energy.cpu()
                for k, std in zip(chosen, spread.forces.cpu().split(batch.num_atoms.tolist()), strict=True):
                    forces_std[k] = std.numpy()
                if spread.grades is not None:
                    of_frames = spread.grades.cpu().split(batch.num_atoms.tolist())
                    for k, of_atoms in zip(chosen, of_frames, strict=True):
                        grades[k] = of_atoms.numpy()
        metrics.add(prediction, batch)
        energies[chosen] = prediction.energy
        assert prediction.forces is not None
        for k, F in zip(chosen, prediction.forces.split(batch.num_atoms.tolist()), strict=True):
            forces[k] = F.numpy()
        if prediction.stress is not None:
            for k, tensor in zip(chosen, prediction.stress, strict=True):
                stresses[k] = tensor.numpy() if has_stress[k] else None
        if advance is not None:
            advance(chosen[-1] + 1, len(frames))
    if name is None:
        name = Path(structures).stem if isinstance(structures, str | Path) else "structures"
    if not uncertainty:
        return Evaluation(name, frames, energies, forces, stresses, metrics.result())
    labels = dataset.all
    measured = {
        "energy": calibration(energies - labels.energy.numpy(), energy_std),
        "forces": calibration(np.concatenate(forces) - labels.forces.numpy(), np.concatenate(forces_std)),
    }
    results = metrics.result() | {
        "calibration": {key: value for key, value in measured.items() if value["labels"]}
    }
    graded = committee is not None and committee.largest is not None
    if graded:
        of_all = np.concatenate(grades)
        results["extrapolation"] = {"largest": float(of_all.max()), "above_1": float(np.mean(of_all > 1))}
    return Evaluation(
        *(name, frames, energies, forces, stresses, results, energy_std, forces_std),
        grades=grades if graded else None,
    )


def check_limits(**limits: int | None) -> None:
    """Refuse a largest number of what is predicted at once that is below 1.

    Raises:
        InputError: If one is.
    """
    for name, most in limits.items():
        if most is not None and most < 1:
            raise InputError(f"{name} = {most} cannot be used; it must be 1 or more.")


def predict(potential: Potential, graph: Graph, stress: bool) -> Prediction:
    """Return energy, forces and, if asked for, stress of a batch, on the CPU."""
    prediction = potential(graph, forces=True, stress=stress)
    forces, tensor = prediction.forces, prediction.stress
    return Prediction(
        prediction.energy.cpu(),
        prediction.site_energies.cpu(),
        None if forces is None else forces.cpu(),
        None if tensor is None else tensor.cpu(),
    )


def training_keys(potential: Potential) -> LabelKeys:
    """Return how the labels of the potential's training data were read; the defaults if it does not say."""
    data = potential.metadata.get("provenance", {}).get("run", {}).get("data", {})
    return LabelKeys(**{name: data[name] for name in LabelKeys.model_fields if name in data})


def read_any(structures: str | Path | Sequence[Frame | Atoms], keys: LabelKeys) -> list[Frame]:
    """Return frames of a file, of ASE structures, or as they are."""
    if isinstance(structures, str | Path):
        frames = read_frames(structures, keys)
        if unused := unused_stresses(frames, keys):
            warnings.warn(
                f"{structures}: the stress labels of {unused} structures that are not periodic are not used.",
                stacklevel=3,
            )
        return frames
    return [
        item if isinstance(item, Frame) else read_frame(item, keys, f"structure {number}")
        for number, item in enumerate(structures)
    ]


def write_predictions(evaluations: Sequence[Evaluation], path: str | Path) -> None:
    """Write all structures with reference and predicted values as extended XYZ."""
    structures = [atoms for evaluation in evaluations for atoms in evaluation.structures()]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    ase.io.write(path, structures, format="extxyz")


def write_metrics(evaluations: Sequence[Evaluation], path: str | Path) -> None:
    """Write the errors of each set as JSON, with their units."""
    content = {"units": UNITS, "sets": {evaluation.name: evaluation.metrics for evaluation in evaluations}}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
