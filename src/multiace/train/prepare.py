"""From a run file to what the loop needs: data sets, statistics, and a report of what was found."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from multiace.data.dataset import Dataset
from multiace.data.read import count_labels, find_elements
from multiace.data.split import Split, read_data
from multiace.data.statistics import measure
from multiace.errors import InputError
from multiace.model.config import ModelConfig
from multiace.model.potential import Potential, Statistics
from multiace.train.config import RunConfig
from multiace.train.console import Console
from multiace.train.loss import TARGETS

__all__ = ["Prepared", "prepare", "report"]


@dataclass(frozen=True)
class Prepared:
    """The data of a run; neighbour lists are built.

    Test sets are named after their files (with folders where files of the same name are several).
    """

    model: ModelConfig
    train: Dataset
    valid: Dataset
    test: dict[str, Dataset]
    statistics: Statistics
    split: Split | None
    checksums: dict[str, str]


def prepare(run: RunConfig) -> Prepared:
    """Read and check the data, fix the table of elements, and measure scale, shift and E0.

    Raises:
        InputError: If the data cannot be used, or a weighted target has no labels.
    """
    data = read_data(run.data)
    check_labels(run, data.train)
    elements = run.model.elements or find_elements([*data.train, *data.valid, *data.isolated])
    model = run.model.replace(elements=elements)
    train = Dataset(data.train, elements, model.cutoff)
    valid = Dataset(data.valid, elements, model.cutoff)
    short = [Path(name).name for name in data.test]
    names = short if len(set(short)) == len(short) else list(data.test)
    test = {
        name: Dataset(frames, elements, model.cutoff)
        for name, frames in zip(names, data.test.values(), strict=True)
    }
    statistics = measure(model, train, data.isolated)
    valid_files = run.data.valid if isinstance(run.data.valid, tuple) else ()
    files = [*run.data.train, *valid_files, *run.data.test]
    checksums = {name: checksum(name) for name in files}
    return Prepared(model, train, valid, test, statistics, data.split, checksums)


def check_labels(run: RunConfig, frames: list) -> None:
    """Refuse a weighted target that no training frame has a label of."""
    counts = count_labels(frames)
    for target in TARGETS:
        weights = (
            getattr(run.train, f"{target}_weight"),
            getattr(run.train, f"second_stage_{target}_weight"),
        )
        if any(weights) and getattr(counts, target) == 0:
            raise InputError(
                f"train.{target}_weight is {max(w for w in weights if w)}, but none of the {counts.frames} "
                f"training frames has a {target} label (keys found: {', '.join(counts.keys)}). "
                f"Set data.{target}_key, or train.{target}_weight = 0."
            )


def checksum(name: str) -> str:
    """Return the SHA-256 of a data file (``name.xyz@:100``: of the whole file)."""
    path = Path(name) if Path(name).exists() else Path(name.partition("@")[0])
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def report(console: Console, prepared: Prepared, potential: Potential) -> None:
    """Show what will be learned from what."""
    sets = {"train": prepared.train, "valid": prepared.valid, **prepared.test}
    rows = []
    for name, dataset in sets.items():
        counts = count_labels(dataset.frames)
        batch = dataset.all
        neighbours = batch.graph.n_edges / batch.graph.n_nodes
        labels = (str(getattr(counts, target)) for target in TARGETS)
        rows.append((name, str(len(dataset)), str(batch.graph.n_nodes), f"{neighbours:.1f}", *labels))
    console.table("data", ("set", "frames", "atoms", "neighbours", *TARGETS), rows)
    statistics = prepared.statistics
    isolated = zip(prepared.model.elements, statistics.isolated_energies.tolist(), strict=True)
    console.print("E0 [eV]: " + ", ".join(f"{element} {energy:.6f}" for element, energy in isolated))
    console.print(
        f"scale {statistics.scale:.6g} eV, shift {statistics.shift:.6g} eV/atom, "
        f"neighbours {statistics.num_neighbors:.2f}, "
        f"parameters {sum(p.numel() for p in potential.parameters()):,}"
    )
