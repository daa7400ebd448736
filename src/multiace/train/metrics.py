"""Errors of a model on a data set, summed batch by batch: MAE and RMSE, by config type and element."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from multiace.train.loss import errors

if TYPE_CHECKING:
    from multiace.data.dataset import Batch, Dataset
    from multiace.model.potential import Prediction

__all__ = ["UNITS", "Metrics"]

UNITS = {"energy_per_atom": "meV/atom", "energy": "meV", "forces": "meV/Å", "stress": "meV/Å³"}
"""Quantities and the units of their errors; forces and stress count each component."""


class Metrics:
    """Running sums of absolute and squared errors over the labels that exist; frame weights play no part.

    >>> metrics = Metrics(dataset)                                            # doctest: +SKIP
    >>> for batch in dataset.batches(batch_size=5):                           # doctest: +SKIP
    ...     metrics.add(potential(batch.graph), batch)
    >>> metrics.result()["forces"]["rmse"]  # meV/Å                           # doctest: +SKIP

    Args:
        dataset: What will be predicted: gives the elements and the config types.
        device: Where predictions and batches will be.

    Attributes:
        sums: n, Σ abs(Δ), Σ Δ² by config type and quantity, shape (n_types, n_quantities, 3), float64.
        element_sums: The same of force components by element, shape (n_elements, 3), float64.
    """

    def __init__(self, dataset: Dataset, device: torch.device | str = "cpu") -> None:
        self.elements = dataset.elements
        self.config_types = sorted({frame.config_type for frame in dataset.frames})
        types = [self.config_types.index(frame.config_type) for frame in dataset.frames]
        self.type_of_frame = torch.tensor(types, device=device)
        shape = (len(self.config_types), len(UNITS), 3)
        self.sums = torch.zeros(shape, dtype=torch.float64, device=device)
        self.element_sums = torch.zeros(len(self.elements), 3, dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(self, prediction: Prediction, batch: Batch) -> None:
        """Add the errors of a batch of the data set."""
        types = self.type_of_frame[batch.indices]
        for target, error in errors(prediction, batch).items():
            table = {target: error.values}
            if target == "energy":
                table = {"energy_per_atom": error.values, "energy": error.values * batch.num_atoms[:, None]}
            for quantity, values in table.items():
                rows = moments(values, error.labelled)
                column = self.sums[:, list(UNITS).index(quantity)]
                column.index_add_(0, types[error.structures], rows)
            if target == "forces":
                self.element_sums.index_add_(0, batch.graph.species, rows)

    def result(self) -> dict[str, Any]:
        """Return ``{quantity: {"count", "mae", "rmse"}}`` with the units of ``UNITS``.

        Quantities without labels are left out. ``"config_types"`` holds the same for each type where there
        are several, ``"elements"`` the force errors on each element.
        """
        result: dict[str, Any] = table(self.sums.sum(0))
        if len(self.config_types) > 1:
            result["config_types"] = {
                name: table(sums) for name, sums in zip(self.config_types, self.sums, strict=True)
            }
        by_element = zip(self.elements, self.element_sums.tolist(), strict=True)
        elements = {name: figures(*sums) for name, sums in by_element if sums[0]}
        return {**result, "elements": elements} if elements else result


def moments(values: Tensor, labelled: Tensor) -> Tensor:
    """Return n, Σ abs(Δ), Σ Δ² over the components of each row, shape (rows, 3)."""
    return torch.stack([labelled.sum(1), values.abs().sum(1), values.square().sum(1)], dim=1).double()


def table(sums: Tensor) -> dict[str, dict[str, float]]:
    """Turn sums (n_quantities, 3) into figures by quantity."""
    rows = zip(UNITS, sums.tolist(), strict=True)
    return {quantity: figures(*row) for quantity, row in rows if row[0]}


def figures(count: float, absolute: float, squared: float) -> dict[str, float]:
    """Return count, MAE and RMSE, in milli-units."""
    return {"count": int(count), "mae": 1e3 * absolute / count, "rmse": 1e3 * (squared / count) ** 0.5}
