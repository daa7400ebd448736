import html
import re
import shlex

import ase.io
import numpy as np
import pytest
import yaml

from multiace.cli import parse
from multiace.data.read import Frame
from multiace.deploy.ase import Calculator
from multiace.deploy.config import MDConfig
from multiace.deploy.md import simulate
from multiace.errors import InputError
from multiace.evaluation import evaluate
from multiace.report import figures
from multiace.report.build import lead, write_report
from multiace.report.errors import set_errors
from multiace.report.scan import Curve, scan_curves
from multiace.verify.checks import of_potential, verify
from tests.potentials import crystal, methanol, small_potential

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
    report = verify(of_potential(potential, [methanol()]), "given", only=["rotation", "batch"])
    potential.save(folder / "model.safetensors", verification=report.to_dict())
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
        "Verification",
        "Dynamics",
        "Model",
        "Commands",
    ]
    sources = re.findall(r'(?:src|href)="(.{6})', text)
    assert len(sources) == 5 + 8  # figures and links
    assert all(source.startswith(("data:", "#s")) for source in sources)
    assert "http" not in re.sub(r'src="[^"]*"', "", text)
    assert "<td class=n>10.00</td>" in text  # MAE of the energies, 0.01 eV
    assert "2 epochs in 1.0 minutes" in text
    assert "at constant energy" in text
    assert "Checked on CH4O (given)." in text
    assert "<td>rotation</td>" in text
    assert "run &lt;1&gt;" in text
    assert "<1>" not in text


def test_a_report_without_test_sets_scan_and_dynamics_is_shorter(run_folder):
    (run_folder / "config.yaml").write_text("data: {test: []}\nmodel: {}\ntrain: {}\n")
    text = write_report(run_folder, path=run_folder / "new" / "short.html").read_text(encoding="utf-8")
    assert re.findall(r"<h2>(.*?)</h2>", text) == ["Learning curves", "Verification", "Model", "Commands"]


def test_the_same_run_gives_the_same_report(run_folder):
    first = write_report(run_folder).read_bytes()
    assert write_report(run_folder).read_bytes() == first


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


def langevin_log(path):
    atoms = methanol()
    atoms.calc = Calculator(small_potential())
    list(simulate(atoms, MDConfig(ensemble="langevin", steps=6, log_interval=1), log=path))


def test_a_langevin_log_is_not_reported_as_constant_energy(run_folder):
    langevin_log(run_folder.parent / "langevin.csv")
    text = write_report(run_folder, dynamics=run_folder.parent / "langevin.csv").read_text(encoding="utf-8")
    assert "ps of Langevin dynamics" in text
    assert "at constant energy" not in text
    assert "Energy drift:" not in text


def test_a_scan_has_one_curve_per_composition_relative_to_its_own_lowest_energy(run_folder):
    curves = []
    for k in range(6):
        atoms = methanol() if k % 2 else methanol()[[0, 1, 2]]
        atoms.positions[2, 0] -= 0.1 * k
        atoms.info.update(energy=small_potential_energy(atoms) + 0.01 * k * (k % 2), distance=0.1 * k)
        curves.append(atoms)
    ase.io.write(run_folder.parent / "mixed.xyz", curves)
    few, many = scan_curves(small_potential(), run_folder.parent / "mixed.xyz", "distance")
    np.testing.assert_allclose(few.coordinate, [0, 0.2, 0.4])
    np.testing.assert_allclose(many.coordinate, [0.1, 0.3, 0.5])
    assert few.suffix != many.suffix
    assert few.largest_error == pytest.approx(0, abs=1e-3)
    assert 0 < many.largest_error <= 40 + 1e-3


def test_the_barrier_of_a_curve_is_its_highest_inner_maximum():
    E_ref = np.array([0.0, 0.3, 0.1, 0.4, 0.2])
    E = E_ref + np.array([1.0, 1.0, 1.0, 1.05, 1.0])
    curve = Curve("", np.arange(5.0), E_ref, E, np.zeros((5, 1)))
    assert curve.barriers == pytest.approx((400, 450))
    assert curve.largest_error == pytest.approx(50)
    assert "+50.0</strong>" in (shown := lead([], [curve]))
    assert "error of the barrier: model 450.0, reference 400.0 meV" in shown
    assert Curve("", np.arange(2.0), E_ref[:2], E[:2], np.zeros((2, 1))).barriers is None


def test_a_scan_without_its_coordinate_names_the_keys_there_are(run_folder):
    with pytest.raises(InputError, match=r"keys found: distance, .*Set coordinate to one of them"):
        write_report(run_folder, scan=run_folder.parent / "scan.xyz")


def test_structures_of_a_scan_can_be_placed_by_their_atoms(run_folder):
    (curve,) = scan_curves(small_potential(), run_folder.parent / "scan.xyz", "distance 0 1")
    scan = ase.io.read(run_folder.parent / "scan.xyz", ":")
    np.testing.assert_allclose(curve.coordinate, sorted(atoms.get_distance(0, 1) for atoms in scan))
    with pytest.raises(InputError, match="names 1 atoms; distance is of 2"):
        scan_curves(small_potential(), run_folder.parent / "scan.xyz", "distance 0")


def test_a_coordinate_that_is_no_number_is_refused(run_folder):
    atoms = methanol()
    atoms.info.update(energy=-1.0, name="first", distance=1.0)
    ase.io.write(run_folder.parent / "named.xyz", atoms)
    with pytest.raises(InputError, match=r"no number under name .*keys found: distance"):
        write_report(run_folder, scan=run_folder.parent / "named.xyz", coordinate="name")


def test_the_command_has_the_options_that_were_given(run_folder):
    beside = run_folder.parent
    options = {"tests": [beside / "test.xyz", beside / "scan.xyz"], "scan": beside / "scan.xyz"}
    path = write_report(run_folder, **options, coordinate="distance", dynamics=beside / "md.csv")
    line = html.unescape(path.read_text(encoding="utf-8").split("<pre>")[1].split("</pre>")[0]).splitlines()[
        1
    ]
    given = vars(parse(shlex.split(line)[1:]))
    assert given["test"] == [str(test) for test in options["tests"]]
    assert (given["scan"], given["coordinate"]) == (str(options["scan"]), "distance")
    assert (given["md"], given["folder"]) == (str(beside / "md.csv"), str(run_folder))


def test_mixed_compositions_are_compared_less_the_isolated_atoms():
    potential = small_potential()
    whole, part = methanol(), methanol()[[0, 1]]
    for atoms in (whole, part):
        atoms.info["energy"] = small_potential_energy(atoms)
    values = set_errors(evaluate(potential, [whole, part]), potential)
    E0 = dict(zip(potential.elements, potential.isolated_energies.tolist(), strict=True))
    assert values.mixed
    np.testing.assert_allclose(
        values.isolated, [sum(E0[s] for s in atoms.get_chemical_symbols()) for atoms in (whole, part)]
    )
    assert not set_errors(evaluate(potential, [whole, whole]), potential).mixed


def test_stress_is_shown_in_gpa():
    frames = []
    for energy, force in ((-1.0, 0.3), (-1.6, -0.3)):
        atoms = crystal()
        frames.append(Frame(atoms, energy * len(atoms), np.full((len(atoms), 3), force), energy * np.eye(3)))
    potential = small_potential()
    evaluation = evaluate(potential, frames, name="crystals")
    values = set_errors(evaluation, potential)
    labels = np.concatenate([(energy * np.eye(3)).ravel() for energy in (-1.0, -1.6)])
    np.testing.assert_allclose(values.stresses[0], 160.2176634 * labels, rtol=1e-7)  # GPa
    error = evaluation.metrics["stress"]["mae"] * 0.1602176634
    stress = figures.parity({"crystals": values}).axes[2]
    assert f"MAE {error:.3g} GPa" in stress.texts[0].get_text()
    assert stress.get_xlabel() == "reference σ [GPa]"
    shown = lead([evaluation], [])
    share = 100 * evaluation.metrics["stress"]["rmse"] / evaluation.metrics["stress"]["spread"]
    assert f"stress RMSE, crystals; {share:.1f}\N{NO-BREAK SPACE}% of the spread" in shown
