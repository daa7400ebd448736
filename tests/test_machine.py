"""What is said of a machine that others use, too."""

import os

import pytest

from multiace.machine import cores, crowd
from multiace.study import drive


def test_threads_on_a_busy_machine_are_told(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (float(cores()), 0.0, 0.0))
    assert crowd(1) == ""
    assert f"on {cores()} cores, and 2 threads" in crowd(2)
    monkeypatch.setattr(os, "getloadavg", lambda: (cores() - 1.0, 9.0, 9.0))
    assert crowd(2) == ""


@pytest.mark.parametrize(("given", "threads"), [("3", 3), ("99", 8), ("", 8), ("0", 8), ("2,1", 8)])
def test_runs_share_the_cores_and_have_no_more_threads_than_the_environment_says(given, threads, monkeypatch):
    monkeypatch.setattr(drive, "cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert drive.threads_of_each(1) == threads
    assert drive.threads_of_each(4) == 2
    assert drive.threads_of_each(20) == 1
