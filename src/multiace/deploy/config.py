"""The options of dynamics and relaxation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from multiace.config import Config, Idle

__all__ = ["MDConfig", "RelaxConfig"]


class MDConfig(Config):
    """How a trajectory is run."""

    ensemble: Literal["nve", "langevin"] = Field(
        "nve", description="nve: constant energy, velocity Verlet; langevin: constant temperature, BAOAB"
    )
    temperature: float = Field(
        300.0, ge=0, description="of the velocities drawn and of the Langevin bath [K]"
    )
    timestep: float = Field(0.5, gt=0, description="time step [fs]")
    time: float = Field(1.0, ge=0, description="length of the trajectory [ps]")
    steps: int | None = Field(None, ge=0, description="length in steps instead of in ps")
    friction: float = Field(0.01, gt=0, description="Langevin friction [1/fs]")
    equilibration: float = Field(0.0, ge=0, description="Langevin dynamics before the trajectory begins [ps]")
    velocities: Literal["draw", "keep"] = Field(
        "draw", description="draw: Maxwell-Boltzmann at the temperature; keep: those in the structure file"
    )
    seed: int = Field(0, ge=0, description="seed of velocities and Langevin noise")
    log_interval: int = Field(10, ge=1, description="steps between lines of the log")
    frame_interval: int = Field(20, ge=1, description="steps between frames of the trajectory")
    max_temperature: float = Field(10_000.0, gt=0, description="stop: the trajectory has exploded [K]")
    max_grade: float | None = Field(
        None,
        gt=0,
        description="stop where the extrapolation grade of an atom is above this (models with error bars; above 1 an "
        "atom is less certain than every training atom of its element); null = anywhere",
    )

    def idle(self) -> Iterator[Idle]:
        """Find the fields that change nothing beside the others."""
        if self.steps is not None:
            sentence = f"md.time = {self.time:g} and md.steps = {self.steps}: give one of them."
            yield Idle("time", ("steps",), sentence)
        no_bath = {"ensemble": ("nve",), "equilibration": (0,)}
        bath = "ensemble = langevin, or equilibration above 0"
        yield from self.idle_beside("friction", bath, **no_bath)
        for field in ("temperature", "seed"):
            yield from self.idle_beside(field, f"velocities = draw, {bath}", velocities=("keep",), **no_bath)

    @property
    def n_steps(self) -> int:
        """Steps of the trajectory proper."""
        return round(1000 * self.time / self.timestep) if self.steps is None else self.steps

    @property
    def n_equilibration(self) -> int:
        """Langevin steps before it."""
        return round(1000 * self.equilibration / self.timestep)


class RelaxConfig(Config):
    """How a structure is relaxed."""

    optimizer: Literal["bfgs", "fire", "lbfgs"] = Field(
        "bfgs", description="bfgs, lbfgs (large structures) or fire (robust far from a minimum)"
    )
    fmax: float = Field(0.01, gt=0, description="converged when no atom's force is larger [eV/Å]")
    max_steps: int = Field(500, ge=0, description="give up after this many steps")
    cell: bool = Field(False, description="relax the cell as well (structures periodic in three directions)")
