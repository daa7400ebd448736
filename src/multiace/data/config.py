"""The data section of a run file: files, split, label keys, units and signs, weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from os import PathLike
from typing import Any, Literal, Self

from ase import units
from pydantic import Field, field_validator, model_validator

from multiace.config import Config, Idle
from multiace.errors import InputError, did_you_mean
from multiace.fields import plain

__all__ = ["ENERGY_UNITS", "FORCE_UNITS", "STRESS_UNITS", "DataConfig", "LabelKeys"]

ENERGY_UNITS = {
    "eV": 1.0,
    "kcal/mol": units.kcal / units.mol,
    "kJ/mol": units.kJ / units.mol,
    "Hartree": units.Hartree,
}
"""Energy units of a file, in eV."""

FORCE_UNITS = {
    "eV/A": 1.0,
    "kcal/mol/A": units.kcal / units.mol,
    "kJ/mol/A": units.kJ / units.mol,
    "Hartree/Bohr": units.Hartree / units.Bohr,
}
"""Force units of a file, in eV/Å."""

STRESS_UNITS = {"eV/A^3": 1.0, "GPa": units.GPa, "kbar": 0.1 * units.GPa}
"""Stress units of a file, in eV/Å³."""

Sign = Literal["tension", "compression"]


class LabelKeys(Config):
    """Where the labels of a structure are, and in which units and signs they are written.

    A key is looked for in the results of the structure's calculator (ASE moves ``energy``, ``forces``
    and ``stress`` there), then in ``info`` or ``arrays``.
    """

    energy_key: str | None = Field(
        default=None, description="name of the energy label; by default `energy`, then `REF_energy`"
    )
    forces_key: str | None = Field(
        default=None, description="name of the forces label; by default `forces`, then `REF_forces`"
    )
    stress_key: str | None = Field(
        default=None,
        description="name of the stress label (3x3, 9 or 6 values in the order xx yy zz yz xz xy); "
        "by default `stress`, then `REF_stress`",
    )
    virial_key: str | None = Field(
        default=None,
        description="name of the virial label (same shapes; becomes a stress through the volume); "
        "by default `virial`, `virials`, then `REF_virial`, where there is no stress",
    )
    energy_unit: str = Field(
        default="eV", description=f"unit of energies and virials: {', '.join(ENERGY_UNITS)}"
    )
    forces_unit: str = Field(default="eV/A", description=f"unit of forces: {', '.join(FORCE_UNITS)}")
    stress_unit: str = Field(default="eV/A^3", description=f"unit of stresses: {', '.join(STRESS_UNITS)}")
    stress_sign: Sign = Field(
        default="tension",
        description="what a positive stress label means: tension (ASE: dE/dstrain / volume) or compression",
    )
    virial_sign: Sign = Field(
        default="compression",
        description="what a positive virial label means: compression (virial = -volume x stress) or tension",
    )

    @classmethod
    def section(cls) -> str:
        """``data``: these fields belong to that section."""
        return "data"

    @field_validator("energy_unit", "forces_unit", "stress_unit")
    @classmethod
    def _known_unit(cls, value: str, info: Any) -> str:
        table = {"energy_unit": ENERGY_UNITS, "forces_unit": FORCE_UNITS, "stress_unit": STRESS_UNITS}
        allowed = table[info.field_name]
        if value not in allowed:
            raise InputError(
                f"data.{info.field_name} = {value!r} is not a known unit.{did_you_mean(value, allowed)}"
            )
        return value

    @model_validator(mode="after")
    def _both_units(self) -> Self:
        if self.energy_unit != "eV" and "forces_unit" not in self.model_fields_set:
            raise InputError(
                f"data.energy_unit is {self.energy_unit}; say in which unit the forces are, too: "
                f"data.forces_unit is one of {', '.join(FORCE_UNITS)}."
            )
        return self


class DataConfig(LabelKeys):
    """What a model is trained, validated and tested on.

    A file is anything that ASE reads; ``name.xyz@:100`` takes the first hundred structures, ASE's notation.
    """

    train: tuple[str, ...] = Field(
        description="file or list of files to train on; isolated atoms may be among them"
    )
    valid: tuple[str, ...] | int | float = Field(
        default=0.1,
        description="validation set: file or list of files, a fraction of the training frames (0 to 1), "
        "a number of them, or the split.json of an earlier run",
    )
    test: tuple[str, ...] = Field(default=(), description="file or list of files to test on after training")
    seed: int = Field(
        default=0, ge=0, description="seed of the random split into training and validation frames"
    )
    config_type_weights: dict[str, float] = Field(
        default={},
        description="weight in the loss of each kind of frame, by its `config_type`; 1 where not named",
    )

    def idle(self) -> Iterator[Idle]:
        """Find the fields that change nothing beside the others."""
        if isinstance(self.valid, tuple):
            yield Idle(
                "seed",
                ("valid",),
                f"data.seed has no effect with valid = {', '.join(self.valid)}: remove it, or set valid = 0.1.",
            )

    @field_validator("train", "valid", "test", mode="before")
    @classmethod
    def _list_of_files(cls, value: Any, info: Any) -> Any:
        if isinstance(value, bool):
            raise InputError(f"data.{info.field_name} = {plain(value)} is not a file; name one.")
        if isinstance(value, str | PathLike):
            return (str(value),)
        if not isinstance(value, list | tuple):
            return value
        if not all(isinstance(item, str | PathLike) for item in value):
            raise InputError(
                f"data.{info.field_name} = {plain(value)} must name files alone; leave the others out."
            )
        return tuple(map(str, value))

    @field_validator("train")
    @classmethod
    def _some_file(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise InputError("data.train is an empty list; name at least one file.")
        return value

    @field_validator("valid", mode="after")
    @classmethod
    def _sensible_part(cls, value: tuple[str, ...] | int | float) -> tuple[str, ...] | int | float:
        fraction = isinstance(value, float) and 0 < value < 1
        count = isinstance(value, int) and value >= 1
        files = isinstance(value, tuple) and len(value) > 0
        if not (fraction or count or files):
            raise InputError(
                f"data.valid = {value!r} is not allowed; give files, a fraction between 0 and 1, "
                "or a number of frames from 1 up."
            )
        return value

    @field_validator("config_type_weights")
    @classmethod
    def _not_negative(cls, value: dict[str, float]) -> dict[str, float]:
        for config_type, weight in value.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise InputError(
                    f"data.config_type_weights: {config_type} = {weight} is not allowed; "
                    "a weight is a number from 0 up."
                )
        return value
