"""Elements and their E0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from multiace.data.expectations import Expectations
from multiace.data.finding import Finding, Severity, finding
from multiace.data.reference import Reference
from multiace.data.scan import Scan
from multiace.data.statistics import DISAGREEMENT
from multiace.data.units import told_unit

__all__ = ["conflicting_energies", "dependent_compositions", "foreign_elements", "isolated_atoms"]

COHESION = -15.0, 5.0  # [eV/atom] a median (E - ΣE0)/N outside of this: E0 belongs to other energies
OF_ANOTHER_METHOD = 25.0  # [eV] no atom gains or loses so much in bonds


def foreign_elements(
    scans: Sequence[Scan], expected: Expectations, reference: Reference
) -> Iterator[Finding]:
    """Elements that are validated, tested or alone, but not trained."""
    if not reference.trained:
        return
    trained = set(reference.trained) | {atomic_numbers[symbol] for symbol in expected.elements}
    for scan in scans:
        others = scan.elements - trained
        if others:
            sentence = (
                f"{scan.file} has structures with {names(others)}, but the training frames only have "
                f"{names(trained)}; add such structures to the training frames, or remove these."
            )
            yield finding("element-not-trained", scan.file, sentence)
    alone = set(reference.isolated) - trained
    if alone:
        sentence = f"{names(alone)} occurs in isolated atoms only: it is not trained."
        if len(alone) > 1:
            sentence = f"{names(alone)} occur in isolated atoms only: they are not trained."
        yield finding("element-only-isolated", scans[0].file, sentence)


def isolated_atoms(scans: Sequence[Scan], expected: Expectations, reference: Reference) -> Iterator[Finding]:
    """Isolated atoms without energy, with two, or not there at all."""
    first: dict[str, tuple[str, int, float]] = {}
    for scan in scans:
        for frame, symbol, energy in scan.isolated:
            if energy is None:
                key, listed = scan.keys.energy_key, ", ".join(sorted(scan.found)) or "none"
                under = f" under {key!r}" if key else ""
                sentence = (
                    f"{scan.file} frame {frame}: the isolated {symbol} has no energy{under} (keys found: {listed}); "
                    "it gives no E0."
                )
                yield finding("isolated-atom-without-energy", scan.file, sentence, frame)
                continue
            file, where, other = first.setdefault(symbol, (scan.file, frame, energy))
            if abs(other - energy) > DISAGREEMENT:
                sentence = (
                    f"isolated {symbol} has energy {other} eV in {file} frame {where}, but {energy} eV in {scan.file} "
                    f"frame {frame}. Keep that of the training energies."
                )
                severity: Severity | None = "warning" if scan.group == "test" else None
                yield finding(
                    "isolated-energies-differ", scan.file, sentence, frame, energy - other, severity=severity
                )
    missing = [z for z in reference.trained if z not in reference.isolated]
    if missing and expected.reference in (None, "isolated"):
        sentence = (
            f"the training files have no isolated atom with an energy for {names(missing)}, which "
            "model.energy_reference = isolated needs. Add isolated atoms (config_type=isolated_atom) to data.train, "
            "or set energy_reference to given (with isolated_energies), least_squares, mean or none."
        )
        of_default: Severity | None = None if expected.reference else "warning"
        yield finding(
            "isolated-atoms-missing", scans[0].file, sentence, count=len(missing), severity=of_default
        )


def dependent_compositions(
    scans: Sequence[Scan], expected: Expectations, reference: Reference
) -> Iterator[Finding]:
    """Compositions that do not determine E0 by least squares."""
    n = len(reference.trained)
    if reference.rank in (0, n):  # 0: no energies
        return
    fitted = expected.reference == "least_squares" or (
        expected.reference is None and reference.source == "least_squares"
    )
    sentence = f"the training compositions determine {reference.rank} of {n} energies E0 ({names(reference.trained)})"
    sentence += (
        "; least_squares takes those of least norm, which say nothing about other compositions."
        if fitted
        else "; energy_reference = least_squares would not do."
    )
    yield finding(
        "compositions-dependent",
        scans[0].file,
        sentence,
        value=reference.rank,
        severity="warning" if fitted else "note",
    )


def conflicting_energies(
    scans: Sequence[Scan], expected: Expectations, reference: Reference
) -> Iterator[Finding]:
    """E0 that are given and those of isolated atoms, and both against the energies."""
    for symbol, given in sorted(expected.isolated_energies.items()):
        found = {chemical_symbols[z]: E0 for z, E0 in reference.isolated.items()}.get(symbol)
        if found is not None and abs(given - found) > DISAGREEMENT:
            sentence = (
                f"model.isolated_energies gives {symbol} {given} eV, the data's isolated atom has {found} eV; the "
                "given one is used (energy_reference = isolated takes that of the data)."
            )
            yield finding("given-energies-differ", scans[0].file, sentence, value=given - found)
    if reference.source == "least_squares":
        return
    E0 = reference.energies
    for z, fitted in (reference.fitted or {}).items():
        if abs(fitted - E0[z]) > OF_ANOTHER_METHOD:
            sentence = (
                f"E0 of {chemical_symbols[z]} is {E0[z]:.4f} eV ({reference.source}), but {fitted:.4f} eV by least "
                "squares over the training energies: they do not come from the same method, code or units"
                f"{told_unit(fitted / E0[z] if E0[z] else 0.0) or '.'}"
            )
            yield finding("energies-unlike-isolated", scans[0].file, sentence, value=fitted - E0[z])
            return
    for scan in scans:
        per_atom = reference.interaction(scan)
        known = ~np.isnan(per_atom)
        mean = float(np.median(per_atom[known])) if known.any() else 0.0
        if not COHESION[0] < mean < COHESION[1]:
            energies = np.array(scan.energies)[known]
            sums = energies - per_atom[known] * np.array(scan.sizes)[known]
            ratio = float(np.median(energies / sums)) if sums.all() else 0.0
            sentence = (
                f"{scan.file}: (E - ΣE0)/N is {mean:.1f} eV at the median: the {reference.source} E0 and these "
                f"energies do not come from the same method, code or units{told_unit(ratio) or '.'}"
            )
            yield finding("energies-unlike-isolated", scan.file, sentence, value=mean)


def names(elements: Sequence[int] | set[int]) -> str:
    """Chemical symbols."""
    return ", ".join(chemical_symbols[z] for z in sorted(elements))
