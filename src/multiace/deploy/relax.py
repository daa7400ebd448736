"""Geometry relaxation: atoms, and optionally the cell, downhill until the forces vanish."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE, LBFGS

from multiace.deploy.config import RelaxConfig
from multiace.errors import InputError

__all__ = ["OPTIMIZERS", "RelaxStep", "relax"]

OPTIMIZERS: dict[str, Any] = {"bfgs": BFGS, "fire": FIRE, "lbfgs": LBFGS}


@dataclass(frozen=True)
class RelaxStep:
    """State after a number of steps.

    Attributes:
        step: Steps so far.
        energy: E [eV].
        fmax: Largest force [eV/Å], with the cell's where that is relaxed.
        stress: Its largest component by size [eV/Å³], positive in tension; None where there is none.
        cell: Lengths a, b, c [Å], angles α, β, γ [°] and volume [Å³].
        converged: Whether ``fmax`` is small enough.
    """

    step: int
    energy: float
    fmax: float
    stress: float | None
    cell: tuple[float, ...]
    converged: bool

    def changes(self, start: RelaxStep) -> list[tuple[str, str, float, float]]:
        """Return (quantity, unit, at the start, now): energy, force, stress [GPa], and what changed of the cell."""
        rows = [("energy", "eV", start.energy, self.energy), ("largest force", "eV/Å", start.fmax, self.fmax)]
        if start.stress is not None and self.stress is not None:
            rows.append(("largest stress", "GPa", start.stress / units.GPa, self.stress / units.GPa))
        if self.cell != start.cell:
            units_of_cell = ("Å", "Å", "Å", "°", "°", "°", "Å³")
            rows += zip("abcαβγV", units_of_cell, start.cell, self.cell, strict=True)
        return rows


def relax(atoms: Atoms, config: RelaxConfig) -> Iterator[RelaxStep]:
    """Move ``atoms`` (which carry a calculator) downhill in place, yielding the state at every step.

    Raises:
        InputError: If the cell is to be relaxed but the structure is not periodic in three directions,
            or if the energy or a force stops being finite.
    """
    if config.cell and not atoms.pbc.all():
        raise InputError(
            f"relax.cell = true needs a structure periodic in three directions, got pbc = {atoms.pbc}."
        )
    target = FrechetCellFilter(atoms) if config.cell else atoms
    stressed = atoms.pbc.all() and "stress" in atoms.calc.implemented_properties
    optimizer = OPTIMIZERS[config.optimizer](target, logfile=None)
    for converged in optimizer.irun(fmax=config.fmax, steps=config.max_steps):
        energy = float(atoms.get_potential_energy())
        fmax = float(np.linalg.norm(target.get_forces(), axis=1).max(initial=0.0))
        if not (np.isfinite(energy) and np.isfinite(fmax)):
            raise InputError(
                f"the relaxation left the region the model knows: energy {energy} eV and force {fmax} eV/Å "
                f"at step {optimizer.nsteps}. Start closer to a minimum, or use optimizer fire."
            )
        stress = float(max(atoms.get_stress(), key=abs)) if stressed else None
        cell = (*atoms.cell.cellpar().tolist(), float(atoms.cell.volume))
        yield RelaxStep(optimizer.nsteps, energy, fmax, stress, cell, bool(converged))
