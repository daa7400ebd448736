"""What a check of data finds: kinds of findings, their severity, and the JSON of a whole check."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

__all__ = ["KINDS", "DataCheck", "Finding", "Kind", "Severity"]

Severity = Literal["error", "warning", "note"]
SEVERITIES = ("error", "warning", "note")


class Kind(NamedTuple):
    """How serious a kind of finding is, and what it says."""

    severity: Severity
    meaning: str


KINDS = {
    "file-unreadable": Kind(
        "error", "the file is missing, of no known format, damaged, or has no structures"
    ),
    "no-atoms": Kind("error", "a structure has no atoms"),
    "element-unknown": Kind("error", "an atom has no chemical element"),
    "position-not-finite": Kind("error", "a position is NaN or infinite"),
    "atoms-coincide": Kind("error", "two atoms are at one place"),
    "cell-without-volume": Kind("error", "periodic lattice vectors are zero or dependent"),
    "extent-unsearchable": Kind(
        "error", "a cell is so small, or atoms so far apart, that neighbours cannot be searched"
    ),
    "label-unusable": Kind("error", "a label or weight is infinite, not numeric, or has a wrong shape"),
    "key-missing": Kind("error", "no structure has the label key that the settings name"),
    "target-without-labels": Kind("error", "a target has a weight in the loss, but no training label"),
    "only-isolated-atoms": Kind("error", "a training or validation set has nothing but isolated atoms"),
    "element-not-trained": Kind("error", "a validation or test set has elements that are not trained"),
    "isolated-atoms-missing": Kind(
        "error", "`energy_reference` needs isolated atoms that are not there (a warning without a run file)"
    ),
    "isolated-energies-differ": Kind("error", "two isolated atoms of one element have different energies"),
    "given-energies-differ": Kind("warning", "`isolated_energies` are not those of the isolated atoms"),
    "energies-unlike-isolated": Kind("warning", "E0 and the energies are not of one method, code or unit"),
    "isolated-atom-without-energy": Kind("warning", "an isolated atom has no energy"),
    "isolated-atom-not-alone": Kind("warning", "a structure called isolated atom has neighbours"),
    "compositions-dependent": Kind(
        "warning", "compositions do not determine E0 by least squares (a note where E0 are known otherwise)"
    ),
    "no-labels": Kind(
        "warning",
        "a set has no label of a target with a weight (an error if training frames have none at all)",
    ),
    "two-labels": Kind("warning", "a label is there under two names, with different values"),
    "energies-equal": Kind("warning", "all energies of different structures are the same number"),
    "forces-zero": Kind("warning", "all forces of a file, or of a structure that is not periodic, are zero"),
    "energy-outlier": Kind(
        "warning", "energies per atom lie far from the others of the file, in another unit perhaps"
    ),
    "force-outlier": Kind("warning", "a force is far larger than those of the file"),
    "net-force": Kind("warning", "forces do not sum to zero"),
    "net-torque": Kind("warning", "forces turn a structure that is not periodic"),
    "stress-unused": Kind("warning", "a structure that is not periodic has a stress label"),
    "energy-unit": Kind("warning", "energies look like Hartree, kcal/mol or kJ/mol"),
    "forces-unit": Kind("warning", "forces and energies are in units that do not belong together"),
    "forces-sign": Kind("warning", "forces point uphill: they are gradients"),
    "stress-unit": Kind("warning", "stresses and energies are in units that do not belong together"),
    "stress-sign": Kind("warning", "stresses have the opposite sign"),
    "length-unit": Kind("warning", "positions look like bohr or nm"),
    "forces-unlike-energies": Kind("warning", "forces are not the derivative of the energies"),
    "close-pair": Kind("warning", "two atoms are closer than half of a bond"),
    "atoms-alone": Kind("warning", "atoms have no neighbour within the cutoff"),
    "box-filled": Kind("warning", "atoms fill their box, but it is not periodic"),
    "duplicates": Kind("warning", "a structure, or a rotated or moved copy, is more than once in a set"),
    "duplicates-differ": Kind("warning", "a structure and its copy have different energies"),
    "sets-overlap": Kind("warning", "a structure, or a copy, is in two of training, validation and test"),
    "box-not-periodic": Kind("note", "a box is given, but no direction is periodic: it is not used"),
    "labels-missing": Kind("note", "some structures of a file have a label and others do not"),
    "forces-partial": Kind("note", "some atoms of a structure have no force label"),
    "weight-zero": Kind("note", "a structure has weight 0: it is not trained on"),
    "element-only-isolated": Kind("note", "an element occurs in isolated atoms only: it is not trained"),
}
"""Every kind of finding: severity and meaning."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        code: Its kind, a key of :data:`KINDS`.
        severity: ``error``, ``warning`` or ``note``.
        file: The file; of several files of a set, the first.
        frame: The frame with the largest value, counted from 0; None where it is not about one frame.
        value: The figure that the sentence is about; None where there is none.
        sentence: What was found and what to do, in one or two sentences.
        count: How many frames (atoms, pairs of frames) it is about.
    """

    code: str
    severity: Severity
    file: str
    frame: int | None
    value: float | None
    sentence: str
    count: int = 1


def finding(
    code: str,
    file: str,
    sentence: str,
    frame: int | None = None,
    value: float | None = None,
    count: int = 1,
    severity: Severity | None = None,
) -> Finding:
    """Make a finding of the severity of its kind, or of another."""
    value = None if value is None or not math.isfinite(value) else float(value)
    return Finding(code, severity or KINDS[code].severity, file, frame, value, sentence, count)


@dataclass(frozen=True)
class DataCheck:
    """Result of a check: facts about each file, histograms of each set, and the findings, errors first.

    Attributes:
        files: Per file: ``file``, ``set``, ``frames``, ``labels`` and the figures of its energies, forces and
            distances; None where there is nothing to give a figure of.
        isolated_energies: E0 [eV] by element that energies are counted from.
        reference: Where those are from: ``isolated``, ``given`` or ``least_squares``.
        cutoff: r_c [Å] of neighbours.
        findings: What was found.
        histograms: Per set and quantity: ``edges`` (n + 1) and ``counts`` (n).
    """

    files: list[dict[str, Any]]
    isolated_energies: dict[str, float]
    reference: str
    cutoff: float
    findings: list[Finding]
    histograms: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)

    def of(self, severity: Severity) -> list[Finding]:
        """Return the findings of this severity."""
        return [found for found in self.findings if found.severity == severity]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; what :meth:`save` writes."""
        counts = {severity: sum(f.severity == severity for f in self.findings) for severity in SEVERITIES}
        return {"counts": counts, **asdict(self)}

    def save(self, path: str | Path) -> None:
        """Write as JSON."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")


def sort_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first, then warnings, then notes; otherwise in order."""
    return sorted(findings, key=lambda found: SEVERITIES.index(found.severity))


def without(findings: Iterable[Finding], explained: Mapping[str, frozenset[str]]) -> list[Finding]:
    """Leave out findings that are consequences of others.

    Args:
        findings: All that were found.
        explained: By code, the codes of what it brings about.
    """
    findings = list(findings)
    gone = {code for found in findings for code in explained.get(found.code, ())}
    return [found for found in findings if found.code not in gone]
