"""Learning curves on disk: one row an epoch, without gaps or doubles after a resume."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from multiace.errors import InputError
from multiace.train.checkpoint import atomic

__all__ = ["LOGGERS", "CSVFile", "Logger"]


class Logger(Protocol):
    """What a choice of ``train.loggers`` makes; every logger of Lightning is one."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Take one row of the learning curve."""

    def finalize(self, status: str) -> None:
        """Take note of the end."""


class CSVFile:
    """``metrics.csv`` in the run folder: the columns of the first row, one line an epoch, flushed.

    Args:
        folder: The run folder.
        first_epoch: Rows of this and later epochs, left by an interrupted run, are dropped.
    """

    def __init__(self, folder: Path, first_epoch: int) -> None:
        self.path = folder / "metrics.csv"
        self.columns: list[str] = []
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                rows = [row for row in reader if None not in row.values() and int(row["step"]) < first_epoch]
                self.columns = list(reader.fieldnames or []) if rows else []
            with atomic(self.path) as temporary:
                temporary.write_text(self.text(rows, header=bool(rows)), encoding="utf-8")

    def text(self, rows: list[Any], header: bool) -> str:
        """Return rows as CSV."""
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, self.columns, extrasaction="ignore", lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return buffer.getvalue()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one row."""
        header = not self.columns
        row = {"step": step, **metrics}
        self.columns = self.columns or list(row)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(self.text([row], header))

    def finalize(self, status: str) -> None:
        """Do nothing: every row is on the disk."""


class WeightsAndBiases:
    """A Weights & Biases run named after the run folder, continued on resume.

    Raises:
        InputError: If the wandb package is not installed.
    """

    def __init__(self, folder: Path, first_epoch: int) -> None:
        try:
            import wandb
        except ImportError:
            raise InputError(
                "train.loggers has wandb, which is not installed; pip install wandb, or remove it."
            ) from None
        self.run = wandb.init(dir=folder, name=folder.name, id=folder.name, resume="allow")

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Send one row."""
        self.run.log(dict(metrics), step=step)

    def finalize(self, status: str) -> None:
        """Close the run."""
        self.run.finish(0 if status == "success" else 1)


def tensorboard(folder: Path, first_epoch: int) -> Logger:
    """TensorBoard events in ``tensorboard/``, on disk within a second; a resumed run hides those it repeats."""
    from lightning_fabric.loggers import TensorBoardLogger  # slow, and reading a run file needs its name only

    return TensorBoardLogger(folder, name="tensorboard", version="", purge_step=first_epoch, flush_secs=1)


LOGGERS: dict[str, Callable[[Path, int], Logger]] = {
    "csv": CSVFile,
    "tensorboard": tensorboard,
    "wandb": WeightsAndBiases,
}
