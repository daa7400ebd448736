"""Learning curves on disk: one row an epoch, without gaps or doubles after a resume."""

from __future__ import annotations

import csv
import io
import struct
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
        """Take one row of the learning curve, to the disk: after the checkpoint that follows it does not come again."""

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
        with writing(self.path):
            with self.path.open("a", encoding="utf-8") as file:
                file.write(self.text([row], header))
            synchronise(self.path)

    def finalize(self, status: str) -> None:
        """Do nothing: every row is on the disk."""


def is_whole(row: Mapping[str, Any]) -> bool:
    """Whether a line has all columns; an interrupted run may leave one that has not."""
    return None not in row.values() and (row.get("step") or "").isdecimal()


class TensorBoardFile:
    """TensorBoard events in ``tensorboard/``, a file for each start, which hides the rows it repeats.

    The rows are on the disk when they are logged. (The writer of tensorboardX, which Lightning uses, queues them:
    a run that is killed loses some, one on a full disk waits for ever.)

    Args:
        folder: The run folder.
        first_epoch: Rows of this and later epochs, left by an interrupted run, are hidden.
    """

    def __init__(self, folder: Path, first_epoch: int) -> None:
        from tensorboardX.proto.event_pb2 import (
            SessionLog,
        )  # slow, and reading a run file needs its name only

        self.path = folder / "tensorboard" / f"events.out.tfevents.{time.time_ns() / 1e9:.6f}"
        with writing(self.path):
            self.path.parent.mkdir(exist_ok=True)
        self.write(file_version="brain.Event:2")
        self.write(step=first_epoch, session_log=SessionLog(status=SessionLog.START))

    def write(self, **content: Any) -> None:
        """Append an event as TensorFlow's record: its length, a checksum of that, the event, a checksum of it."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.record_writer import masked_crc32c

        event = Event(wall_time=time.time(), **content).SerializeToString()
        parts = struct.pack("<Q", len(event)), event
        record = b"".join(part + struct.pack("<I", masked_crc32c(part)) for part in parts)
        with writing(self.path):
            with self.path.open("ab") as file:
                file.write(record)
            synchronise(self.path)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one row."""
        from tensorboardX.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
        self.write(step=step, summary=Summary(value=values))

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


LOGGERS: dict[str, Callable[[Path, int], Logger]] = {
    "csv": CSVFile,
    "tensorboard": TensorBoardFile,
    "wandb": WeightsAndBiases,
}
