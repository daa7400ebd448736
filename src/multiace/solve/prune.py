"""Pruning: functions of complete coupling whose coefficients matter little are set to zero, and cost nothing then."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from multiace.errors import InputError
from multiace.graph import Graph
from multiace.model.potential import Potential, Prediction
from multiace.solve.ace import AceRows

__all__ = ["Pruned", "prune"]


UNSEEN = 1e-12  # contributions below so much of the largest are rounding


@dataclass(frozen=True)
class Pruned:
    """A potential with fewer functions, and what that changes in the structures that were given.

    Attributes:
        potential: The potential; the one given stays as it is.
        functions: Coefficients that were not zero before, and that are not now; of all central elements.
        energy: Root mean square change of energies [eV/atom].
        forces: Root mean square change of force components [eV/Å].
        forces_max: Largest change of a force component [eV/Å].
    """

    potential: Potential
    functions: tuple[int, int]
    energy: float
    forces: float
    forces_max: float


def prune(potential: Potential, graphs: Sequence[Graph], tolerance: float) -> Pruned:
    r"""Drop as many functions as a tolerance allows, those first that contribute least.

    The contribution of function f of a central element is :math:`|c_f|` times the root mean square of its forces in
    the structures; where energies are not linear in c, :math:`|c_f|`. Functions that contribute nothing stay, since the
    structures do not tell what they are for. How many are dropped is found by bisection of the
    change of predictions, which is that of all functions dropped together.

    Args:
        potential: With complete coupling.
        graphs: Structures.
        tolerance: Largest root mean square change of forces [eV/Å], and of energies [eV/atom].

    Raises:
        InputError: If the potential has no such functions, or the tolerance is no positive number.
    """
    if potential.config.channel_coupling != "complete":
        raise InputError(
            f"the model has channel_coupling = {potential.config.channel_coupling}; only functions of complete "
            "coupling, such as those of ace, are pruned."
        )
    if not 0 < tolerance < np.inf:
        raise InputError(f"the tolerance is {tolerance:g}; it must be a number above 0.")
    weight = potential.network.get_parameter(AceRows.parameter).detach()
    size = weight.double().norm(dim=2).numpy(force=True).ravel()
    contribution = size * contributions(potential, graphs)
    order = np.argsort(contribution, kind="stable")
    order = order[contribution[order] > UNSEEN * contribution.max(initial=0.0)]
    before, fewest, most = predict(potential, weight, graphs), 0, len(order)
    while fewest < most:  # so many may be dropped
        middle = (fewest + most + 1) // 2
        change = changes(before, predict(potential, without(weight, order[:middle]), graphs), graphs)
        fewest, most = (middle, most) if max(change[:2]) <= tolerance else (fewest, middle - 1)
    n_before = int((size > 0).sum())
    left = without(weight, order[:fewest])
    change = changes(before, predict(potential, left, graphs), graphs)
    return Pruned(copied(potential, left), (n_before, n_before - fewest), *change)


def contributions(potential: Potential, graphs: Sequence[Graph]) -> np.ndarray:
    """Root mean square of the forces of each function if its coefficient were 1, or 1."""
    if not potential.config.is_linear:
        return np.ones(1)
    rows = AceRows(potential)
    squares, number = np.zeros(rows.n_columns), 0
    for graph in graphs:
        forces = rows(graph).forces
        squares += np.einsum("np,np->p", forces, forces)
        number += len(forces)
    return np.sqrt(squares / max(number, 1))


def without(weight: Tensor, functions: np.ndarray) -> Tensor:
    """Return weights (n_sets, n, channels) of which these functions of all sets, (n_sets n), are zero."""
    left = weight.clone()
    left.view(-1, weight.shape[2])[torch.from_numpy(functions)] = 0.0
    return left


def copied(potential: Potential, weight: Tensor) -> Potential:
    """Return a potential with other weights; its error bars are those of the fit."""
    pruned = deepcopy(potential)
    with torch.no_grad():
        pruned.network.get_parameter(AceRows.parameter).copy_(weight)
    return pruned


def predict(potential: Potential, weight: Tensor, graphs: Sequence[Graph]) -> list[Prediction]:
    """Predict structures with other weights."""
    values = {f"network.{AceRows.parameter}": weight}
    return [torch.func.functional_call(potential, values, (graph,)) for graph in graphs]


def changes(
    before: Sequence[Prediction], after: Sequence[Prediction], graphs: Sequence[Graph]
) -> tuple[float, float, float]:
    """Root mean square change of energies [eV/atom], of forces, and the largest of forces [eV/Å]."""
    n_atoms = torch.cat([graph.node_graph.bincount(minlength=graph.n_graphs) for graph in graphs])
    energy = torch.cat([b.energy - a.energy for a, b in zip(before, after, strict=True)]) / n_atoms
    forces = torch.cat([(b.forces - a.forces).ravel() for a, b in zip(before, after, strict=True)])  # type: ignore[operator]
    rms_energy, rms_forces = (float(change.square().mean().sqrt()) for change in (energy, forces))
    return rms_energy, rms_forces, float(forces.abs().max())
