"""Plans: what runs will cost, estimated from real steps; and what looking at them costs."""

from __future__ import annotations

import csv
import json
import time
from dataclasses import replace

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms

from multiace import memory
from multiace.battery import Battery
from multiace.cli import main
from multiace.study import estimate
from multiace.study.config import StudyConfig
from multiace.study.estimate import Length, estimates
from multiace.study.plan import plan
from multiace.study.plan_table import duration, plan_table, wall_clock
from multiace.study.progress import last_line, progress, seconds_left
from multiace.study.store import Store
from multiace.study.tables import progress_table
from multiace.train.config import TrainConfig
from tests.potentials import LINEAR_ACE, small_potential


@pytest.fixture
def quick(monkeypatch):
    """Time few steps, and no start of a process."""
    monkeypatch.setattr(estimate, "SECONDS", 0.05)
    monkeypatch.setattr(estimate, "starting", lambda: 3.0)


@pytest.mark.parametrize(
    ("bounds", "epochs", "steps"),
    [
        ({"max_epochs": 4}, 4, 40),
        ({"max_steps": 25}, 3, 25),
        ({"max_epochs": 2, "max_steps": 25}, 2, 20),
        (
            {"max_minutes": 2},
            12,
            120,
        ),  # an epoch takes 10 s; no other is begun that would not come to its end
        ({"max_minutes": 0.01}, 1, 10),
        ({"max_core_minutes": 3}, 12, 120),  # on one and a half cores
        ({"max_core_minutes": 3, "max_minutes": 1}, 6, 60),
        ({"max_minutes": 2, "max_steps": 25}, 3, 25),
    ],
)
def test_the_nearest_bound_is_the_length(bounds, epochs, steps):
    length = Length.of(TrainConfig.from_dict(bounds), batches=10, step=0.9, epoch=1.0, cores=1.5)
    assert (length.epochs, length.steps) == (epochs, steps)
    assert length.seconds == pytest.approx(0.9 * steps + 1.0 * epochs)


def test_runs_start_where_a_slot_is_free():
    assert wall_clock([3.0, 1.0, 1.0, 2.0], 1) == 7.0
    assert wall_clock([3.0, 1.0, 1.0, 2.0], 2) == 4.0
    assert wall_clock([3.0], 4) == 3.0
    assert wall_clock([], 2) == 0.0


def test_times_have_units():
    assert [duration(s) for s in (5.2, 119, 300, 9000)] == ["5 s", "119 s", "5.0 min", "2.5 h"]


def test_a_plan_says_what_runs_cost(sections, write, tmp_path, capsys, monkeypatch, quick):
    """Of trained and of solved models; data are read once, and nothing is left behind."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    read, reads = estimate.read_data, []
    monkeypatch.setattr(estimate, "read_data", lambda data: reads.append(data) or read(data))
    sections["base"]["model"] = {"cutoff": 4.0, "energy_reference": "mean"}
    del sections["base"]["train"]["max_epochs"]
    sections["budget"] = {"steps": 7}
    tiny = {"model.preset": "botnet-small", "model.hidden_irreps": "4x0e + 4x1o", "model.l_max": 1}
    ace = {f"model.{field}": value for field, value in LINEAR_ACE.items()}
    sections["axes"] = {"kind": {"botnet": tiny, "ace": ace}}
    before = sorted(tmp_path.iterdir())
    file = str(write(sections))
    assert main(["study", "run", file, "--plan", "--jobs", "2"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert len(reads) == 1
    assert sorted(tmp_path.iterdir()) == [*before, tmp_path / "own.yaml"]
    assert "2 points, 2 seeds: 4 runs; about" in told
    assert "with 2 at a time, 1 thread each, without those of 1 points that are solved for" in told
    assert "kind = ace" in told
    assert "not estimated" in told


def test_an_estimate_is_of_the_model_and_of_its_steps(sections, tmp_path, quick):
    from multiace.train.loop import fit

    sections["base"]["train"] = {"verify": False, "loggers": ["csv"], "threads": 1}
    sections["budget"] = {"steps": 7}
    planned = plan(StudyConfig.from_dict(sections))
    threads = torch.get_num_threads()
    found = list(estimates(planned.points, 1, tmp_path))
    assert torch.get_num_threads() == threads
    assert not list(tmp_path.iterdir())
    for point, one in zip(planned.points, found, strict=True):
        fit(point.run, tmp_path / point.folder)
        summary = json.loads((tmp_path / point.folder / "summary.json").read_text())
        assert one.parameters == summary["parameters"]
        assert (one.length.steps, one.length.epochs) == (summary["step"], summary["epoch"])
        assert 3.0 < one.seconds < 60
        assert 1e8 < one.memory < 8e9  # torch alone has 0.2 GB


def test_larger_models_need_more_time_and_memory(sections, tmp_path, quick):
    wide = {"model.hidden_irreps": "128x0e + 128x1o", "model.l_max": 2, "model.correlation": 2}
    sections["base"]["train"]["batch_size"] = 12
    sections["axes"] = {"size": {"small": {"model.l_max": 1}, "large": wide}}
    small, large = estimates(plan(StudyConfig.from_dict(sections)).points, 1, tmp_path)
    assert large.parameters > 100 * small.parameters
    assert large.length.seconds > small.length.seconds
    assert large.memory > small.memory + 4 * 3 * large.parameters  # weights and moments


def test_the_time_of_a_battery_is_that_of_its_structures_and_steps(data, tmp_path, monkeypatch):
    monkeypatch.setattr(estimate, "microseconds", lambda subject, start, repeats: 1000.0)
    file, potential = str(data / "test.xyz"), small_potential()
    frames = ase.io.read(file, ":")
    ase.io.write(tmp_path / "xenon.xyz", Atoms("Xe"))
    hot = {"file": file, "temperature": 500, "time": 10, "replicas": 2}  # 40,000 steps

    def seconds(**parts):
        battery = Battery.from_dict(parts)
        return estimate.testing_time(potential, battery, [tmp_path], prediction=0.5)

    assert seconds(sets={"test": {"file": file, "domain": "in"}}) == 0.5 * sum(map(len, frames))
    assert seconds(dynamics={"hot": hot}) == pytest.approx(40_000 * 1e-3 * len(frames[0]))
    monkeypatch.undo()
    others = {"absent": hot | {"file": "absent.xyz"}, "unknown element": hot | {"file": "xenon.xyz"}}
    assert seconds(dynamics=others) == 0.0


def test_faults_of_data_are_told_before_anything_starts(sections, write, tmp_path, capsys, quick):
    sections["axes"] = {"model.energy_reference": ["mean", "isolated"]}
    assert main(["study", "run", str(write(sections)), "--plan"]) == 2
    error = capsys.readouterr().err
    assert "study, model.energy_reference = isolated: the training files have no isolated atom" in error


def test_growth_is_of_the_work_alone():
    if memory.resident() is None:
        pytest.skip("this system does not tell a process its memory")
    growth = memory.Growth(torch.device("cpu"))
    if growth.before is None:
        pytest.skip("this system does not let a process reset its peak")
    block = np.ones(30_000_000)
    del block
    first = growth.most()
    assert 0.9 * 2.4e8 < first < 1.3 * 2.4e8
    assert memory.Growth(torch.device("cpu")).most() < 0.5 * first


def test_the_last_line_of_a_curve_is_a_whole_one(tmp_path):
    path = tmp_path / "metrics.csv"
    assert last_line(path) == {}
    path.write_text("step,epoch,loss\n")
    assert last_line(path) == {}
    rows = [f"{n},{n},{n / 7}" for n in range(1, 5000)]
    path.write_text("\n".join(["step,epoch,loss", *rows]) + "\n")
    assert last_line(path) == {"step": 4999, "epoch": 4999, "loss": 4999 / 7}
    path.write_text("\n".join(["step,epoch,loss", *rows]) + "\n5000,50")
    assert last_line(path) == {"step": 4999, "epoch": 4999, "loss": 4999 / 7}
    path.write_text("step,epoch,loss\n1,1,\n")
    assert last_line(path) == {"step": 1, "epoch": 1}


def test_looking_at_36_runs_costs_less_than_2_percent_of_the_time_between_looks(sections, tmp_path):
    """CPU time of the driver, with learning curves of 2,000 epochs."""
    sections["axes"] = {"train.energy_weight": list(range(1, 13))}
    sections["seeds"] = [1, 2, 3]
    del sections["base"]["train"]["max_epochs"]
    sections["budget"] = {"epochs": 4000, "steps": 3998}
    store = Store(tmp_path)
    store.add(plan(StudyConfig.from_dict(sections)).runs)
    columns = ["step", "epoch", "seconds", "steps", "learning_rate", "train_loss", "valid_forces_mae"]
    for row in store.rows():
        store.claim([row.name]).release()
        with (tmp_path / row.name / "metrics.csv").open("w") as file:
            csv.writer(file, lineterminator="\n").writerows([columns, *([n] * 7 for n in range(2000))])
    for row in store.rows()[18:]:
        store.done(row.name, {"errors": {}, "battery": {"curves": {"scan": {"energy": [0.1] * 10_000}}}})
    began = time.process_time()
    for _ in range(10):
        found = progress(store)
        progress_table(found)
    assert (time.process_time() - began) / 10 < 0.02
    assert len(found) == 36
    assert found[0].share == 0.5  # of the steps, which are nearer than the epochs


def test_runs_at_work_say_what_they_do_and_how_long_it_will_take(sections, tmp_path, monkeypatch):
    monkeypatch.setattr("multiace.study.progress.time.time", lambda: 0.0)
    sections["seeds"] = [1, 2, 3]
    sections["base"]["train"]["max_epochs"] = 10
    store = Store(tmp_path)
    store.add(plan(StudyConfig.from_dict(sections)).runs)
    names = [row.name for row in store.rows()]
    claims = [store.claim([name]) for name in names[:4]]

    def curve(name, epochs, column="valid_forces_mae"):
        rows = [f"{n},{10 * n},{n}" for n in range(1, epochs + 1)]
        (tmp_path / name / "metrics.csv").write_text("\n".join([f"epoch,seconds,{column}", *rows]) + "\n")

    assert seconds_left(progress(store)) is None
    curve(names[0], 5)
    assert seconds_left(progress(store)) == pytest.approx((6 * 100 - 50) / 4)  # as the one that is known
    for name in names[:3]:
        curve(name, 10)
    store.done(names[0], {"errors": {}})
    store.done(names[1], {"errors": {}})
    for name in ("summary.json", "model.safetensors"):
        (tmp_path / names[2] / name).touch()
    curve(names[3], 4, "valid_energy_per_atom_mae")
    found = progress(store)
    assert [p.state for p in found] == ["done", "done", "testing", "running", "waiting", "waiting"]
    assert [p.share for p in found[2:4]] == [1.0, 0.4]
    assert seconds_left(found) == pytest.approx((0 + 60 + 100 + 100) / 2, abs=1)
    alone = [found[0], replace(found[3], seconds=3600.0, share=0.5)]  # slower than those that are done
    assert seconds_left([*alone, found[2]]) == pytest.approx(3600.0, abs=1)  # while another is about to end
    table = progress_table(found)
    assert table.caption == "2 done, 1 testing, 1 running, 2 waiting; about 2.2 min left"
    cells = [list(column.cells) for column in table.columns]
    assert cells[2] == ["testing", "running"]
    assert cells[5] == ["10.0 meV/Å", "4.0 meV/atom"]
    for claim in claims:
        claim.release()
    assert seconds_left(progress(store)) is None


def test_a_plan_without_estimates_shows_bounds(sections):
    sections["base"]["train"].pop("max_epochs", None)
    sections["budget"] = {"epochs": 3, "core_minutes": 120}
    table = plan_table(plan(StudyConfig.from_dict(sections)))
    assert [column.header for column in table.columns] == ["point", "epochs", "core minutes"]
    assert [set(column.cells) for column in table.columns[1:]] == [{"3"}, {"120"}]


def test_a_plan_of_models_that_are_solved_for_says_so(sections):
    sections["base"] |= {"model": {"preset": "ace-small"}, "train": {}}
    del sections["axes"]
    sections["budget"] = {}
    table = plan_table(plan(StudyConfig.from_dict(sections)))
    assert [[column.header, *column.cells] for column in table.columns] == [
        ["point", "base"],
        ["fit", "solved"],
    ]
    assert table.caption == "1 point, 2 seeds: 2 runs"
