"""One run of a study, in a process of its own."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

from multiace.errors import InputError, brief
from multiace.model.config import outside_choices
from multiace.model.potential import Potential
from multiace.study.frame_errors import files_of_sets, keep
from multiace.study.store import Store
from multiace.study.testing import tested
from multiace.train.config import RunConfig
from multiace.train.folder import RunFolder

__all__ = ["work"]

TRACEBACK = "error.txt"


def work(folder: str | Path, names: list[str] | None = None) -> bool | None:
    """Do the next run of a study that nobody works on; one that was interrupted goes on.

    Args:
        folder: Of the study.
        names: Only one of these runs; None for those of the study file as it was last given.

    Returns:
        Whether it came to its end; None if there was nothing to do. A failure is written into the file of the study,
        its traceback into ``error.txt`` of the run.
    """
    store = Store(folder)
    claim = store.claim(store.planned() if names is None else names)
    if claim is None:
        return None
    name, place = claim.row.name, store.folder / claim.row.name
    (place / TRACEBACK).unlink(missing_ok=True)  # of an attempt before
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

    if RunFolder(place).finished:
        return Potential.load(place, outside_code=bool(outside_choices(run.model.model_dump())))
    return fit(run, place)


def results(place: Path) -> dict[str, Any]:
    """What a study keeps of a run that is done."""
    summary = json.loads(RunFolder(place).summary.read_text(encoding="utf-8"))
    kept = (
        "errors",
        "checksums",
        "parameters",
        "seconds",
        "core_seconds",
        "epoch",
        "best_epoch",
        "linear_fit",
        "warnings",
    )
    return {name: summary[name] for name in kept if name in summary}
