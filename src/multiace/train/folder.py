"""The run folder: its files, its lock, and the check that a resumed or extended run is the same run."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import IO, Any

from multiace.config import read_yaml
from multiace.data.split import Split
from multiace.errors import InputError
from multiace.files import atomic, writing
from multiace.train.changes import allow, differences
from multiace.train.checkpoint import newest_first
from multiace.train.config import RunConfig
from multiace.train.sources import checksum

__all__ = ["RunFolder"]


class RunFolder:
    """The files of one run, locked against a second process while the ``with`` block runs, if the folder is there.

    ==========================  =======================================================================
    ``config.yaml``             the resolved run file
    ``split.json``              which frames train and which validate, where the split was drawn
    ``checkpoints/``            the newest two checkpoints, and ``best.safetensors``, the best model so far
    ``metrics.csv``             one row an epoch; ``tensorboard/`` the same
    ``train.log``               what the terminal showed
    ``model.safetensors``       the final model: the best by validation loss
    ``verified.xyz``            up to four structures of the training set, which the model was verified on
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
        if self.main and self.path.is_dir():
            self._take()
        return self

    def make(self) -> None:
        """Make the folder, if it is not there; from here on it is locked.

        Raises:
            InputError: If it cannot be written to, or another process trains in it.
        """
        if self.main:
            with writing(self.checkpoints):
                self.checkpoints.mkdir(parents=True, exist_ok=True)
            self._take()
            for left in self.path.rglob(".*.tmp"):  # of a process that was killed while it wrote
                left.unlink(missing_ok=True)

    def _take(self) -> None:
        """Lock; the system takes the lock from a process that ends, however it ends."""
        if self._lock is not None:
            return
        with writing(self.path):
            self._lock = (self.path / ".lock").open("w")
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._lock.close()
                raise InputError(
                    f"another process is training in {self.path}; wait for it, or choose another folder."
                ) from None

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.summary.exists() and self.model.exists()

    def check(self, run: RunConfig, fork: bool = False) -> bool:
        """Check that the run that lies here, if it has come to a checkpoint, is the same one.

        Returns:
            Whether it goes on beyond its end: it is to be longer, all else being equal, or is forked.

        Raises:
            InputError: If it is another run; see :func:`multiace.train.changes.allow`.
        """
        if not self.config.exists() or not (newest_first(self.checkpoints) or self.finished):
            return False
        return allow(differences(read_yaml(self.config), run), run, self.path, fork)

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
