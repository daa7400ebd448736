"""Labels: files and sets that lack them, and placeholders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from multiace.data.config import LabelKeys
from multiace.data.expectations import Expectations
from multiace.data.finding import Finding, finding
from multiace.data.read import AUTOMATIC
from multiace.data.rules.duplicates import structures_of
from multiace.data.scan import Scan

__all__ = ["constant_labels", "missing_keys", "missing_labels", "only_isolated"]

TARGETS = ("energy", "forces", "stress")


def only_isolated(scans: Sequence[Scan]) -> Iterator[Finding]:
    """Sets without anything to learn from."""
    for group in ("train", "valid"):
        mine = of_set(scans, group)
        if any(scan.isolated for scan in mine) and not any(len(scan.numbers) for scan in mine):
            sentence = f"data.{group} ({files(mine)}) has only isolated atoms; add a file of structures."
            yield finding("only-isolated-atoms", mine[0].file, sentence)


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
    found = sorted(set().union(*(scan.found_in_structures for scan in scans)))
    similar = [key for key in found if target[:5] in key.lower() and key not in AUTOMATIC[target]]
    frames = sum(len(scan.numbers) for scan in scans)
    group = {"train": "training", "valid": "validation"}[scans[0].group]
    a = "an" if target == "energy" else "a"
    listed = ", ".join(found) or "none"
    none = f"none of the {frames} {group} frames has {a} {target} label (keys found: {listed}). "
    hint = f"Is it {' or '.join(map(repr, similar))}? " if similar else ""
    if expected.weights is not None and scans[0].group == "train":
        sentence = f"train.{target}_weight is {weight}, but {none}{hint}"
        sentence += f"Set data.{target}_key, or train.{target}_weight = 0."
        return finding("target-without-labels", scans[0].file, sentence)
    sentence = f"{files(scans)}: {none}{hint}Set data.{target}_key if they are there under another name."
    nothing = scans[0].group == "train" and not any(labelled(scans, each) for each in TARGETS)
    return finding("no-labels", scans[0].file, sentence, severity="error" if nothing else None)


def constant_labels(scan: Scan) -> Iterator[Finding]:
    """Placeholders: energies that are all one number, forces that are all zero."""
    energy, forces = np.array(scan.energies), np.array(scan.largest_forces)
    energy, forces = energy[~np.isnan(energy)], forces[~np.isnan(forces)]
    if len(energy) > 2 and np.ptp(energy) == 0 and np.ptp(structures_of([scan])) > 0:
        sentence = f"{scan.file}: all {len(energy)} energies are {energy[0]:g} eV. Are they placeholders?"
        yield finding("energies-equal", scan.file, sentence, value=energy[0], count=len(energy))
    if len(forces) > 2 and not forces.any() and "forces-zero" not in scan.troubles:
        sentence = f"{scan.file}: all forces of all {len(forces)} structures are zero. Are they placeholders?"
        yield finding("forces-zero", scan.file, sentence, value=0.0, count=len(forces))


def of_set(scans: Sequence[Scan], group: str) -> list[Scan]:
    return [scan for scan in scans if scan.group == group]


def files(scans: Sequence[Scan]) -> str:
    return ", ".join(scan.file for scan in scans)
