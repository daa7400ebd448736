"""Errors of a run on each structure of its test sets, kept in its folder: what the bootstrap resamples."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from multiace.battery import Battery
from multiace.battery.job import search
from multiace.data.config import LabelKeys
from multiace.data.read import read_frames
from multiace.errors import InputError
from multiace.evaluation import Evaluation, evaluate, training_keys
from multiace.files import atomic
from multiace.model.potential import Potential
from multiace.study.store import Row
from multiace.study.testing import beside

__all__ = ["FILE", "FrameErrors", "SetFile", "complete", "files_of_sets", "keep", "kept"]

FILE = "frame_errors.npz"


@dataclass(frozen=True, eq=False)
class FrameErrors:
    """Errors Δ of one quantity on the structures of a set.

    Attributes:
        absolute: Σ abs(Δ) over the labelled components of each structure, (n_structures,).
        squared: Σ Δ², (n_structures,).
        count: Number of these components, (n_structures,).
    """

    absolute: np.ndarray
    squared: np.ndarray
    count: np.ndarray

    @classmethod
    def of(cls, differences: list[np.ndarray]) -> FrameErrors:
        """Sum over each structure, where a difference is a number: where there is a label."""
        known = [difference[np.isfinite(difference)] for difference in differences]
        absolute, squared = (np.array([float((np.abs(x) ** p).sum()) for x in known]) for p in (1, 2))
        return cls(absolute, squared, np.array([x.size for x in known]))

    @property
    def rmse(self) -> float:
        """Over all labelled components."""
        return float((self.squared.sum() / self.count.sum()) ** 0.5)


class SetFile(NamedTuple):
    """A file of structures, and how their labels are read: as in training, if nothing is said."""

    path: str
    keys: LabelKeys | None = None


def files_of_sets(
    data: Mapping[str, Any], results: Mapping[str, Any], battery: str | None = None
) -> dict[str, SetFile]:
    """Return the file of each set that a run was tested on, by the set's name.

    Sets of a battery whose file is not found are left out.

    Args:
        data: Section of the run file.
        results: What the study keeps of the run: its errors, and the sets of a battery.
        battery: Name or file of the battery, whose files may also be beside the data.

    Raises:
        InputError: If there is no such battery.
    """
    files = data.get("test") or ()
    found = {file if file in results["errors"] else Path(file).name: SetFile(file) for file in files}
    sets = results.get("battery", {}).get("sets", {})
    if battery is not None and sets:
        tests = Battery.read(battery)
        paths = search(tests, tests.files("sets"), beside(data))
        for name, config in tests.sets.items():
            if name in sets and (path := paths[config.file]) is not None:
                found[name] = SetFile(path, tests.labels)
    return found


def keep(potential: Potential, files: Mapping[str, SetFile], place: Path) -> None:
    """Evaluate each set, and write the errors of its structures into the run folder.

    Raises:
        InputError: If a file cannot be read or does not suit the model, or the folder cannot be written to.
    """
    arrays: dict[str, np.ndarray] = {}
    found: dict[SetFile, dict[str, FrameErrors]] = {}
    for name, file in files.items():
        if file not in found:
            frames = read_frames(file.path, file.keys or training_keys(potential), strict=False)
            found[file] = of_quantities(evaluate(potential, frames))
        for quantity, errors in found[file].items():
            for part in fields(FrameErrors):
                arrays[f"{name}|{quantity}|{part.name}"] = getattr(errors, part.name)
    with atomic(place / FILE) as temporary, temporary.open("wb") as written:
        np.savez_compressed(written, **arrays)  # type: ignore[arg-type]


def complete(
    folder: Path, rows: Sequence[Row], battery: str | None, advance: Callable[[int, int], None]
) -> list[str]:
    """Measure what is not kept yet, of runs that are done.

    Args:
        folder: Of the study.
        rows: Runs with results.
        battery: Name or file of the battery of the study.
        advance: Called with the number of runs that are measured, and of all that are to be.

    Returns:
        A paragraph on runs whose model or test files are not there any more, if there are some, or whose model asks for
        code from outside, which a report does not run.
    """
    missing = []
    wanted: list[tuple[Row, dict[str, SetFile]]] = []
    for row in rows:
        try:
            files = files_of_sets(row.config["data"], row.results or {}, battery)
        except InputError as error:
            missing.append(f"{row.name}: {error}")
        else:
            if files.keys() - {name for name, _ in kept(folder / row.name)}:
                wanted.append((row, files))
    for k, (row, files) in enumerate(wanted):
        place = folder / row.name
        try:
            keep(Potential.load(place), files, place)
        except InputError as error:
            missing.append(f"{row.name}: {error}")
        advance(k + 1, len(wanted))
    if not missing:
        return []
    n = len(missing)
    return [
        f"The errors of the structures of {n} runs are not kept and cannot be measured now, so that intervals with "
        f"them are over seeds alone. The first is {missing[0]}"
    ]


def of_quantities(evaluation: Evaluation) -> dict[str, FrameErrors]:
    """The errors of each quantity that has labels, in the units of the files (eV, Å)."""
    differences = {
        "energy": [np.array(E - label) for E, label in pairs(evaluation, "energy", evaluation.energies)],
        "forces": [F - label for F, label in pairs(evaluation, "forces", evaluation.forces)],
        "stress": [s - label for s, label in pairs(evaluation, "stress", evaluation.stresses)],
    }
    of_energies = zip(differences["energy"], evaluation.frames, strict=True)
    differences["energy_per_atom"] = [difference / len(frame.atoms) for difference, frame in of_energies]
    found = {quantity: FrameErrors.of(values) for quantity, values in differences.items()}
    return {quantity: errors for quantity, errors in found.items() if errors.count.any()}


def pairs(evaluation: Evaluation, name: str, predicted: Any) -> Iterator[tuple[Any, Any]]:
    """Yield what is predicted for each structure, and its label: NaN where one of them is missing."""
    for frame, value in zip(evaluation.frames, predicted, strict=True):
        label = getattr(frame, name)
        yield (np.full(1, np.nan), 0.0) if value is None or label is None else (value, label)


def kept(place: Path) -> dict[tuple[str, str], FrameErrors]:
    """Read what was kept of a run, by set and quantity; empty if there is nothing."""
    try:
        with np.load(place / FILE) as file:
            arrays = dict(file)
    except (OSError, ValueError, zipfile.BadZipFile):
        return {}
    keys = dict.fromkeys(tuple(name.rsplit("|", 2)[:2]) for name in arrays)
    return {
        (name, quantity): FrameErrors(
            **{part.name: arrays[f"{name}|{quantity}|{part.name}"] for part in fields(FrameErrors)}
        )
        for name, quantity in keys
    }
