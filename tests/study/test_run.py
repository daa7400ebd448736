"""Studies are run: by processes, safely at the same time, and on after whatever happened."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading

import pytest
import rich

from multiace.cli import main
from multiace.study.config import StudyConfig
from multiace.study.drive import drive
from multiace.study.files import check_files
from multiace.study.frame_errors import kept
from multiace.study.plan import plan
from multiace.study.progress import progress
from multiace.study.store import Store
from multiace.study.tables import progress_table
from multiace.study.work import work
from tests.study.running import begin, finish, undisturbed, until


@pytest.fixture
def store(sections, tmp_path):
    """A study whose runs are planned."""
    store = Store(tmp_path / "study")
    store.add(plan(StudyConfig.from_dict(sections)).runs)
    return store


def errors(store):
    return {row.name: row.results["errors"]["test.xyz"]["forces"]["rmse"] for row in store.rows()}


def test_a_study_is_run_and_told(sections, write, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    command = ["study", "run", str(write(sections)), "--folder", str(tmp_path / "study"), "--jobs", "2"]
    assert main(command) == 0
    told = " ".join(capsys.readouterr().out.split())
    store = Store(tmp_path / "study")
    assert [row.state for row in store.rows()] == ["done"] * 4
    assert [row.attempts for row in store.rows()] == [1] * 4
    for row in store.rows():
        summary = json.loads((store.folder / row.name / "summary.json").read_text())
        assert row.results["errors"] == summary["errors"]
        assert row.results["parameters"] == summary["parameters"]
        assert (store.folder / row.name / "model.safetensors").is_file()
        assert {name for name, _ in kept(store.folder / row.name)} == {"test.xyz"}
    assert len(set(errors(store).values())) == 4
    assert "correlation = 2 test.xyz energy/atom" in told or "correlation = 2 test.xyz energy" in told
    assert "4 done" in told
    assert main(command) == 0  # nothing is done again
    assert [row.attempts for row in store.rows()] == [1] * 4
    assert main(["study", "status", str(store.folder)]) == 0
    assert main(["study", "work", str(store.folder)]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_runs_of_a_study_are_runs(store, tmp_path):
    """The same numbers as the run file alone."""
    from multiace.train.loop import fit

    assert work(store.folder) is True
    row = store.rows()[0]
    fit(row.run, tmp_path / "alone")
    alone = json.loads((tmp_path / "alone" / "summary.json").read_text())
    assert row.results["errors"] == alone["errors"]


def test_a_plan_starts_nothing(sections, write, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    sections["axes"] = {"model.correlation": [1, 2], "model.l_max": [1, 2]}
    assert main(["study", "run", str(write(sections)), "--plan", "--quick"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "3 points, 2 seeds: 6 runs" in told
    assert "correlation = 1, l_max = 1 2" in told  # two epochs
    assert "left out: model.correlation = 1, model.l_max = 2: model.l_max = 2 has no effect above 1" in told
    assert not (tmp_path / "runs").exists()


def test_what_fails_is_told_and_tried_again(sections, write, tmp_path, capsys, here):
    sections["axes"] = {"train.learning_rate": [0.01, 1e30]}
    sections["seeds"] = [1]
    command = ["study", "run", str(write(sections)), "--folder", str(tmp_path / "study"), "--jobs", "1"]
    assert main(command) == 1
    told = capsys.readouterr().out
    store = Store(tmp_path / "study")
    assert [row.state for row in store.rows()] == ["done", "failed"]
    failed = store.rows()[1]
    assert "lower train.learning_rate" in failed.error
    assert f"failed: {failed.name}" in told
    assert "Traceback" in (store.folder / failed.name / "error.txt").read_text()
    assert main(["study", "retry", str(store.folder)]) == 0
    assert [row.state for row in store.rows()] == ["done", "waiting"]
    assert main(command) == 1
    assert [row.attempts for row in store.rows()] == [1, 2]


def test_the_traceback_of_an_attempt_before_goes(store):
    place = store.folder / store.rows()[0].name
    place.mkdir(parents=True, exist_ok=True)
    (place / "error.txt").write_text("of an attempt before")
    assert work(store.folder)
    assert store.rows()[0].state == "done"
    assert not (place / "error.txt").exists()


def test_what_fails_with_brackets_is_printed_as_it_is(store, capsys):
    name = store.rows()[0].name
    store.failed(name, "see [/x.so]")
    rich.print(progress_table(progress(store)))
    assert "see [/x.so]" in " ".join(capsys.readouterr().out.split())
    store.done(name, {"errors": {}})
    assert store.rows()[0].error is None


def test_a_run_has_the_labels_of_the_file_that_was_given_last(store, sections):
    """The name of a folder has ASCII alone."""
    for first, second in (("λ", "μ"), ("μ", "λ")):
        sections["axes"] = {"kind": {first: {"model.correlation": 1}, second: {"model.correlation": 2}}}
        store.add(plan(StudyConfig.from_dict(sections)).runs)
        rows = store.rows(store.planned())
        assert {row.labels["kind"]: row.run.model.correlation for row in rows} == {first: 1, second: 2}
        assert rows[0].point == f"kind = {first}"
    assert len(store.rows()) == 8


def test_runs_of_earlier_files_are_not_taken(store, sections):
    sections["base"]["model"] = sections["base"]["model"] | {"cutoff": 3.5}
    more = plan(StudyConfig.from_dict(sections)).runs
    store.add(more)
    assert work(store.folder)
    assert [row.name for row in store.rows() if row.state == "done"] == [more[0].name]


def test_status_and_retry_are_of_the_file_that_was_given_last(store, sections, capsys):
    earlier = store.rows()[0].name
    store.failed(earlier, "of an earlier file")
    sections["base"]["model"] = sections["base"]["model"] | {"cutoff": 3.5}
    store.add(plan(StudyConfig.from_dict(sections)).runs)
    assert main(["study", "status", str(store.folder)]) == 0
    told = capsys.readouterr().out
    assert "4 waiting" in told
    assert "failed" not in told
    assert main(["study", "retry", str(store.folder)]) == 0
    assert "0 runs wait" in capsys.readouterr().out
    assert {row.name: row.state for row in store.rows()}[earlier] == "failed"


def test_data_that_have_changed_are_refused(sections, data, write, tmp_path, capsys, here):
    sections["seeds"] = [1]
    command = ["study", "run", str(write(sections)), "--folder", str(tmp_path / "study"), "--jobs", "1"]
    assert main(command) == 0
    with (data / "test.xyz").open("a") as file:
        file.write("\n")
    capsys.readouterr()
    assert main(command) == 2
    told = capsys.readouterr().err
    assert f"{data / 'test.xyz'} has changed since" in told
    assert "--folder" in told


def test_finished_runs_of_another_file_are_told(sections, write, tmp_path, capsys, here):
    sections["seeds"] = [1]
    command = ["study", "run", str(write(sections)), "--folder", str(tmp_path / "study"), "--jobs", "1"]
    assert main(command) == 0
    assert "finished runs in" not in capsys.readouterr().out
    sections["base"]["model"] = sections["base"]["model"] | {"cutoff": 3.5}
    write(sections)
    assert main(command) == 0
    assert "note: 2 finished runs in" in capsys.readouterr().out


def test_a_study_without_test_sets_has_a_table_of_validation_errors(here, sections, write, tmp_path, capsys):
    sections["base"]["data"].pop("test")
    assert main(["study", "run", str(write(sections)), "--folder", str(tmp_path / "study")]) == 0
    assert re.search(r"valid +forces", capsys.readouterr().out)


def test_a_folder_may_have_an_at_in_its_name(sections, data, tmp_path):
    place = tmp_path / "user@host"
    place.mkdir()
    (place / "train.xyz").write_bytes((data / "clusters.xyz").read_bytes())
    sections["base"]["data"]["train"] = [str(place / "train.xyz")]
    check_files(plan(StudyConfig.from_dict(sections)).points)


def test_a_process_that_dies_is_a_failure(store, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    drive(store.folder, [row.name for row in store.rows()], jobs=2)
    assert {row.state for row in store.rows()} == {"failed"}
    assert "its process ended with status 1" in store.rows()[0].error


def test_without_a_terminal_runs_are_told_as_they_end(sections, write, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert (
        main(["study", "run", str(write(sections)), "--folder", str(tmp_path / "study"), "--jobs", "2"]) == 1
    )
    out = capsys.readouterr().out
    lines = re.findall(r"^\d\d:\d\d:\d\d (\S+): failed$", out, flags=re.MULTILINE)
    assert sorted(lines) == sorted(row.name for row in Store(tmp_path / "study").rows())
    assert "4 failed" in out
    main(["study", "run", str(tmp_path / "own.yaml"), "--folder", str(tmp_path / "study"), "--jobs", "2"])
    assert not re.search(r"^\d\d:\d\d:\d\d", capsys.readouterr().out, flags=re.MULTILINE)  # nothing new


def test_a_process_that_is_asked_to_end_is_no_failure(store, monkeypatch):
    """As in a battery, which saves nothing; the run goes on when the slot is free."""
    started = []

    def start(command, env, **options):
        started.append(command[-1])
        return popen(["/bin/sh", "-c", "kill -TERM $$" if len(started) == 1 else "exit 1"])

    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", start)
    names = [row.name for row in store.rows()]
    drive(store.folder, names, jobs=1)
    assert started == [names[0], *names]
    assert "status 1" in store.rows()[0].error


def test_each_gpu_has_a_run_at_a_time(store, monkeypatch):
    started = []

    def start(command, env, **options):
        started.append((command[-1], env["CUDA_VISIBLE_DEVICES"], env["OMP_NUM_THREADS"]))
        return popen(["/bin/false"])

    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", start)
    names = [row.name for row in store.rows()]
    drive(store.folder, names, jobs=1, threads=3, gpus=["2", "5"])
    assert sorted(name for name, *_ in started) == sorted(names)
    assert {gpu for _, gpu, _ in started} == {"2", "5"}
    assert {threads for *_, threads in started} == {"3"}


def test_seeds_that_are_added_are_run_on_top(store, sections):
    """And runs of another base are another study's, whatever their points are called."""
    first = store.rows()[0]
    store.done(first.name, {"errors": {}})
    more = plan(StudyConfig.from_dict(sections | {"seeds": [1, 2, 3]})).runs
    store.add(more)
    assert [row.state for row in store.rows()] == ["done"] + ["waiting"] * 5
    other = sections | {"base": sections["base"] | {"model": sections["base"]["model"] | {"cutoff": 3.5}}}
    store.add(plan(StudyConfig.from_dict(other)).runs)
    assert len(store.rows()) == 10
    assert len({row.folder for row in store.rows()}) == 4
    assert len({row.point for row in store.rows()}) == 2
    assert len(progress(store, [run.name for run in more])) == 6


def test_a_study_has_the_runs_of_the_file_that_was_given_last_in_its_order(store, sections):
    first = store.planned()
    assert first == [row.name for row in store.rows()]
    more = plan(StudyConfig.from_dict(sections | {"axes": {"model.correlation": [3, 1]}})).runs
    store.add(more)
    assert store.planned() == [run.name for run in more]
    assert [row.name for row in store.rows(store.planned())] == store.planned()
    assert len(store.rows()) == 6


def test_a_run_is_of_one_process(store):
    first = store.claim()
    second = store.claim()
    assert first.row.name != second.row.name
    assert store.claim([first.row.name]) is None
    assert [p.state for p in progress(store)] == ["running", "running", "waiting", "waiting"]
    first.release()
    assert progress(store)[0].state == "interrupted"
    third = store.claim()
    assert third.row.name == first.row.name
    assert store.rows()[0].attempts == 2
    store.done(third.row.name, {"errors": {}})
    third.release()
    assert store.claim([first.row.name]) is None
    second.release()


def test_many_processes_take_each_run_once(sections, tmp_path):
    sections["seeds"] = list(range(20))
    store = Store(tmp_path / "study")
    store.add(plan(StudyConfig.from_dict(sections)).runs)
    taken, lock = [], threading.Lock()

    def take() -> None:
        own = Store(store.folder)
        while claim := own.claim():
            with lock:
                taken.append(claim.row.name)
            own.done(claim.row.name, {"errors": {}})
            claim.release()

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(row.name for row in store.rows())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_study_that_was_stopped_finishes_with_the_same_table(how, sections, write, tmp_path, capsys):
    sections["base"]["train"]["max_epochs"] = 100
    sections["seeds"] = [1]
    file, stopped = write(sections), tmp_path / "stopped"
    process = begin(file, stopped)
    try:
        until(lambda: len(list(stopped.glob("*/seed-*/metrics.csv"))) == 2)
        process.send_signal(how)
        process.wait(120)
    finally:
        process.kill()
    if how != signal.SIGKILL:
        assert {row.state for row in Store(stopped).rows()} <= {"waiting", "done"}
        told = stopped.with_suffix(".err").read_text()
        assert told.index("stopping: the runs save their state") < told.index("the same command goes on")
        assert main(["study", "status", str(stopped)]) == 0
        assert " interrupted " in capsys.readouterr().out
    finish(stopped)
    assert main(["study", "run", str(file), "--folder", str(stopped), "--jobs", "2"]) == 0
    assert errors(Store(stopped)) == errors(undisturbed(sections, tmp_path / "whole"))


def test_what_is_no_study_is_refused(tmp_path, capsys):
    assert main(["study", "status", str(tmp_path)]) == 2
    assert "no folder of a study" in capsys.readouterr().err
    file = tmp_path / "own.yaml"
    file.touch()
    assert main(["study", "status", str(file)]) == 2
    assert "own.yaml is a file: say the folder of its study, such as runs/own." in capsys.readouterr().err
    (tmp_path / "study.sqlite").write_text("no database, but long enough to be taken for one" * 100)
    assert main(["study", "status", str(tmp_path)]) == 2
    assert "cannot be used" in capsys.readouterr().err


def test_options_that_make_no_sense_are_refused(sections, write, capsys):
    file = str(write(sections))
    for options, sentence in (
        (["--jobs", "0"], "--jobs 0: one or more"),
        (["--jobs", "2", "--gpus", "0"], "--jobs has no effect with --gpus"),
        (["--quick"], "--quick says what --plan shows"),
        (["--gpus", "0,"], "--gpus 0,: name each device, as in 0,1"),
        (["--gpus", ""], "name each device, as in 0,1"),
    ):
        assert main(["study", "run", file, *options]) == 2
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"), [(["--jobs", "3"], True), (["--jobs", "1"], False), (["--gpus", "0,1"], False)]
)
def test_runs_that_would_share_a_gpu_are_told(options, told, sections, write, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert main(["study", "run", str(write(sections)), "--plan", "--quick", *options]) == 0
    assert ("up to 3 runs share the first GPU" in capsys.readouterr().out) == told


def test_a_plan_on_a_cluster_has_all_jobs_at_once_with_their_threads(sections, write, capsys, monkeypatch):
    seen = []
    monkeypatch.setattr("multiace.cli.runs.show_plan", lambda planned, *of: seen.append(of[2:4]))
    command = ["study", "run", str(write(sections)), "--plan", "--on", "slurm", "--slurm", "time=9"]
    assert main([*command, "cpus_per_task=4"]) == 0
    assert seen == [(4, 4)]
