"""What is verified: one function from structures to predictions, and what is known about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

from multiace.deploy.gate import Predicted

__all__ = ["NotApplicableError", "Outcome", "Subject", "ask", "predict_with"]

NOISE_STEP, NOISE_ORDER = 2e-4, 6  # [Å], and order of the differences in which rounding alone is left


class NotApplicableError(Exception):
    """A check has nothing to look at; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """What a check measured.

    Attributes:
        figure: The measured number; smaller is better.
        bound: Largest figure that passes; None if there is nothing to judge it by.
        unit: Of both.
        note: Where it is largest, or what else there is to say.
    """

    figure: float
    bound: float | None
    unit: str
    note: str = ""


@dataclass
class Subject:
    """A model or calculator under examination.

    Attributes:
        predict: Structures to predictions, each as if it were alone.
        structures: At least one.
        elements: Chemical symbols it is asked about.
        cutoff: r_c [Å] at which a pair stops to interact; None if not known.
        distance: At this distance [Å] and beyond atoms have no effect.
        calculator: As it is used in dynamics.
        layers: Message-passing layers, for a model whose site energies see that many edges far.
        E0: Energy of each isolated atom [eV] that it should have; empty if not known.
        no_isolated: Why isolated atoms need not have E0; empty if they must.
        potential: The potential of multiace, if it is one.
        temperature: Of the hot trajectory [K].
        seed: Of every random number.
        cutoffs: Of pairs of elements [Å]; found as they are needed.
    """

    predict: Callable[[Sequence[Atoms]], list[Predicted]]
    structures: list[Atoms]
    elements: tuple[str, ...]
    cutoff: float | None
    distance: float
    calculator: Any
    layers: int | None = None
    E0: Mapping[str, float] = field(default_factory=dict)
    no_isolated: str = ""
    potential: Any = None
    temperature: float = 1000.0
    seed: int = 0
    cutoffs: dict[tuple[str, str], float | None] = field(default_factory=dict)

    def rng(self) -> np.random.Generator:
        """Return random numbers that are the same for every check."""
        return np.random.default_rng(self.seed)

    def energies(self, structures: Sequence[Atoms]) -> np.ndarray:
        """E of each [eV]."""
        return np.array([predicted.energy for predicted in self.predict(structures)])

    @cached_property
    def predicted(self) -> list[Predicted]:
        """Of the structures as they are."""
        return self.predict(self.structures)

    @cached_property
    def crystals(self) -> list[tuple[Atoms, Predicted]]:
        """Structures that are periodic in three directions.

        Raises:
            NotApplicableError: If there are none.
        """
        pairs = zip(self.structures, self.predicted, strict=True)
        found = [(atoms, predicted) for atoms, predicted in pairs if atoms.pbc.all()]
        if not found:
            raise NotApplicableError("no structure is periodic in three directions")
        return found

    @cached_property
    def noise(self) -> tuple[float, float]:
        r"""Rounding noise (standard deviation) of the energy [eV] and of a force component [eV/Å].

        Differences of order k of a smooth function vanish with step^k; those of noise have the variance
        :math:`\binom{2k}{k} \sigma^2`. The larger of the first structure and of a step along another direction.

        Source: Moré and Wild, SIAM J. Sci. Comput. 33, 1292 (2011).
        """
        atoms, rng = self.structures[0], self.rng()
        found = []
        for _ in range(2):
            direction = rng.normal(size=(len(atoms), 3))
            steps = NOISE_STEP * np.arange(2 * NOISE_ORDER + 1)
            line = self.predict([displaced(atoms, step * direction) for step in steps])
            energies = np.array([predicted.energy for predicted in line])
            forces = [predicted.forces for predicted in line]
            found.append((noise_of(energies), 0.0 if forces[0] is None else noise_of(np.stack(forces))))  # type: ignore[arg-type]
        return max(E for E, _ in found), max(F for _, F in found)


def noise_of(values: np.ndarray) -> float:
    """Return the standard deviation of the noise in values (n, ...) at equal steps; the largest of all columns."""
    differences = np.diff(values, NOISE_ORDER, axis=0)
    gain = float(np.prod([(NOISE_ORDER + k) / k for k in range(1, NOISE_ORDER + 1)]))  # (2k over k)
    return float(np.sqrt((differences**2).mean(axis=0) / gain).max(initial=0.0))


def displaced(atoms: Atoms, by: np.ndarray) -> Atoms:
    """Return a copy with positions moved."""
    moved = atoms.copy()
    moved.positions += by
    return moved


def predict_with(calculator: Any) -> Callable[[Sequence[Atoms]], list[Predicted]]:
    """Return the function that asks an ASE calculator for structures; for stress where they are periodic."""
    return lambda structures: [ask(calculator, atoms, bool(atoms.pbc.all())) for atoms in structures]


def ask(calculator: Any, atoms: Atoms, stress: bool) -> Predicted:
    """Ask an ASE calculator for energy, forces and, if told so, stress of a structure, as far as it has them."""

    def found(quantity: Callable[[], Any]) -> np.ndarray | None:
        try:
            return np.array(quantity(), dtype=np.float64)
        except (PropertyNotImplementedError, NotImplementedError):
            return None

    atoms = atoms.copy()
    atoms.calc = calculator
    energy = float(atoms.get_potential_energy())
    forces = found(atoms.get_forces)
    tensor = found(lambda: atoms.get_stress(voigt=False)) if stress else None
    return Predicted(energy, forces, tensor, 0.0 if tensor is None else atoms.get_volume())
