"""What a battery tests: ``Battery``, a built-in one or read from a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from ase.data import atomic_numbers
from pydantic import Field, field_validator, model_validator

from multiace.battery.coordinates import check_coordinate
from multiace.config import Config, Idle, read_yaml
from multiace.data.config import LabelKeys
from multiace.deploy.config import MDConfig
from multiace.errors import InputError, did_you_mean

__all__ = ["Battery", "CostConfig", "CurveConfig", "DimersConfig", "DynamicsConfig", "SetConfig"]

Domain = Literal["in", "out"]

EXPLODED = 10.0
"""A trajectory has failed when it is this many times as hot as its bath."""


def as_list(value: Any) -> Any:
    """A single text, as a list of one."""
    return (value,) if isinstance(value, str) else value


class SetConfig(Config):
    """Labelled structures whose errors are measured."""

    file: str = Field(description="labelled structures, any format of ASE; name.xyz@:100 takes a part")
    domain: Domain = Field(description="in or out: whether models are trained on structures like these")


class CurveConfig(Config):
    """Labelled structures along a coordinate; several curves may be in one file."""

    file: str = Field(description="structures with energies, any format of ASE")
    domain: Domain = Field(
        "out", description="in or out: whether models are trained on structures like these"
    )
    coordinate: tuple[str, ...] = Field(
        ("reaction_coordinate",),
        description="what the structures are sorted by: an info key (key[2]: the third value of a list), `order`, or "
        "atoms counted from 0: `distance 2 8`, `angle 0 1 2`, `dihedral 0 1 2 3`, `transfer 5 11 3` (donor, proton, "
        "acceptor); of several, the first that all structures have",
    )
    group: str | None = Field(
        None,
        description="info key that tells the curves of a file apart; null = composition and config_type do",
    )
    zero: Literal["minimum", "first", "absolute"] = Field(
        "minimum",
        description="where reference and prediction are set to 0: at the structure that is lowest in the reference, at "
        "the first one, or absolute: nowhere",
    )
    scores: tuple[Literal["barrier", "dissociation"], ...] = Field(
        (), description="scores that only some curves have: barrier, dissociation"
    )
    tolerance: float = Field(
        1.0, ge=0, description="an extremum that stands out by less is noise, and not counted [meV]"
    )

    @field_validator("coordinate", "scores", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return as_list(value)

    @field_validator("coordinate")
    @classmethod
    def _coordinates(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value or ("",):
            check_coordinate(text)
        return value


class DimersConfig(Config):
    """Two atoms of every pair of elements, without reference data."""

    elements: tuple[str, ...] | None = Field(
        None, description="chemical symbols; null = those of the model, or of a calculator's test structures"
    )
    furthest: float | None = Field(
        None, gt=1, description="largest distance [Å]; null = the model's cutoff, 6 Å for a calculator"
    )
    tolerance: float = Field(
        1.0, ge=0, description="an extremum that stands out by less is noise, and not counted [meV]"
    )

    @field_validator("elements")
    @classmethod
    def _symbols(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for symbol in value or ():
            if symbol not in atomic_numbers or symbol == "X":
                raise InputError(
                    f"dimers.elements: {symbol!r} is not a chemical symbol; write them as in C, H."
                )
        return value


class DynamicsConfig(Config):
    """Langevin dynamics at one temperature, from several starts."""

    file: str = Field(
        description="start structures; replica k starts from the k-th, from the first again after the last"
    )
    temperature: float = Field(gt=0, description="of the bath and of the velocities drawn [K]")
    time: float = Field(5.0, gt=0, description="planned length of each replica [ps]")
    replicas: int = Field(3, ge=1, description="trajectories, each with its own start and seed")
    reference: str | None = Field(
        None, description="structures sampled at this temperature, for the distributions; null = none"
    )
    equilibration: float = Field(
        0.5, ge=0, description="beginning of each replica that its distributions leave out [ps]"
    )
    timestep: float = Field(0.5, gt=0, description="time step [fs]")
    friction: float = Field(0.01, gt=0, description="Langevin friction [1/fs]")
    interval: float = Field(
        10.0, gt=0, description="time between looks at the bonds, and frames of distributions [fs]"
    )
    stretch: float = Field(
        1.5,
        gt=1,
        description="a bond is broken when it is this many times as long as in the start structure",
    )
    seed: int = Field(0, ge=0, description="of the first replica; the others have the next ones")

    @model_validator(mode="after")
    def _sampled(self) -> Self:
        if self.reference is not None and self.time <= self.equilibration:
            raise InputError(
                f"dynamics.reference is compared with what comes after equilibration = {self.equilibration:g} ps, and "
                f"time = {self.time:g} ps: nothing is left. Raise time, or lower equilibration."
            )
        return self

    def idle(self) -> Iterator[Idle]:
        """Find the fields that change nothing beside the others."""
        yield from self.idle_beside("equilibration", "reference to a file", reference=(None,))

    def md(self, replica: int) -> MDConfig:
        """Return how a replica is run."""
        return MDConfig(
            ensemble="langevin",
            temperature=self.temperature,
            time=self.time,
            timestep=self.timestep,
            friction=self.friction,
            seed=self.seed + replica,
            log_interval=max(1, round(self.interval / self.timestep)),
            max_temperature=EXPLODED * self.temperature,
        )


class CostConfig(Config):
    """Time and memory of a prediction."""

    file: str | None = Field(
        None,
        description="whose first structure is predicted; null = the first file of the battery that is there",
    )
    repeats: int = Field(30, ge=1, description="predictions, of which the fastest counts")


ENTRIES: dict[str, type[Config]] = {"sets": SetConfig, "curves": CurveConfig, "dynamics": DynamicsConfig}
"""Parts with entries by name."""


class Battery(Config):
    """How to test any model: labelled sets, curves, dimers, dynamics and cost. Each part may be left out."""

    name: str = Field("battery", description="in results; by default the file's name")
    data: tuple[str, ...] = Field((".",), description="folders of the files, relative to the battery file")
    labels: LabelKeys | None = Field(
        None, description="names and units of the labels in all files; null = as in the model's training data"
    )
    sets: dict[str, SetConfig] = Field({}, description="labelled test sets by name: file, domain")
    curves: dict[str, CurveConfig] = Field(
        {}, description="curves by name: file, coordinate, zero, scores, ..."
    )
    dimers: DimersConfig | None = Field(
        DimersConfig(), description="dimers of every pair of elements; null = none"
    )
    dynamics: dict[str, DynamicsConfig] = Field(
        {}, description="stability by name: file, temperature, time, replicas, reference, ..."
    )
    cost: CostConfig | None = Field(CostConfig(), description="time and memory; null = not measured")

    @field_validator("data", mode="before")
    @classmethod
    def _folders(cls, value: Any) -> Any:
        return as_list(value)

    @field_validator(*ENTRIES, mode="before")
    @classmethod
    def _entries(cls, values: Any, info: Any) -> Any:
        kind = ENTRIES[info.field_name]
        if not isinstance(values, Mapping):
            return values
        found = {}
        for name, entry in values.items():
            if not isinstance(entry, kind | Mapping):
                raise InputError(
                    f"battery.{info.field_name}: {name} must hold fields, such as file: test.xyz; found {entry!r:.60}."
                )
            try:
                found[str(name)] = kind(**entry) if isinstance(entry, Mapping) else entry
            except InputError as error:
                raise InputError(f"battery.{info.field_name}, {name}: {error}") from None
        return found

    def files(self, part: str) -> list[str]:
        """Return the files that a part needs, as they are written."""
        if part == "cost":
            return [self.cost.file] if self.cost is not None and self.cost.file is not None else []
        entries = getattr(self, part).values() if part in ENTRIES else ()
        return [file for entry in entries for file in (entry.file, getattr(entry, "reference", None)) if file]

    @classmethod
    def read(cls, name_or_path: str | Path) -> Battery:
        """Return a built-in battery by its name, or read a file (YAML).

        Raises:
            InputError: If there is neither, or a field is unknown or impossible.
        """
        from multiace.battery.builtin import BATTERIES

        path = Path(name_or_path)
        if str(name_or_path) in BATTERIES:
            return BATTERIES[str(name_or_path)]
        if path.suffix not in (".yaml", ".yml"):
            raise InputError(
                f"battery {str(name_or_path)!r} is not built in, nor a YAML file."
                + did_you_mean(str(name_or_path), BATTERIES)
            )
        try:
            battery = cls.from_dict(read_yaml(path))
        except InputError as error:
            raise InputError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
        folders = [str(path.parent / folder) for folder in battery.data]
        name = battery.name if "name" in battery.model_fields_set else path.stem
        return battery.replace(name=name, data=folders)
