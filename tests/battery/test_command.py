"""The command: what it prints, writes and refuses."""

import json

import ase.io
import numpy as np
import pytest

from multiace.cli import main
from tests.battery.calculators import dimer, labelled
from tests.potentials import methanol, small_potential

BATTERY = """\
sets:
  near: {file: near.xyz, domain: in}
  far: {file: far.xyz, domain: out}
curves:
  stretch: {file: near.xyz, coordinate: distance 0 1}
dynamics:
  100 K: {file: near.xyz, temperature: 100, time: 0.01, replicas: 1}
cost: {repeats: 1}
"""
CALCULATOR = "--calculator tests.battery.calculators:make"


@pytest.fixture
def files(tmp_path, monkeypatch, plain_operations):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MULTIACE_DATA", raising=False)
    small_potential().save("model.safetensors")
    ase.io.write("near.xyz", [labelled(dimer(r)) for r in np.arange(1.0, 1.4, 0.05)])
    (tmp_path / "mine.yaml").write_text(BATTERY)
    return tmp_path


def command(text, capsys, status=0):
    assert main(["evaluate", *text.split()]) == status
    return capsys.readouterr()


@pytest.mark.parametrize("tested", ["model.safetensors", CALCULATOR])
def test_a_battery_is_printed_and_written(files, capsys, monkeypatch, tested):
    monkeypatch.setenv("COLUMNS", "200")
    out = command(f"{tested} --battery mine.yaml --json out/found.json", capsys).out
    for words in (
        "near (in)",
        "stretch",
        "100 K",
        "spurious extrema",
        "µs per atom and step",
        "absent: far.xyz",
    ):
        assert words in out
    found = json.loads((files / "out/found.json").read_text())
    assert list(found) == ["battery", "sets", "curves", "dimers", "dynamics", "cost", "absent", "skipped"]
    assert found["battery"] == "mine"


def test_a_calculator_is_asked_about_the_elements_of_the_files(files, capsys):
    command(f"{CALCULATOR} --battery mine.yaml --only dimers --json found.json", capsys)
    assert list(json.loads((files / "found.json").read_text())["dimers"]) == ["C-C", "C-O", "O-O"]


def test_parts_can_be_chosen_and_files_be_elsewhere(files, capsys):
    (files / "there").mkdir()
    (files / "near.xyz").rename(files / "there/near.xyz")
    out = command(
        f"{CALCULATOR} --battery mine.yaml --data there --only sets,curves --json found.json", capsys
    ).out
    assert "µs per atom" not in out
    assert list(json.loads((files / "found.json").read_text()))[1:3] == ["sets", "curves"]


def test_what_is_skipped_is_printed(files, capsys):
    ase.io.write("near.xyz", [methanol() for _ in range(2)])
    out = command("model.safetensors --battery mine.yaml --only sets", capsys).out
    assert "skipped: near: none of the 2 structures" in " ".join(out.split())


def test_files_may_follow_options(files, capsys):
    out = command("model.safetensors --json found.json near.xyz", capsys).out
    assert "near" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("", "evaluate needs a model and files"),
        ("model.safetensors", "evaluate MODEL FILE, or a battery"),
        ("model.safetensors --battery mine.yaml near.xyz", "near.xyz: the battery says which files are used"),
        ("--battery mine.yaml", "give one of them"),
        (f"model.safetensors --battery mine.yaml {CALCULATOR}", "give one of them"),
        (f"{CALCULATOR} near.xyz", "--calculator goes with --battery"),
        ("model.safetensors near.xyz --only sets", "--only goes with --battery"),
        ("model.safetensors --battery mine.yaml --uncertainty", "--uncertainty goes without --battery"),
        ("model.safetensors --battery mine.yaml --max-edges 0", "max_edges = 0 cannot be used"),
        (f"--battery mine.yaml {CALCULATOR} --max-edges 9", "--max-edges is of models of multiace"),
        (f"--battery mine.yaml {CALCULATOR} --device cuda", "--device is of models of multiace"),
        (f"--battery mine.yaml {CALCULATOR} --dtype float64", "--dtype is of models of multiace"),
        ("model.safetensors --battery acacia", "battery 'acacia' is not built in"),
        (
            "model.safetensors --battery acac",
            "none of the files of battery acac is in data, or in a folder acac there",
        ),
        ("model.safetensors --battery mine.yaml --only curve", "there is no part 'curve' of a battery"),
        ("model.safetensors --battery mine.yaml --energy-unit Ry", "'Ry' is not a known unit"),
        ("--battery mine.yaml --calculator nowhere:make", "'nowhere:make' cannot be imported"),
        ("model.safetensors --battery mine.yaml --json .", "is a folder"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_and_status_2(files, capsys, arguments, sentence):
    error = command(arguments, capsys, 2).err
    assert sentence in error
    assert error.count("\n") == 1
