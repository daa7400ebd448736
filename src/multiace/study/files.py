"""Files that a study needs: what is missing is told before anything starts."""

from __future__ import annotations

from collections.abc import Sequence

from multiace.battery import Battery
from multiace.battery.job import search
from multiace.battery.parts import PARTS, files_of, none_found
from multiace.data.download import DATA_SETS
from multiace.errors import InputError
from multiace.study.plan import Point
from multiace.study.store import Row
from multiace.study.testing import beside
from multiace.train.sources import checksum, path_of

__all__ = ["absent_files", "check_files", "check_unchanged"]


def check_files(points: Sequence[Point]) -> None:
    """Refuse points whose data files are not there.

    Raises:
        InputError: If one is missing; says how to get it.
    """
    for point in points:
        data = point.run.data
        parts = {"train": data.train, "valid": data.valid, "test": data.test}
        for part, names in parts.items():
            for name in names if isinstance(names, tuple) else ():
                path = path_of(name)
                if not path.exists():
                    folder = path.parent
                    get = f" multiace data get {folder.name} --folder {folder.parent} gets it."
                    raise InputError(
                        f"{point.name}: data.{part} has {path}, and there is no such file; paths of a study file are "
                        f"relative to its folder.{get if folder.name in DATA_SETS else ''}"
                    )


def check_unchanged(rows: Sequence[Row]) -> None:
    """Refuse data files that are no longer what runs that are done were trained on and tested on.

    Raises:
        InputError: If one has changed.
    """
    now: dict[str, str] = {}
    for row in rows:
        for name, before in ((row.results or {}).get("checksums") or {}).items():
            if name not in now and path_of(name).exists():
                now[name] = checksum(name)
            if now.get(name, before) != before:
                raise InputError(
                    f"{name} has changed since {row.name} was done, whose errors would be compared with those on other "
                    "data; restore it, or do the study in another folder (--folder)."
                )


def absent_files(points: Sequence[Point], name: str) -> list[str]:
    """Files of a battery that are not there for some points.

    Raises:
        InputError: If there is no such battery, or none of its files.
    """
    battery, absent = Battery.read(name), dict[str, None]()
    files = files_of(battery, list(PARTS))
    for point in points:
        folders = beside(point.run.data.model_dump())
        missing = [file for file, place in search(battery, files, folders).items() if place is None]
        if files and missing == files:
            raise InputError(none_found(battery, files, folders))
        absent |= dict.fromkeys(missing)
    return list(absent)
