"""Batteries of a study: which of its models are tested on one, as it is now."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from multiace.battery import Battery, run
from multiace.battery.job import search
from multiace.battery.parts import VERSION
from multiace.model.potential import Potential
from multiace.study.store import Row

__all__ = ["beside", "tested", "untested"]


def tested(potential: Potential, name: str, row: Row) -> dict[str, Any]:
    """Test a model on a battery."""
    battery = Battery.read(name)
    return run(potential, battery, beside(row.config["data"])) | {"digest": digest(battery)}


def beside(data: Mapping[str, Any]) -> list[Path]:
    """Folders of the files in the data section of a run, where those of a battery may also be."""
    files = (*(data.get("test") or ()), *(data.get("train") or ()))
    return list(dict.fromkeys(Path(file).parent for file in files))


def untested(rows: Sequence[Row], name: str | None) -> list[str]:
    """Names of the runs that are done but not tested on a battery as it is now, or not on files that are now there.

    Raises:
        InputError: If there is no such battery.
    """
    if name is None:
        return []
    battery = Battery.read(name)

    def is_tested(row: Row) -> bool:
        found = (row.results or {}).get("battery", {})
        places = search(battery, found.get("absent", []), beside(row.config["data"]))
        return found.get("digest") == digest(battery) and not any(places.values())

    return [row.name for row in rows if row.state == "done" and not is_tested(row)]


def digest(battery: Battery) -> str:
    """Digest of all that a battery says, and of what scores mean."""
    return hashlib.sha256(f"{VERSION} {battery.model_dump_json()}".encode()).hexdigest()
