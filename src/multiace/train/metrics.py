"""Errors of a model on a data set, summed batch by batch, and the spread of its labels; by config type and element."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from multiace.model.potential import Prediction
from multiace.train.loss import Errors, errors

if TYPE_CHECKING:
    from multiace.data.dataset import Batch, Dataset

__all__ = ["UNITS", "Metrics"]

UNITS = {"energy_per_atom": "meV/atom", "energy": "meV", "forces": "meV/Å", "stress": "meV/Å³"}
"""Quantities and the units of their errors; forces and stress count each component."""

ROUNDING = 1e-12
"""A variance smaller than this, relative to the mean square, is that of equal labels."""


class Metrics:
    """Running sums of absolute and squared errors over the labels that exist; frame weights play no part.

    >>> metrics = Metrics(dataset, potential.isolated_energies)               # doctest: +SKIP
    >>> for batch in dataset.batches(batch_size=5):                           # doctest: +SKIP
    ...     metrics.add(potential(batch.graph), batch)
    >>> metrics.result()["forces"]["rmse"]  # meV/Å                           # doctest: +SKIP

    Args:
        dataset: What will be predicted: gives the elements, the config types and the spread of the labels.
        isolated_energies: E0 [eV], (n_elements,); the spread of energies is that of E - ΣE0.
        device: Where predictions and batches will be.

    Attributes:
        sums: n, Σ Δ, Σ abs(Δ), Σ Δ² by config type and quantity, shape (n_types, n_quantities, 4), float64.
        element_sums: The same of force components by element, shape (n_elements, 4), float64.
    """

    def __init__(
        self, dataset: Dataset, isolated_energies: Tensor, device: torch.device | str = "cpu"
    ) -> None:
        self.elements = dataset.elements
        self.config_types = sorted({frame.config_type for frame in dataset.frames})
        types = [self.config_types.index(frame.config_type) for frame in dataset.frames]
        self.type_of_frame = torch.tensor(types)
        frames = dataset.all
        E0 = isolated_energies.cpu()[frames.graph.species]
        E = E0.new_zeros(len(dataset)).index_add(0, frames.graph.node_graph, E0)
        unbound = Prediction(E, E0, torch.zeros_like(frames.forces), torch.zeros_like(frames.stress))
        self.labels = self.sum_by_group(errors(unbound, frames), frames)
        self.sums, self.element_sums = (sums.to(device) * 0.0 for sums in self.labels)

    @torch.no_grad()
    def add(self, prediction: Prediction, batch: Batch) -> None:
        """Add the errors of a batch of the data set."""
        by_type, by_element = self.sum_by_group(errors(prediction, batch), batch)
        self.sums += by_type
        self.element_sums += by_element

    def sum_by_group(self, differences: Mapping[str, Errors], batch: Batch) -> tuple[Tensor, Tensor]:
        """Return what ``sums`` and ``element_sums`` are for one batch."""
        types = self.type_of_frame.to(batch.indices.device)[batch.indices]
        by_type = batch.energy.new_zeros(len(self.config_types), len(UNITS), 4)
        by_element = batch.energy.new_zeros(len(self.elements), 4)
        for target, error in differences.items():
            table = {target: error.values}
            if target == "energy":
                table = {"energy_per_atom": error.values, "energy": error.values * batch.num_atoms[:, None]}
            for quantity, values in table.items():
                rows = moments(values, error.labelled)
                column = by_type[:, list(UNITS).index(quantity)]
                column.index_add_(0, types[error.structures], rows)
            if target == "forces":
                by_element.index_add_(0, batch.graph.species, rows)
        return by_type, by_element

    def result(self) -> dict[str, Any]:
        """Return ``{quantity: {"count", "mae", "rmse", "spread"}}`` with the units of ``UNITS``.

        The spread is the standard deviation of the labels, of energies less ΣE0. Quantities without labels are
        left out. ``"config_types"`` holds the same for each type where there are several, ``"elements"`` the
        force errors on each element.
        """
        labels, element_labels = self.labels
        result: dict[str, Any] = table(UNITS, self.sums.sum(0), labels.sum(0))
        if len(self.config_types) > 1:
            by_type = zip(self.config_types, self.sums, labels, strict=True)
            result["config_types"] = {name: table(UNITS, *sums) for name, *sums in by_type}
        elements = table(self.elements, self.element_sums, element_labels)
        return {**result, "elements": elements} if elements else result


def moments(values: Tensor, labelled: Tensor) -> Tensor:
    """Return n, Σ Δ, Σ abs(Δ), Σ Δ² over the components of each row, shape (rows, 4)."""
    return torch.stack([x.sum(1) for x in (labelled, values, values.abs(), values.square())], dim=1).double()


def table(names: Iterable[str], errors: Tensor, labels: Tensor) -> dict[str, dict[str, float]]:
    """Turn sums over errors and over labels (n_names, 4) into figures by name."""
    rows = zip(names, errors.tolist(), labels.tolist(), strict=True)
    return {name: figures(*both) for name, *both in rows if both[0][0]}


def figures(errors: Sequence[float], labels: Sequence[float]) -> dict[str, float]:
    """Return count, MAE and RMSE of errors, and the standard deviation of labels, in milli-units."""
    (count, _, absolute, squared), (n, total, _, labels_squared) = errors, labels
    square = labels_squared / n
    variance = square - (total / n) ** 2
    return {
        "count": int(count),
        "mae": 1e3 * absolute / count,
        "rmse": 1e3 * (squared / count) ** 0.5,
        "spread": 1e3 * variance**0.5 if variance > ROUNDING * square else 0.0,
    }
