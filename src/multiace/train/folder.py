"""The run folder: its files, its lock, and the check that a resumed run is the same run."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import IO, Any

from multiace.config import read_yaml
from multiace.data.split import Split
from multiace.errors import InputError
from multiace.train.checkpoint import atomic, newest_first
from multiace.train.config import RunConfig

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

    def check(self, run: RunConfig) -> None:
        """Check that the run that lies here, if it has come to a checkpoint, is the same one.

        Raises:
            InputError: If it is not; names the differences.
        """
        if not self.config.exists() or not (newest_first(self.checkpoints) or self.finished):
            return
        there, here = read_yaml(self.config), run.to_dict()
        changes = []
        for section, fields in here.items():
            for name, value in fields.items():
                before = (there.get(section) or {}).get(name)
                if before != value:
                    changes.append(f"{section}.{name} = {before!r}, now it is {value!r}")
        if changes:
            raise InputError(
                f"{self.path} holds a run with {'; '.join(changes)}; "
                f"set {'it' if len(changes) == 1 else 'them'} back to resume, or choose another folder."
            )

    def describe(self, run: RunConfig, split: Split | None) -> None:
        """Write the resolved config and the split."""
        with atomic(self.config) as temporary:
            temporary.write_text(run.to_yaml(), encoding="utf-8")
        if split is not None:
            with atomic(self.split) as temporary:
                split.save(temporary)

    def write_json(self, path: Path, content: Any) -> None:
        """Write plain values, atomically."""
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
