"""Error bars of a potential: several sets of values for some of its parameters, drawn from what the data allow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from multiace.errors import InputError
from multiace.graph.graph import Graph

if TYPE_CHECKING:
    from multiace.model.potential import Potential

__all__ = ["NO_COMMITTEE", "PREFIX", "Committee", "Spread"]

PREFIX = "committee."
"""How names of a committee's tensors begin in a model file."""

NO_COMMITTEE = (
    "the model has no error bars; linear models (channel_coupling = complete) have them, if the solver has a prior: "
    "bayesian_ridge, ridge or ard."
)


@dataclass(frozen=True)
class Spread:
    """Standard deviations of what a potential predicts, noise of the labels included.

    Attributes:
        energy: Of each structure [eV], (n_graphs,) float64.
        forces: Of each component [eV/Å], (n_nodes, 3) float64.
    """

    energy: Tensor
    forces: Tensor


@dataclass(frozen=True)
class Committee:
    """Draws from the posterior of a linear fit.

    Attributes:
        parameter: Name of the parameter that was fitted.
        members: Its values, (n_members, *shape).
        energy_noise: Standard deviation of what the fit leaves in energies, for one atom [eV]; of n atoms √n times it.
        forces_noise: The same of a force component [eV/Å].
    """

    parameter: str
    members: Tensor
    energy_noise: float
    forces_noise: float

    def spread(self, potential: Potential, graph: Graph) -> Spread:
        """Predict with every member: as many predictions as there are."""
        name, found = f"network.{self.parameter}", []
        for member in self.members.to(potential.device):
            values = {name: member.to(potential.network.dtype)}
            prediction = torch.func.functional_call(potential, values, (graph,))
            found.append((prediction.energy, prediction.forces))
        energies, forces = (torch.stack(list(values)) for values in zip(*found, strict=True))
        n_atoms = graph.node_graph.bincount(minlength=graph.n_graphs)
        return Spread(
            (energies.var(dim=0) + self.energy_noise**2 * n_atoms).sqrt(),
            (forces.var(dim=0) + self.forces_noise**2).sqrt(),
        )

    def tensors(self) -> dict[str, Tensor]:
        """What a model file keeps."""
        noise = torch.tensor([self.energy_noise, self.forces_noise], dtype=torch.float64)
        return {f"{PREFIX}{self.parameter}": self.members, f"{PREFIX}noise": noise}

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
        noise = found.pop("noise", torch.zeros(0))
        shapes = {name: value.shape for name, value in potential.network.named_parameters()}
        fits = len(found) == 1 and noise.shape == (2,) and bool(noise.isfinite().all())
        for name, members in found.items():
            fits &= (
                name in shapes and members.ndim > 0 and len(members) > 1 and members.shape[1:] == shapes[name]
            )
        if not fits:
            raise InputError(
                f"the committee ({', '.join(found)}) does not fit the model; the file is damaged: copy it again."
            )
        (parameter, members), (energy_noise, forces_noise) = next(iter(found.items())), noise.tolist()
        return cls(parameter, members, energy_noise, forces_noise)
