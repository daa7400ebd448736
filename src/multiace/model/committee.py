"""Error bars of a potential: several sets of its linear coefficients, drawn from what the data allow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from multiace.errors import InputError
from multiace.graph.graph import Graph
from multiace.model.linear_part import LinearPart, linear_part

if TYPE_CHECKING:
    from multiace.model.potential import Potential

__all__ = ["NO_COMMITTEE", "NO_GRADES", "PREFIX", "Committee", "Spread"]

PREFIX = "committee."
"""How names of a committee's tensors begin in a model file."""

NO_COMMITTEE = (
    "the model has no error bars; what is solved for has them, if the solver has a prior (bayesian_ridge, ridge or "
    "ard): linear ACE (model.preset = ace), or the last layers of any trained model (train.start_from = MODEL with "
    "train.solver = bayesian_ridge)."
)

NO_GRADES = (
    "the model has error bars but no extrapolation grades, which its file would know the largest spreads for; it is of "
    "an earlier version: fit it again."
)


@dataclass(frozen=True)
class Spread:
    """Standard deviations of what a potential predicts, noise of the labels included.

    Attributes:
        energy: Of each structure [eV], (n_graphs,) float64.
        forces: Of each component [eV/Å], (n_nodes, 3) float64.
        grades: Extrapolation grade of each atom, (n_nodes,) float64; None where the committee has none.
    """

    energy: Tensor
    forces: Tensor
    grades: Tensor | None


@dataclass(frozen=True)
class Committee:
    """Draws from the posterior of a linear fit.

    Attributes:
        members: Coefficients of the part of the network that energies are linear in, (n_members, n_columns); see
            :class:`multiace.model.linear_part.LinearPart`.
        energy_noise: Standard deviation of what the fit leaves in energies, for one atom [eV]; of n atoms √n times it.
        forces_noise: The same of a force component [eV/Å].
        largest: Largest standard deviations among the training data, without noise, (n_species + 1,): of the force on
            an atom of each element [eV/Å] (root mean square of components; 0 for elements without), and of the energy
            of a structure of n atoms over √n [eV]; None in files of earlier versions.
    """

    members: Tensor
    energy_noise: float
    forces_noise: float
    largest: Tensor | None = None

    def spread(self, potential: Potential, graph: Graph) -> Spread:
        """Predict with all members at once."""
        energy, forces, n_atoms = self._variances(potential, graph)
        return Spread(
            (energy + self.energy_noise**2 * n_atoms).sqrt(),
            (forces + self.forces_noise**2).sqrt(),
            self._grades(energy / n_atoms, forces.mean(dim=1), graph),
        )

    def grades(self, potential: Potential, graph: Graph) -> Tensor:
        """Return the extrapolation grade of each atom, (n_nodes,).

        It is the larger of two quotients: the standard deviation of the force on the atom over the largest among the
        training atoms of its element, and that of the energy of its structure, over √n, over the largest of a training
        structure. Above 1 the coefficients tell less of it than of anything that the model was fitted to. Infinite for
        elements without training atoms.

        How the energy is shared among atoms no data tell, so that the energy of a single atom is no measure; forces are
        zero by symmetry in a crystal, whose energy is.

        Raises:
            InputError: If the file of the committee is of an earlier version.
        """
        grades = self.spread(potential, graph).grades
        if grades is None:
            raise InputError(NO_GRADES)
        return grades

    def largest_of(self, potential: Potential, graphs: Iterable[Graph]) -> Tensor:
        """Return ``largest`` of training structures."""
        squares = torch.zeros(len(potential.elements) + 1, dtype=torch.float64)
        for graph in graphs:
            energy, forces, n_atoms = self._variances(potential, graph)
            squares[:-1].scatter_reduce_(0, graph.species.cpu(), forces.mean(dim=1).cpu(), "amax")
            squares[-1] = max(float(squares[-1]), float((energy / n_atoms).max()))
        return squares.sqrt()

    def _variances(self, potential: Potential, graph: Graph) -> tuple[Tensor, Tensor, Tensor]:
        """Variances of energies (n_graphs,) and force components (n_nodes, 3), without noise, and numbers of atoms."""
        sites, gradients = linear_part(potential.network).predict(graph, self.members.to(potential.device))
        sites = potential.scale * sites.double()
        energies = sites.new_zeros(graph.n_graphs, sites.shape[1]).index_add_(0, graph.node_graph, sites)
        forces = graph.forces(potential.scale * gradients)
        n_atoms = graph.node_graph.bincount(minlength=graph.n_graphs)
        return energies.var(dim=1), forces.var(dim=0), n_atoms

    def _grades(self, energy: Tensor, force: Tensor, graph: Graph) -> Tensor | None:
        """Grades of the variances of a structure's energy, over n (n_graphs,), and of forces (n_nodes,)."""
        if self.largest is None:
            return None
        largest = self.largest.to(force.device) ** 2
        of_force, of_energy = force / largest[graph.species], (energy / largest[-1])[graph.node_graph]
        quotients = torch.stack([of_force, of_energy]).nan_to_num(
            nan=0.0, posinf=torch.inf
        )  # nothing of nothing is 0
        return quotients.amax(dim=0).sqrt()

    def tensors(self, potential: Potential) -> dict[str, Tensor]:
        """What a model file keeps."""
        found = linear_part(potential.network).values(self.members)
        found["noise"] = torch.tensor([self.energy_noise, self.forces_noise], dtype=torch.float64)
        if self.largest is not None:
            found["largest_deviations"] = self.largest
        return {f"{PREFIX}{name}": value for name, value in found.items()}

    @classmethod
    def taken_from(cls, tensors: dict[str, Tensor], potential: Potential) -> Committee | None:
        """Take the committee out of the tensors of a file, if there is one.

        Raises:
            InputError: If it does not fit to the potential.
        """
        found = {
            name.removeprefix(PREFIX): tensors.pop(name) for name in list(tensors) if name.startswith(PREFIX)
        }
        if not found:
            return None
        part, names = linear_part(potential.network), ", ".join(found)
        noise, largest = found.pop("noise", torch.zeros(0)), found.pop("largest_deviations", None)
        found.pop("largest", None)  # of site energies, in files of earlier versions
        if not (
            fits(found, part)
            and noise.shape == (2,)
            and (largest is None or largest.shape == (len(potential.elements) + 1,))
        ):
            raise InputError(
                f"the committee ({names}) does not fit the model; the file is damaged: copy it again."
            )
        energy_noise, forces_noise = noise.tolist()
        return cls(part.coefficients(found), energy_noise, forces_noise, largest)


def fits(members: dict[str, Tensor], part: LinearPart) -> bool:
    """Whether there are as many values of each parameter, two or more, and of no other."""
    shapes = {name: part.network.get_parameter(name).shape for name in part.names}
    return (
        members.keys() == shapes.keys()
        and all(value.ndim > 0 and value.shape[1:] == shapes[name] for name, value in members.items())
        and len({len(value) for value in members.values()}) == 1
        and len(next(iter(members.values()))) > 1
    )
