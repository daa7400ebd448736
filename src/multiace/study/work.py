"""One run of a study, in a process of its own."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

from multiace.errors import InputError, brief
from multiace.study.frame_errors import files_of_sets, keep
from multiace.study.store import Store

__all__ = ["work"]

TRACEBACK = "error.txt"


def work(folder: str | Path, names: list[str] | None = None) -> bool | None:
    """Do the next run of a study that nobody works on; one that was interrupted goes on.

    Args:
        folder: Of the study.
        names: Only one of these runs.

    Returns:
        Whether it came to its end; None if there was nothing to do. A failure is written into the file of the study,
        its traceback into ``error.txt`` of the run.
    """
    from multiace.train.loop import fit

    store = Store(folder)
    claim = store.claim(names)
    if claim is None:
        return None
    name, place = claim.row.name, store.folder / claim.row.name
    try:
        potential = fit(claim.row.run, place)
        found = results(place)
        keep(potential, files_of_sets(claim.row.config["data"], found), place)
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


def results(place: Path) -> dict[str, Any]:
    """What a study keeps of a run that is done."""
    summary = json.loads((place / "summary.json").read_text(encoding="utf-8"))
    kept = ("errors", "parameters", "seconds", "epoch", "best_epoch", "linear_fit", "warnings")
    return {name: summary[name] for name in kept if name in summary}
