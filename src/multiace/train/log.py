"""Learning curves on disk: one row an epoch, without gaps or doubles after a resume."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from multiace.errors import InputError
from multiace.files import atomic, synchronise, writing

__all__ = ["LOGGERS", "CSVFile", "Logger"]


class Logger(Protocol):
    """What a choice of ``train.loggers`` makes; every logger of Lightning is one."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Take one row of the learning curve."""

    def save(self) -> None:
        """Put on the disk what was taken; a checkpoint follows, after which no row is written again."""

    def finalize(self, status: str) -> None:
        """Take note of the end."""


class CSVFile:
    """``metrics.csv`` in the run folder: the columns of the first row, one line an epoch.

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
                rows = [row for row in reader if is_whole(row) and int(row["step"]) < first_epoch]
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
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(self.text([row], header))

    def save(self) -> None:
        """Wait for the disk."""
        if self.path.exists():
            with writing(self.path):
                synchronise(self.path)

    def finalize(self, status: str) -> None:
        """Do nothing: every row is in the file."""


def is_whole(row: Mapping[str, Any]) -> bool:
    """Whether a line has all columns; an interrupted run may leave one that has not."""
    return None not in row.values() and (row.get("step") or "").isdecimal()


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

    def save(self) -> None:
        """Do nothing: rows are sent in the background."""

    def finalize(self, status: str) -> None:
        """Close the run."""
        self.run.finish(0 if status == "success" else 1)


def tensorboard(folder: Path, first_epoch: int) -> Logger:
    """TensorBoard events in ``tensorboard/``, on disk within a second; a resumed run hides those it repeats."""
    from lightning_fabric.loggers import TensorBoardLogger  # slow, and reading a run file needs its name only

    return TensorBoardLogger(
        folder,
        name="tensorboard",
        version="",
        purge_step=first_epoch,
        flush_secs=1,
        filename_suffix=f".{time.time_ns()}",  # else a start within the same second overwrites the file
    )


LOGGERS: dict[str, Callable[[Path, int], Logger]] = {
    "csv": CSVFile,
    "tensorboard": tensorboard,
    "wandb": WeightsAndBiases,
}
