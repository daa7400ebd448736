"""The run folder: its files, its lock, and the check that a resumed or extended run is the same run."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import IO, Any

from multiace.config import choose, read_yaml
from multiace.data.split import Split
from multiace.errors import InputError
from multiace.train.checkpoint import atomic, newest_first
from multiace.train.config import RunConfig
from multiace.train.prepare import checksum
from multiace.train.schedule import SCHEDULES

__all__ = ["RunFolder"]


class RunFolder:
    """The files of one run, locked against a second process while the ``with`` block runs.

    ==========================  =======================================================================
    ``config.yaml``             the resolved run file
    ``split.json``              which frames train and which validate, where the split was drawn
    ``checkpoints/``            the newest two checkpoints, and ``best.safetensors``, the best model so far
    ``metrics.csv``             one row an epoch; ``tensorboard/`` the same
    ``train.log``               what the terminal showed
    ``model.safetensors``       the final model: the best by validation loss
    ``data_check.json``         what the check of the data found
    ``summary.json``            its errors on every set; written last
    ==========================  =======================================================================

    Args:
        path: The folder; made if it does not exist.
        main: Whether this process writes (one of several does).

    Raises:
        InputError: If the folder cannot be written to, or another process trains in it.
    """

    def __init__(self, path: str | Path, main: bool = True) -> None:
        self.path, self.main = Path(path), main
        self.config = self.path / "config.yaml"
        self.split = self.path / "split.json"
        self.checkpoints = self.path / "checkpoints"
        self.best = self.checkpoints / "best.safetensors"
        self.model = self.path / "model.safetensors"
        self.summary = self.path / "summary.json"
        self.data_check = self.path / "data_check.json"
        self.log = self.path / "train.log"
        self._lock: IO[str] | None = None

    def __enter__(self) -> RunFolder:
        if self.main:
            try:
                self.checkpoints.mkdir(parents=True, exist_ok=True)
                self._lock = (self.path / ".lock").open("w")
            except OSError as error:
                raise InputError(f"cannot write to the run folder {self.path}: {error.strerror}.") from None
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._lock.close()
                raise InputError(
                    f"another process is training in {self.path}; wait for it, or choose another folder."
                ) from None
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.summary.exists() and self.model.exists()

    def check(self, run: RunConfig) -> bool:
        """Check that the run that lies here, if it has come to a checkpoint, is the same one.

        Returns:
            Whether it is to go on for longer than it was to: with more epochs or minutes, all else being equal.

        Raises:
            InputError: If it is another run, or one whose first epochs depend on the length; names the
                differences.
        """
        if not self.config.exists() or not (newest_first(self.checkpoints) or self.finished):
            return False
        there, here = read_yaml(self.config), run.to_dict()
        changes = {}
        for section, fields in here.items():
            for name, value in fields.items():
                before = (there.get(section) or {}).get(name)
                if before != value:
                    changes[f"{section}.{name}"] = before, value
        longer = bool(changes) and all(map(is_longer, changes, changes.values()))
        reason = why_fixed(run) if longer else ""
        if changes and (reason or not longer):
            listed = "; ".join(
                f"{name} = {before!r}, now it is {now!r}" for name, (before, now) in changes.items()
            )
            raise InputError(
                f"{self.path} holds a run with {listed}; {reason}"
                f"set {'it' if len(changes) == 1 else 'them'} back to resume, or choose another folder"
                f"{f' with train.start_from = {self.path}' if reason else ''}."
            )
        return longer

    def check_files(self) -> None:
        """Check that the files that the finished run was made from are what they were; some may be gone.

        Raises:
            InputError: If one has changed.
        """
        for name, before in json.loads(self.summary.read_text(encoding="utf-8"))["checksums"].items():
            try:
                changed = checksum(name) != before
            except FileNotFoundError:
                continue
            if changed:
                raise InputError(
                    f"{name} has changed since the run in {self.path} was complete, whose model is of the file as "
                    "it was; choose another folder to train on it as it is, or restore it."
                )

    def describe(self, run: RunConfig, split: Split | None) -> None:
        """Write the resolved config and the split; from here on the run is not finished."""
        self.summary.unlink(missing_ok=True)
        with atomic(self.config) as temporary:
            temporary.write_text(run.to_yaml(), encoding="utf-8")
        if split is not None:
            with atomic(self.split) as temporary:
                split.save(temporary)

    def write_json(self, path: Path, content: Any) -> None:
        """Write plain values, atomically."""
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def is_longer(name: str, change: tuple[Any, Any]) -> bool:
    """Whether a change of a field makes a run longer and nothing else."""
    before, now = change
    if name == "train.max_minutes" and before is not None:
        return now is None or now > before
    return name == "train.max_epochs" and now > before


def why_fixed(run: RunConfig) -> str:
    """Return why the epochs of a run depend on its length; empty if they do not."""
    config = run.train
    if choose(SCHEDULES, config.schedule, "train.schedule").follows_progress:
        return f"schedule = {config.schedule} spreads the learning rate over the whole length: "
    if config.second_stage_start is not None:
        return "second_stage_start is a share of the whole length: "
    return ""
