"""Check the data of a run before anything is trained: read the files once, then compare what was remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from multiace.data import rules
from multiace.data.config import DataConfig, LabelKeys
from multiace.data.expectations import Expectations
from multiace.data.finding import DataCheck, Finding, finding, sort_findings, without
from multiace.data.read import Frame, stream_structures
from multiace.data.reference import Reference, find_reference
from multiace.data.scan import DISTANCE_BINS, FORCE_EDGES, Scan
from multiace.errors import InputError

__all__ = ["check_files", "check_frames"]

LARGE = 16e6  # bytes of a file that is worth several processes
CONSEQUENCES = {
    "length-unit": frozenset({"close-pair", "atoms-alone", "box-filled", "energies-unlike-isolated"}),
    "energy-unit": frozenset({"energies-unlike-isolated", "energy-outlier"}),
    "stress-unit": frozenset({"stress-sign"}),
    "energies-unlike-isolated": frozenset({"energy-outlier"}),
    "energies-equal": frozenset({"energies-unlike-isolated", "forces-unlike-energies"}),
    "file-unreadable": frozenset(
        {"only-isolated-atoms", "key-missing", "no-labels", "target-without-labels"}
    ),
}
"""What a finding explains, so that it is not told again."""


def check_files(
    config: DataConfig,
    expected: Expectations,
    advance: Callable[[str, int], None] | None = None,
    processes: int = 1,
) -> DataCheck:
    """Check the files of a data section, reading each once and keeping a few numbers of every frame.

    Args:
        config: Files, and names, units and signs of labels.
        expected: What the run expects of them.
        advance: Called with the file and the number of a frame, now and then.
        processes: How many share the frames of a large file.
    """
    valid = config.valid if isinstance(config.valid, tuple) else ()
    valid = tuple(name for name in valid if not name.endswith("split.json"))
    scans, unreadable = [], []
    for group, names in (("train", config.train), ("valid", valid), ("test", config.test)):
        for name in names:
            scan = Scan(name, group, expected.keys, expected.cutoff)
            large = Path(name).is_file() and Path(name).stat().st_size > LARGE
            error = (
                read_shared(scan, processes) if large and processes > 1 else read_part(scan, 0, 1, advance)
            )
            if error or not scan.frames:
                unreadable.append(finding("file-unreadable", name, error or f"{name} has no structures."))
            scans.append(scan)
    return conclude(scans, expected, unreadable)


def read_part(
    scan: Scan, first: int, step: int, advance: Callable[[str, int], None] | None = None
) -> str | None:
    """Scan every ``step``-th frame of a file from the ``first`` on; return what ended the reading too early."""
    part = f"@{first}::{step}" if step > 1 else ""
    try:
        for k, atoms in enumerate(stream_structures(f"{scan.file}{part}")):
            scan.add(first + k * step, atoms)
            if advance is not None and k % 100 == 0:
                advance(scan.file, k)
    except InputError as error:
        return str(error).replace(part, "")
    return None


def read_shared(scan: Scan, processes: int) -> str | None:
    """Let several processes scan a file, each every n-th frame."""
    arguments = scan.file, scan.group, scan.keys, scan.cutoff
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        parts = [pool.submit(scan_part, arguments, first, processes) for first in range(processes)]
        errors = []
        for part in parts:
            other, error = part.result()
            scan.extend(other)
            errors.append(error)
    return next(filter(None, errors), None)


def scan_part(arguments: tuple[str, str, LabelKeys, float], first: int, step: int) -> tuple[Scan, str | None]:
    """Scan a part of a file in a process of its own."""
    scan = Scan(*arguments)
    return scan, read_part(scan, first, step)


def check_frames(sets: Iterable[tuple[str, Sequence[Frame]]], expected: Expectations) -> DataCheck:
    """Check frames that are already read.

    Args:
        sets: ``train``, ``valid`` or ``test``, and frames of it.
        expected: What the run expects of them.
    """
    scans: dict[tuple[str, str], Scan] = {}
    for group, frames in sets:
        for index, frame in enumerate(frames):
            file, _, number = frame.source.rpartition(" frame ")
            file, place = (file, int(number)) if number.isdigit() else (frame.source, index)
            scan = scans.setdefault((group, file), Scan(file, group, expected.keys, expected.cutoff))
            scan.add(place, frame)
    return conclude(list(scans.values()), expected)


def conclude(scans: Sequence[Scan], expected: Expectations, unreadable: Sequence[Finding] = ()) -> DataCheck:
    """Apply the rules to what was remembered."""
    reference = find_reference(scans, expected.isolated_energies)
    by_file: dict[str, Scan] = {}
    for scan in scans:  # what is wrong with frames of a file that is split between sets is told once
        if (first := by_file.setdefault(scan.file, scan)) is not scan:
            first.take_troubles(scan)
    findings = [*unreadable, *(found for scan in by_file.values() for found in scan.findings())]
    findings += rules.apply(scans, expected, reference)
    return DataCheck(
        files=[facts(scan, reference) for scan in scans],
        isolated_energies=reference.named(),
        reference=reference.source,
        cutoff=expected.cutoff,
        findings=sort_findings(without(findings, CONSEQUENCES)),
        histograms=dict(histograms(scans, reference)),
    )


def facts(scan: Scan, reference: Reference) -> dict[str, object]:
    """What is shown of a file."""
    energies = reference.interaction(scan)
    known = energies[~np.isnan(energies)]
    forces = np.array(scan.largest_forces)
    found = np.flatnonzero(~np.isnan(forces))
    largest = found[np.argmax(forces[found])] if len(found) else None
    net, net_frame = scan.largest_net
    shortest, shortest_frame = scan.shortest
    stress = sum(count for (label, _), count in scan.labels.items() if label == "stress")
    return {
        "file": scan.file,
        "set": scan.group,
        "frames": scan.frames,
        "isolated_atoms": len(scan.isolated),
        "atoms": scan.atoms,
        "elements": elements_of(scan),
        "labels": [
            {"label": label, "key": key, "frames": count}
            for (label, key), count in sorted(scan.labels.items())
        ],
        "energy_per_atom": [float(f(known)) for f in (np.min, np.median, np.max)] if len(known) else None,
        "force_rms": (scan.force_squares / scan.force_components) ** 0.5 if scan.force_components else None,
        "largest_force": None if largest is None else float(forces[largest]),
        "largest_force_frame": None if largest is None else scan.numbers[largest],
        "largest_net_force": net if net_frame >= 0 else None,
        "largest_net_force_frame": net_frame if net_frame >= 0 else None,
        "largest_stress": max(scan.largest_stress) if stress and scan.largest_stress else None,
        "closest_pair": shortest if shortest_frame >= 0 else None,
        "closest_pair_frame": shortest_frame if shortest_frame >= 0 else None,
        "neighbours": scan.neighbours / max(sum(scan.sizes), 1),
    }


def elements_of(scan: Scan) -> list[str]:
    """Chemical symbols that occur in a file, isolated atoms among them."""
    every = scan.elements | {atomic_numbers[symbol] for _, symbol, _ in scan.isolated}
    return [chemical_symbols[z] for z in sorted(every)]


def histograms(
    scans: Sequence[Scan], reference: Reference
) -> Iterator[tuple[str, dict[str, dict[str, list[float]]]]]:
    """Yield, for each set: energies after E0 [eV/atom], sizes of forces [eV/Å], distances of pairs [Å]."""
    for group in dict.fromkeys(scan.group for scan in scans):
        mine = [scan for scan in scans if scan.group == group]
        energies = np.concatenate([reference.interaction(scan) for scan in mine])
        energies = energies[~np.isnan(energies)]
        counts, edges = np.histogram(energies, bins=60) if len(energies) else (np.zeros(0), np.zeros(0))
        distances = np.linspace(0, mine[0].cutoff, DISTANCE_BINS + 1)
        found = {
            "energy": (edges, counts),
            "forces": (FORCE_EDGES, sum(scan.force_counts for scan in mine)),
            "distance": (distances, sum(scan.distance_counts for scan in mine)),
        }
        yield (
            group,
            {
                name: {"edges": np.asarray(e).tolist(), "counts": np.asarray(n).tolist()}
                for name, (e, n) in found.items()
                if np.any(n)
            },
        )
