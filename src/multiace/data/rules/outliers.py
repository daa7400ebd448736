"""Energies and forces that lie far from those of the other frames of a file."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from multiace.data.finding import Finding, finding
from multiace.data.reference import Reference
from multiace.data.scan import Scan
from multiace.data.units import told_unit

__all__ = ["energy_outliers", "force_outliers"]

OUTLYING, LEAST_ENERGY = 3.0, 0.3  # gap before the energies that lie out: standard deviations, and eV/atom
FEW = 0.02  # share of frames; more are a kind of their own
FORCE_RATIO, LEAST_FORCE = 20.0, 20.0  # largest forces: times the median of frames, and eV/Å
NO_CHEMISTRY = 20.0  # [eV/atom] no gap between energies is as wide
FEWEST = 5  # frames for a statement on outliers


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
    if not 0 < far <= max(FEW * len(known), 1):  # none, or a kind of their own
        far = beyond_gap(per_atom[known], NO_CHEMISTRY)
    if far:
        worst = known[np.argmax(off)]
        total = scan.energies[worst]
        usual = total + (middle - per_atom[worst]) * scan.sizes[worst]
        units = told_unit(total / usual if usual else 0.0)
        more = f" {far} frames are like this." if far > 1 else ""
        sentence = (
            f"{scan.file} frame {scan.numbers[worst]}: (E - ΣE0)/N is {per_atom[worst]:.4g} eV, at the median of "
            f"the file {middle:.4g} eV{units or '. Did the calculation converge?'}{more}"
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
