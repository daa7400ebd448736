"""One run of a study, in a process of its own."""

from __future__ import annotations

import hashlib
import json
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multiace.battery import Battery
from multiace.battery import run as run_battery
from multiace.battery.job import search
from multiace.errors import InputError, brief
from multiace.model.config import outside_choices
from multiace.model.potential import Potential
from multiace.study.frame_errors import files_of_sets, keep
from multiace.study.store import Row, Store
from multiace.train.config import RunConfig

__all__ = ["untested", "work"]

TRACEBACK, SUMMARY = "error.txt", "summary.json"


def work(folder: str | Path, names: list[str] | None = None) -> bool | None:
    """Do the next run of a study that nobody works on; one that was interrupted goes on.

    Args:
        folder: Of the study.
        names: Only one of these runs.

    Returns:
        Whether it came to its end; None if there was nothing to do. A failure is written into the file of the study,
        its traceback into ``error.txt`` of the run.
    """
    store = Store(folder)
    claim = store.claim(names)
    if claim is None:
        return None
    name, place = claim.row.name, store.folder / claim.row.name
    try:
        potential = trained(claim.row.run, place)
        found = results(place)
        if store.battery is not None:
            found["battery"] = tested(potential, store.battery, claim.row)
        keep(potential, files_of_sets(claim.row.config["data"], found, store.battery), place)
        store.done(name, found)
        return True
    except KeyboardInterrupt:
        store.wait(name)
        raise
    except Exception as error:  # also those of a defect: the study goes on without this run
        (place / TRACEBACK).write_text(traceback.format_exc(), encoding="utf-8")
        known = isinstance(error, InputError)
        store.failed(name, str(error) if known else f"{type(error).__name__}: {brief(error, 300)}")
        return False
    finally:
        claim.release()


def trained(run: RunConfig, place: Path) -> Potential:
    """Return the model of a run, which is trained unless it is already."""
    from multiace.train.loop import fit

    if (place / SUMMARY).is_file():
        return Potential.load(place, outside_code=bool(outside_choices(run.model.model_dump())))
    return fit(run, place)


def tested(potential: Potential, name: str, row: Row) -> dict[str, Any]:
    """Test a model on a battery."""
    battery = Battery.read(name)
    return run_battery(potential, battery, beside(row)) | {"digest": digest(battery)}


def beside(row: Row) -> list[Path]:
    """Folders of the data of a run, where files of a battery may also be."""
    data = row.run.data
    return list(dict.fromkeys(Path(name).parent for name in (*data.test, *data.train)))


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
        places = search(battery, found.get("absent", []), beside(row))
        return found.get("digest") == digest(battery) and not any(places.values())

    return [row.name for row in rows if row.state == "done" and not is_tested(row)]


def digest(battery: Battery) -> str:
    """Digest of all that a battery says."""
    return hashlib.sha256(battery.model_dump_json().encode()).hexdigest()


def results(place: Path) -> dict[str, Any]:
    """What a study keeps of a run that is done."""
    summary = json.loads((place / SUMMARY).read_text(encoding="utf-8"))
    kept = ("errors", "parameters", "seconds", "epoch", "best_epoch", "linear_fit", "warnings")
    return {name: summary[name] for name in kept if name in summary}
