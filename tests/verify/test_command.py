"""The command, what it writes, and what models keep of it."""

import json

import ase.io
import pytest

from multiace.cli import main
from tests.potentials import methanol, small_potential
from tests.verify.defects import structures

PAIR = "--calculator tests.verify.defects:Pair cluster.xyz crystal.xyz --cutoff 4"


@pytest.fixture
def files(tmp_path, monkeypatch, plain_operations):
    monkeypatch.chdir(tmp_path)
    small_potential(zbl=True).save("model.safetensors")
    for name, atoms in zip(("cluster.xyz", "crystal.xyz"), structures(), strict=True):
        ase.io.write(name, atoms)
    ase.io.write("methanol.xyz", methanol())
    ase.io.write("atom.xyz", methanol()[:1])
    return tmp_path


def command(text, capsys, status):
    assert main(["verify", *text.split()]) == status
    return capsys.readouterr()


def test_a_sound_calculator_exits_with_0(files, capsys):
    out = command(f"{PAIR} --quick --json report.json", capsys, 0).out
    assert "Cu4, Cu5 (cluster.xyz, crystal.xyz)" in " ".join(out.split())
    assert "16 of 16 checks passed" in out
    assert json.loads((files / "report.json").read_text())["checks"]["forces"]["status"] == "pass"


def test_a_failure_exits_with_1(files, capsys):
    out = command(PAIR.replace("Pair", "WrongSign") + " --check stress --check rotation", capsys, 1).out
    assert "1 of 2 checks passed; stress failed" in out


def test_a_model_without_structures_gets_built_ones_and_says_so(files, capsys):
    out = command("model.safetensors --quick --json report.json", capsys, 0).out
    assert "built from" in out
    report = json.loads((files / "report.json").read_text())
    assert report["passed"]
    assert len(report["structures"]) == 2


def test_a_model_is_verified_on_files_that_are_given(files, capsys):
    assert "CH4O" in command("model.safetensors methanol.xyz --check rotation", capsys, 0).out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("", "verify needs a model file or --calculator"),
        ("--calculator tests.verify.defects:Pair", "--elements to build some"),
        ("--calculator tests.verify.defects:Nothing cluster.xyz", "cannot be imported"),
        (
            "--calculator tests.verify.defects:structures cluster.xyz",
            "returned a list, not an ASE calculator",
        ),
        ("--calculator tests.verify.defects:Needy cluster.xyz", "cannot be made: TypeError"),
        ("--calculator tests.verify.defects:Pair --elements Cu,Xx", "'Xx' is not a chemical symbol"),
        ("--calculator tests.verify.defects:Pair atom.xyz", "only single atoms"),
        ("model.safetensors --cutoff 3", "--cutoff is for --calculator"),
        ("model.safetensors --temperature -5", "it must be above 0"),
        ("model.safetensors --check rotations", "there is no check 'rotations'"),
        ("model.safetensors crystal.xyz", "element Cu"),
        ("model.safetensors nowhere.xyz", "nowhere.xyz does not exist"),
    ],
)
def test_what_cannot_be_verified_is_one_sentence_and_status_2(files, capsys, arguments, sentence):
    error = command(arguments, capsys, 2).err
    assert sentence in error
    assert error.count("\n") == 1
