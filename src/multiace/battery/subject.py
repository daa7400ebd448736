"""What is tested: a model of multiace or an ASE calculator, as two functions and what is known about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from multiace.data.config import LabelKeys
from multiace.data.dataset import Dataset
from multiace.data.read import Frame, find_elements
from multiace.deploy.ase import Calculator
from multiace.deploy.gate import Predicted
from multiace.errors import InputError, brief
from multiace.evaluation import MAX_EDGES, evaluate, training_keys
from multiace.model.potential import Potential, Prediction
from multiace.train.metrics import Metrics
from multiace.verify.subject import ask

__all__ = ["Subject", "subject_of"]

NEAR = 1.0
"""Cutoff [Å] of graphs of which only the atoms are needed."""

Measured = tuple[np.ndarray, dict[str, Any]]
"""Energies [eV], (n_frames,), and errors as :meth:`Metrics.result` gives them."""


@dataclass(frozen=True)
class Subject:
    """A model or calculator under test.

    Attributes:
        measure: Frames to their predicted energies and the errors against their labels.
        calculator: As it is used in dynamics.
        keys: How labels are read.
        elements: Chemical symbols that it knows; empty if not known.
        cutoff: r_c [Å]; None if not known.
        parameters: How many it has; None if not known.
        device: Where it runs.
    """

    measure: Callable[[Sequence[Frame]], Measured]
    calculator: Any
    keys: LabelKeys
    elements: tuple[str, ...] = ()
    cutoff: float | None = None
    parameters: int | None = None
    device: str = "cpu"


def subject_of(model: Any, keys: LabelKeys | None, max_edges: int | None = MAX_EDGES) -> Subject:
    """Return the subject for a :class:`Potential` or an ASE calculator.

    Args:
        model: Either of them.
        keys: How labels are read; by default as in the potential's training data.
        max_edges: Most edges that a potential predicts at once in sets and curves.
    """
    if not isinstance(model, Potential):
        return Subject(lambda frames: finite(frames, predict(model, frames)), model, keys or LabelKeys())

    def measure(frames: Sequence[Frame]) -> Measured:
        evaluation = evaluate(model, frames, max_edges=max_edges)
        return finite(frames, (evaluation.energies, evaluation.metrics))

    return Subject(
        measure,
        Calculator(model),
        keys or training_keys(model),
        model.elements,
        model.cutoff,
        sum(p.numel() for p in model.parameters()),
        model.device.type,
    )


def predict(calculator: Any, frames: Sequence[Frame]) -> Measured:
    """Predict frames with an ASE calculator; the spread of its energies is that of the labels themselves.

    Raises:
        InputError: If it raises anything.
    """
    predicted = []
    for frame in frames:
        try:
            predicted.append(ask(calculator, frame.atoms, stress=frame.stress is not None))
        except Exception as error:  # code of others
            raise InputError(
                f"the calculator cannot predict {frame.source}: {type(error).__name__}: {brief(error, 200)}."
            ) from error
    elements = find_elements(frames)
    dataset = Dataset(frames, elements, NEAR)
    metrics = Metrics(dataset, torch.zeros(len(elements), dtype=torch.float64))
    metrics.add(together(predicted, frames), dataset.all)
    return np.array([one.energy for one in predicted]), metrics.result()


def together(predicted: Sequence[Predicted], frames: Sequence[Frame]) -> Prediction:
    """Return predictions as those of one batch; forces and stresses only where every labelled frame has them."""
    forces, stresses = ([getattr(one, quantity) for one in predicted] for quantity in ("forces", "stress"))
    has_forces = all(F is not None for F in forces)
    has_stress = all(
        stress is not None or frame.stress is None for stress, frame in zip(stresses, frames, strict=True)
    )
    blank = np.full((3, 3), np.nan)
    filled = np.stack([blank if stress is None else stress for stress in stresses])
    return Prediction(
        energy=torch.tensor([one.energy for one in predicted], dtype=torch.float64),
        site_energies=torch.zeros(sum(len(frame.atoms) for frame in frames), dtype=torch.float64),
        forces=torch.from_numpy(np.concatenate(forces)) if has_forces else None,
        stress=torch.from_numpy(filled) if has_stress else None,
    )


def finite(frames: Sequence[Frame], measured: Measured) -> Measured:
    """Refuse predictions that are no numbers.

    Raises:
        InputError: If there is one.
    """
    energies, errors = measured
    lost = np.flatnonzero(~np.isfinite(energies))
    if len(lost):
        raise InputError(f"the energy predicted for {frames[lost[0]].source} is not finite.")
    for quantity in ("forces", "stress"):
        if not np.isfinite(errors.get(quantity, {}).get("rmse", 0.0)):
            raise InputError(f"{quantity} predicted for structures like {frames[0].source} are not finite.")
    return measured
