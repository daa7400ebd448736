import json
import subprocess
import sys

import ase.io
import pytest
import yaml
from ase.calculators.singlepoint import SinglePointCalculator

import multiace
from multiace.cli import main, parse
from tests.potentials import methanol, small_potential


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A working directory with a model, a structure and labelled structures."""
    monkeypatch.chdir(tmp_path)
    small_potential().save("model.safetensors")
    ase.io.write("one.xyz", methanol())
    several = []
    for k in range(3):
        atoms = methanol()
        atoms.rattle(0.03, seed=k)
        atoms.calc = SinglePointCalculator(atoms, energy=-6400.0, forces=0 * atoms.positions)
        several.append(atoms)
    ase.io.write("several.xyz", several)
    return tmp_path


def command(text, capsys, status=0):
    assert main(text.split()) == status
    return capsys.readouterr()


def test_public_names_exist():
    assert all(getattr(multiace, name) is not None for name in multiace.__all__)
    assert len(multiace.__all__) <= 12


def test_evaluate_stays_a_function_whatever_is_imported_first():
    import multiace.evaluation

    assert callable(multiace.evaluate)
    assert callable(multiace.load)


def test_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing_here"):
        multiace.nothing_here  # noqa: B018


def test_module_runs_as_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "multiace", "--version"], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == f"multiace {multiace.__version__}"


def test_evaluate_writes_predictions_and_metrics(files, capsys):
    out = command("evaluate model.safetensors several.xyz one.xyz --out p.xyz --json m.json", capsys).out
    assert "energy/atom" in out
    assert "meV/Å" in out
    assert "spread: standard deviation" in out
    assert len(ase.io.read("p.xyz", ":")) == 4
    assert json.loads((files / "m.json").read_text())["sets"]["several"]["energy"]["count"] == 3


def test_two_files_of_one_name_stay_apart(files, capsys):
    (files / "other").mkdir()
    (files / "other" / "several.xyz").write_bytes((files / "several.xyz").read_bytes())
    command("evaluate model.safetensors several.xyz other/several.xyz --json m.json", capsys)
    assert list(json.loads((files / "m.json").read_text())["sets"]) == ["several.xyz", "other/several.xyz"]


def test_md_prints_the_drift_and_writes_trajectory_and_log(files, capsys):
    out = command(
        "md model.safetensors one.xyz --steps 20 --timestep 0.2 --temperature 100 --seed 3", capsys
    ).out
    assert "meV/atom/ps (least-squares slope)" in out
    assert "6 atoms; float64 on cpu" in out
    assert len(ase.io.read("md.xyz", ":")) == 2
    assert (files / "md.csv").read_text().count("\n") == 4


def test_langevin_has_no_drift_to_print(files, capsys):
    out = command(
        "md model.safetensors several.xyz@1 --ensemble langevin --steps 5 --trajectory new/a.traj --dtype float32",
        capsys,
    ).out
    assert "drift" not in out
    assert "float32" in out
    assert (files / "new" / "a.traj").exists()
    assert (files / "new" / "a.csv").exists()


def test_an_exploding_trajectory_is_a_sentence_and_stays_on_disk(files, capsys):
    err = command("md model.safetensors one.xyz --steps 50 --max-temperature 1", capsys, status=2).err
    assert err.startswith("multiace: the trajectory was stopped at step 0")
    assert len(ase.io.read("md.xyz", ":")) == 1


def test_relax_writes_the_structure_and_says_whether_it_converged(files, capsys):
    out = command("relax model.safetensors one.xyz --fmax 100 --out r.xyz", capsys).out
    assert "converged after 0 steps" in out
    assert "+0.0000   eV" in out
    assert len(ase.io.read("r.xyz")) == 6
    out = command("relax model.safetensors one.xyz --fmax 1e-9 --max-steps 1 --optimizer fire", capsys, 1).out
    assert "not converged" in out


def test_info_shows_config_and_isolated_energies(files, capsys):
    out = command("info model.safetensors", capsys).out
    assert "H -13.6" in out
    assert "hidden_irreps" in out


def test_presets_fit_the_terminal(capsys, monkeypatch):
    for width in (60, 80, 200):
        monkeypatch.setenv("COLUMNS", str(width))
        out = command("presets", capsys).out
        assert max(map(len, out.splitlines())) <= width
        assert all(name in out for name in multiace.PRESETS if not name.endswith("-small"))
        out = command("presets --small", capsys).out
        assert max(map(len, out.splitlines())) <= width
        assert all(name in out for name in multiace.PRESETS if name.endswith("-small"))


def test_files_and_pipes_are_wide(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert 80 < max(map(len, command("explain", capsys).out.splitlines())) <= 140


@pytest.mark.parametrize("name", ["model", "cutoff", "train.learning_rate", "md", "relax.fmax"])
def test_explain_finds_sections_and_fields(name, capsys):
    out = command(f"explain {name}", capsys).out
    assert name in out
    assert "=" in out


def test_every_field_is_explained_with_its_unit_and_choices(capsys):
    out = " ".join(command("explain", capsys).out.split())
    for config in (multiace.ModelConfig, multiace.RunConfig.model_fields["train"].annotation):
        for field, info in config.model_fields.items():
            assert f"{config.section()}.{field} = " in out
            assert info.description
    assert "time step [fs]" in out
    assert "one of bessel" in out


@pytest.mark.parametrize("by", ["order", "layer", "edges", "l", "path"])
def test_explain_splits_energies_of_structures(files, capsys, by):
    out = command(f"explain model.safetensors several.xyz one.xyz --by {by} --json new/e.json", capsys).out
    content = json.loads((files / "new/e.json").read_text())
    assert content["terms"][:2] == ["E0", "shift"]
    assert all(term in out for term in content["terms"])
    assert "0 CH4O" in out
    assert "-6,400.0000" in out  # the reference
    potential = small_potential()
    for structure, atoms in zip(content["structures"][:3], ase.io.read("several.xyz", ":"), strict=True):
        energy = potential.contributions(atoms).sum()
        assert structure["energy"] == pytest.approx(energy, abs=1e-7)
        assert sum(structure["terms"]) == pytest.approx(energy, abs=1e-7)
        columns = [sum(column) for column in zip(*structure["atoms"], strict=True)]
        assert columns == pytest.approx(structure["terms"], abs=1e-9)


def test_explain_draws_terms_along_a_path(files, capsys):
    out = command("explain model.safetensors several.xyz --plot new/e.svg", capsys).out
    assert "figure: new/e.svg" in out
    assert (files / "new/e.svg").read_text().startswith("<?xml")
    command("explain model.safetensors several.xyz@:2 --by l --plot e.png", capsys)
    assert (files / "e.png").read_bytes().startswith(b"\x89PNG")


def test_explain_of_many_structures_has_their_mean_and_range(files, capsys):
    ase.io.write("many.xyz", [methanol()] * 5)
    out = command("explain model.safetensors many.xyz", capsys).out
    assert "lowest" in out
    assert "remainder" in out
    assert "5 structures" in out
    assert "reference" not in out
    labelled = ase.io.read("several.xyz", ":")
    assert len({atoms.get_potential_energy() for atoms in labelled}) == 1
    ase.io.write("many.xyz", (labelled * 5)[:5])
    out = command("explain model.safetensors many.xyz", capsys).out
    assert out.count("-6,400.0000") == 3


def test_ways_to_split_are_those_of_the_library():
    from multiace.model.split import SPLITS

    assert [parse(["explain", "m", "s", "--by", by]).by for by in SPLITS] == list(SPLITS)


def test_explain_without_structures_is_of_fields_whatever_files_there_are(files, capsys):
    (files / "model").mkdir()
    assert "model.cutoff" in command("explain model", capsys).out


def test_train_fits_a_model_that_evaluate_takes(files, capsys):
    model = {"preset": "botnet-small", "hidden_irreps": "2x0e", "l_max": 0, "num_layers": 1}
    model |= {"energy_reference": "mean", "scale": "none", "dtype": "float64"}
    run = {"model": model, "data": {"train": "several.xyz", "valid": "several.xyz"}}
    (files / "run.yaml").write_text(yaml.safe_dump(run))
    out = command("train run.yaml train.max_epochs=1 --folder new", capsys).out
    assert out.rstrip().endswith("model.safetensors")
    assert "forces" in command("evaluate new several.xyz", capsys).out


def test_code_of_the_users_own_runs_where_the_command_says_so(files, capsys, monkeypatch):
    (files / "own_waves.py").write_text("from multiace.basis.radial import BesselBasis as Waves\n")
    model = {"preset": "botnet-small", "hidden_irreps": "2x0e", "l_max": 0, "num_layers": 1}
    model |= {"energy_reference": "mean", "scale": "none", "radial_basis": "own_waves:Waves"}
    run = {"model": model, "data": {"train": "several.xyz", "valid": "several.xyz", "test": "several.xyz"}}
    (files / "run.yaml").write_text(yaml.safe_dump(run))
    err = command("train run.yaml --folder new", capsys, status=2).err
    assert "No module named 'own_waves'. Put its folder into PYTHONPATH (this folder: PYTHONPATH=.)." in err
    monkeypatch.syspath_prepend(str(files))
    command("train run.yaml train.max_epochs=1 --folder new", capsys)
    for text in ("info new", "evaluate new several.xyz", "relax new one.xyz --max-steps 0", "report new"):
        assert "say --outside-code on the command line" in command(text, capsys, status=2).err
        command(f"{text} --outside-code", capsys, status=1 if text.startswith("relax") else 0)
    assert "--outside-code" in (files / "new" / "report.html").read_text()


def test_an_interrupt_ends_with_status_130(files, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("multiace.deploy.md.simulate", interrupted)
    assert "interrupted" in command("md model.safetensors one.xyz", capsys, status=130).err


def test_an_interrupted_training_says_how_to_go_on(files, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    (files / "run.yaml").write_text(yaml.safe_dump({"data": {"train": "several.xyz"}}))
    monkeypatch.setattr("multiace.train.loop.fit", interrupted)
    error = command("train run.yaml", capsys, status=130).err
    assert error == "multiace: interrupted; the same command continues the run.\n"


@pytest.mark.parametrize(
    ("options", "noted"),
    [
        ("", True),
        ("--ensemble langevin", False),
        ("--temperature 0", False),
        ("--trajectory far.xyz --temperature 1", True),
    ],
)
def test_velocities_on_a_structure_that_is_not_equilibrated_are_noted(files, capsys, options, noted):
    atoms = methanol()
    atoms.rattle(0.3, seed=1)
    ase.io.write("hot.xyz", atoms)
    out = command(f"md model.safetensors hot.xyz --steps 200 --timestep 0.1 {options}", capsys).out
    assert ("not equilibrated; use --equilibration 1 or" in out) == noted


def test_a_small_molecule_after_equilibration_may_be_hotter_or_colder(files, capsys):
    options = "--temperature 100 --equilibration 0.02 --steps 20 --timestep 0.2 --max-temperature 1e5"
    temperatures = []
    for seed in range(4):
        out = command(f"md model.safetensors one.xyz {options} --seed {seed}", capsys).out
        temperatures.append(float(out.partition("mean temperature: ")[2].split()[0]))
        far = abs(temperatures[-1] - 100) > 300 / 15**0.5
        assert ("not equilibrated" in out) == far
    assert any(abs(T - 100) > 20 for T in temperatures)


def test_a_defect_keeps_its_traceback(files, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("defect")

    monkeypatch.setattr("multiace.deploy.md.simulate", broken)
    with pytest.raises(RuntimeError, match="defect"):
        main(["md", "model.safetensors", "one.xyz"])


def test_overrides_may_follow_options():
    arguments = parse(["train", "run.yaml", "train.seed=1", "--folder", "runs/x", "train.max_epochs=2"])
    assert arguments.overrides == ["train.seed=1", "train.max_epochs=2"]
    assert arguments.folder == "runs/x"
