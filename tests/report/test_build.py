import re

import ase.io
import numpy as np
import pytest
import yaml

from multiace.deploy.ase import Calculator
from multiace.deploy.md import MDConfig, simulate
from multiace.errors import InputError
from multiace.report.build import write_report
from tests.potentials import methanol, small_potential

METRICS = """step,epoch,seconds,learning_rate,train_loss,valid_loss,valid_energy_per_atom_mae,valid_forces_mae
1,1,30.0,0.01,0.5,0.6,10,200
2,2,60.0,0.005,0.3,0.4,5,
"""


@pytest.fixture
def run_folder(tmp_path):
    """What the report reads of a finished run, with a test set, a scan and a trajectory."""
    folder = tmp_path / "run <1>"
    folder.mkdir()
    potential = small_potential()
    potential.save(folder / "model.safetensors")
    (folder / "metrics.csv").write_text(METRICS)
    test, scan = [], []
    for k in range(4):
        atoms = methanol()
        atoms.rattle(0.05, seed=k)
        test.append(atoms)
        stretched = methanol()
        stretched.positions[2, 0] -= 0.1 * k
        stretched.info["distance"] = 0.1 * k
        scan.append(stretched)
    for name, frames in (("test.xyz", test), ("scan.xyz", scan)):
        for atoms in frames:
            atoms.info["energy"] = small_potential_energy(atoms) + 0.01
        ase.io.write(tmp_path / name, frames)
    run = {
        "model": {"cutoff": 3.5},
        "data": {"test": [str(tmp_path / "test.xyz")]},
        "train": {"max_epochs": 2},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(run))
    atoms = methanol()
    atoms.calc = Calculator(potential)
    list(simulate(atoms, MDConfig(steps=6, log_interval=1), log=tmp_path / "md.csv"))
    return folder


def small_potential_energy(atoms):
    calculated = atoms.copy()
    calculated.calc = Calculator(small_potential())
    return calculated.get_potential_energy()


def test_the_report_shows_everything_and_needs_nothing_else(run_folder):
    beside = run_folder.parent
    path = write_report(
        run_folder, scan=beside / "scan.xyz", coordinate="distance", dynamics=beside / "md.csv"
    )
    text = path.read_text(encoding="utf-8")
    assert path == run_folder / "report.html"
    assert re.findall(r"<h2>(.*?)</h2>", text) == [
        "Errors",
        "Parity and error distributions",
        "Learning curves",
        "Scan",
        "Dynamics",
        "Model",
        "Commands",
    ]
    sources = re.findall(r'(?:src|href)="(.{6})', text)
    assert len(sources) == 5 + 7  # figures and links
    assert all(source.startswith(("data:", "#s")) for source in sources)
    assert "http" not in re.sub(r'src="[^"]*"', "", text)
    assert "<td class=n>10.00</td>" in text  # MAE of the energies, 0.01 eV
    assert "2 epochs in 1.0 minutes" in text
    assert "run &lt;1&gt;" in text
    assert "<1>" not in text


def test_a_report_without_test_sets_scan_and_dynamics_is_shorter(run_folder):
    (run_folder / "config.yaml").write_text("data: {test: []}\nmodel: {}\ntrain: {}\n")
    text = write_report(run_folder, path=run_folder / "new" / "short.html").read_text(encoding="utf-8")
    assert re.findall(r"<h2>(.*?)</h2>", text) == ["Learning curves", "Model", "Commands"]


def test_the_same_run_gives_the_same_report(run_folder):
    first = write_report(run_folder).read_bytes()
    assert write_report(run_folder).read_bytes() == first


def test_a_scan_without_its_coordinate_is_refused(run_folder):
    with pytest.raises(InputError, match="'angle'"):
        write_report(run_folder, scan=run_folder.parent / "scan.xyz", coordinate="angle")


@pytest.mark.parametrize("missing", ["config.yaml", "metrics.csv", "model.safetensors"])
def test_a_folder_that_is_no_run_is_refused(run_folder, missing):
    (run_folder / missing).unlink()
    with pytest.raises(InputError, match=missing):
        write_report(run_folder)


def test_figures_leave_matplotlib_as_it_was(run_folder):
    import matplotlib

    before = dict(matplotlib.rcParams)
    write_report(run_folder)
    assert dict(matplotlib.rcParams) == before
    assert np.isfinite(before["font.size"])
