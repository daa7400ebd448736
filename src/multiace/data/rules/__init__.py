"""The rules of a check that look at whole files and sets: each yields what it finds."""

from __future__ import annotations

from collections.abc import Sequence

from multiace.data.expectations import Expectations
from multiace.data.finding import Finding
from multiace.data.reference import Reference
from multiace.data.rules.duplicates import duplicates
from multiace.data.rules.elements import (
    conflicting_energies,
    dependent_compositions,
    foreign_elements,
    isolated_atoms,
)
from multiace.data.rules.labels import constant_labels, missing_keys, missing_labels, only_isolated
from multiace.data.rules.outliers import energy_outliers, force_outliers
from multiace.data.rules.units import wrong_units
from multiace.data.scan import Scan

__all__ = ["apply"]


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
