"""The section that says what was studied: data, model, changes, budget, seeds, when and by which version."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from multiace.errors import InputError
from multiace.fields import plain
from multiace.model.file import read_model_file
from multiace.model.presets import PRESETS
from multiace.report import html
from multiace.report.html import Section
from multiace.study.analysis import Analysis
from multiace.study.effects import axes
from multiace.study.measures import OF_DOMAIN
from multiace.study.store import Row, Store
from multiace.train.config import TrainConfig

__all__ = ["studied_section"]

BOUNDS = {
    "max_epochs": "epochs",
    "max_steps": "steps",
    "max_minutes": "minutes by the clock",
    "max_core_minutes": "minutes of processor cores",
}
SHAPE = ("num_layers", "hidden_irreps", "l_max", "correlation", "cutoff")
"""Fields of a model that are told in any case."""

LATE = 0.05  # of the epochs: a run whose best one is among the last of them was still improving


def studied_section(analysis: Analysis, store: Store) -> Section:
    """What was studied, and a hint where the budget was short."""
    first, rows = analysis.reference.rows[0], [row for point in analysis.points for row in point.rows]
    run, place = first.config, store.folder / first.name
    grid = analysis.design == "grid"
    changing = {section: varied(rows, section) if grid else set() for section in ("model", "data", "train")}
    facts = {
        **data(run["data"], place / "data_check.json", changing["data"]),
        "battery": battery(rows),
        "model": model(run["model"], changing["model"]),
        "training": training(run["train"], changing["train"]),
        "changes": "; ".join(
            f"{axis}: {' · '.join(labels)}" for axis, labels in axes(analysis.points).items()
        ),
        "budget of a run": budget(rows),
        "seeds": ", ".join(map(str, dict.fromkeys(row.seed for row in rows))),
        "last run ended": max((day(row.ended) for row in rows if row.results and row.ended), default=""),
        "multiace": versions(place),
    }
    body = "".join(f"<dt>{title}</dt><dd>{escape(text)}</dd>" for title, text in facts.items() if text)
    name = "the base" if not first.labels else f"the first point, {first.point}"
    text = yaml.safe_dump(run, sort_keys=False, allow_unicode=True)
    file = f"<details><summary>Run file of {escape(name)}</summary>{html.code([text.rstrip()])}</details>"
    hint = "".join(map(html.paragraph, unfinished(rows)))
    return Section("What was studied", f"<dl class=facts>{body}</dl>{hint}{file}")


def data(section: Mapping[str, Any], check: Path, without: set[str]) -> dict[str, str]:
    """Files of each set, but those that change; how many structures they hold, the data check of a run has."""
    try:
        found = json.loads(check.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        found = []
    told = {
        kind: [frames(facts) for facts in found if facts["set"] == kind]
        for kind in ("train", "valid", "test")
    }
    drawn = (
        ""
        if isinstance(section["valid"], list)
        else f"drawn from the training files (valid = {section['valid']})"
    )
    files = {kind: [Path(name).name for name in section[kind]] for kind in ("train", "test")}
    files["valid"] = [] if drawn else [Path(name).name for name in section["valid"]]
    lists = {kind: ", ".join(told[kind] or files[kind]) for kind in told}
    valid = " ".join(filter(None, (lists["valid"], drawn)))
    sets = {
        "train": ("training set", lists["train"]),
        "valid": ("validation set", valid),
        "test": ("test sets", lists["test"]),
    }
    return {title: text for kind, (title, text) in sets.items() if kind not in without}


def frames(facts: Mapping[str, Any]) -> str:
    """A file with the number of its structures."""
    isolated = facts["frames"] == facts["isolated_atoms"]
    kind = "isolated atoms" if isolated else "frames"
    return f"{Path(facts['file']).name} ({facts['frames']:,} {kind})"


def battery(rows: Sequence[Row]) -> str:
    """The sets of a battery with their domains, and what else it has."""
    found = next((row.results["battery"] for row in rows if row.results and "battery" in row.results), None)
    if found is None:
        return ""
    sets = [
        f"{key} ({of['file']}, {of['frames']:,} frames, {OF_DOMAIN[of['domain']]})"
        for key, of in found.get("sets", {}).items()
    ]
    dynamics = [
        f"{key} ({len(of['replicas'])} × {of['time']:g} ps)" for key, of in found.get("dynamics", {}).items()
    ]
    parts = {"curves": found.get("curves"), "dimers": found.get("dimers"), "dynamics": dynamics}
    more = [f"{kind}: {', '.join(names)}" for kind, names in parts.items() if names]
    return "; ".join([f"{found['battery']}: {', '.join(sets)}", *more])


def varied(rows: Sequence[Row], section: str) -> set[str]:
    """Fields of a section that are not the same for all runs."""
    first = rows[0].config[section]
    return {name for row in rows for name, value in row.config[section].items() if value != first.get(name)}


def model(section: Mapping[str, Any], without: set[str]) -> str:
    """The shape of a model, and of all else the preset that it is nearest to.

    Args:
        section: Of the run file.
        without: Fields that are not told.
    """
    fixed = {name: value for name, value in section.items() if name not in without}
    presets = {name: of.model_dump(mode="json") for name, of in PRESETS.items()}
    nearest = min(presets, key=lambda name: len(list(changed(fixed, presets[name]))))
    shape = [f"{name} = {plain(fixed.pop(name))}" for name in SHAPE if name in fixed]
    others = list(changed(fixed, presets[nearest]))
    but = f", but {', '.join(others)}" if others else ""
    return "; ".join(filter(None, (", ".join(shape), f"all else as in the preset {nearest}{but}")))


def training(section: Mapping[str, Any], without: set[str]) -> str:
    """Fields of training that are not as by default, but those that change."""
    fixed = {name: value for name, value in section.items() if name not in without}
    found = list(changed(fixed, TrainConfig().model_dump(mode="json")))
    return ", ".join([*found, "all else as by default"]) if found else "as by default"


def changed(section: Mapping[str, Any], default: Mapping[str, Any]) -> Iterable[str]:
    """Fields with other values than by default, but those that the study sets."""
    for name, value in section.items():
        if name in default and value != default[name] and name not in (*BOUNDS, "seed"):
            yield f"{name} = {plain(value)}"


def budget(rows: Sequence[Row]) -> str:
    """What a run may use; models that are solved for have no such bounds."""
    found = [
        " or ".join(f"{train[name]:,g} {unit}" for name, unit in BOUNDS.items() if train.get(name))
        for train in (row.config["train"] for row in rows)
    ]
    return ", ".join(dict.fromkeys(filter(None, found)))


def day(moment: float | None) -> str:
    """The date of a time of the clock."""
    return "" if moment is None else time.strftime("%Y-%m-%d", time.localtime(moment))


def versions(place: Path) -> str:
    """The version that made the first run, and that of this report if it is another."""
    here = version("multiace")
    try:
        there = read_model_file(place)[0].get("multiace", here)
    except InputError:
        there = here
    return here if there == here else f"{there} (the first run), {here} (this report)"


def unfinished(rows: Sequence[Row]) -> Iterable[str]:
    """Say that most runs were still improving when they ended, if they were."""
    epochs = [(row, row.results.get("best_epoch"), row.results.get("epoch")) for row in rows if row.results]
    found = [(row, best, last) for row, best, last in epochs if best and last]
    late = [row for row, best, last in found if best > (1 - LATE) * last]
    if len(late) > len(found) / 2:
        annealed = all(row.config["train"].get("schedule") == "cosine" for row in late)
        why = ", as is usual where the learning rate falls until then (schedule = cosine)" if annealed else ""
        yield (
            f"In {len(late)} of {len(found)} runs the best epoch is among the last {100 * LATE:.0f} % of the epochs: "
            f"they were still improving when their budget ended{why}. Points may rank otherwise after longer runs."
        )
