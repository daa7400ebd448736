"""The loss: weighted errors of energy per atom, forces and stress, over the labels that exist."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from multiace.config import choose

if TYPE_CHECKING:
    from multiace.data.dataset import Batch
    from multiace.model.potential import Prediction
    from multiace.train.config import TrainConfig

__all__ = ["LOSSES", "TARGETS", "Errors", "Loss", "errors"]

TARGETS = ("energy", "forces", "stress")


def mse(error: Tensor, delta: float) -> Tensor:
    """Return Δ²."""
    return error.square()


def mae(error: Tensor, delta: float) -> Tensor:
    """Return abs(Δ)."""
    return error.abs()


def huber(error: Tensor, delta: float) -> Tensor:
    """Return Δ² up to abs(Δ) = δ and the tangent 2 δ abs(Δ) - δ² beyond."""
    return 2.0 * torch.nn.functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=delta)


LOSSES: dict[str, Callable[[Tensor, float], Tensor]] = {"mse": mse, "huber": huber, "mae": mae}


@dataclass(frozen=True)
class Errors:
    """Predicted minus labelled values of one target.

    ==============  =============================================  ==================
    field           meaning                                        shape
    ==============  =============================================  ==================
    ``values``      Δ, zero where there is no label                (rows, components)
    ``labelled``    whether there is a label                       (rows, components)
    ``structures``  structure of the batch that a row belongs to   (rows,)
    ==============  =============================================  ==================
    """

    values: Tensor
    labelled: Tensor
    structures: Tensor


def errors(prediction: Prediction, batch: Batch) -> dict[str, Errors]:
    """Return the errors of the targets that the prediction has.

    Energy [eV/atom]: (n_graphs, 1); forces [eV/Å]: (n_nodes, 3); stress [eV/Å³]: (n_graphs, 9).
    """
    structures = torch.arange(batch.graph.n_graphs, device=batch.energy.device)
    predicted, labels = (energy / batch.num_atoms for energy in (prediction.energy, batch.energy))
    result = {"energy": difference(predicted[:, None], labels[:, None], structures)}
    if prediction.forces is not None:
        result["forces"] = difference(prediction.forces, batch.forces, batch.graph.node_graph)
    if prediction.stress is not None:
        result["stress"] = difference(prediction.stress.flatten(1), batch.stress.flatten(1), structures)
    return result


def difference(predicted: Tensor, label: Tensor, structures: Tensor) -> Errors:
    """Mask by the label alone: a prediction that is NaN must stay visible."""
    labelled = ~label.isnan()
    return Errors((predicted - label).where(labelled, 0.0), labelled, structures)


class Loss:
    r"""The sum over targets of w_T × mean over labelled components of g ℓ(Δ); see TrainConfig.

    Sums and counts are kept apart, so that batches of a validation set and shares of several processes add up
    exactly:

    .. math:: L = \sum_T w_T S_T / n_T.

    Args:
        config: Weights and kinds of loss (of the current stage).
    """

    def __init__(self, config: TrainConfig) -> None:
        self.kinds = {t: choose(LOSSES, getattr(config, f"{t}_loss"), f"train.{t}_loss") for t in TARGETS}
        self.weights = {t: getattr(config, f"{t}_weight") for t in TARGETS}
        self.delta = config.huber_delta
        self._factors = torch.tensor(list(self.weights.values()), dtype=torch.float64)

    def needs(self, target: str) -> bool:
        """Whether the target has a weight."""
        return self.weights[target] > 0

    def sums(self, prediction: Prediction, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return S_T (3,) float64, differentiable, and n_T (3,) float64, in the order of ``TARGETS``."""
        zero = torch.zeros((), dtype=torch.float64, device=batch.energy.device)
        sums, counts = dict.fromkeys(TARGETS, zero), dict.fromkeys(TARGETS, zero)
        for target, error in errors(prediction, batch).items():
            if self.needs(target):
                terms = self.kinds[target](error.values, self.delta)
                sums[target] = (terms.sum(1) * batch.weights[error.structures]).sum()
                counts[target] = error.labelled.sum(dtype=torch.float64)
        return torch.stack(list(sums.values())), torch.stack(list(counts.values()))

    def combine(self, sums: Tensor, counts: Tensor) -> Tensor:
        """Return L from sums and counts (3,); a target without labels contributes nothing."""
        self._factors = self._factors.to(sums.device)  # moved once: a GPU is waited for
        return (self._factors * sums / counts.clamp(min=1.0)).sum()
