"""Units and signs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from multiace.data.config import LabelKeys
from multiace.data.finding import Finding
from multiace.data.pairfit import pair_slope
from multiace.data.read import AUTOMATIC
from multiace.data.reference import Reference
from multiace.data.scan import Scan
from multiace.data.units import Evidence, suspect_units, thomas_fermi

__all__ = ["wrong_units"]


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
    virial_keys = {*AUTOMATIC["virial"], keys.virial_key}
    return Evidence(
        keys=keys,
        file=scan.file,
        forces=slopes.forces,
        near=pair_slope(scan.sample.frames) if slopes.forces is None else None,
        stress=slopes.stress,
        virial=any(label == "stress" and key in virial_keys for label, key in scan.labels),
        median_stress=float(np.median(scan.largest_stress)) if len(scan.largest_stress) else math.nan,
        bonds=median(np.array(scan.closest)[np.array(scan.sizes) > 2]),
        hydrogen=reference.isolated.get(1),
        all_electron=median(ratios),
        binding=median(reference.interaction(scan)) if reference.source == "isolated" else math.nan,
        elements=scan.elements,
    )


def median(values: np.ndarray) -> float:
    """Median of what is not NaN; NaN without."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else math.nan
