"""From a run file to what the loop needs: data sets, statistics, and a report of what was found."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from multiace.data.check import check_frames
from multiace.data.dataset import Dataset
from multiace.data.expectations import Expectations
from multiace.data.finding import DataCheck
from multiace.data.read import Frame, count_labels, find_elements
from multiace.data.split import RunData, Split, read_data
from multiace.data.statistics import measure
from multiace.errors import InputError
from multiace.model.config import ModelConfig
from multiace.model.potential import Potential, Statistics
from multiace.train.config import RunConfig
from multiace.train.console import Console
from multiace.train.loss import TARGETS
from multiace.train.sources import Sources
from multiace.train.start import read_start

__all__ = ["Prepared", "expectations", "prepare", "report", "warn"]


@dataclass(frozen=True)
class Prepared:
    """The data of a run; neighbour lists are built.

    Test sets are named after their files (with folders where files of the same name are several).
    ``untrained`` says what the data have and the fit leaves out; ``start`` has the weights that training
    starts from, if they are not random; ``check`` is what was found in the data, without errors.
    """

    model: ModelConfig
    train: Dataset
    valid: Dataset
    test: dict[str, Dataset]
    statistics: Statistics
    split: Split | None
    sources: Sources
    untrained: tuple[str, ...]
    start: Potential | None
    check: DataCheck


def prepare(run: RunConfig, data: RunData | None = None) -> Prepared:
    """Read and check the data, fix the table of elements, and measure scale, shift and E0.

    Args:
        run: The run.
        data: What ``run.data`` says, if it has been read already.

    Raises:
        InputError: If the data cannot be used or change while they are read, a weighted target has no labels,
            or the model that training starts from has another architecture.

    Warns:
        UserWarning: If ``model.elements`` has an element to spare.
    """
    valid_files = run.data.valid if isinstance(run.data.valid, tuple) else ()
    sources = Sources([*run.data.train, *valid_files, *run.data.test, *filter(None, [run.train.start_from])])
    start = None if run.train.start_from is None else read_start(run.train.start_from, run.model)
    data = data or read_data(run.data)
    elements = find_table(run.model.elements, data) if start is None else covering(start.elements, data)
    model = run.model.replace(elements=elements)
    check = check_run(run, model, data)
    train = Dataset(data.train, elements, model.cutoff)
    valid = Dataset(data.valid, elements, model.cutoff)
    short = [Path(name).name for name in data.test]
    names = short if len(set(short)) == len(short) else list(data.test)
    test = {
        name: Dataset(frames, elements, model.cutoff)
        for name, frames in zip(names, data.test.values(), strict=True)
    }
    statistics = measure(model, train, data.isolated) if start is None else kept(start, model, train, data)
    sources.seal()
    untrained = left_out(run, data, elements)
    return Prepared(model, train, valid, test, statistics, data.split, sources, untrained, start, check)


def expectations(run: RunConfig) -> Expectations:
    """Return what a run expects of its data."""
    model, train = run.model, run.train
    return Expectations(
        keys=run.data,
        cutoff=model.cutoff,
        reference=model.energy_reference,
        isolated_energies=model.isolated_energies,
        weights={
            target: max(
                getattr(train, f"{target}_weight"), getattr(train, f"second_stage_{target}_weight") or 0.0
            )
            for target in TARGETS
        },
        elements=model.elements,
    )


def check_run(run: RunConfig, model: ModelConfig, data: RunData) -> DataCheck:
    """Check what was read.

    Raises:
        InputError: If there is an error in it; the sentence is that of the first.
    """
    sets = [("train", data.isolated), ("train", data.train), ("valid", data.valid)]
    sets += [("test", frames) for frames in data.test.values()]
    check = check_frames(sets, expectations(run.replace(model=model)))
    errors = check.of("error")
    if errors:
        more = (
            f" This is the first of {len(errors)} errors; multiace data check tells all."
            if len(errors) > 1
            else ""
        )
        raise InputError(errors[0].sentence + more)
    return check


def covering(elements: tuple[str, ...], data: RunData) -> tuple[str, ...]:
    """Return the elements of the model that training starts from, once they are known to be all.

    Raises:
        InputError: If the data have others.
    """
    refuse_others(
        {"data.train": data.train, "data.valid": data.valid, **data.test},
        elements,
        "the model of train.start_from knows only",
        "leave these structures out, or train a new model without start_from",
    )
    return elements


def refuse_others(
    sets: Mapping[str, Sequence[Frame]], elements: Sequence[str], but: str, remedy: str
) -> None:
    """Raise InputError if a set has structures with other elements."""
    for name, frames in sets.items():
        missing = [element for element in find_elements(frames) if element not in elements]
        if missing:
            raise InputError(
                f"{name} has structures with {', '.join(missing)}, but {but} {', '.join(elements)}; {remedy}."
            )


def kept(start: Potential, model: ModelConfig, train: Dataset, data: RunData) -> Statistics:
    """Return E0 as ``model`` says, and scale and shift of the model that training starts from."""
    measured = measure(model.replace(scale="none", shift="none"), train, data.isolated)
    return replace(measured, scale=float(start.scale), shift=float(start.shift))


def find_table(given: tuple[str, ...], data: RunData) -> tuple[str, ...]:
    """Return the elements of the model: those given, or those of the training frames."""
    trained = find_elements(data.train)
    spare = [element for element in given if element not in trained]
    if spare:
        warnings.warn(
            f"model.elements has {', '.join(spare)}, which no training frame has: what the model says about "
            "structures with it is arbitrary.",
            stacklevel=3,
        )
    elements = given or trained
    refuse_others(
        {"data.valid": data.valid, **data.test},
        elements,
        "the model learns only",
        "add such structures to the training frames, or remove these",
    )
    return elements


def left_out(run: RunConfig, data: RunData, elements: Sequence[str]) -> tuple[str, ...]:
    """Say which elements and labels of the data are not trained."""
    lines = []
    alone = [element for element in find_elements(data.isolated) if element not in elements]
    if alone:
        lines.append(f"not trained: {', '.join(alone)} (isolated atom only)")
    weighted = run.train.stress_weight or run.train.second_stage_stress_weight
    if count_labels(data.train).stress and not weighted:
        lines.append("stress labels are not trained: train.stress_weight = 0")
    return tuple(lines)


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
    if prepared.start is not None:
        change = np.abs(statistics.isolated_energies - prepared.start.isolated_energies.numpy()).max()
        console.print(
            "weights, scale, shift and neighbours of train.start_from; E0 "
            + (f"differ from its own by up to {change:.6g} eV" if change > 0 else "as there")
        )
    for line in prepared.untrained:
        console.print(line)
    warn(console, prepared.check)


def warn(console: Console, check: DataCheck) -> None:
    """Show the warnings of the data check; its notes are in ``data_check.json`` and in the report."""
    for found in check.of("warning"):
        console.print(f"warning: {found.sentence}")
