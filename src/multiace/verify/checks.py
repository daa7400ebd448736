"""The table of checks, and what runs them: read :data:`CHECKS`, then :func:`verify`.

A new check is a function from a :class:`~multiace.verify.subject.Subject` to an
:class:`~multiace.verify.subject.Outcome`, and one line in the table; the first line of its docstring says what it
measures. It raises ``NotApplicableError`` where there is nothing to look at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from ase import Atoms

from multiace.errors import InputError
from multiace.verify import derivatives, dynamics, locality, numerics, smoothness, symmetry
from multiace.verify.subject import NotApplicableError, Outcome, Subject, predict_with

__all__ = ["CHECKS", "Finding", "Report", "of_calculator", "of_potential", "verify"]

CHECKS: dict[str, Callable[[Subject], Outcome]] = {
    "rotation": symmetry.rotation,
    "reflection": symmetry.reflection,
    "translation": symmetry.translation,
    "permutation": symmetry.permutation,
    "periodic images": symmetry.images,
    "history": symmetry.history,
    "forces": derivatives.forces,
    "stress": derivatives.stress,
    "noise": derivatives.noise,
    "energy at cutoff": smoothness.energy_at_cutoff,
    "force at cutoff": smoothness.force_at_cutoff,
    "curvature at cutoff": smoothness.curvature_at_cutoff,
    "dimers": smoothness.dimers,
    "extensivity": locality.extensivity,
    "locality": locality.locality,
    "isolated atoms": locality.isolated_atoms,
    "batch": numerics.batch,
    "float32": numerics.float32,
    "kernels": numerics.kernels,
    "radial tables": numerics.radial_tables,
    "gpu": numerics.gpu,
    "constant energy": dynamics.energy_is_kept,
    "hot dynamics": dynamics.bonds_hold,
}

SLOW = ("constant energy", "hot dynamics")
"""What ``quick`` leaves out."""

DISTANCE = 20.0
"""Distance [Å] at which atoms of a calculator of unknown reach should not feel each other."""


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        check: Name in :data:`CHECKS`.
        status: ``pass``, ``fail``, ``not applicable``, or ``figure`` where there is nothing to judge it by.
        outcome: What was measured; None if there was nothing to measure, or it came to an error.
        note: Where the figure is largest, why the check is not applicable, or the error.
    """

    check: str
    status: str
    outcome: Outcome | None
    note: str


@dataclass(frozen=True)
class Report:
    """What was verified, on what, and what was found.

    Attributes:
        findings: In the order of the table.
        structures: Their formulas.
        source: Where they come from.
        quick: Whether slow checks were left out.
    """

    findings: tuple[Finding, ...]
    structures: tuple[str, ...]
    source: str
    quick: bool

    @property
    def failed(self) -> list[Finding]:
        """What did not pass."""
        return [finding for finding in self.findings if finding.status == "fail"]

    def __str__(self) -> str:
        judged = [finding for finding in self.findings if finding.status in ("pass", "fail")]
        failed = "".join(
            f"; {finding.check} failed{f' ({finding.note})' if finding.note else ''}"
            for finding in self.failed
        )
        return f"{len(judged) - len(self.failed)} of {len(judged)} checks passed{failed}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON and the model file; figures that are not finite become null."""
        checks = {}
        for finding in self.findings:
            outcome = finding.outcome
            checks[finding.check] = {
                "status": finding.status,
                "figure": finite(outcome.figure if outcome else None),
                "bound": finite(outcome.bound if outcome else None),
                "unit": outcome and outcome.unit,
                "note": finding.note,
            }
        return {
            "multiace": version("multiace"),
            "quick": self.quick,
            "structures": list(self.structures),
            "source": self.source,
            "passed": not self.failed,
            "checks": checks,
        }


def finite(value: float | None) -> float | None:
    """Return the number, or None where there is none, or one that JSON does not have."""
    return value if value is not None and math.isfinite(value) else None


def verify(
    subject: Subject,
    source: str,
    quick: bool = False,
    only: Sequence[str] = (),
    advance: Callable[[int, int], None] | None = None,
) -> Report:
    """Run the checks.

    Args:
        subject: From :func:`of_potential` or :func:`of_calculator`.
        source: Where its structures come from, for the report.
        quick: Leave the trajectories out.
        only: Names of checks, instead of all.
        advance: Called with the number of checks done and in all, to show progress.

    Raises:
        InputError: If there is no check of a name.
    """
    unknown = [name for name in only if name not in CHECKS]
    if unknown:
        raise InputError(f"there is no check {unknown[0]!r}; there are {', '.join(CHECKS)}.")
    names = list(only) or [name for name in CHECKS if not (quick and name in SLOW)]
    findings = []
    for number, name in enumerate(names):
        findings.append(examine(name, subject))
        if advance is not None:
            advance(number + 1, len(names))
    formulas = tuple(atoms.get_chemical_formula() for atoms in subject.structures)
    return Report(tuple(findings), formulas, source, quick)


def examine(name: str, subject: Subject) -> Finding:
    """Run one check; an error of the calculator, which may raise anything, fails it."""
    try:
        with np.errstate(all="ignore"):
            outcome = CHECKS[name](subject)
    except NotApplicableError as reason:
        return Finding(name, "not applicable", None, str(reason))
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        return Finding(
            name, "fail", None, first if isinstance(error, InputError) else f"{type(error).__name__}: {first}"
        )
    if outcome.bound is None:
        status = "figure"
    else:
        status = "pass" if outcome.figure <= outcome.bound else "fail"  # NaN fails
    return Finding(name, status, outcome, outcome.note)


def of_potential(potential: Any, structures: list[Atoms], **options: Any) -> Subject:
    """Return the subject for a potential of multiace, predicted as defined, in float64.

    Args:
        potential: The :class:`~multiace.model.potential.Potential`.
        structures: At least one, of its elements.
        options: ``temperature`` and ``seed`` of :class:`Subject`.

    Raises:
        InputError: If a structure has other elements.
    """
    from multiace.deploy.ase import Calculator
    from multiace.deploy.gate import converted
    from multiace.graph.neighbors import species_index
    from multiace.ops.choice import definitions

    for atoms in structures:
        species_index(atoms, potential.elements)
    exact = converted(potential, "cpu", "float64")

    def predict(atoms: Sequence[Atoms]) -> list[Any]:
        with definitions():
            return numerics.predictions(exact, atoms)

    config = potential.config
    reasons = [
        f"model.shift = {config.shift}" if float(potential.shift) else "",
        f"model.first_self_connection = {config.first_self_connection}"
        if config.first_self_connection == "residual"
        else "",
    ]
    E0 = potential.isolated_energies.tolist()
    return Subject(
        predict=predict,
        structures=structures,
        elements=potential.elements,
        cutoff=potential.cutoff,
        distance=potential.cutoff + 1.0,
        calculator=Calculator(potential),
        layers=config.num_layers,
        E0=dict(zip(potential.elements, E0, strict=True)),
        no_isolated=", ".join(filter(None, reasons)),
        potential=potential,
        **options,
    )


def of_calculator(
    calculator: Any,
    structures: list[Atoms],
    cutoff: float | None = None,
    distance: float = DISTANCE,
    **options: Any,
) -> Subject:
    """Return the subject for an ASE calculator.

    Args:
        calculator: With ``energy`` and, for most checks, ``forces``.
        structures: That it knows.
        cutoff: r_c of a pair [Å]; by default the distance at which its energy stops to change.
        distance: At which atoms should not feel each other [Å].
        options: ``temperature`` and ``seed`` of :class:`Subject`.
    """
    elements = tuple(dict.fromkeys(symbol for atoms in structures for symbol in atoms.get_chemical_symbols()))
    return Subject(predict_with(calculator), structures, elements, cutoff, distance, calculator, **options)
