"""A calculator with known physics: every atom on a spring to where it started."""

import numpy as np
from ase.calculators.calculator import Calculator, all_changes


class Harmonic(Calculator):
    """E = k/2 Σ (r - r0)² [eV]; fails (NaN) at the evaluation number ``breaks_at``."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, positions, k=5.0, breaks_at=None):
        super().__init__()
        self.origin, self.k = np.array(positions), k
        self.breaks_at, self.evaluations = breaks_at, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)):
        super().calculate(atoms, properties, system_changes)
        self.evaluations += 1
        moved = self.atoms.positions - self.origin
        forces = -self.k * moved
        if self.evaluations == self.breaks_at:
            forces = forces * np.nan
        self.results = {"energy": 0.5 * self.k * (moved**2).sum(), "forces": forces}
