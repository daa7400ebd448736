"""Studies on a cluster: jobs are submitted once, told when they end early, and gone on with."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from multiace.cli import main
from multiace.errors import InputError
from multiace.study import slurm
from multiace.study.config import StudyConfig
from multiace.study.plan import plan
from multiace.study.store import Store
from multiace.study.work import work
from tests.study import clusters
from tests.study.running import until

TIME = {"time": 5}


@pytest.fixture
def store(sections, tmp_path):
    """A study whose runs are planned."""
    store = Store(tmp_path / "study")
    store.add(plan(StudyConfig.from_dict(sections)).runs)
    return store


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A cluster that only looks like one; its jobs wait until they are told to begin."""
    pytest.importorskip("submitit")
    fake = clusters.FakeSlurm(tmp_path / "fake")
    monkeypatch.setenv("PATH", f"{fake.bin}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "SECONDS_BETWEEN_LOOKS", 0.02)
    fake.hold.touch()
    return fake


def names(store):
    return [row.name for row in store.rows()]


def states(store):
    return [row.state for row in store.rows()]


def looks(*actions):
    """Return a ``show`` that does something at each look, and interrupts after the last; and what it saw."""
    seen, left = [], list(actions)

    def show(found):
        seen.append([p.state for p in found])
        if not left:
            raise KeyboardInterrupt
        left.pop(0)()

    return show, seen


def nothing() -> None:
    pass


def errors(store):
    return {row.name: row.results["errors"]["test.xyz"]["forces"]["rmse"] for row in store.rows()}


def test_a_driver_that_is_stopped_and_started_again_submits_nothing_twice(store, fake):
    for _ in range(2):
        show, seen = looks(nothing)
        with pytest.raises(
            KeyboardInterrupt, match="the jobs go on, and the same command looks at them again"
        ):
            slurm.drive(store.folder, names(store), TIME, show=show)
        assert seen[-1] == ["queued"] * 4
        assert list(fake.states().values()) == ["PENDING"] * 4
    assert store.jobs() == dict(zip(names(store), "1234", strict=True))


def test_of_two_drivers_one_submits(store, fake):
    def drive():
        slurm.drive(store.folder, names(store), TIME, show=looks(nothing, nothing)[0])

    def tolerant():
        with pytest.raises(KeyboardInterrupt):
            drive()

    threads = [threading.Thread(target=tolerant) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fake.states()) == 4


def test_no_more_jobs_than_asked_for_are_in_the_queue(store, fake):
    def end_one():
        store.done(names(store)[0], {"errors": {}})
        fake.set("1", "COMPLETED")

    show, seen = looks(nothing, end_one, nothing)
    with pytest.raises(KeyboardInterrupt):
        slurm.drive(store.folder, names(store), TIME, jobs=2, show=show)
    assert seen[0] == ["queued", "queued", "waiting", "waiting"]
    assert seen[-1] == ["done", "queued", "queued", "waiting"]
    assert len(fake.states()) == 3


@pytest.mark.parametrize(
    ("state", "begun", "then", "why"),
    [
        ("CANCELLED", False, "waiting", "job 1 ended: CANCELLED"),
        ("TIMEOUT", True, "waiting", "job 1 ended: TIMEOUT"),
        ("PREEMPTED", True, "waiting", "job 1 ended: PREEMPTED"),
        ("FAILED", False, "waiting", "job 1 ended: FAILED"),
        ("FAILED", True, "failed", "its job 1 ended: FAILED; see worker.log"),
        ("OUT_OF_MEMORY", True, "failed", "its job 1 ended: OUT_OF_MEMORY"),
        ("gone", True, "waiting", "job 1 ended: it is no longer in the queue"),
    ],
)
def test_a_job_that_ends_before_its_run_is_told_and_gone_on_with(
    store, fake, capsys, state, begun, then, why
):
    only = names(store)[:1]

    def end():
        if begun:
            store.claim(only).release()
        fake.set("1", state)
        if state == "gone":
            (fake.jobs / "1" / "name").write_text("another")

    slurm.drive(store.folder, only, TIME, show=looks(nothing, end, nothing)[0])
    row = store.rows(only)[0]
    assert row.state == then
    assert why in row.error
    assert main(["study", "status", str(store.folder)]) == 0
    assert f"{'failed' if then == 'failed' else 'stopped'}: {row.name}: {why}" in capsys.readouterr().out
    if then == "failed":
        slurm.drive(store.folder, only, TIME)  # not again before it is mended
        assert len(fake.states()) == 1
        assert main(["study", "retry", str(store.folder)]) == 0
    with pytest.raises(KeyboardInterrupt):
        slurm.drive(store.folder, only, TIME, show=looks()[0])
    assert list(fake.states().values()) == [state, "PENDING"]
    assert store.rows(only)[0].error is None


def test_a_job_that_is_queued_again_is_left_to_the_queue(store, fake):
    only = names(store)[:1]

    def preempted():
        store.claim(only).release()
        fake.set("1", "PENDING")

    show, seen = looks(lambda: fake.set("1", "RUNNING"), nothing, preempted, nothing)
    with pytest.raises(KeyboardInterrupt):
        slurm.drive(store.folder, only, TIME, show=show)
    assert seen == [["queued"], ["starting"], ["starting"], ["queued"], ["queued"]]
    assert len(fake.states()) == 1


def test_runs_that_other_processes_work_on_are_left_to_them(store, fake):
    first = names(store)[:1]
    claim = store.claim(first)
    show, seen = looks(nothing, claim.release, nothing)
    with pytest.raises(KeyboardInterrupt):
        slurm.drive(store.folder, first, TIME, show=show)
    assert seen == [["running"], ["running"], ["queued"], ["queued"]]


def test_a_queue_that_does_not_answer_for_a_while_is_waited_for(store, fake):
    silent = fake.bin.parent / "silent"
    show, seen = looks(silent.touch, nothing, silent.unlink, nothing)
    with pytest.raises(KeyboardInterrupt):
        slurm.drive(store.folder, names(store), TIME, show=show)
    assert seen == [["queued"] * 4] * 5
    silent.touch()
    with pytest.raises(InputError, match="squeue says: slurm_load_jobs error: Unable to contact"):
        slurm.drive(store.folder, names(store), TIME)
    assert len(fake.states()) == 4


def test_options_reach_the_job(store, fake, monkeypatch):
    monkeypatch.setattr(slurm, "work_command", lambda *_: ["sh", "-c", "echo $OMP_NUM_THREADS threads"])
    only = names(store)[:1]
    options = TIME | {"partition": "small", "mem": "3GB", "cpus_per_task": 3, "gpus_per_node": 1}

    def wait_for_the_end():
        fake.release()
        until(lambda: fake.states()["1"] == "COMPLETED", "the job has not come to its end")

    slurm.drive(store.folder, only, options, show=looks(wait_for_the_end, nothing)[0])
    script = (fake.jobs / "1" / "script").read_text()
    wanted = ("partition=small", "mem=3GB", "cpus-per-task=3", "gpus-per-node=1", "time=5", "signal=USR2@0")
    for option in (*wanted, f"job-name=study/{only[0]}"):
        assert f"#SBATCH --{option}" in script
    assert "srun --unbuffered" in script
    assert "--cpus-per-task 3" in script
    assert (store.folder / only[0] / "worker.log").read_text() == "3 threads\n"
    assert store.rows(only)[0].error == "job 1 ended: COMPLETED"  # it has done nothing


def test_what_slurm_refuses_is_a_sentence(store, fake):
    (fake.bin.parent / "refuse").touch()
    with pytest.raises(InputError, match="sbatch says: sbatch: error: invalid partition specified: nowhere"):
        slurm.drive(store.folder, names(store), TIME)
    assert store.jobs() == {}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--on", "slurm"], "--slurm time=MINUTES is missing"),
        (["--on", "slurm", "--slurm", "time=5", "partitoin=small"], "partitoin"),
        (["--on", "slurm", "--slurm", "time"], "--slurm time: write OPTION=VALUE, such as time=60"),
        (["--on", "slurm", "--slurm", "time=5", "--gpus", "0"], "say --slurm gpus_per_node=1"),
        (["--on", "slurm", "--slurm", "time=5", "--threads", "2"], "say --slurm cpus_per_task=N"),
        (["--slurm", "time=5"], "--slurm is of jobs on a cluster: add --on slurm"),
    ],
)
def test_options_that_make_no_sense_are_refused(fake, sections, write, tmp_path, capsys, options, sentence):
    assert main(["study", "run", str(write(sections)), "--folder", str(tmp_path / "s"), *options]) == 2
    assert sentence in capsys.readouterr().err
    assert not fake.states()


def test_a_machine_without_slurm_is_told(store, monkeypatch, tmp_path):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="there is no srun here"):
        slurm.drive(store.folder, names(store), TIME)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputError, match=r"needs submitit: pip install 'multiace\[slurm\]'"):
        slurm.drive(store.folder, names(store), TIME)


def test_a_study_on_a_cluster_is_that_of_this_machine(store, fake, sections, write, tmp_path, capsys):
    """The whole way, through submitit's scripts and processes."""
    fake.hold.unlink()
    sections["seeds"] = [1]
    folder, here = tmp_path / "cluster", Store(tmp_path / "here")
    command = [
        "study",
        "run",
        str(write(sections)),
        "--folder",
        str(folder),
        "--on",
        "slurm",
        "--slurm",
        "time=5",
    ]
    assert main(command) == 0
    assert "2 done" in capsys.readouterr().out
    there = Store(folder)
    here.add(plan(StudyConfig.from_dict(sections)).runs)
    while work(here.folder):
        pass
    assert errors(there) == errors(here)
    assert len(there.jobs()) == 2


needs_slurm = pytest.mark.skipif(bool(clusters.missing()), reason=clusters.missing() or "there is SLURM")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """SLURM itself, on this machine."""
    with clusters.slurm(tmp_path_factory.mktemp("slurm")) as config:
        yield config


@needs_slurm
def test_a_job_that_is_cancelled_half_way_goes_on(cluster, sections, write, tmp_path, monkeypatch, capsys):
    """On a real cluster: two runs, of which one is taken away while it trains."""
    pytest.importorskip("submitit")
    monkeypatch.setenv("SLURM_CONF", str(cluster))
    monkeypatch.setattr(slurm, "SECONDS_BETWEEN_LOOKS", 0.5)
    sections["base"]["train"]["max_epochs"] = 60
    sections["seeds"] = [1]
    folder, here = tmp_path / "cluster", Store(tmp_path / "here")
    store = Store(folder)
    command = [
        "study",
        "run",
        str(write(sections)),
        "--folder",
        str(folder),
        "--on",
        "slurm",
        "--slurm",
        "time=5",
    ]

    def cancel():
        until(lambda: list(folder.glob("*/seed-1/checkpoints/step-*")), "nothing trains", 300)
        (place,) = {path.parents[1] for path in folder.glob("*/seed-1/checkpoints/step-*")}
        run = str(place.relative_to(folder))
        subprocess.run(["scancel", store.jobs()[run]], check=True)
        cancelled.append(run)

    cancelled: list[str] = []
    thread = threading.Thread(target=cancel)
    thread.start()
    assert main([*command, "cpus_per_task=1", "--jobs", "1"]) == 1
    thread.join()
    told = capsys.readouterr().out
    assert f"stopped: {cancelled[0]}: job 1 ended: CANCELLED" in told
    assert "goes on with those that were stopped" in told
    assert sorted(row.state for row in store.rows()) == ["done", "waiting"]
    assert "is saved, and the same command goes on" in (folder / cancelled[0] / "worker.log").read_text()
    assert main(command) == 0
    assert [row.attempts for row in store.rows()] == [2, 1]
    assert "continuing after epoch" in (folder / cancelled[0] / "train.log").read_text()
    here.add(plan(StudyConfig.from_dict(sections)).runs)
    while work(here.folder):
        pass
    assert errors(store) == errors(here)
