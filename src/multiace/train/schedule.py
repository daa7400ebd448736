"""Learning-rate schedules: a factor between 0 and 1 as a function of progress or of the validation loss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiace.train.config import TrainConfig

__all__ = ["SCHEDULES", "Schedule", "learning_rate"]


class Schedule:
    """Constant rate; base of the others.

    Attributes:
        follows_progress: Whether the factor at an epoch depends on how many epochs there are.
    """

    follows_progress = False

    def __init__(self, config: TrainConfig) -> None:
        self.config = config

    def factor(self, progress: float) -> float:
        """Return rate / peak rate at this progress (0 to 1)."""
        return 1.0

    def observe(self, loss: float) -> None:
        """Take note of the validation loss of an epoch."""

    def restart(self) -> None:
        """Forget the losses: they are about to be measured differently."""

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state`."""


class Cosine(Schedule):
    r"""f = (1 + cos π p) / 2."""

    follows_progress = True

    def factor(self, progress: float) -> float:
        """Return (1 + cos π p) / 2."""
        return 0.5 * (1.0 + math.cos(math.pi * progress))


class OneCycle(Schedule):
    """Up from 1/25 to 1 over the first 30 % of progress, then down to zero, both along a half cosine.

    Source: Smith and Topin, arXiv:1708.07120, with the shape of torch's OneCycleLR.
    """

    follows_progress = True
    rise, start = 0.3, 1.0 / 25.0

    def factor(self, progress: float) -> float:
        """Return the two half cosines."""
        if progress < self.rise:
            return 1.0 - (1.0 - self.start) * 0.5 * (1.0 + math.cos(math.pi * progress / self.rise))
        return 0.5 * (1.0 + math.cos(math.pi * (progress - self.rise) / (1.0 - self.rise)))


class Plateau(Schedule):
    """``plateau_factor`` for each ``plateau_patience`` epochs without a better validation loss."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.current, self.best, self.stale = 1.0, math.inf, 0

    def factor(self, progress: float) -> float:
        """Return the product of the reductions so far."""
        return self.current

    def observe(self, loss: float) -> None:
        """Count epochs without improvement and reduce the rate when patience is over."""
        self.best, self.stale = (loss, 0) if loss < self.best else (self.best, self.stale + 1)
        if self.stale > self.config.plateau_patience:
            self.current, self.stale = self.current * self.config.plateau_factor, 0

    def restart(self) -> None:
        """Forget the best loss, keep the reductions."""
        self.best, self.stale = math.inf, 0

    def state(self) -> dict[str, Any]:
        """Return the reductions so far, the best loss and the epochs since."""
        return {"current": self.current, "best": self.best, "stale": self.stale}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state`."""
        self.current, self.best, self.stale = state["current"], state["best"], state["stale"]


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Schedule,
    "plateau": Plateau,
    "cosine": Cosine,
    "one_cycle": OneCycle,
}


def learning_rate(config: TrainConfig, schedule: Schedule, progress: float, epochs: float) -> float:
    """Return the rate after ``epochs`` (a fraction counts), warm-up and lower bound included.

    Args:
        config: Rates of the current stage.
        schedule: Gives the factor.
        progress: 0 to 1.
        epochs: Epochs done, for the warm-up.
    """
    rate = max(config.learning_rate * schedule.factor(progress), config.min_learning_rate)
    return rate * min(1.0, epochs / config.warmup_epochs) if config.warmup_epochs else rate
