"""All that a resume needs: plain values, and the vectors of weights, moving average, optimiser and random numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multiace.errors import InputError
from multiace.model.potential import Statistics
from multiace.train.checkpoint import Checkpoint, DamagedCheckpointError, newest_first
from multiace.train.clock import Spent
from multiace.train.console import Console
from multiace.train.ema import MovingAverage
from multiace.train.optimizer import FlatParameters

__all__ = ["State", "find_checkpoint", "from_plain", "restore_vectors", "take_vectors", "to_plain"]


@dataclass
class State:
    """Where a run is, between two batches.

    The order of frames follows from seed and epoch, so that ``batch`` is the place in it.

    Attributes:
        epoch: Complete epochs.
        step: Batches fitted in all.
        batch: Batches fitted in the epoch that has begun.
        totals: Sums and counts of their loss, (2, 3); None if there are none.
        batch_seconds: Time they took [s].
        batch_core_seconds: That of processor cores [s].
        rate: Learning rate of the last step.
        stage: 0, or 1 for the second stage.
        seconds: Time of the complete epochs [s].
        core_seconds: That of processor cores, of all processes [s].
        epoch_seconds: Time of the last of them [s].
        epoch_core_seconds: That of processor cores, of all processes [s].
        first_loss: The larger of the two losses in the first epoch of the stage.
        best_loss: Smallest validation loss of the stage.
        best_epoch: Its epoch.
        stale_epochs: Epochs since.
        retries: How often the rate was halved because the loss exploded.
        radial_intervals: Of tables of the radial networks; 0 = the networks are evaluated.
        radial_error: Of the tables when it was last measured, see ``RadialTables``.
        schedule: What the learning rate's schedule remembers.
        checksums: SHA-256 of the data files.
        elements: Those of the model.
        statistics: E0, scale, shift, neighbours: they belong to the weights.
        run: The run file, resolved.
        forks: Epochs after which the run went on under another config, and what was changed.
    """

    epoch: int = 0
    step: int = 0
    batch: int = 0
    totals: list[list[float]] | None = None
    batch_seconds: float = 0.0
    batch_core_seconds: float = 0.0
    rate: float = 0.0
    stage: int = 0
    seconds: float = 0.0
    core_seconds: float = 0.0
    epoch_seconds: float = 0.0
    epoch_core_seconds: float = 0.0
    first_loss: float | None = None
    best_loss: float = math.inf
    best_epoch: int = 0
    stale_epochs: int = 0
    retries: int = 0
    radial_intervals: int = 0
    radial_error: float | None = None
    schedule: dict[str, Any] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    elements: list[str] = field(default_factory=list)
    statistics: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    forks: list[dict[str, Any]] = field(default_factory=list)

    def begin_epoch(self) -> None:
        """Forget what the epoch before has done."""
        self.batch, self.totals = 0, None
        self.batch_seconds, self.batch_core_seconds = Spent()


def to_plain(statistics: Statistics) -> dict[str, Any]:
    """Return statistics as JSON values, without loss of a bit."""
    return {
        "isolated_energies": np.asarray(statistics.isolated_energies, dtype=np.float64).tolist(),
        "scale": float(statistics.scale),
        "shift": float(statistics.shift),
        "num_neighbors": float(statistics.num_neighbors),
    }


def from_plain(values: dict[str, Any]) -> Statistics:
    """Undo :func:`to_plain`."""
    return Statistics(**{**values, "isolated_energies": np.array(values["isolated_energies"])})


def take_vectors(
    flat: FlatParameters, average: MovingAverage | None, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Copy weights, moving average, moments, and the state of torch's random numbers."""
    vectors = {"weights": flat.vector, "random": torch.get_rng_state()}
    if average is not None:
        vectors["average"] = average.average
    for index, moments in optimizer.state_dict()["state"].items():
        vectors |= {f"optimizer.{index}.{name}": value.reshape(-1) for name, value in moments.items()}
    return {name: vector.detach().to("cpu", copy=True) for name, vector in vectors.items()}


def restore_vectors(
    vectors: dict[str, Tensor],
    flat: FlatParameters,
    average: MovingAverage | None,
    optimizer: torch.optim.Optimizer,
    moments: bool = True,
) -> None:
    """Undo :func:`take_vectors`.

    An average that was not kept starts with the weights. Without ``moments`` the optimiser starts anew.
    """
    torch.set_rng_state(vectors["random"])
    flat.vector.copy_(vectors["weights"])
    if average is not None:
        average.average.copy_(vectors.get("average", vectors["weights"]))
    optimizer.state.clear()
    if not moments:
        return
    content = optimizer.state_dict()
    for key, vector in vectors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            value = (vector.reshape(()) if name == "step" else vector).clone()
            content["state"].setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(content)


def find_checkpoint(folder: Path, console: Console, main: bool) -> tuple[Path, Checkpoint] | None:
    """Return the newest checkpoint that is whole; None if there are none.

    Args:
        folder: Where they are.
        console: Where to say what is damaged.
        main: Whether this process sets damaged ones aside, lest they count as the newest.

    Raises:
        InputError: If all are damaged.
    """
    damaged = []
    for path in newest_first(folder):
        try:
            checkpoint = Checkpoint.load(path)
        except DamagedCheckpointError as error:
            console.print(f"warning: checkpoint {error}; taking the one before")
            damaged.append(path)
            continue
        for other in damaged if main else ():
            other.replace(other.with_suffix(".damaged"))
        return path, checkpoint
    if damaged:
        raise InputError(f"all checkpoints in {folder} are damaged; choose another folder.")
    return None
