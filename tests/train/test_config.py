import pytest
import yaml

from multiace.errors import InputError
from multiace.train.config import RunConfig, TrainConfig


def test_run_file_with_three_short_sections_is_enough(tmp_path):
    (tmp_path / "run.yaml").write_text(
        "model: {preset: botnet-small}\ndata: {train: a.xyz, valid: b.xyz}\ntrain:\n"
    )
    run = RunConfig.read(tmp_path / "run.yaml", ["train.max_epochs=7", "model.cutoff=4.5"])
    assert run.train.max_epochs == 7
    assert run.model.cutoff == 4.5
    assert run.model.num_layers == 3  # of the preset
    assert run.train.batch_size == 5


def test_paths_in_file_are_relative_to_it_and_paths_in_overrides_to_the_working_directory(
    tmp_path, monkeypatch
):
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep" / "run.yaml").write_text(
        "data: {train: [a.xyz, ../b.xyz@:5], valid: 0.2, test: t.xyz}"
    )
    run = RunConfig.read("deep/run.yaml", ["data.test=[t.xyz]"])
    assert run.data.train == (f"{tmp_path}/deep/a.xyz", f"{tmp_path}/b.xyz@:5")
    assert run.data.valid == 0.2
    assert run.data.test == (f"{tmp_path}/t.xyz",)


def test_resolved_yaml_reads_back_the_same(run):
    config = run(max_edges=100, batch_size=None, second_stage_start=0.5, second_stage_energy_weight=10.0)
    assert RunConfig.from_dict(yaml.safe_load(config.to_yaml())) == config


@pytest.mark.parametrize(
    ("model", "overrides", "says"),
    [
        ("{hidden_irreps: 8x0e + 8x1o, l_max: 1, num_layers: 2}", ["model.num_layers=1"], None),
        (
            "{hidden_irreps: 8x0e + 8x1o, l_max: 1, num_layers: 1}",
            ["model.cutoff=4"],
            "model.hidden_irreps = 8x0e",
        ),
        ("{preset: botnet, num_layers: 1}", ["model.self_connection=none"], "model.self_connection has no"),
        ("{preset: painn, radial_widths: [8]}", [], "model.radial_widths has no effect"),
        ("{preset: painn, radial_widths: [8]}", ["train.seed=1"], "model.radial_widths has no effect"),
        ("{preset: painn, radial_widths: [8]}", ["model.radial_network=mlp"], None),
        ("{preset: botnet, radial_widths: [8]}", ["model.preset=painn"], None),
        ("{l_max: true}", [], "model.l_max = true cannot be used"),
        ("{l_max: 3}", ["model.l_max=true"], "model.l_max = true cannot be used"),
        ("{preset: botnet, preset: mace}", [], "line 1: 'preset' is given twice"),
        ("botnet", ["model.cutoff=4"], "section 'model' must hold fields, found 'botnet'"),
        ("{on: 1}", [], "model has no field 'True'"),
    ],
)
def test_a_field_of_the_model_acts_unless_something_later_left_it_idle(tmp_path, model, overrides, says):
    (tmp_path / "run.yaml").write_text(f"model: {model}\ndata: {{train: a.xyz}}\n")
    if says is None:
        RunConfig.read(tmp_path / "run.yaml", overrides)
    else:
        with pytest.raises(InputError, match=says):
            RunConfig.read(tmp_path / "run.yaml", overrides)


def test_a_resolved_run_file_is_read_with_what_its_preset_left_idle(run, tmp_path):
    config = run(
        model={"preset": "painn-small", "hidden_irreps": "4x0e", "l_max": 0, "radial_network": "mlp"}
    )
    config = config.replace(model=config.model.replace(radial_network="linear"))
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert RunConfig.read(tmp_path / "config.yaml") == config
    assert RunConfig.read(tmp_path / "config.yaml", ["model.num_layers=1"]).model.num_layers == 1
    with pytest.raises(InputError, match=r"model\.radial_widths has no effect"):
        RunConfig.read(tmp_path / "config.yaml", ["model.radial_widths=[4]"])


@pytest.mark.parametrize(
    ("fields", "says", "acts"),
    [
        (
            {"plateau_patience": 9},
            "plateau_patience has no effect with schedule = cosine",
            {"schedule": "plateau"},
        ),
        (
            {"schedule": "constant", "min_learning_rate": 0},
            "min_learning_rate has",
            {"schedule": "one_cycle"},
        ),
        ({"huber_delta": 0.1}, "huber_delta has .* forces_loss = mse and", {"forces_loss": "huber"}),
        ({"stress_loss": "mae"}, "stress_loss has", {"stress_weight": 1.0}),
        (
            {"stress_loss": "mae"},
            "stress_loss has",
            {"second_stage_start": 0.5, "second_stage_stress_weight": 1},
        ),
    ],
)
def test_a_field_of_training_without_effect_is_refused(fields, says, acts):
    with pytest.raises(InputError, match=rf"train\.{says}"):
        TrainConfig(**fields)
    TrainConfig(**{**fields, **acts})


def test_fields_of_data_and_training_may_be_left_idle_by_an_override(tmp_path):
    (tmp_path / "run.yaml").write_text(
        "data: {train: a.xyz, valid: 0.2, seed: 3}\ntrain: {schedule: plateau, plateau_factor: 0.5}\n"
    )
    RunConfig.read(tmp_path / "run.yaml", ["train.schedule=cosine", "data.valid=b.xyz"])
    with pytest.raises(InputError, match=r"train\.plateau_patience has no effect"):
        RunConfig.read(tmp_path / "run.yaml", ["train.schedule=cosine", "train.plateau_patience=4"])
    with pytest.raises(InputError, match=r"data\.seed has no effect with valid = .*b\.xyz"):
        RunConfig.read(tmp_path / "run.yaml", ["data.seed=4", "data.valid=b.xyz"])


def test_second_stage_replaces_only_what_it_names():
    config = TrainConfig(second_stage_start=0.8, second_stage_energy_weight=100.0)
    assert config.stage(0) == config
    assert config.stage(1).energy_weight == 100.0
    assert config.stage(1).forces_weight == config.forces_weight
