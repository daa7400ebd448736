"""What a study asks: ``StudyConfig``, read from a study file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from multiace.battery import BATTERIES
from multiace.config import Config, read_yaml
from multiace.errors import InputError, did_you_mean
from multiace.fields import plain
from multiace.train.config import BOUNDS, RunConfig, absolute_paths

__all__ = ["Budget", "Changes", "StudyConfig"]

Changes = dict[str, Any]
"""Fields of a run file, ``section.field``, and what they are changed to."""

SET_BY_THE_STUDY = {
    "train.seed": "seeds",
    **{f"train.{name}": name.replace("max_", "budget.") for name in BOUNDS},
}
"""Fields that no axis may change: they are the same for all points, or differ between the runs of each."""


class Budget(Config):
    """What every run may use; whichever bound is reached first ends it. Models that are solved for need none."""

    epochs: int | None = Field(None, ge=1, description="passes over the training set")
    steps: int | None = Field(None, ge=1, description="steps of the optimiser")
    minutes: float | None = Field(None, gt=0, description="wall-clock time of training [min]")
    core_minutes: float | None = Field(
        None, gt=0, description="processor time of training, of all threads [min]"
    )


class StudyConfig(Config):
    r"""A base run, what is changed in it, and how often each point is repeated.

    An axis is a field with its values, ``model.correlation: [1, 2, 3]``, or a name with bundles of fields:
    ``reference: {E0: {model.scale: none, model.shift: none}, mean: {model.shift: mean}}``.

    Runs of the same seed start from the same generator and see the same data in the same order; all runs share one
    split (``data.seed`` of the base), so that points are compared in pairs.
    """

    base: dict[str, dict[str, Any]] = Field(description="sections of a run file: model, data, train")
    axes: dict[str, dict[str, Changes]] = Field(
        default={},
        description="what is changed: axis, label of a value, its fields; without any, the base alone",
    )
    design: Literal["grid", "one_at_a_time", "path"] = Field(
        "grid",
        description="grid: all combinations of values; one_at_a_time: the base, and each value alone; path: the base, "
        "then the values of one axis after another, each on top of those before",
    )
    seeds: tuple[int, ...] = Field((1, 2, 3), description="train.seed of the runs of each point")
    battery: str | None = Field(
        None,
        description="what else the models are tested on: acac, ethanol, 3bpa, or a battery file; null = nothing",
    )
    budget: Budget = Field(
        default=Budget(),
        description="the same for all runs: epochs, steps, minutes, core_minutes, or several",
    )

    @field_validator("axes", mode="before")
    @classmethod
    def _bundles(cls, axes: Any) -> Any:
        if not isinstance(axes, Mapping):
            raise InputError(
                f"study.axes = {plain(axes)} must hold axes, such as model.correlation: [1, 2, 3]."
            )
        return {str(name): bundles(str(name), values) for name, values in axes.items()}

    @field_validator("seeds", mode="before")
    @classmethod
    def _each(cls, seeds: Any) -> Any:
        if isinstance(seeds, int):
            raise InputError(f"study.seeds = {seeds}: write each of them; for three, [1, 2, 3].")
        return seeds

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds or len(set(seeds)) < len(seeds):
            raise InputError(f"study.seeds = {list(seeds)}: one or more different numbers are needed.")
        return seeds

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        changed: dict[str, str] = {}
        for axis, values in self.axes.items():
            if self.design == "path" and len(values) != 1:
                raise InputError(
                    f"study.axes: {axis} has {len(values)} values; a path changes one thing after another, so that "
                    "each axis has one."
                )
            for field in dict.fromkeys(field for changes in values.values() for field in changes):
                if field in changed and self.design == "grid":
                    raise InputError(
                        f"study.axes: {changed[field]} and {axis} both change {field}; in a grid each field belongs to "
                        "one axis."
                    )
                changed[field] = axis
        return self

    @classmethod
    def read(cls, path: str | Path, size: str | None = None) -> StudyConfig:
        """Read a study file; paths in it are relative to its folder.

        Args:
            path: The file.
            size: Which of its ``sizes``: what it says is put in the place of the same fields, in ``base`` of the same
                fields of each section.

        Raises:
            InputError: If it cannot be read, a field is unknown or impossible, or it has no such size, or some and none
                is given.
        """
        try:
            config = cls.from_dict(of_size(read_yaml(path), size))
        except InputError as error:
            raise InputError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
        folder = Path(path).parent

        def absolute(changes: Changes) -> Changes:
            found: Changes = {}
            for field, value in changes.items():
                section, _, name = field.partition(".")
                found |= {field: absolute_paths(section, {name: value}, folder)[name]}
            return found

        base = {section: absolute_paths(section, fields, folder) for section, fields in config.base.items()}
        axes = {
            axis: {label: absolute(changes) for label, changes in values.items()}
            for axis, values in config.axes.items()
        }
        battery = config.battery
        if battery is not None and battery not in BATTERIES:
            battery = os.path.abspath(folder / battery)
        return config.replace(base=base, axes=axes, battery=battery)


def of_size(values: dict[str, Any], size: str | None) -> dict[str, Any]:
    """Return the fields of a study file in one of its sizes.

    Raises:
        InputError: If there is no such size, or there are some and none is given.
    """
    sizes = values.get("sizes", {})
    if not isinstance(sizes, Mapping) or not all(isinstance(fields, Mapping) for fields in sizes.values()):
        raise InputError(
            f"sizes = {plain(sizes)} must hold fields for each size, as minutes: {{seeds: [1]}}."
        )
    sizes = {str(name): fields for name, fields in sizes.items()}
    if size is None and sizes:
        raise InputError(f"the study has sizes: choose one with --size {'|'.join(sizes)}.")
    if size is not None and size not in sizes:
        has = (
            f"has no size {size!r}.{did_you_mean(size, sizes)}"
            if sizes
            else "has no sizes: leave --size out."
        )
        raise InputError(f"the study {has}")
    common = {name: value for name, value in values.items() if name != "sizes"}
    if size is None:
        return common
    changes = dict(sizes[size])
    base, own = sections_of(common.get("base")), sections_of(changes.pop("base", None))
    merged = {name: {**base.get(name, {}), **own.get(name, {})} for name in [*base, *own]}
    return common | ({"base": merged} if merged else {}) | changes


def sections_of(base: Any) -> dict[str, dict[str, Any]]:
    """Return the sections of a base with their fields; those that are empty have none.

    Raises:
        InputError: If it is something else.
    """
    found = {} if base is None else base
    if isinstance(found, Mapping):
        found = {name: {} if fields is None else fields for name, fields in found.items()}
    if not isinstance(found, dict) or not all(isinstance(fields, Mapping) for fields in found.values()):
        raise InputError(
            f"study.base = {plain(base)} must hold sections with fields, such as model: {{preset: mace-small}}."
        )
    return found


def bundles(axis: str, values: Any) -> dict[str, Changes]:
    """Return the values of an axis as bundles of fields, by their labels.

    Raises:
        InputError: If an axis is neither of both kinds, or changes what the study sets.
    """
    if isinstance(values, list | tuple):
        found = {plain(value): {axis: value} for value in values}
        if len(found) < len(values):
            raise InputError(f"study.axes: {axis} has a value twice: {plain(list(values))}.")
    elif isinstance(values, Mapping):
        found = {str(label): changes for label, changes in values.items()}
    else:
        raise InputError(
            f"study.axes: {axis} = {plain(values)}; a list of values is needed, or named bundles of fields."
        )
    if not found:
        raise InputError(f"study.axes: {axis} has no values.")
    for label, changes in found.items():
        if not isinstance(changes, Mapping) or not changes:
            raise InputError(
                f"study.axes: {axis}, {label} must hold fields, such as model.shift: none; found {plain(changes)}."
            )
        for field in changes:
            check_field(axis, str(field))
    return found


def check_field(axis: str, field: str) -> None:
    """Refuse a field that no run file has, or that the study sets.

    Raises:
        InputError: If it is.
    """
    section, _, name = field.partition(".")
    sections = {key: value.annotation for key, value in RunConfig.model_fields.items()}
    if section not in sections or not name:
        raise InputError(
            f"study.axes: {axis} changes {field!r}, which is not section.field of a run file, such as "
            "model.correlation (named bundles hold such fields)."
        )
    known = [*sections[section].model_fields, *(["preset"] if section == "model" else [])]  # type: ignore[union-attr]
    if name not in known:
        raise InputError(f"study.axes: {section} has no field {name!r}.{did_you_mean(name, known)}")
    if field in SET_BY_THE_STUDY:
        raise InputError(
            f"study.axes: {axis} changes {field}, which is the same for all points: set {SET_BY_THE_STUDY[field]}."
        )
