"""The rules of a check that look at whole files and sets: each yields what it finds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from multiace.data.config import LabelKeys
from multiace.data.finding import Finding, Severity, finding
from multiace.data.pairfit import pair_slope
from multiace.data.read import AUTOMATIC
from multiace.data.reference import Reference
from multiace.data.scan import Scan
from multiace.data.statistics import DISAGREEMENT
from multiace.data.units import Evidence, suspect_units, thomas_fermi

if TYPE_CHECKING:
    from multiace.data.check import Expectations

__all__ = ["apply"]

TARGETS = ("energy", "forces", "stress")
COHESION = (
    -15.0,
    5.0,
)  # [eV/atom] median (E - ΣE0)/N outside of this means that E0 belongs to other energies
OF_ANOTHER_METHOD = 25.0  # [eV] no atom gains or loses so much in bonds
OUTLYING, LEAST_ENERGY = 3.0, 0.3  # gap before the energies that lie out: standard deviations, and eV/atom
FEW = 0.02  # share of frames; more are a kind of their own
FORCE_RATIO, LEAST_FORCE = 20.0, 20.0  # largest forces: times the median of frames, and eV/Å
FEWEST = 5  # frames for a statement on outliers
SAME_ENERGY = 1e-4  # [eV] two calculations of one structure that differ by more are different


def apply(scans: Sequence[Scan], expected: Expectations, reference: Reference) -> list[Finding]:
    """Apply every rule."""
    found = [
        *missing_keys(scans, expected.keys),
        *only_isolated(scans),
        *missing_labels(scans, expected),
        *foreign_elements(scans, expected, reference),
        *isolated_atoms(scans, expected, reference),
        *dependent_compositions(scans, expected, reference),
        *conflicting_energies(scans, expected, reference),
        *duplicates(scans),
    ]
    for scan in scans:
        found += [*constant_labels(scan), *energy_outliers(scan, reference), *force_outliers(scan)]
    return found + list(wrong_units(scans, expected.keys, reference))


def of_set(scans: Sequence[Scan], group: str) -> list[Scan]:
    return [scan for scan in scans if scan.group == group]


def names(elements: Sequence[int] | set[int]) -> str:
    """Chemical symbols."""
    return ", ".join(chemical_symbols[z] for z in sorted(elements))


def count(scans: Sequence[Scan], label: str) -> int:
    """How many frames, isolated atoms among them, have a label."""
    return sum(n for scan in scans for (name, _), n in scan.labels.items() if name == label)


# --- labels ---------------------------------------------------------------------------------------------


def missing_keys(scans: Sequence[Scan], keys: LabelKeys) -> Iterator[Finding]:
    """Keys that the settings name and no training structure has."""
    train = of_set(scans, "train")
    found = set().union(*(scan.found for scan in train))
    for label in AUTOMATIC:
        key = getattr(keys, f"{label}_key")
        if key is not None and key not in found and any(scan.frames for scan in train):
            listed = ", ".join(sorted(found)) or "none"
            sentence = (
                f"no structure of {files(train)} has {key!r} (keys found: {listed}). Set data.{label}_key."
            )
            yield finding("key-missing", train[0].file, sentence)


def files(scans: Sequence[Scan]) -> str:
    return ", ".join(scan.file for scan in scans)


def missing_labels(scans: Sequence[Scan], expected: Expectations) -> Iterator[Finding]:
    """Targets that have no label in a set, and labels that only some frames of a file have."""
    weights = expected.weights or {"energy": 1.0, "forces": 1.0}
    for group in ("train", "valid"):
        mine = of_set(scans, group)
        frames = sum(len(scan.numbers) for scan in mine)
        for target in TARGETS:
            if frames and weights.get(target) and not labelled(mine, target):
                yield without_labels(mine, target, weights[target], expected)
    for scan in scans:
        for target in TARGETS:
            n = scan.periodic if target == "stress" else len(scan.numbers)
            have = labelled([scan], target)
            if 0 < have < n:
                key = next(key for label, key in scan.labels if label == target)
                sentence = (
                    f"{scan.file}: {have} of {n} structures have {target} ({key}); the rest do without."
                )
                yield finding("labels-missing", scan.file, sentence, value=have, count=n - have)


def labelled(scans: Sequence[Scan], target: str) -> int:
    """How many frames that are no isolated atoms have a label."""
    arrays = {"energy": "energies", "forces": "largest_forces", "stress": "largest_stress"}
    return sum(int(np.sum(~np.isnan(np.array(getattr(scan, arrays[target]))))) for scan in scans)


def without_labels(scans: Sequence[Scan], target: str, weight: float, expected: Expectations) -> Finding:
    """A set in which no frame has a label of a target."""
    found = sorted(set().union(*(scan.found for scan in scans)))
    similar = [key for key in found if target[:5] in key.lower() and key not in AUTOMATIC[target]]
    frames = sum(len(scan.numbers) for scan in scans)
    group = {"train": "training", "valid": "validation"}[scans[0].group]
    none = f"none of the {frames} {group} frames has a {target} label (keys found: {', '.join(found)}). "
    hint = f"Is it {' or '.join(map(repr, similar))}? " if similar else ""
    if expected.weights is not None and scans[0].group == "train":
        sentence = f"train.{target}_weight is {weight}, but {none}{hint}"
        sentence += f"Set data.{target}_key, or train.{target}_weight = 0."
        return finding("target-without-labels", scans[0].file, sentence)
    sentence = f"{files(scans)}: {none}{hint}Set data.{target}_key if they are there under another name."
    return finding("no-labels", scans[0].file, sentence)


def constant_labels(scan: Scan) -> Iterator[Finding]:
    """Placeholders: energies that are all one number, forces that are all zero."""
    energy, forces = np.array(scan.energies), np.array(scan.largest_forces)
    energy, forces = energy[~np.isnan(energy)], forces[~np.isnan(forces)]
    if len(energy) > 2 and np.ptp(energy) == 0 and len(set(scan.fingerprints)) > 1:
        sentence = f"{scan.file}: all {len(energy)} energies are {energy[0]:g} eV. Are they placeholders?"
        yield finding("energies-equal", scan.file, sentence, value=energy[0], count=len(energy))
    if len(forces) > 2 and not forces.any():
        sentence = f"{scan.file}: all forces of all {len(forces)} structures are zero. Are they placeholders?"
        yield finding("forces-zero", scan.file, sentence, value=0.0, count=len(forces))


# --- elements and E0 ------------------------------------------------------------------------------------


def only_isolated(scans: Sequence[Scan]) -> Iterator[Finding]:
    """Sets without anything to learn from."""
    for group in ("train", "valid"):
        mine = of_set(scans, group)
        if any(scan.isolated for scan in mine) and not any(len(scan.numbers) for scan in mine):
            sentence = f"data.{group} ({files(mine)}) has only isolated atoms; add a file of structures."
            yield finding("only-isolated-atoms", mine[0].file, sentence)


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
        yield finding("element-only-isolated", scans[0].file, sentence)


def isolated_atoms(scans: Sequence[Scan], expected: Expectations, reference: Reference) -> Iterator[Finding]:
    """Isolated atoms without energy, with two, or not there at all."""
    first: dict[str, tuple[str, int, float]] = {}
    for scan in scans:
        for frame, symbol, energy in scan.isolated:
            if energy is None:
                sentence = f"{scan.file} frame {frame}: the isolated {symbol} has no energy; it gives no E0."
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
    if not n or reference.rank == n or not count(of_set(scans, "train"), "energy"):
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
                "squares over the training energies: they do not come from the same method, code or units."
            )
            yield finding("energies-unlike-isolated", scans[0].file, sentence, value=fitted - E0[z])
            return
    for scan in scans:
        per_atom = reference.interaction(scan)
        per_atom = per_atom[~np.isnan(per_atom)]
        mean = float(np.median(per_atom)) if len(per_atom) else 0.0
        if not COHESION[0] < mean < COHESION[1]:
            sentence = (
                f"{scan.file}: (E - ΣE0)/N is {mean:.1f} eV at the median: the {reference.source} E0 and these "
                "energies do not come from the same method, code or units."
            )
            yield finding("energies-unlike-isolated", scan.file, sentence, value=mean)


# --- outliers, duplicates, units ------------------------------------------------------------------------


def energy_outliers(scan: Scan, reference: Reference) -> Iterator[Finding]:
    """Energies far from the median of a file."""
    per_atom = reference.interaction(scan)
    known = np.flatnonzero(~np.isnan(per_atom))
    if len(known) < FEWEST:
        return
    middle = np.median(per_atom[known])
    off = np.abs(per_atom[known] - middle)
    low, high = np.quantile(per_atom[known], (0.16, 0.84))
    far = beyond_gap(per_atom[known], max(OUTLYING * (high - low) / 2, LEAST_ENERGY))
    if 0 < far <= max(FEW * len(known), 1):
        worst = known[np.argmax(off)]
        more = f" {far} frames are like this." if far > 1 else ""
        sentence = (
            f"{scan.file} frame {scan.numbers[worst]}: (E - ΣE0)/N is {per_atom[worst]:.4g} eV, at the median of "
            f"the file {middle:.4g} eV. Did the calculation converge?{more}"
        )
        yield finding("energy-outlier", scan.file, sentence, scan.numbers[worst], per_atom[worst], far)


def beyond_gap(values: np.ndarray, gap: float) -> int:
    """Count the values that a gap parts from the median; those of a scan lie far out, but close together."""
    ordered = np.sort(values)
    middle = len(ordered) // 2
    wide = np.flatnonzero(np.diff(ordered) > gap)
    above, below = wide[wide >= middle], wide[wide < middle]
    high = len(ordered) - 1 - above[0] if len(above) else 0
    low = below[-1] + 1 if len(below) else 0
    return int(high + low)


def force_outliers(scan: Scan) -> Iterator[Finding]:
    """Forces far above those of other frames."""
    largest = np.array(scan.largest_forces)
    known = np.flatnonzero(~np.isnan(largest))
    if len(known) < FEWEST:
        return
    middle = np.median(largest[known])
    far = int(np.sum(largest[known] > max(FORCE_RATIO * middle, LEAST_FORCE)))
    if far:
        worst = known[np.argmax(largest[known])]
        more = f" {far} frames are like this." if far > 1 else ""
        sentence = (
            f"{scan.file} frame {scan.numbers[worst]}: the largest force is {largest[worst]:.4g} eV/Å, that of a "
            f"frame at the median {middle:.3g} eV/Å. Did the calculation converge?{more}"
        )
        yield finding("force-outlier", scan.file, sentence, scan.numbers[worst], largest[worst], far)


def duplicates(scans: Sequence[Scan]) -> Iterator[Finding]:
    """Structures that occur twice in a set, in two sets, or with two energies."""
    prints = np.array([fingerprint for scan in scans for fingerprint in scan.fingerprints], dtype=np.uint64)
    owner = np.repeat(np.arange(len(scans)), [len(scan.fingerprints) for scan in scans])
    frames = np.array([number for scan in scans for number in scan.numbers], dtype=np.int64)
    energies = np.array([energy for scan in scans for energy in scan.energies], dtype=float)
    order = np.lexsort((frames, owner, prints))
    groups = np.split(order, np.flatnonzero(np.diff(prints[order])) + 1) if len(order) else []
    met: dict[tuple[str, int, int], tuple[int, tuple[int, int]]] = {}
    for group in groups:
        for k, other in enumerate(group[1:], 1):
            for code, first in partners(group[:k], other, owner, scans, energies):
                key = (code, int(owner[first]), int(owner[other]))
                n, pair = met.get(key, (0, (int(first), int(other))))
                met[key] = n + 1, pair
    for (code, one, two), (n, pair) in sorted(met.items(), key=lambda item: item[0][1:]):
        a, b = pair
        yield told(code, scans[one], scans[two], frames[a], frames[b], n, energies[[a, b]])


def partners(
    before: np.ndarray, other: np.intp, owner: np.ndarray, scans: Sequence[Scan], energies: np.ndarray
) -> Iterator[tuple[str, np.intp]]:
    """Yield what a structure that was met before is, with the first that it is the same as."""
    mine = scans[owner[other]]
    same = [k for k in before if home(scans[owner[k]]) == home(mine)]
    elsewhere = [k for k in before if scans[owner[k]].group != mine.group]
    differing = [k for k in before if abs(energies[k] - energies[other]) > SAME_ENERGY]
    if differing:
        yield "duplicates-differ", differing[0]
    elif same:
        yield "duplicates", same[0]
    elif elsewhere:
        yield "sets-overlap", elsewhere[0]


def home(scan: Scan) -> str:
    """What a structure should be in once: the training set, the validation set, or one test file."""
    return scan.file if scan.group == "test" else scan.group


def told(code: str, one: Scan, two: Scan, first: int, other: int, n: int, energies: np.ndarray) -> Finding:
    """Say which structures are the same."""
    here, there = f"{two.file} frame {other}", f"{one.file} frame {first}"
    more = f" {n} structures of {two.file} are like this." if n > 1 else ""
    if code == "duplicates-differ":
        text = f"{here} is the structure of {there}, but its energy is {energies[1]:.6f} eV, not {energies[0]:.6f} eV."
        value = energies[1] - energies[0]
    elif code == "duplicates":
        text, value = f"{here} is the structure of {there}: it counts twice.", math.nan
    else:
        text = f"{here} ({two.group}) is the structure of {there} ({one.group}): errors on it are no test."
        value = math.nan
    return finding(code, two.file, text + more, int(other), value, n)


def wrong_units(scans: Sequence[Scan], keys: LabelKeys, reference: Reference) -> Iterator[Finding]:
    """Units and signs that cannot be as the settings say, file by file; the same in several files once."""
    seen: set[str] = set()
    for scan in scans:
        if not len(scan.numbers):
            continue
        for found in suspect_units(evidence_of(scan, keys, reference)):
            if found.code not in seen:
                yield found
            seen.add(found.code)


def evidence_of(scan: Scan, keys: LabelKeys, reference: Reference) -> Evidence:
    """Collect what a file says about its units."""
    slopes = scan.pairs.slopes()
    all_electron = np.array(
        [thomas_fermi(c) if max(z for z, _ in c) > 4 else np.nan for c in scan.compositions]
    )
    ratios = np.array(scan.energies) / all_electron[np.array(scan.composition_of)]
    virial: Any = [key for label, key in scan.labels if label == "stress" and key in AUTOMATIC["virial"]]
    return Evidence(
        keys=keys,
        file=scan.file,
        forces=slopes.forces,
        near=pair_slope(scan.sample.frames) if slopes.forces is None else None,
        stress=slopes.stress,
        virial=bool(virial) or (keys.virial_key is not None and ("stress", keys.virial_key) in scan.labels),
        median_stress=float(np.median(scan.largest_stress)) if len(scan.largest_stress) else math.nan,
        bonds=median(np.array(scan.closest)[np.array(scan.sizes) > 2]),
        hydrogen=reference.isolated.get(1),
        all_electron=median(ratios),
        elements=scan.elements,
    )


def median(values: np.ndarray) -> float:
    """Median of what is not NaN; NaN without."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else math.nan
