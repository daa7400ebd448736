"""Each fault that is planted into good data is found, and nothing else; good data have no findings."""

from __future__ import annotations

import json
import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms, units

from multiace.cli import main
from multiace.data import check as module
from multiace.data.check import check_files, check_frames
from multiace.data.config import DataConfig
from multiace.data.expectations import Expectations
from multiace.data.finding import KINDS
from multiace.data.read import Frame, read_frames
from tests.data.faults import (
    FAULTS,
    KCAL,
    Files,
    an_atom_is_far_away,
    atom,
    box_is_only_a_box,
    clusters,
    crystals,
    one_atom_has_no_force,
    position_is_nan,
    scaled,
    structure_is_there_twice,
    two_atoms_are_too_close,
)


@pytest.fixture(scope="session")
def good() -> dict[str, list[Atoms]]:
    """Training, validation and test files without a fault."""
    return {
        "train": [atom("Cu"), atom("Al"), *clusters(24, 1), *crystals(24, 2)],
        "valid": clusters(6, 3),
        "test": crystals(6, 4),
    }


@pytest.fixture
def files(good) -> Files:
    return Files({name: [frame.copy() for frame in frames] for name, frames in good.items()})


def write(files: Files, folder) -> DataConfig:
    names = {}
    for name, frames in files.items():
        names[name] = (str(folder / f"{name}.xyz"),)
        if isinstance(frames, bytes):
            (folder / f"{name}.xyz").write_bytes(frames)
        elif frames is not None:
            ase.io.write(folder / f"{name}.xyz", frames, format="extxyz")
    return DataConfig(**names, **files.data)


def check(files: Files, folder, processes: int = 1):
    config = write(files, folder)
    return check_files(config, Expectations(keys=config, **files.expected), processes=processes)


def test_good_data_have_no_findings(files, tmp_path):
    found = check(files, tmp_path)
    assert found.findings == []
    assert found.reference == "isolated"
    assert [(f["set"], f["frames"]) for f in found.files] == [("train", 50), ("valid", 6), ("test", 6)]


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_and_no_other(name, files, tmp_path):
    code, severity, says, file, frame, plant = FAULTS[name]
    plant(files)
    findings = check(files, tmp_path).findings
    told = [f"{found.code}: {found.sentence}" for found in findings]
    assert {found.code for found in findings} == {code}, told
    assert findings[0].severity == severity
    assert findings[0].file == str(tmp_path / f"{file}.xyz"), told
    assert frame is None or findings[0].frame == frame, told
    assert re.search(says, findings[0].sentence), told


def test_a_structure_without_atoms_is_found():
    (found,) = check_frames([("test", [Frame(Atoms(), source="a.db frame 3")])], Expectations()).findings
    assert (found.code, found.severity, found.file, found.frame) == ("no-atoms", "error", "a.db", 3)


def test_every_kind_of_finding_is_planted():
    assert {code for code, *_ in FAULTS.values()} | {"no-atoms"} == set(KINDS)


MOLECULE = Path(__file__).parents[2] / "examples/data/malonaldehyde"


def molecules(**factors: float) -> Files:
    """Malonaldehyde with all electrons, its labels multiplied; the order of frames is another."""
    files = Files({"train": [*ase.io.read(MOLECULE / "isolated_atoms.xyz", ":")]})
    frames = ase.io.read(MOLECULE / "train_300K.xyz", ":")
    files.train.extend(frames[k] for k in np.random.default_rng(0).permutation(len(frames)))
    for frame in files.train:
        frame.info["REF_energy"] = frame.get_potential_energy()
        frame.arrays["REF_forces"] = frame.calc.results.get("forces", 0 * frame.positions)
        frame.calc = None
    scaled(files, **factors)
    return files


@pytest.mark.parametrize(
    ("factors", "codes"),
    [
        ({}, set()),
        ({"energy": KCAL, "forces": KCAL}, {"energy-unit"}),
        ({"energy": 1 / units.Hartree, "forces": units.Bohr / units.Hartree}, {"energy-unit"}),
        ({"forces": -1.0}, {"forces-sign"}),
        ({"forces": units.Bohr / units.Hartree}, {"forces-unit"}),
    ],
)
def test_units_of_a_molecule_with_all_electrons_are_known(factors, codes, tmp_path):
    found = check(molecules(**factors), tmp_path).findings
    assert {each.code for each in found} == {"compositions-dependent"} | codes, found


def test_energies_beside_another_unit_are_told(tmp_path):
    beside = molecules(energy=1 / units.Hartree)
    for frame in beside.train[3:]:
        frame.arrays["REF_forces"] /= units.Hartree
    for frame in beside.train[:3]:
        frame.info["REF_energy"] *= units.Hartree
    part = molecules()
    for frame in part.train[3::3]:
        frame.info["REF_energy"] /= units.Hartree
    for files, code in ((beside, "energies-unlike-isolated"), (part, "energy-outlier")):
        (found,) = (each for each in check(files, tmp_path).findings if each.severity == "warning")
        assert found.code == code
        assert "is that of Hartree beside eV: write all of them in one unit." in found.sentence


def test_frames_that_are_read_and_their_files_have_the_same_findings(files, tmp_path):
    two_atoms_are_too_close(files)
    structure_is_there_twice(files)
    box_is_only_a_box(files)
    from_files = check(files, tmp_path)
    sets = [(name, read_frames(tmp_path / f"{name}.xyz")) for name in files]
    assert check_frames(sets, Expectations()) == from_files


def test_two_processes_find_what_one_finds(files, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGE", 20_000)
    for plant in (
        two_atoms_are_too_close,
        structure_is_there_twice,
        an_atom_is_far_away,
        one_atom_has_no_force,
    ):
        plant(files)
    one, two = check(files, tmp_path), check(files, tmp_path, processes=2)
    assert {(f.code, f.frame, f.sentence) for f in one.findings} == {
        (f.code, f.frame, f.sentence) for f in two.findings
    }
    for mine, other in zip(one.files, two.files, strict=True):
        assert mine.pop("force_rms") == pytest.approx(other.pop("force_rms"), rel=1e-12)
        assert mine == other


def test_the_command_prints_one_screen_and_writes_json(files, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    two_atoms_are_too_close(files)
    write(files, tmp_path)
    command = [
        "data",
        "check",
        "train.xyz",
        "--valid",
        "valid.xyz",
        "--test",
        "test.xyz",
        "--json",
        "check.json",
    ]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "errors: 0, warnings: 1, notes: 0" in out
    assert "50 REF_energy" in out
    assert len(out.splitlines()) < 40
    found = json.loads((tmp_path / "check.json").read_text())
    assert found["counts"] == {"error": 0, "warning": 1, "note": 0}
    (warning,) = found["findings"]
    assert (warning["code"], warning["severity"]) == ("close-pair", "warning")
    assert (warning["file"], warning["frame"]) == ("train.xyz", 7)
    assert warning["sentence"].startswith("train.xyz frame 7: Cu 0 and Cu 1 are 1.000 Å apart")
    assert sum(found["histograms"]["train"]["energy"]["counts"]) == 48


def test_an_error_is_exit_status_1(files, tmp_path, capsys):
    position_is_nan(files)
    assert main(["data", "check", *write(files, tmp_path).train]) == 1
    assert "position-not-finite" in capsys.readouterr().out


def test_a_run_file_says_what_is_checked(files, tmp_path, capsys):
    write(files, tmp_path)
    run = tmp_path / "run.yaml"
    run.write_text("model: {preset: botnet-small}\ndata: {train: train.xyz, test: [test.xyz]}\n")
    assert main(["data", "check", str(run)]) == 0
    assert main(["data", "check", str(run), "data.energy_key=Q", "data.forces_key=F"]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "train.energy_weight is 10.0, but none of the 48 training frames has an energy label" in out
    assert main(["data", "check", str(run), "--cutoff", "4"]) == 2
    assert "leave --cutoff out" in capsys.readouterr().err
