"""The loss and the errors of a potential on a data set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning_fabric import Fabric

from multiace.data.dataset import Dataset
from multiace.model.potential import Potential
from multiace.model.replay import Predictor
from multiace.train.config import TrainConfig
from multiace.train.loss import Loss
from multiace.train.memory import batch_in_memory
from multiace.train.metrics import Metrics
from multiace.train.processes import add_over_processes

__all__ = ["validate"]


def validate(
    potential: Potential,
    dataset: Dataset,
    loss: Loss,
    config: TrainConfig,
    fabric: Fabric,
    predictor: Predictor | None = None,
    name: str = "validation",
    between: Callable[[], None] = lambda: None,
) -> tuple[float, dict[str, Any]]:
    """Return the loss and the errors (:meth:`Metrics.result`) on a data set; processes share the batches.

    With a predictor, of this potential, predictions are replays. ``between`` is called after each batch of a
    process; ``name`` says what ran out of memory.
    """
    metrics = Metrics(dataset, potential.isolated_energies, fabric.device)
    totals = torch.zeros(2, 3, dtype=torch.float64, device=fabric.device)
    forces, stress = (bool(labels.isfinite().any()) for labels in (dataset.all.forces, dataset.all.stress))
    for indices in dataset.plan(config.batch_size, config.max_edges)[fabric.global_rank :: fabric.world_size]:
        with batch_in_memory(dataset, indices, name):
            batch = dataset.collate(indices)
            prediction = None if predictor is None else predictor(batch.graph, stress)
            batch = batch.to(fabric.device)
            if prediction is None:
                prediction = potential(batch.graph, forces=forces, stress=stress)
            metrics.add(prediction, batch)
            totals += torch.stack(loss.sums(prediction, batch)).detach()
        between()
    for sums in (metrics.sums, metrics.element_sums, totals):
        sums.copy_(add_over_processes(fabric, sums))
    return float(loss.combine(*totals)), metrics.result()
