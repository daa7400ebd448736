"""From a study to its runs: which points there are, and what each of them changes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from multiace.errors import InputError
from multiace.study.config import Changes, StudyConfig
from multiace.train.config import RunConfig, TrainConfig
from multiace.train.route import GRADIENT_FIELDS, by_gradients, is_solved

__all__ = ["Plan", "Point", "Run", "plan"]

LONGEST = 60  # characters of a folder's name that say what the point is


@dataclass(frozen=True)
class Point:
    """One value of the design.

    Attributes:
        labels: Label of its value on each axis that it is changed on.
        changes: The fields that are changed.
        run: The run file of all its seeds.
    """

    labels: dict[str, str]
    changes: Changes
    run: RunConfig

    @property
    def name(self) -> str:
        """What is changed, in words."""
        return described(self.labels)

    @property
    def folder(self) -> str:
        """Name of its folder: what is changed, and a digest of the whole run file, so that it is of no other point.

        Fields that have their defaults do not count: it stays the same when versions to come have more fields.
        """
        values = self.run.model_dump(mode="json", exclude_defaults=True)
        values.get("train", {}).pop("seed", None)
        digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
        words = re.sub(r"[^A-Za-z0-9.=]+", "-", self.name.replace(" = ", "=")).strip("-.")
        return f"{words[:LONGEST].rstrip('-.')}-{digest}"


@dataclass(frozen=True)
class Run:
    """A point with a seed."""

    point: Point
    seed: int

    @property
    def name(self) -> str:
        """Its folder, below that of the study."""
        return f"{self.point.folder}/seed-{self.seed}"

    @property
    def config(self) -> RunConfig:
        """Its run file."""
        return self.point.run.replace(train=self.point.run.train.replace(seed=self.seed))


@dataclass(frozen=True)
class Plan:
    """The points of a study, and combinations that are none.

    Attributes:
        points: In the order of the design.
        left_out: Names of combinations of a grid that are no model, and why.
        seeds: Of each point.
    """

    points: list[Point]
    left_out: dict[str, str]
    seeds: tuple[int, ...]

    @property
    def runs(self) -> list[Run]:
        """All runs, seed by seed, so that a study that is stopped early compares all points."""
        return [Run(point, seed) for seed in self.seeds for point in self.points]


def plan(study: StudyConfig) -> Plan:
    """Return the points of a study.

    Raises:
        InputError: If a value is impossible with all others, or two points are the same.
    """
    points: list[Point] = []
    refused: list[tuple[dict[str, str], str]] = []
    for labels in combinations(study):
        try:
            points.append(point(study, labels))
        except InputError as error:
            if study.design != "grid" or not study.axes:
                raise InputError(f"study, {described(labels)}: {error}") from None
            refused.append((labels, str(error)))
    if not points and len(refused) > 1 and len({why for _, why in refused}) == 1:
        raise InputError(f"study, all points: {refused[0][1]}")
    for axis, values in study.axes.items() if study.design == "grid" else ():
        for label in values:
            if not any(p.labels[axis] == label for p in points):
                raise InputError(alone(study, axis, label, refused))
    check_different(points)
    return Plan(points, {described(labels): why for labels, why in refused}, study.seeds)


def alone(study: StudyConfig, axis: str, label: str, refused: list[tuple[dict[str, str], str]]) -> str:
    """Say why a value of a grid is in none of its points."""
    why = next(why for labels, why in refused if labels[axis] == label)
    if len(study.axes) == 1:
        return f"study.axes: {axis} = {label}: {why}"
    return (
        f"study.axes: {axis} = {label} goes with no value of the other axes: {why} Fields that only go together are "
        "one axis, name: {label: {section.field: value, ...}, ...}."
    )


def described(labels: dict[str, str]) -> str:
    """What is changed, in words."""
    return ", ".join(f"{axis} = {label}" for axis, label in labels.items()) or "base"


def combinations(study: StudyConfig) -> Iterator[dict[str, str]]:
    """Labels of the values of each point."""
    if study.design == "grid":
        yield from (dict(zip(study.axes, values, strict=True)) for values in product(*study.axes.values()))
        return
    labels: dict[str, str] = {}
    yield labels
    for axis, values in study.axes.items():
        for label in values:
            labels = {**(labels if study.design == "path" else {}), axis: label}
            yield labels


def point(study: StudyConfig, labels: dict[str, str]) -> Point:
    """Make a point.

    Raises:
        InputError: If its run file is impossible, or a field has no effect on the way it is fitted.
    """
    changes: Changes = {}
    for axis, label in labels.items():
        changes |= study.axes[axis][label]
    sections = {section: dict(fields) for section, fields in study.base.items()}
    train = sections.setdefault("train", {})
    for name, value in study.budget.model_dump(exclude_none=True).items():
        if f"max_{name}" in train:
            raise InputError(
                f"the base has train.max_{name}, and the budget says the same; remove one of them."
            )
        train[f"max_{name}"] = value
    if "seed" in train:
        raise InputError(
            "the base has train.seed, which is set by the study's seeds: remove it, and say seeds."
        )
    for field, value in changes.items():
        section, _, name = field.partition(".")
        sections.setdefault(section, {})[name] = value
    run = RunConfig.from_dict(sections, list(changes))
    if not by_gradients(run):
        run = without_gradients(run, changes)
    is_solved(run)
    if run.train.devices * run.train.num_nodes > 1:
        raise InputError(
            "train.devices or train.num_nodes is above 1, but a run of a study is one process, of many at a time: "
            "remove it, or train that model with multiace train."
        )
    return Point(labels, changes, run)


def without_gradients(run: RunConfig, changes: Changes) -> RunConfig:
    """Return a run that is solved for without the fields of gradient training that it has from the base or the budget.

    As an override leaves fields of a run file without effect.

    Raises:
        InputError: If one of them is what the point changes.
    """
    idle = [name for name in changes if name.removeprefix("train.") in GRADIENT_FIELDS]
    if idle:
        raise InputError(
            f"{idle[0]} has no effect where the model is solved for: leave this value out, or set train.solver = "
            "gradient."
        )
    return run.replace(train=run.train.replace(**TrainConfig().model_dump(include=set(GRADIENT_FIELDS))))


def check_different(points: list[Point]) -> None:
    """Refuse points that are the same.

    Raises:
        InputError: If two are.
    """
    seen: dict[str, str] = {}
    for p in points:
        key = p.run.model_dump_json()
        if key in seen:
            raise InputError(
                f"study: the points {seen[key]!r} and {p.name!r} are the same; take the value that the base has out of "
                "the axes, or another one."
            )
        seen[key] = p.name
