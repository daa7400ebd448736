"""The table of parts of a battery, and what runs them: read :data:`PARTS`, then :func:`run`.

A new part is a function from a :class:`~multiace.battery.job.Job` to results, a field of
:class:`~multiace.battery.config.Battery`, and one line in the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from multiace.battery.config import Battery
from multiace.battery.cost import cost
from multiace.battery.curves import curves
from multiace.battery.dimers import dimers
from multiace.battery.dynamics import dynamics
from multiace.battery.job import Job, Show, search
from multiace.battery.sets import sets
from multiace.battery.subject import subject_of
from multiace.data.config import LabelKeys
from multiace.data.download import BOTNET_FOLDERS
from multiace.errors import InputError, did_you_mean
from multiace.evaluation import MAX_EDGES, check_limits

__all__ = ["PARTS", "VERSION", "run"]

VERSION = 4
"""Of what scores mean: models that were tested under another one are tested again by a study."""

PARTS: dict[str, Callable[[Job], dict[str, Any]]] = {
    "sets": sets,
    "curves": curves,
    "dimers": dimers,
    "dynamics": dynamics,
    "cost": cost,
}


def run(
    model: Any,
    battery: Battery,
    data_folder: str | Path | Sequence[str | Path] = (),
    only: Sequence[str] = (),
    keys: LabelKeys | None = None,
    show: Show = lambda part, done, total: None,
    max_edges: int | None = MAX_EDGES,
) -> dict[str, Any]:
    """Test a model.

    Args:
        model: A :class:`~multiace.model.potential.Potential` or an ASE calculator.
        battery: What is tested, see :meth:`Battery.read`.
        data_folder: Where the files are: one folder, or several that are searched in turn; then come those of the
            battery and ``$MULTIACE_DATA``, see :func:`~multiace.battery.job.search`.
        only: Parts that are run; all by default.
        keys: Names and units of the labels; by default the battery's, else those of the model's training data.
        show: Called with the part, how much of it is done, and in all.
        max_edges: Most edges that a potential predicts at once in sets and curves (memory).

    Returns:
        Plain values for JSON: ``battery``, its name; what each part found, by its name; ``absent``, files that are not
        there; ``skipped``, entries that could not be measured, and why. Scores that do not apply are left out.

    Raises:
        InputError: If there is no such part, none of the files, or the limit is below 1.
    """
    check_limits(max_edges=max_edges)
    chosen = choose_parts(battery, only)
    folders = [data_folder] if isinstance(data_folder, str | Path) else list(data_folder)
    found = search(battery, files_of(battery, list(PARTS)), folders)
    needed = files_of(battery, chosen)
    absent = [file for file in needed if found[file] is None]
    if needed and absent == needed:
        raise InputError(none_found(battery, needed, folders))
    job = Job(subject_of(model, keys or battery.labels, max_edges), battery, found, show)
    first = sorted(
        chosen, key=lambda part: part != "cost"
    )  # memory that other parts have used is not seen to grow
    results = {part: PARTS[part](job) for part in first}
    ordered = {part: results[part] for part in chosen}
    return {"battery": battery.name, **ordered, "absent": absent, "skipped": job.skipped}


def choose_parts(battery: Battery, only: Sequence[str]) -> list[str]:
    """Return the parts to run, in the order of the table.

    Raises:
        InputError: If there is no such part, or the battery does not have it.
    """
    for part in only:
        if part not in PARTS:
            raise InputError(f"there is no part {part!r} of a battery.{did_you_mean(part, PARTS)}")
        if not getattr(battery, part):
            raise InputError(f"battery {battery.name} has no {part}; leave that part out, or describe it.")
    return [part for part in PARTS if part in (only or PARTS) and getattr(battery, part)]


def files_of(battery: Battery, parts: Sequence[str]) -> list[str]:
    """Return the files that some parts need, each once."""
    return list(dict.fromkeys(file for part in parts for file in battery.files(part)))


def none_found(battery: Battery, files: Sequence[str], folders: Sequence[str | Path]) -> str:
    """Say that the files are not there, and what to do."""
    where = ", ".join(map(str, [*folders, *battery.data]))
    get = f", or get them: multiace data get {battery.name}" if battery.name in BOTNET_FOLDERS else ""
    return (
        f"none of the files of battery {battery.name} is in {where}, or in a folder {battery.name} there: "
        f"{', '.join(files)}. Say which folder has them (--data FOLDER){get}."
    )
