"""One training step, run as it is or, on a GPU, replayed as a CUDA graph."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from lightning_fabric import Fabric
from torch import Tensor

from multiace.data.dataset import Batch
from multiace.model.potential import Potential
from multiace.model.replay import Capture, Replay, captured
from multiace.train.config import TrainConfig
from multiace.train.ema import MovingAverage
from multiace.train.loss import Loss
from multiace.train.optimizer import FlatParameters, set_number
from multiace.train.processes import add_over_processes
from multiace.train.radial import tables_for

__all__ = ["Step", "captures"]


def captures(fabric: Fabric, config: TrainConfig) -> bool:
    """Whether steps and predictions are replayed: on one GPU, unless that is switched off."""
    return fabric.device.type == "cuda" and fabric.world_size == 1 and config.cuda_graphs


class Step:
    """Fit one batch after another: loss, gradient, clipping, optimiser, moving average.

    Where :func:`captures` says so, batches are padded and a step is a replay of the CUDA graph of its size.

    Args:
        fabric: Devices and processes.
        config: Of the current stage.
        potential: The model.
        flat: Its parameters.
        optimizer: Over them.
        average: Of them, or None.
        capture: See :class:`multiace.model.replay.Replay`; another than ``captured`` serves any device.
    """

    def __init__(
        self,
        fabric: Fabric,
        config: TrainConfig,
        potential: Potential,
        flat: FlatParameters,
        optimizer: torch.optim.Optimizer,
        average: MovingAverage | None,
        capture: Capture = captured,
    ) -> None:
        self.fabric, self.config, self.potential, self.flat = fabric, config, potential, flat
        self.optimizer, self.average, self.loss = optimizer, average, Loss(config)
        replays = captures(fabric, config) or capture is not captured
        self.replay = Replay(self._fit_tensors, fabric.device, capture) if replays else None

    def __call__(self, batch: Batch, rate: float, number: int, intervals: int = 0) -> Tensor:
        """Take a step on this process's share of a batch; return its sums and counts (2, 3).

        Args:
            batch: The share.
            rate: The learning rate.
            number: Of the step: 0, 1, ...
            intervals: Of tables of the radial networks; 0 = no tables. Replays have none.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = set_number(group["lr"], rate)
        if self.average is not None:
            self.average.set_step(number)
        if self.replay is None:
            return self.fit(batch.to(self.fabric.device), intervals)
        return self.replay(batch.padded(self.potential.cutoff).tensors())[0]

    def fit(self, batch: Batch, intervals: int = 0) -> Tensor:
        """Fit a batch on the device; return sums and counts of its loss, (2, 3) float64."""
        fabric, flat, loss = self.fabric, self.flat, self.loss
        prediction = self.potential(
            batch.graph,
            forces=loss.needs("forces"),
            stress=loss.needs("stress"),
            create_graph=True,
            tables=tables_for(self.potential.network, batch.graph, intervals),
        )
        sums, counts = loss.sums(prediction, batch)
        flat.differentiate(loss.combine(sums, add_over_processes(fabric, counts)))
        flat.gradient.copy_(add_over_processes(fabric, flat.gradient))
        if self.config.clip_norm is not None:
            flat.clip(self.config.clip_norm)
        self.optimizer.step()
        if self.average is not None:
            self.average.update()
        return torch.stack([sums.detach(), counts])

    def _fit_tensors(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        return (self.fit(Batch.from_tensors(tensors)),)
