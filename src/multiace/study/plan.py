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
from multiace.train.config import RunConfig

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

        A field that came later is not in the digest while it has its default, so that a study of before goes on.
        """
        values = self.run.to_dict()
        del values["train"]["seed"]
        for section, config in self.run:
            for name in config.added:
                if getattr(config, name) == type(config).model_fields[name].default:
                    del values[section][name]
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
            if study.design != "grid":
                raise InputError(f"study, {described(labels)}: {error}") from None
            refused.append((labels, str(error)))
    for axis, values in study.axes.items() if study.design == "grid" else ():
        for label in values:
            if not any(p.labels[axis] == label for p in points):
                why = next(why for labels, why in refused if labels[axis] == label)
                raise InputError(f"study.axes: {axis} = {label} is possible with no other value: {why}")
    check_different(points)
    return Plan(points, {described(labels): why for labels, why in refused}, study.seeds)


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
        InputError: If its run file is impossible.
    """
    changes: Changes = {}
    for axis, label in labels.items():
        changes |= study.axes[axis][label]
    sections = {section: dict(fields) for section, fields in study.base.items()}
    train = sections.setdefault("train", {})
    for name, value in {"max_epochs": study.budget.epochs, "max_minutes": study.budget.minutes}.items():
        if value is not None:
            if name in train:
                raise InputError(
                    f"the base has train.{name}, and the budget says the same; remove one of them."
                )
            train[name] = value
    for field, value in changes.items():
        section, _, name = field.partition(".")
        sections.setdefault(section, {})[name] = value
    return Point(labels, changes, RunConfig.from_dict(sections, list(changes)))


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
