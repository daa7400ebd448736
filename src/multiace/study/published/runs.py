"""From a published table to the runs of a study."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from multiace.errors import InputError
from multiace.study.config import Budget, Changes, StudyConfig
from multiace.study.plan import Plan, Point, plan
from multiace.study.published.table import PublishedTable, Size

__all__ = ["find_files", "plan_table"]

BUDGET = {f"train.max_{name}": name for name in Budget.model_fields}
"""Fields that a study sets by its budget."""


def plan_table(table: PublishedTable, size: Size, folder: str | Path, absent: Collection[str] = ()) -> Plan:
    """Return the points of a table: one for each training set and model, with the seeds of the size.

    Args:
        table: The table.
        size: full or reduced.
        folder: Holds a folder with the data set.
        absent: Rows without a test file.
    """
    place = Path(folder).resolve() / table.data
    points = [point(table, size, s, m, place, absent) for s in table.sets for m in table.models]
    return Plan(points, {}, table.seeds[size])


def point(
    table: PublishedTable, size: Size, trained: str, model: str, place: Path, absent: Collection[str]
) -> Point:
    """Make the point of one model, by a study that has no other: budgets differ between models."""
    files = table.sets[trained]
    data: Changes = {
        "data.train": [str(place / name) for name in files.train],
        "data.valid": files.valid if isinstance(files.valid, int) else [str(place / n) for n in files.valid],
        "data.test": [str(place / name) for row, name in files.tests.items() if row not in absent],
    }
    fields = table.fields(model, trained, size)
    budget = {name: fields.pop(field) for field, name in BUDGET.items() if field in fields}
    axes = {"set": {trained: data}, "model": {model: fields}}
    study = StudyConfig.from_dict({"base": {}, "axes": axes, "seeds": table.seeds[size], "budget": budget})
    (only,) = plan(study).points
    return only


def find_files(table: PublishedTable, folder: str | Path) -> dict[str, str]:
    """Look for the files of a table; return the rows whose test file is not there, with its name.

    Raises:
        InputError: If a file to train on is missing, or all that a set is tested on; says how to get them.
    """
    place = Path(folder) / table.data

    def is_there(name: str) -> bool:
        return (place / name.partition("@")[0]).is_file()  # name@:50 is a part of a file

    for trained in table.sets.values():
        needed = [*trained.train, *(trained.valid if isinstance(trained.valid, tuple) else ())]
        if not any(map(is_there, trained.tests.values())):
            needed += trained.tests.values()
        for name in needed:
            if not is_there(name):
                raise InputError(
                    f"there is no {place / name.partition('@')[0]}: multiace data get {table.data} --folder {folder} "
                    "gets it; or say with --data in which folder the data sets are."
                )
    return {row: name for row, name in table.rows.items() if not is_there(name)}
