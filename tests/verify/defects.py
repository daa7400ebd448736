"""A smooth pair potential that passes every check, and the same with one planted defect each."""

from __future__ import annotations

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list

CUTOFF = 4.0  # [Å]


class Pair(Calculator):
    """E = ½ Σ (6/r² - 1) u⁴, u = 1 - (r/r_c)²: repulsive near, smooth at the cutoff; exact forces and stress."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

    def total(self, i, D, u, r):
        """E of edges from atom i along D; a defect may add to it what keeps forces and stress exact."""
        return 0.5 * ((6 / r**2 - 1) * u**4).sum()

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)):
        super().calculate(atoms, properties, system_changes)
        atoms = self.atoms
        i, j, D = neighbor_list("ijD", atoms, CUTOFF)
        D = torch.from_numpy(D.reshape(-1, 3)).requires_grad_()
        r = D.norm(dim=1)
        E = self.total(torch.from_numpy(i), D, 1 - (r / CUTOFF) ** 2, r)
        (g,) = torch.autograd.grad(E, D, allow_unused=True, materialize_grads=True)
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, i, g.numpy())
        np.add.at(forces, j, -g.numpy())
        self.results = {"energy": float(E.detach()), "forces": forces}
        if atoms.pbc.all():
            virial = (D.detach().T @ g).numpy() / atoms.get_volume()
            virial = 0.5 * (virial + virial.T)
            self.results["stress"] = virial[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        self.spoil(self.results, atoms)

    def spoil(self, results, atoms):
        """Plant a defect."""


class NonConservative(Pair):
    """Forces that turn with the structure, and are not the gradient."""

    def spoil(self, results, atoms):
        results["forces"] = 1.01 * results["forces"]


class BrokenRotation(Pair):
    """Along x pairs have another energy."""

    def total(self, i, D, u, r):
        return super().total(i, D, u, r) + 0.01 * (D[:, 0] ** 2 * u**4).sum()


class Handed(Pair):
    """The triple product of three moments of the neighbours: the mirror image has its negative."""

    def total(self, i, D, u, r):
        n = int(i.max()) + 1 if len(i) else 0
        v = [D.new_zeros(n, 3).index_add(0, i, (u**power)[:, None] * D) for power in (4, 5, 6)]
        return super().total(i, D, u, r) + 0.01 * (v[0] * torch.linalg.cross(v[1], v[2])).sum()


class StepAtCutoff(Pair):
    """Each pair within the cutoff has 1 meV more."""

    def total(self, i, D, u, r):
        return super().total(i, D, u, r) + 1e-3 * len(i) / 2


class KinkAtCutoff(Pair):
    """The force of a pair jumps to zero at the cutoff."""

    def total(self, i, D, u, r):
        return super().total(i, D, u, r) + 0.01 * torch.sin(u).sum()


class CurvatureAtCutoff(Pair):
    """The slope of the force jumps at the cutoff."""

    def total(self, i, D, u, r):
        return super().total(i, D, u, r) + 0.5 * (u**2).sum()


class Float32(Pair):
    """The energy is a float32 number, with that of the isolated atoms."""

    def spoil(self, results, atoms):
        results["energy"] = float(np.float32(results["energy"] - 1027.0 * len(atoms)))


class Leaking(Pair):
    """A cluster's energy depends on the one that was asked about before, if that was far from it."""

    before = 0.0

    def spoil(self, results, atoms):
        true, cluster = results["energy"], len(atoms) == 5 and not atoms.pbc.any()
        results["energy"] += 1e-3 * (cluster and self.before != 0 and abs(true - self.before) > 0.1)
        self.before = true if cluster else 0.0


class Hole(Pair):
    """A well at 0.9 Å."""

    def total(self, i, D, u, r):
        return super().total(i, D, u, r) - 10 * torch.exp(-(((r - 0.9) / 0.1) ** 2)).sum()


class NonExtensive(Pair):
    """An energy that grows with the square of the number of atoms."""

    def spoil(self, results, atoms):
        results["energy"] += 1e-3 * len(atoms) ** 2


class WrongSign(Pair):
    """Stress positive in compression."""

    def spoil(self, results, atoms):
        if "stress" in results:
            results["stress"] = -results["stress"]


class SeesFar(Pair):
    """Where an atom is alone, all others feel how far away it is."""

    def spoil(self, results, atoms):
        d = atoms.get_all_distances(mic=True)
        alone = (d + 99 * np.eye(len(d))).min(axis=1) > 10
        if len(atoms) > 2:
            results["forces"] += 1e-3 * np.sin(d[alone]).sum(axis=0)[:, None]


class ChargedAtom(Pair):
    """A force on an atom that is alone."""

    def spoil(self, results, atoms):
        if len(atoms) == 1:
            results["forces"] = results["forces"] + 0.1


class OrderDependent(Pair):
    """Of a cluster, the end of the list has another energy."""

    def total(self, i, D, u, r):
        last = (i % 5 == 4) & (not self.atoms.pbc.any())
        return super().total(i, D, u, r) + 1e-3 * (last * u**4).sum()


class OneCell(Pair):
    """Atoms outside the cell are not brought back into it."""

    def spoil(self, results, atoms):
        if atoms.pbc.all():
            results["energy"] += 1e-3 * (abs(atoms.get_scaled_positions(wrap=False)) > 1.9).any()


class FixedOrigin(Pair):
    """Far from the origin energies are other ones."""

    def spoil(self, results, atoms):
        if not atoms.pbc.any() and len(atoms) == 5:
            centre = atoms.positions.mean(axis=0)
            results["energy"] += 1e-3 * (np.linalg.norm(centre) > 2.5)


class Shaken(Pair):
    """Random forces on top."""

    rng = np.random.default_rng(0)

    def spoil(self, results, atoms):
        results["forces"] += self.rng.normal(scale=0.3, size=(len(atoms), 3))


class Exploding(Pair):
    """Forces a thousand times too large."""

    def spoil(self, results, atoms):
        results["forces"] = 1e3 * results["forces"]


class NotFinite(Pair):
    """No number."""

    def spoil(self, results, atoms):
        results["energy"] = np.nan


class Broken(Pair):
    """Raises."""

    def spoil(self, results, atoms):
        raise KeyError("Cu")


class Needy(Pair):
    """Cannot be made without more."""

    def __init__(self, more):
        super().__init__()


def structures():
    """A cluster and a crystal, no pair near the cutoff."""
    cluster = Atoms(
        "Cu5", positions=[[0, 0, 0], [2.5, 0, 0.1], [1.2, 2.2, 0], [1.2, 0.8, 2.1], [3.4, 2.1, 0.7]]
    )
    crystal = bulk("Cu", a=3.7, cubic=True)
    crystal.rattle(0.05, seed=1)
    return [cluster, crystal]
