"""Which units and signs do labels look as if they had? Decided from what cannot be otherwise in eV and Å."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple

from ase import units

from multiace.data.config import ENERGY_UNITS, FORCE_UNITS, STRESS_UNITS, LabelKeys
from multiace.data.finding import Finding, finding

__all__ = ["Evidence", "suspect_units", "told_unit"]

HYDROGEN = (
    -13.606,
    0.4,
)  # [eV] energy of the atom in every theory that treats its electron, and how far it may be off
ALL_ELECTRON = 0.03  # relative error of the Thomas-Fermi series from boron on, in molecules with hydrogen
IMPOSSIBLE = 1.5  # times the all-electron energy: no theory is below it
BONDS = {  # median over frames of the shortest distance / sum of covalent radii, which is near 1 in Å
    "bohr": (1.5, 2.4, units.Bohr),
    "nm": (0.05, 0.2, 10.0),
}
BONDED = (0.6, 1.3)  # the same where atoms are bonded
BINDING = (-12.0, -0.5)  # [eV/atom] what bonds give, from caesium to tungsten, nitrogen and diamond
LEAST_BINDING = 0.02  # [eV/atom] below are van der Waals forces
WEAKLY_BOUND = {3, 11, 19, 37, 55, 30, 48, 80}  # alkali metals and those of zinc
NO_BONDS = {2, 10, 18, 36, 54, 86}  # noble gases are far apart
UNLIKE = 3.0  # slope, or its inverse, that is no unit and no fault of a harmonic estimate
BINDING_SHARE = 0.1  # share of a total energy that is the binding of its atoms, at most
HUGE_STRESS = 1.0  # [eV/Å³] 160 GPa


@dataclass
class Evidence:
    """What a set of files says about its units.

    Attributes:
        keys: The settings it was read with.
        file: For the findings.
        forces: Slope of energies against the work of forces, see :mod:`multiace.data.work`; None: not known.
        near: The same for the coarser slope of :mod:`multiace.data.pairfit`.
        stress: Slope of energies against the work of stresses.
        virial: Whether stresses come from virials.
        median_stress: Median over frames of the largest component [eV/Å³]; NaN without.
        bonds: Median over frames of the shortest distance / sum of covalent radii; NaN without.
        hydrogen: Energy of an isolated hydrogen atom [eV].
        all_electron: Median over frames of E / all-electron energy; NaN where all elements are light.
        binding: Median over frames of (E - ΣE0)/N [eV]; NaN where E0 are not those of isolated atoms.
        elements: Atomic numbers.
    """

    keys: LabelKeys
    file: str
    forces: float | None = None
    near: float | None = None
    stress: float | None = None
    virial: bool = False
    median_stress: float = math.nan
    bonds: float = math.nan
    hydrogen: float | None = None
    all_electron: float = math.nan
    binding: float = math.nan
    elements: set[int] = field(default_factory=set)


def unit_of(ratio: float) -> str:
    """Say which energy unit beside which a ratio of total energies of the same atoms betrays; else nothing.

    Binding makes a few percent of a total energy, with valence electrons only up to ten.
    """
    if not ratio > 0 or abs(math.log(ratio)) < BINDING_SHARE:
        return ""
    off = {
        (one, other): abs(math.log(ratio * ENERGY_UNITS[one] / ENERGY_UNITS[other]))
        for one, other in product(ENERGY_UNITS, ENERGY_UNITS)
    }
    one, other = min(off, key=lambda pair: off[pair])
    return f"{one} beside {other}" if off[one, other] < BINDING_SHARE else ""


def told_unit(ratio: float) -> str:
    """Say which units a ratio of two total energies betrays, as the end of a sentence; nothing if none."""
    units = unit_of(ratio)
    return f"; their ratio, {ratio:.4g}, is that of {units}: write all of them in one unit." if units else ""


class Units(NamedTuple):
    """What labels may be written in: a hypothesis, with the slopes that it brings about."""

    energy: str
    forces: str
    forces_sign: int
    stress: str
    stress_sign: int


def thomas_fermi(composition: Iterable[tuple[int, int]]) -> float:
    """All-electron energy [eV] of a composition (Z, count): -0.7687 Z^(7/3) + Z²/2 - 0.2699 Z^(5/3) Hartree.

    The Thomas-Fermi series with Scott's and Schwinger's corrections (B.-G. Englert, Semiclassical Theory of
    Atoms, 1988): 0.6 % off for carbon, 0.04 % for oxygen.
    """
    hartree = sum(n * (-0.76874 * Z ** (7 / 3) + Z**2 / 2 - 0.2699 * Z ** (5 / 3)) for Z, n in composition)
    return float(hartree * units.Hartree)


def suspect_units(evidence: Evidence) -> Iterator[Finding]:
    """Find units and signs that cannot be as the settings say."""
    length = suspect_lengths(evidence)
    if length is not None:
        yield length
        return
    best = best_units(evidence)
    declared = declared_units(evidence)
    keys, file = evidence.keys, evidence.file
    if best is None:
        slope = evidence.forces
        if slope is not None and abs(math.log(abs(slope))) > math.log(UNLIKE):
            sentence = (
                f"{file}: between neighbouring frames energies change by {slope:.3g} times the work of the forces, "
                "which is no ratio of usual units: energies and forces are not of the same calculation, or "
                "positions are in another unit."
            )
            yield finding("forces-unlike-energies", file, sentence, value=slope)
        return
    forces_fixed = best.energy != declared.energy and best.forces != declared.forces
    if best.energy != declared.energy:
        also = f" and data.forces_unit={best.forces}" if forces_fixed else ""
        sentence = f"{file}: energies look like {best.energy}, but are read as {declared.energy} ({reason(evidence)}). "
        sentence += f"Set data.energy_unit={best.energy}{also} if that is so."
        yield finding("energy-unit", file, sentence, value=evidence.forces or evidence.near)
    if best.forces != declared.forces and not forces_fixed:
        sentence = (
            f"{file}: forces look like {best.forces}, but are read as {declared.forces} (energies change by "
            f"{evidence.forces or evidence.near:.3g} times their work). Set data.forces_unit={best.forces} if so."
        )
        yield finding("forces-unit", file, sentence, value=evidence.forces or evidence.near)
    if best.forces_sign < 0:
        sentence = (
            f"{file}: forces point uphill (energies grow where they should fall, "
            f"{evidence.forces or evidence.near:.3g} times the work of the forces): they are gradients dE/dr. "
            "Multiply them by -1."
        )
        yield finding("forces-sign", file, sentence, value=evidence.forces or evidence.near)
    label = "virial" if evidence.virial else "stress"
    if best.stress != declared.stress:
        sentence = (
            f"{file}: stresses look like {best.stress}, but are read as {declared.stress} (energies change by "
            f"{evidence.stress:.3g} times their work). Set data.stress_unit={best.stress} if that is so."
        )
        yield finding("stress-unit", file, sentence, value=evidence.stress)
    if best.stress_sign < 0:
        other = {"tension": "compression", "compression": "tension"}[getattr(keys, f"{label}_sign")]
        sentence = (
            f"{file}: {label} labels have the opposite sign (energies change by {evidence.stress:.3g} times their "
            f"work). Set data.{label}_sign={other}."
        )
        yield finding("stress-sign", file, sentence, value=evidence.stress)
    if best.stress == declared.stress and evidence.stress is None and evidence.median_stress > HUGE_STRESS:
        sentence = (
            f"{file}: half of the stresses are above {evidence.median_stress:.3g} eV/Å³ "
            f"({evidence.median_stress / units.GPa:.0f} GPa). If the file is in GPa or kbar, set data.stress_unit."
        )
        yield finding("stress-unit", file, sentence, value=evidence.median_stress)


def suspect_lengths(evidence: Evidence) -> Finding | None:
    """Find bonds that are too long or too short by the ratio of two units."""
    if evidence.elements & NO_BONDS:
        return None
    for unit, (low, high, factor) in BONDS.items():
        if low < evidence.bonds < high:
            sentence = (
                f"{evidence.file}: the shortest distance of a frame is {evidence.bonds:.2f} times a bond, at the "
                f"median: positions and cell look like {unit}, not Å. Multiply them by {factor:.6g}."
            )
            return finding("length-unit", evidence.file, sentence, value=evidence.bonds)
    return None


def declared_units(evidence: Evidence) -> Units:
    """Units and signs as the settings say."""
    keys = evidence.keys
    return Units(keys.energy_unit, keys.forces_unit, 1, keys.stress_unit, 1)


def best_units(evidence: Evidence) -> Units | None:
    """Return the hypothesis that agrees with the evidence and changes least; None if none agrees."""
    declared = declared_units(evidence)
    energies = energies_that_fit(evidence)
    stresses = [declared.stress] if evidence.virial or evidence.stress is None else STRESS_UNITS
    fits = [
        hypothesis
        for hypothesis in map(Units._make, product(energies, FORCE_UNITS, (1, -1), stresses, (1, -1)))
        if agrees(hypothesis, declared, evidence)
    ]
    return min(fits, key=lambda units: cost(units, declared, evidence), default=None)


def cost(hypothesis: Units, declared: Units, evidence: Evidence) -> tuple[float, float]:
    """How much a hypothesis changes, and then how far it is from the slope of the forces."""
    changes = sum(a != b for a, b in zip(hypothesis, declared, strict=True))
    slope = evidence.forces or evidence.near
    if slope is None:
        return changes, 0.0
    return changes, abs(math.log(abs(slope) / ratio(hypothesis, declared)[0]))


def ratio(hypothesis: Units, declared: Units) -> tuple[float, float]:
    """Slopes of energies against the work of forces and of stresses that a hypothesis brings about, positive."""
    energy = ENERGY_UNITS[hypothesis.energy] / ENERGY_UNITS[declared.energy]
    forces = FORCE_UNITS[hypothesis.forces] / FORCE_UNITS[declared.forces]
    stress = STRESS_UNITS[hypothesis.stress] / STRESS_UNITS[declared.stress]
    return forces / energy, stress / energy


def agrees(hypothesis: Units, declared: Units, evidence: Evidence) -> bool:
    """Whether the slopes that were measured are those of a hypothesis."""
    forces, stress = ratio(hypothesis, declared)
    if evidence.virial:
        stress = 1.0  # in the unit of the energies
    pairs = [
        (evidence.forces, hypothesis.forces_sign * forces, 1.25),
        (evidence.near if evidence.forces is None else None, hypothesis.forces_sign * forces, 1.4),
        (evidence.stress, hypothesis.stress_sign * stress, 1.4),
    ]
    unknown_forces = evidence.forces is None and evidence.near is None
    if unknown_forces and hypothesis.forces not in (declared.forces, FORCE_OF[hypothesis.energy]):
        return False
    return all(
        measured is None or (measured * expected > 0 and 1 / within < measured / expected < within)
        for measured, expected, within in pairs
    )


FORCE_OF: Mapping[str, str] = dict(zip(ENERGY_UNITS, FORCE_UNITS, strict=True))
"""The unit of forces that usually goes with one of energies."""


def energies_that_fit(evidence: Evidence) -> list[str]:
    """Energy units that absolute energies leave: of the hydrogen atom, of all electrons, of bonds."""
    declared = ENERGY_UNITS[evidence.keys.energy_unit]
    factors = {name: unit / declared for name, unit in ENERGY_UNITS.items()}

    def near(value: float, expected: float, tolerance: float) -> list[str]:
        return [name for name, f in factors.items() if abs(value * f - expected) < tolerance]

    if evidence.hydrogen is not None and (fitting := near(evidence.hydrogen, *HYDROGEN)):
        return fitting
    if fitting := near(evidence.all_electron, 1.0, ALL_ELECTRON):
        slope = evidence.forces or evidence.near
        consistent = slope is not None and abs(math.log(abs(slope))) < math.log(1.25)
        if fitting != ["Hartree"] or not consistent:  # valence-only energies may happen to be 1/27 of these
            return fitting
    if evidence.all_electron > IMPOSSIBLE:
        return [name for name, f in factors.items() if evidence.all_electron * f < 1 + ALL_ELECTRON]
    if too_weak(evidence):
        return [name for name, f in factors.items() if BINDING[0] < evidence.binding * f < BINDING[1]]
    return list(ENERGY_UNITS)


def too_weak(evidence: Evidence) -> bool:
    """Whether atoms that are bonded gain too little energy for that, though some."""
    bonded = BONDED[0] < evidence.bonds < BONDED[1] and not evidence.elements & (NO_BONDS | WEAKLY_BOUND)
    unit = ENERGY_UNITS[evidence.keys.energy_unit]  # what was read is in eV by the settings
    return bonded and BINDING[1] < evidence.binding < -LEAST_BINDING and unit < ENERGY_UNITS["Hartree"]


def reason(evidence: Evidence) -> str:
    """Say what gives the unit of the energies away."""
    if len(energies_that_fit(evidence)) == len(ENERGY_UNITS):
        return f"they change by {evidence.forces or evidence.near:.3g} times the work of the forces"
    if evidence.hydrogen is not None:
        return f"the isolated H atom has {evidence.hydrogen:.6g} eV, not -13.6 eV"
    if too_weak(evidence):
        return f"atoms at bonding distance gain {-evidence.binding:.2g} eV each, which is no bond"
    return f"they are {evidence.all_electron:.3g} times those of all electrons"
