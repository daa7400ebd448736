"""Training that starts from the weights of a model, and runs that are made longer."""

import json

import ase.io
import numpy as np
import pytest
import torch
import yaml
from ase import Atoms

from multiace.cli import main
from multiace.errors import InputError
from multiace.graph.neighbors import build_graph
from multiace.model.config import ModelConfig
from multiace.model.potential import Potential, Statistics
from multiace.train.config import RunConfig
from multiace.train.learner import initial
from multiace.train.loop import Training, fit
from multiace.train.prepare import prepare

TINY = {"hidden_irreps": "4x0e + 4x1o", "l_max": 1, "num_layers": 2, "radial_widths": [8], "cutoff": 4.0}
E0 = (-0.25, 0.5)


@pytest.fixture
def start(tmp_path):
    """A model of aluminium and copper with random weights."""
    torch.manual_seed(3)
    config = ModelConfig(elements=("Al", "Cu"), energy_reference="mean", **TINY)
    statistics = Statistics(np.array(E0), scale=0.7, shift=0.2, num_neighbors=3.0)
    path = tmp_path / "start.safetensors"
    Potential(config, statistics).save(path)
    return path


@pytest.fixture
def tune(data, start):
    """Make a run that starts there: ``tune(model={...}, max_epochs=3)``."""

    def make(model=None, files=("clusters.xyz",), **train):
        sections = {
            "data": {"train": [str(data / name) for name in files], "valid": 4},
            "train": {
                "start_from": str(start),
                "max_epochs": 1,
                "batch_size": 4,
                "loggers": ["csv"],
                **train,
            },
        }
        return RunConfig.from_dict(sections | ({} if model is None else {"model": model}))

    return make


def test_training_starts_from_the_weights_scale_shift_and_energies_of_the_model(tune, start, tmp_path):
    standing = {"learning_rate": 1e-12, "min_learning_rate": 0}
    tuned, first = fit(tune(**standing), tmp_path / "run"), Potential.load(start)
    for name, value in first.state_dict().items():
        torch.testing.assert_close(tuned.state_dict()[name], value, rtol=0, atol=1e-6)
    assert torch.equal(tuned.isolated_energies, first.isolated_energies)
    assert (float(tuned.scale), float(tuned.shift)) == (0.7, 0.2)
    assert "E0 as there" in (tmp_path / "run" / "train.log").read_text()
    assert "start.safetensors" in tuned.metadata["provenance"]["data_sha256"]


def test_training_from_a_fitted_model_goes_on_where_it_was(tune, tmp_path):
    fit(tune(max_epochs=25, learning_rate=0.02), tmp_path / "first")
    fit(tune(start_from=str(tmp_path / "first"), learning_rate=0.001), tmp_path / "second")
    losses = [
        np.genfromtxt(tmp_path / name / "metrics.csv", delimiter=",", names=True)["train_loss"]
        for name in ("first", "second")
    ]
    assert losses[1] < 0.5 * losses[0][0]


def test_fields_that_are_not_given_are_those_of_the_model(tune, start):
    run = tune()
    expected = Potential.load(start).config.replace(
        energy_reference="given", isolated_energies=dict(zip(("Al", "Cu"), E0, strict=True))
    )
    assert run.model == expected
    assert RunConfig.from_dict(yaml.safe_load(run.to_yaml())) == run
    assert tune(model={"preset": "botnet-small", **TINY}).model == expected


def test_isolated_energies_of_the_run_come_before_those_of_the_model(tune, tmp_path):
    statistics = prepare(tune(model={"energy_reference": "least_squares"})).statistics
    assert np.abs(statistics.isolated_energies - E0).min() > 0.01
    assert (statistics.scale, statistics.shift) == (0.7, 0.2)
    given = tune(model={"isolated_energies": {"Al": 1.0, "Cu": 2.0}})
    assert prepare(given).statistics.isolated_energies.tolist() == [1.0, 2.0]
    fit(given, tmp_path / "run")
    assert "E0 differ from its own by up to 1.5 eV" in (tmp_path / "run" / "train.log").read_text()


def test_isolated_atoms_that_disagree_are_warned_about(tune, data):
    ase.io.write(data / "copper.xyz", Atoms("Cu", info={"energy": 3.5}))
    prepared = prepare(tune(files=("clusters.xyz", "copper.xyz")))
    (found,) = [each for each in prepared.check.findings if each.code == "given-energies-differ"]
    assert "gives Cu 0.5 eV, the data's isolated atom has 3.5 eV" in found.sentence


def test_data_with_fewer_elements_keep_those_of_the_model(tune, recwarn):
    assert prepare(tune(files=("crystals.xyz",))).model.elements == ("Al", "Cu")
    assert not [warning for warning in recwarn if "arbitrary" in str(warning.message)]


def test_data_with_other_elements_are_refused(tune, data):
    frames = ase.io.read(data / "clusters.xyz", ":")
    frames[3].symbols[0] = "Ni"
    ase.io.write(data / "nickel.xyz", frames)
    with pytest.raises(InputError, match=r"data\.train has structures with Ni, but the model .* only Al, Cu"):
        prepare(tune(files=("nickel.xyz",)))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"num_radial": 6}, r"model\.num_radial = 6 \(there 8\)\. Set it as there"),
        (
            {"preset": "botnet-small"},
            r"model\.cutoff = 5.0 \(there 4.0\), l_max = 2 \(there 1\), hidden_irreps",
        ),
        ({"elements": ["Cu", "Al"]}, r"model\.elements = \[Cu, Al\] \(there \[Al, Cu\]\)"),
        ({"shift": "none"}, r"model\.shift = none \(there mean\)"),
    ],
)
def test_another_architecture_is_refused_and_the_fields_named(tune, tmp_path, model, says):
    with pytest.raises(InputError, match=says):
        fit(tune(model=model), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_precision_may_be_another(tune, tmp_path):
    assert next(fit(tune(model={"dtype": "float64"}), tmp_path / "run").parameters()).dtype == torch.float64


def test_start_from_is_relative_to_the_run_file(data, start, tmp_path, monkeypatch, capsys):
    (tmp_path / "run.yaml").write_text(
        f"data: {{train: {data / 'clusters.xyz'}, valid: 4}}\n"
        "train: {start_from: start.safetensors, max_epochs: 1, loggers: [csv]}\n"
    )
    monkeypatch.chdir(data)
    assert RunConfig.read(tmp_path / "run.yaml").train.start_from == str(start)
    assert main(["train", str(tmp_path / "run.yaml"), "train.start_from=nothing.safetensors"]) == 2
    assert f"cannot read a model from {data / 'nothing.safetensors'}" in capsys.readouterr().err


def test_code_from_outside_runs_only_if_the_run_names_it_too(tune, start, tmp_path, monkeypatch):
    (tmp_path / "waves.py").write_text(
        "from multiace.basis.radial import BesselBasis\nclass Waves(BesselBasis): pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    config = Potential.load(start).config.replace(radial_basis="waves:Waves")
    Potential(config, Statistics(np.array(E0))).save(start)
    with pytest.raises(InputError, match=r"code from outside multiace \(radial_basis = waves:Waves\)"):
        tune()
    with pytest.raises(InputError, match=r"model\.radial_basis = bessel \(there waves:Waves\)"):
        prepare(
            tune(model={"radial_basis": "waves:Waves"}).replace(model=config.replace(radial_basis="bessel"))
        )
    assert prepare(tune(model={"radial_basis": "waves:Waves"})).start is not None


# --- longer runs ------------------------------------------------------------------------------------------


def bits(potential):
    return torch.cat([parameter.detach().reshape(-1) for parameter in potential.parameters()])


@pytest.mark.parametrize(
    "options", [{"schedule": "constant"}, {"schedule": "plateau", "plateau_patience": 1}]
)
def test_a_complete_run_that_is_made_longer_ends_with_the_bits_of_the_long_run(run, tmp_path, options):
    whole = fit(run(max_epochs=5, **options), tmp_path / "whole")
    for epochs in (2, 5):
        longer = fit(run(max_epochs=epochs, **options), tmp_path / "longer")
    assert torch.equal(bits(longer), bits(whole))
    curves = [
        [
            line.split(",")[:2] + line.split(",")[4:]  # all but the times
            for line in (tmp_path / name / "metrics.csv").read_text().splitlines()
        ]
        for name in ("whole", "longer")
    ]
    assert curves[0] == curves[1]
    assert "max_epochs: 5" in (tmp_path / "longer" / "config.yaml").read_text()


def test_an_interrupted_extension_is_not_taken_for_complete(run, tmp_path, monkeypatch):
    fit(run(max_epochs=1, schedule="constant"), tmp_path)
    epoch = Training.epoch

    def interrupted(self, show):
        if self.state.epoch == 2:
            raise KeyboardInterrupt
        return epoch(self, show)

    monkeypatch.setattr(Training, "epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(run(max_epochs=3, schedule="constant"), tmp_path)
    monkeypatch.setattr(Training, "epoch", epoch)
    fit(run(max_epochs=3, schedule="constant"), tmp_path)
    assert "continuing after epoch 2" in (tmp_path / "train.log").read_text()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"schedule": "cosine"}, "schedule = cosine spreads the learning rate over the whole length"),
        ({"schedule": "one_cycle"}, "schedule = one_cycle spreads"),
        (
            {"schedule": "constant", "second_stage_start": 0.5},
            "second_stage_start is a share of the whole length",
        ),
    ],
)
def test_a_run_whose_epochs_depend_on_its_length_is_not_made_longer(run, tmp_path, options, says):
    fit(run(max_epochs=1, **options), tmp_path)
    with pytest.raises(InputError, match=rf"max_epochs = 1, now it is 2; {says}.*start_from = {tmp_path}"):
        fit(run(max_epochs=2, **options), tmp_path)


@pytest.mark.parametrize("changes", [{"max_epochs": 1}, {"max_epochs": 3, "seed": 1}, {"max_minutes": 1.0}])
def test_other_changes_of_a_complete_run_are_refused(run, tmp_path, changes):
    fit(run(max_epochs=2, schedule="constant"), tmp_path)
    with pytest.raises(InputError, match="back to resume"):
        fit(run(**{"max_epochs": 2, "schedule": "constant", **changes}), tmp_path)


@pytest.mark.parametrize("bound", ["max_minutes", "max_core_minutes"])
def test_more_minutes_are_more_epochs(run, tmp_path, bound):
    fit(run(max_epochs=100_000, schedule="constant", **{bound: 0.5 / 60}), tmp_path)
    epochs = len((tmp_path / "metrics.csv").read_text().splitlines())
    fit(run(max_epochs=100_000, schedule="constant", **{bound: 1.0 / 60}), tmp_path)
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) > epochs
    assert f"train.{bound} = 0.0166667" in (tmp_path / "train.log").read_text()


def test_a_data_file_that_changed_after_the_end_is_told(run, data, tmp_path):
    copy = data / "changing.xyz"
    copy.write_bytes((data / "clusters.xyz").read_bytes())
    config = run(files=["changing.xyz"], max_epochs=1)
    fit(config, tmp_path)
    content = copy.read_text()
    copy.write_text(content.replace("atoms4", "atoms5"))
    with pytest.raises(InputError, match=r"changing\.xyz has changed since the run in .* was complete"):
        fit(config, tmp_path)
    copy.unlink()
    assert fit(config, tmp_path).elements == ("Al", "Cu")


# --- nonlinear ACE from linear ACE ------------------------------------------------------------------------

LINEAR = {
    "preset": "ace-small",
    "cutoff": 4.0,
    "l_max": 1,
    "num_radial": 4,
    "total_degree": [5.0, 5.0, 5.0],
    "energy_reference": "mean",
}
EMBEDDING = {"hidden_irreps": "2x0e", "readout_function": "finnis_sinclair", "readout_exponents": [0.5, 1.0]}


@pytest.fixture
def solved(data, tmp_path):
    """The folder of a linear ACE that was solved for."""
    files = {"train": [str(data / "clusters.xyz")], "valid": 4}
    fit(
        RunConfig.from_dict({"model": LINEAR, "data": files, "train": {"verify": False}}), tmp_path / "linear"
    )
    return tmp_path / "linear"


def test_nonlinear_ace_starts_with_what_linear_ace_predicts(tune, solved, data):
    at = initial(prepare(tune(model=EMBEDDING, start_from=str(solved))))
    linear = Potential.load(solved / "model.safetensors")
    assert at.config.readout_exponents == (0.5, 1.0)
    assert at.config.total_degree == linear.config.total_degree
    for atoms in ase.io.read(data / "test.xyz", ":"):
        expected, found = (p(build_graph(atoms, p.elements, p.cutoff)) for p in (linear, at))
        torch.testing.assert_close(found.energy, expected.energy, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(found.forces, expected.forces, rtol=1e-10, atol=1e-11)


def test_every_density_learns_from_the_first_step_on(tune, solved, tmp_path):
    run = tune(model=EMBEDDING, start_from=str(solved), max_epochs=2, learning_rate=1e-4)
    at, before = fit(run, tmp_path / "run"), Potential.load(solved / "model.safetensors")
    weight, linear = (p.network.get_parameter("layers.0.product.weight").detach() for p in (at, before))
    linear = linear * before.network.readouts[0].mlp.weight.item()
    assert weight[:, :, 0].any()
    moved = (weight[:, :, 1] - linear[:, :, 0]).abs().max()
    assert 0 < moved < 1e-2


def test_training_does_not_leave_it_worse(tune, solved, tmp_path):
    run = tune(model=EMBEDDING, start_from=str(solved), max_epochs=20, learning_rate=3e-4)
    fit(run, tmp_path / "run")
    errors = [
        json.loads((place / "summary.json").read_text())["errors"] for place in (solved, tmp_path / "run")
    ]
    linear, nonlinear = ([of["valid"][q]["rmse"] for q in ("energy_per_atom", "forces")] for of in errors)
    assert all(after < before for before, after in zip(linear, nonlinear, strict=True))


def test_steps_that_make_it_worse_leave_it_as_it_was(tune, solved, tmp_path):
    run = tune(
        start_from=str(solved), solver="gradient", max_epochs=2, learning_rate=5.0, schedule="constant"
    )
    at, before = fit(run, tmp_path / "run"), Potential.load(solved)
    assert all(torch.equal(value, at.state_dict()[name]) for name, value in before.state_dict().items())
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["epoch"], summary["best_epoch"]) == (2, 0)
    fit(run.replace(train=run.train.replace(max_epochs=3)), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["best_epoch"] == 0


def test_the_preset_of_nonlinear_ace_starts_from_that_of_linear_ace(tune, solved):
    own = {key: value for key, value in LINEAR.items() if key != "energy_reference"}
    run = tune(model={**own, "preset": "ace-fs-small"}, start_from=str(solved))
    assert prepare(run).start.config.readout_exponents == (1.0, 0.5)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (
            {**EMBEDDING, "num_radial": 3},
            r"architecture than the run: model\.num_radial = 3 \(there 4\)\. Set",
        ),
        (
            {**EMBEDDING, "readout_exponents": [0.5, 2.0]},
            r"hidden_irreps = 2x0e \(there 1x0e\), readout_func",
        ),
        ({"hidden_irreps": "2x0e", "readout_width": 0}, r"hidden_irreps = 2x0e \(there 1x0e\)\. Set"),
    ],
)
def test_another_nonlinear_ace_is_refused(tune, solved, model, says):
    with pytest.raises(InputError, match=says):
        prepare(tune(model=model, start_from=str(solved)))


def test_nonlinear_ace_starts_from_nothing_else(tune, start):
    with pytest.raises(InputError, match="another architecture"):
        prepare(tune(model={"preset": "ace-fs-small"}))
