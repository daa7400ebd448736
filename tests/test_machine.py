"""What is said of a machine that others use, too."""

import os

import pytest

from multiace.machine import cores, crowd
from multiace.study.drive import threads_of_each


def test_threads_on_a_busy_machine_are_told(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (float(cores()), 0.0, 0.0))
    assert crowd(1) == ""
    assert f"on {cores()} cores, and 2 threads" in crowd(2)
    monkeypatch.setattr(os, "getloadavg", lambda: (cores() - 1.0, 9.0, 9.0))
    assert crowd(2) == ""


@pytest.mark.parametrize(("given", "threads"), [("3", 3), ("", None), ("0", None), ("2,1", None)])
def test_runs_have_the_threads_of_the_environment_or_share_the_cores(given, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert threads_of_each(1) == (threads or cores())
    assert threads_of_each(10 * cores()) == (threads or 1)
