"""Study files: which points they have, and what is refused."""

import pytest
import rich

from multiace.errors import InputError
from multiace.study.config import StudyConfig
from multiace.study.plan import plan
from multiace.study.plan_table import plan_table
from multiace.study.tables import short
from multiace.train.config import TrainConfig
from multiace.train.route import is_solved

REFERENCE = {
    "E0": {"model.scale": "none", "model.shift": "none"},
    "mean": {"model.scale": "none"},
}


def points(sections, **changes):
    return plan(StudyConfig.from_dict(sections | changes)).points


def test_a_grid_has_all_combinations(sections):
    found = points(sections, axes={"model.correlation": [1, 2, 3], "reference": REFERENCE})
    assert [p.name for p in found[:3]] == [
        "model.correlation = 1, reference = E0",
        "model.correlation = 1, reference = mean",
        "model.correlation = 2, reference = E0",
    ]
    assert len(found) == 6
    run = found[0].run.model
    assert (run.correlation, run.scale, run.shift) == (1, "none", "none")
    assert found[1].run.model.shift == "mean"
    assert len({p.folder for p in found}) == 6


@pytest.mark.parametrize("design", ["grid", "one_at_a_time", "path"])
def test_without_axes_the_base_is_the_only_point(sections, design):
    del sections["axes"]
    (found,) = points(sections, design=design)
    assert found.name == "base"
    assert found.run.model.correlation == 1


def test_one_at_a_time_is_the_base_and_each_value_alone(sections):
    axes = {"model.correlation": [2, 3], "model.nonlinearity": ["gate"]}
    found = points(sections, axes=axes, design="one_at_a_time")
    assert [p.name for p in found] == [
        "base",
        "model.correlation = 2",
        "model.correlation = 3",
        "model.nonlinearity = gate",
    ]
    assert [p.run.model.correlation for p in found] == [1, 2, 3, 1]


def test_a_path_changes_one_thing_after_another(sections):
    axes = {
        "model.nonlinearity": ["gate"],
        "model.correlation": [2],
        "two": {"more": {"model.correlation": 3}},
    }
    found = points(sections, axes=axes, design="path")
    assert [(p.run.model.nonlinearity, p.run.model.correlation) for p in found] == [
        ("none", 1),
        ("gate", 1),
        ("gate", 2),
        ("gate", 3),
    ]


def test_seeds_share_points_and_splits(sections):
    planned = plan(StudyConfig.from_dict(sections))
    assert [(run.seed, run.config.train.seed) for run in planned.runs] == [(1, 1), (1, 1), (2, 2), (2, 2)]
    assert len({run.config.data.model_dump_json() for run in planned.runs}) == 1
    assert len({run.name for run in planned.runs}) == 4
    again = plan(StudyConfig.from_dict(sections))
    assert [run.name for run in again.runs] == [run.name for run in planned.runs]


def test_a_point_keeps_its_folder_when_a_field_is_added():
    """Else a study that began with an earlier version would begin again."""
    base = {"model": {"preset": "mace-small"}, "data": {"train": ["train.xyz"], "valid": 4}}
    study = {"base": base, "seeds": [1], "budget": {"epochs": 2}, "design": "one_at_a_time"}
    before, changed = points(study, axes={"model.feature_norm": ["layer"]})
    assert before.folder == "base-684e35be"
    assert changed.folder[-8:] != before.folder[-8:]


def test_presets_are_an_axis(sections):
    base = sections["base"] | {"model": {"cutoff": 4.0}}
    found = points(sections, base=base, axes={"model.preset": ["nequip-small", "mace-small"]})
    assert [p.run.model.correlation for p in found] == [1, 3]
    assert {p.run.model.cutoff for p in found} == {4.0}


def test_a_value_may_leave_fields_of_the_base_without_effect(sections):
    base = sections["base"] | {
        "model": sections["base"]["model"] | {"nonlinearity": "gate", "activation": "gelu"}
    }
    found = points(sections, base=base, axes={"model.nonlinearity": ["gate", "none"]})
    assert [p.run.model.nonlinearity for p in found] == ["gate", "none"]


def test_combinations_that_are_no_model_are_left_out_of_a_grid(sections):
    axes = {"model.correlation": [1, 2], "model.l_max": [1, 2]}
    planned = plan(StudyConfig.from_dict(sections | {"axes": axes}))
    assert [tuple(p.labels.values()) for p in planned.points] == [("1", "1"), ("2", "1"), ("2", "2")]
    ((name, why),) = planned.left_out.items()
    assert name == "model.correlation = 1, model.l_max = 2"
    assert "model.l_max = 2 has no effect above 1" in why


def test_the_budget_is_the_same_for_all(sections):
    del sections["base"]["train"]["max_epochs"]
    found = points(sections, budget={"epochs": 7, "minutes": 0.5})
    assert {(p.run.train.max_epochs, p.run.train.max_minutes) for p in found} == {(7, 0.5)}


def test_steps_are_a_budget_and_the_only_one(sections):
    del sections["base"]["train"]["max_epochs"]
    found = points(sections, budget={"steps": 70})
    assert {(p.run.train.max_epochs, p.run.train.max_steps) for p in found} == {(None, 70)}


LEARNING = {
    "axes": {"model.preset": ["ace", "mace-small"], "data.valid": [4, 6]},
    "budget": {"steps": 70, "minutes": 5},
}


def test_a_budget_and_a_rate_do_not_keep_models_from_being_solved_for(sections):
    """Learning curves of models of both kinds: bounds and rates of gradient steps are those of the others."""
    train = {"learning_rate": 0.003, "max_edges": 200, "second_stage_start": 0.5}
    base = sections["base"] | {
        "model": {"cutoff": 4.0},
        "train": {**train, "second_stage_energy_weight": 9.0, "energy_weight": 5.0},
    }
    found = points(sections, base=base, **LEARNING)
    assert [p.name for p in found if is_solved(p.run)] == [
        "model.preset = ace, data.valid = 4",
        "model.preset = ace, data.valid = 6",
    ]
    plain = TrainConfig()
    for p in found:
        fields = {field: getattr(p.run.train, field) for field in (*train, "max_steps", "max_minutes")}
        expected = {**train, "max_steps": 70, "max_minutes": 5}
        if is_solved(p.run):
            expected = {field: getattr(plain, field) for field in fields}
        assert fields == expected
        assert p.run.train.energy_weight == 5.0


def test_a_gradient_field_is_no_axis_of_a_model_that_is_solved_for(sections):
    base = sections["base"] | {"model": {"cutoff": 4.0}}
    axes = {"model.preset": ["ace", "mace-small"], "train.learning_rate": [0.003, 0.03]}
    with pytest.raises(
        InputError, match=r"ace goes with no value of the other axes: train\.learning_rate has no"
    ):
        points(sections, base=base, axes=axes)
    kinds = {
        "ace": {"model.preset": "ace"},
        "fast": {"model.preset": "mace-small", "train.learning_rate": 0.03},
    }
    assert [p.run.train.learning_rate for p in points(sections, base=base, axes={"kind": kinds})] == [
        0.01,
        0.03,
    ]


def test_paths_are_relative_to_the_study_file(sections, write, tmp_path):
    sections["base"]["data"] = {"train": "train.xyz", "valid": 0.1}
    sections["axes"] = {"data.train": ["train.xyz", "other.xyz"]}
    found = plan(StudyConfig.read(write(sections))).points
    assert [p.run.data.train for p in found] == [
        (str(tmp_path / "train.xyz"),),
        (str(tmp_path / "other.xyz"),),
    ]
    assert found[0].name == "data.train = train.xyz"


REFUSED = {
    "no mapping": ({"axes": None}, "study.axes = null must hold axes, such as"),
    "no base, no axes": ({"axes": {}, "base": {}}, "study, base: .*no section 'data'"),
    "unknown field": ({"axes": {"model.corelation": [1]}}, "Did you mean 'correlation'"),
    "unknown section": ({"axes": {"modell.correlation": [1]}}, "is not section.field of a run file"),
    "seed": (
        {"axes": {"train.seed": [1, 2]}},
        "changes train.seed, which is the same for all points: set seeds",
    ),
    "epochs": ({"axes": {"train.max_epochs": [1, 2]}}, "set budget.epochs"),
    "steps": ({"axes": {"train.max_steps": [1, 2]}}, "set budget.steps"),
    "a solver without a linear model": (
        {"axes": {"train.solver": ["ridge"]}},
        "study.axes: train.solver = ridge: train.solver = ridge needs a model",
    ),
    "twice": ({"axes": {"model.l_max": [1, 1]}}, "model.l_max has a value twice"),
    "no values": ({"axes": {"model.l_max": []}}, "model.l_max has no values"),
    "a number": ({"axes": {"model.l_max": 3}}, "a list of values is needed"),
    "an empty bundle": ({"axes": {"own": {"one": {}}}}, "own, one must hold fields"),
    "seeds": ({"seeds": [1, 1]}, r"study.seeds = \[1, 1\]"),
    "a path of lists": ({"design": "path", "axes": {"model.l_max": [1, 2]}}, "model.l_max has 2 values"),
    "one field twice": (
        {"axes": {"model.l_max": [1, 2], "own": {"one": {"model.l_max": 3}}}},
        "model.l_max and own both change model.l_max",
    ),
    "without effect in all": (
        {"axes": {"model.nonlinearity": ["none", "gate"], "model.activation": ["silu", "gelu"]}},
        "nonlinearity = none goes with no value of the other axes: model.activation has no effect.* one axis, name:",
    ),
    "impossible alone": (
        {"axes": {"model.scale": ["nothing"]}},
        "study.axes: model.scale = nothing: model.scale",
    ),
    "impossible in a path": (
        {"design": "path", "axes": {"model.scale": ["nothing"]}},
        "model.scale = nothing: model",
    ),
    "the base again": ({"design": "one_at_a_time", "axes": {"model.l_max": [1]}}, "are the same"),
    "given twice": ({"budget": {"epochs": 3}}, "the base has train.max_epochs, and the budget says the same"),
    "unknown key": ({"seed": [1]}, "study has no field 'seed'. Did you mean 'seeds'"),
    "no base": ({"base": {}}, "study, all points: .*no section 'data'"),
    "several processes": (
        {"axes": {"processes": {"two": {"train.devices": 2, "train.strategy": "ddp"}}}},
        "study.axes: processes = two: train.devices or train.num_nodes is above 1, but a run of a study is one",
    ),
    "a number of seeds": ({"seeds": 3}, r"study.seeds = 3: write each of them; for three, \[1, 2, 3\]"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_study_is_refused(name, sections):
    changes, sentence = REFUSED[name]
    with pytest.raises(InputError, match=sentence):
        plan(StudyConfig.from_dict(sections | changes))


def test_a_seed_of_the_base_is_refused(sections):
    sections["base"]["train"]["seed"] = 5
    with pytest.raises(InputError, match=r"the base has train.seed.* say seeds"):
        plan(StudyConfig.from_dict(sections))


def test_values_with_brackets_are_printed_as_they_are(sections, capsys):
    sections["axes"] = {"data.train": [["a.xyz", "b.xyz"], ["/b.xyz"]]}
    rich.print(plan_table(plan(StudyConfig.from_dict(sections))))
    told = capsys.readouterr().out
    assert "train = [a.xyz, b.xyz]" in told
    assert "train = [/b.xyz]" in told


@pytest.mark.parametrize(
    ("point", "told"),
    [
        ("model.l_max = 2, train.learning_rate = 0.1", "l_max = 2, learning_rate = 0.1"),
        ("data.train = train.xyz", "train = train.xyz"),
        ("data.train = mydata.xyz", "train = mydata.xyz"),
        ("both alone, model.l_max = 2 with model.nu = 3", "both alone, l_max = 2 with nu = 3"),
    ],
)
def test_points_are_told_without_their_sections(point, told):
    assert short(point) == told
