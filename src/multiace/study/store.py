"""The results of a study: one SQLite file, which any number of runs write to at the same time."""

from __future__ import annotations

import fcntl
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from multiace.errors import InputError
from multiace.files import writing
from multiace.study.plan import Run
from multiace.train.config import RunConfig

__all__ = ["Claim", "Row", "Store"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    name TEXT PRIMARY KEY,
    point TEXT NOT NULL,
    labels TEXT NOT NULL,
    seed INTEGER NOT NULL,
    config TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',
    attempts INTEGER NOT NULL DEFAULT 0,
    started REAL,
    ended REAL,
    error TEXT,
    results TEXT
)
"""
"""``state`` is waiting, running, done or failed; times are of the clock [s]; labels, config and results are JSON."""
JOBS = "CREATE TABLE IF NOT EXISTS jobs (job TEXT PRIMARY KEY, run TEXT NOT NULL, submitted REAL NOT NULL)"
"""Jobs of a batch system, by their numbers there, in the order of submission."""

PATIENCE = 60.0  # s that a writer waits for the others
NAME = "study.sqlite"
LOOKS, SECONDS_OF_A_LOOK = 4, 0.05  # at a lock that is held; looking at one holds it, too

SETTINGS = "CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT)"
"""What holds for all runs: ``battery``."""
PLAN = "CREATE TABLE IF NOT EXISTS planned (name TEXT PRIMARY KEY)"
"""The runs of the study file as it was last given, in their order; others in ``runs`` are of earlier ones."""


@dataclass(frozen=True)
class Row:
    """A run as the file has it.

    Attributes:
        name: Its folder, below that of the study.
        point: What is changed, in words.
        labels: Label of its value on each axis that it is changed on.
        seed: ``train.seed``.
        config: Its run file.
        state: waiting, running, done or failed.
        attempts: How often it was begun.
        started: When the last attempt began [s].
        ended: When it ended [s].
        error: Why it failed.
        results: Errors on every set, parameters, seconds and epochs of a run that is done.
    """

    name: str
    point: str
    labels: dict[str, str]
    seed: int
    config: dict[str, Any]
    state: str
    attempts: int
    started: float | None
    ended: float | None
    error: str | None
    results: dict[str, Any] | None

    @property
    def folder(self) -> str:
        """That of its point, which all its seeds share, and no other point."""
        return self.name.rpartition("/")[0]

    @property
    def run(self) -> RunConfig:
        """Its run file."""
        return RunConfig.from_dict(self.config)


@dataclass
class Claim:
    """A run that is this process's to do, until it is released or the process ends, however it ends."""

    row: Row
    lock: IO[str]

    def release(self) -> None:
        """Let others have it."""
        self.lock.close()


class Store:
    """The file ``study.sqlite`` in the folder of a study.

    Args:
        folder: Of the study; it and the file are made if they are not there.

    Raises:
        InputError: If it cannot be written, or is no such file.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / NAME
        with writing(self.path):
            self.folder.mkdir(parents=True, exist_ok=True)
        with self.connection() as connection:
            connection.execute(SCHEMA)
            connection.execute(JOBS)
            connection.execute(PLAN)
            connection.execute(SETTINGS)

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Connect for one transaction.

        Raises:
            InputError: In place of errors of SQLite.
        """
        try:
            connection = sqlite3.connect(self.path, timeout=PATIENCE)
            try:
                with connection:
                    yield connection
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise InputError(
                f"{self.path} cannot be used: {error}; make sure that it is a study's, can be written to, and is on "
                "a file system with locks."
            ) from None

    def add(self, runs: list[Run], battery: str | None = None) -> None:
        """Add the runs of a study file; those that are there stay as they are, under the labels that it has now.

        Args:
            runs: Of the file.
            battery: What else all models are tested on.
        """
        rows = [
            (run.name, run.point.name, json.dumps(run.point.labels), run.seed, run.config.model_dump_json())
            for run in runs
        ]
        with self.connection() as connection:
            connection.executemany(
                "INSERT INTO runs (name, point, labels, seed, config) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET point = excluded.point, labels = excluded.labels",
                rows,
            )
            connection.execute("DELETE FROM planned")
            connection.executemany("INSERT INTO planned VALUES (?)", [(run.name,) for run in runs])
            connection.execute("INSERT OR REPLACE INTO settings VALUES ('battery', ?)", (battery,))

    @property
    def battery(self) -> str | None:
        """What else models are tested on."""
        with self.connection() as connection:
            found = connection.execute("SELECT value FROM settings WHERE name = 'battery'").fetchone()
        return found[0] if found else None

    def planned(self) -> list[str]:
        """Names of the runs of the study file as it was last given, in their order."""
        with self.connection() as connection:
            found = [name for (name,) in connection.execute("SELECT name FROM planned ORDER BY rowid")]
        return found or [row.name for row in self.rows()]

    def rows(self, names: list[str] | None = None, results: bool = True) -> list[Row]:
        """Return all runs in the order in which they were added, or those of these names, in theirs.

        Without ``results``, which are long, theirs are None.
        """
        columns = [name if results or name != "results" else "NULL" for name in COLUMNS]
        with self.connection() as connection:
            chosen = "" if names is None else " WHERE name IN (SELECT value FROM json_each(?))"
            query = f"SELECT {', '.join(columns)} FROM runs{chosen} ORDER BY rowid"
            found = connection.execute(query, () if names is None else (json.dumps(names),)).fetchall()
        rows = [Row(**{**dict(zip(COLUMNS, row, strict=True)), **parsed(row)}) for row in found]
        by_name = {row.name: row for row in rows}
        return rows if names is None else [by_name[name] for name in names if name in by_name]

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Let no other process do what it does in such a ``with`` block; wait for those that do."""
        with writing(self.folder):
            lock = (self.folder / ".exclusive").open("w")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def claim(self, names: list[str] | None = None) -> Claim | None:
        """Take the next run that is not finished and that no process works on; None if there is none."""
        for row in self.rows(names, results=False):
            if row.state in ("waiting", "running") and (claim := self._take(row)):
                return claim
        return None

    def _take(self, row: Row) -> Claim | None:
        """The lock decides whose a run is: the system takes it from a process that ends."""
        folder = self.folder / row.name
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / ".claim").open("w")
        if not locked(lock):
            lock.close()
            return None
        (now,) = self.rows([row.name], results=False)
        if now.state not in ("waiting", "running"):  # another process has done it in the meantime
            lock.close()
            return None
        self._set(
            row.name,
            state="running",
            attempts=now.attempts + 1,
            started=time.time(),
            error=None,
        )
        return Claim(now, lock)

    def is_worked_on(self, row: Row) -> bool:
        """Whether a process has claimed it."""
        try:
            with (self.folder / row.name / ".claim").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def done(self, name: str, results: dict[str, Any]) -> None:
        """Write what came out of a run."""
        self._set(name, state="done", ended=time.time(), error=None, results=json.dumps(results))

    def failed(self, name: str, error: str) -> None:
        """Write why a run failed."""
        self._set(name, state="failed", ended=time.time(), error=error)

    def wait(self, name: str, why: str | None = None) -> None:
        """Put a run back: it was stopped, or is to be tried again."""
        self._set(name, state="waiting", error=why)

    def test_again(self, name: str) -> None:
        """Put a run that is done back, to be tested anew: what it was tested on before no longer counts."""
        (row,) = self.rows([name])
        if row.state == "done":
            trained = {key: value for key, value in (row.results or {}).items() if key != "battery"}
            self._set(name, state="waiting", error=None, results=json.dumps(trained))

    def submitted(self, name: str, job: str) -> None:
        """Write which job does a run."""
        with self.connection() as connection:
            values = (job, name, time.time())
            connection.execute("INSERT OR REPLACE INTO jobs (job, run, submitted) VALUES (?, ?, ?)", values)

    def jobs(self) -> dict[str, str]:
        """Return the last job of each run that has had one."""
        with self.connection() as connection:
            return dict(connection.execute("SELECT run, job FROM jobs ORDER BY submitted").fetchall())

    def _set(self, name: str, **values: Any) -> None:
        with self.connection() as connection:
            columns = ", ".join(f"{column} = ?" for column in values)
            connection.execute(f"UPDATE runs SET {columns} WHERE name = ?", (*values.values(), name))


def locked(lock: IO[str]) -> bool:
    """Lock a file, or find that another process holds it, and not only for the moment in which it looks."""
    for _ in range(LOOKS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(SECONDS_OF_A_LOOK)
        else:
            return True
    return False


COLUMNS = tuple(Row.__dataclass_fields__)


def parsed(row: tuple) -> dict[str, Any]:
    """The columns of a row that are JSON."""
    values = dict(zip(COLUMNS, row, strict=True))
    return {
        key: json.loads(values[key]) for key in ("labels", "config", "results") if values[key] is not None
    }
