"""Whole studies: killed half-way, and two at a time; what comes out is what the runs are when nothing happens."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from multiace.cli import main
from multiace.study import drive as driver
from multiace.study.config import StudyConfig
from multiace.study.drive import drive
from multiace.study.plan import plan
from multiace.study.store import Store
from multiace.study.work import work
from tests.study.running import begin, finish, undisturbed, until


def children(pid):
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def table(folder, capsys):
    """What ``study status`` prints."""
    capsys.readouterr()
    assert main(["study", "status", str(folder)]) == 0
    return capsys.readouterr().out


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are found in /proc")
def test_a_study_of_12_points_that_is_killed_half_way_ends_with_the_same_table(
    sections, write, tmp_path, capsys, monkeypatch
):
    """SIGKILL of the driver and of its processes while they train; the same command finishes the rest."""
    monkeypatch.setenv("COLUMNS", "200")
    sections["base"]["train"] |= {"max_epochs": 1, "threads": 1}
    sections["axes"] = {
        "model.correlation": [1, 2, 3],
        "model.num_radial": [4, 6],
        "model.shift": ["none", "mean"],
    }
    sections["seeds"] = [1, 2, 3]
    whole = undisturbed(sections, tmp_path / "whole")
    assert [row.state for row in whole.rows()] == ["done"] * 36

    file, store = write(sections), Store(tmp_path / "killed")
    store.add(plan(StudyConfig.from_dict(sections)).runs)
    for _ in range(16):
        assert work(store.folder)
    process = begin(file, store.folder)
    try:
        until(lambda: sum(row.state == "done" for row in store.rows()) >= 18, "no run comes to its end", 400)
        until(lambda: len(children(process.pid)) == 2, "there are no two processes")
    finally:
        for pid in [process.pid, *children(process.pid)]:
            os.kill(pid, signal.SIGKILL)
        process.wait(60)
    until(lambda: not any(store.is_worked_on(row) for row in store.rows()), "a killed process holds its run")
    assert sum(row.state == "done" for row in store.rows()) < 36
    finish(store.folder)
    assert main(["study", "run", str(file), "--folder", str(store.folder)]) == 0
    assert table(store.folder, capsys) == table(whole.folder, capsys)


def test_two_studies_share_a_machine(sections, write, tmp_path):
    sections["base"]["train"] |= {"threads": 1}
    sections["seeds"] = [1]
    others = sections | {"axes": {"model.num_radial": [4, 6]}}
    processes = [
        begin(write(study, f"{name}.yaml"), tmp_path / name)
        for name, study in (("one", sections), ("two", others))
    ]
    assert [process.wait(500) for process in processes] == [0, 0]
    for name, study in (("one", sections), ("two", others)):
        alone = undisturbed(study, tmp_path / f"{name}-alone")
        for row, expected in zip(Store(tmp_path / name).rows(), alone.rows(), strict=True):
            assert (row.name, row.attempts) == (expected.name, 1)
            assert row.results["errors"] == expected.results["errors"]


def test_a_slot_is_filled_as_soon_as_it_is_free(sections, tmp_path, monkeypatch):
    """And the driver sleeps in between: its CPU time is below 2 % of a minute for each run."""
    sections["seeds"] = [1, 2, 3, 4]
    store = Store(tmp_path)
    store.add(plan(StudyConfig.from_dict(sections)).runs)
    end = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
    end += "c.execute(\"UPDATE runs SET state = 'done' WHERE name = ?\", sys.argv[2:]); c.commit()"
    monkeypatch.setattr(
        driver, "work_command", lambda _, name: [sys.executable, "-S", "-c", end, str(store.path), name]
    )
    monkeypatch.setattr(driver, "SECONDS_BETWEEN_LOOKS", 1e6)
    began = time.process_time()
    drive(store.folder, [row.name for row in store.rows()], jobs=1)
    assert [row.state for row in store.rows()] == ["done"] * 8
    assert (time.process_time() - began) / 8 < 0.02 * 60 / 4
