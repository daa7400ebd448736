"""Published tables: what they say, what is run for them, and what is told of it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import yaml
from scipy import stats

from multiace.cli import main
from multiace.errors import InputError
from multiace.model.potential import Potential, Statistics
from multiace.study.published import table as registry
from multiace.study.published.pages import differences, published_page, result_page
from multiace.study.published.printed import Printed, difference
from multiace.study.published.runs import find_files, plan_table
from multiace.study.published.table import SIZES, Loss, PublishedTable, Source, names, read
from multiace.study.published.writing import markdown
from multiace.study.store import Store
from multiace.train.config import TrainConfig

NAMES = ("3bpa", "acac", "rmd17", "rmd17-50")
SAMPLE = Source(cite="a paper", deviation="sample", runs=3)
POPULATION = Source(cite="a paper", deviation="population", runs=3)


@pytest.fixture
def folder(tmp_path):
    """A folder with a file, without content, for each that a table names."""
    for name in names():
        table = read(name)
        (tmp_path / table.data).mkdir(exist_ok=True)
        for trained in table.sets.values():
            valid = trained.valid if isinstance(trained.valid, tuple) else ()
            for file in (*trained.train, *valid, *trained.tests.values()):
                (tmp_path / table.data / file.partition("@")[0]).touch()
    return tmp_path


def configs(name, size):
    """Run file of each model, on the first set."""
    planned = plan_table(read(name), size, "data")
    found = {}
    for point in planned.points:
        found.setdefault(point.labels["model"], point.run)
    return found


# what the tables say


def test_tables():
    assert tuple(names()) == NAMES


@pytest.mark.parametrize(
    ("name", "model", "row", "values"),
    [
        ("acac", "botnet", "600 K", ("6.2 (1.1)", "29.8 (1.0)")),
        ("acac", "nequip", "300 K", ("0.81 (0.04)", "5.90 (0.38)")),
        ("acac", "mace", "600 K", ("4.6 (0.3)", "22.4 (0.9)")),
        ("3bpa", "ace", "1200 K", ("85.3", "187.0")),
        ("3bpa", "nequip-allegro23", "1200 K", ("38.52 (2.00)", "76.18 (1.36)")),
        ("3bpa", "nequip-mace22", "600 K", ("11.3 (0.31)", "27.3 (0.3)")),
        ("3bpa", "botnet", "dihedral", ("16.3 (1.5)", "20.0 (1.2)")),
        ("3bpa", "mace-L0", "1200 K", ("37.1 (0.8)", "81.6 (3.89)")),
        ("3bpa", "mace-L1", "300 K", ("3.4 (0.2)", "10.3 (0.3)")),
        ("3bpa", "mace-L2", "300 K", ("3.0 (0.2)", "8.8 (0.3)")),
        ("rmd17", "botnet", "benzene", ("0.03", "0.3")),
        ("rmd17", "mace", "aspirin", ("2.2", "6.6")),
        ("rmd17", "nequip", "naphthalene", ("0.9", "1.3")),
        ("rmd17", "ace", "uracil", ("1.1", "6.6")),
        ("rmd17-50", "ace", "aspirin", ("26.2", "63.8")),
        ("rmd17-50", "mace", "uracil", ("4.4", "25.9")),
    ],
)
def test_published_numbers(name, model, row, values):
    column = read(name).models[model]
    printed = [column.printed(row, quantity) for quantity in ("energy", "forces")]
    assert tuple(number.text for number in printed) == values


def test_linear_ace_has_no_dihedral():
    assert read("3bpa").models["ace"].printed("dihedral", "energy") is None


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_every_size_of_every_table_can_be_planned(name, size, folder):
    table = read(name)
    assert find_files(table, folder) == {}
    planned = plan_table(table, size, folder)
    assert len(planned.points) == len(table.models) * len(table.sets)
    assert planned.seeds == table.seeds[size]
    assert len({run.name for run in planned.runs}) == len(planned.points) * len(planned.seeds)
    for point in planned.points:
        run, model = point.run, table.models[point.labels["model"]]
        assert run.model.is_linear == model.solved
        if model.solved:  # what concerns gradients would be refused
            assert run.train == TrainConfig(energy_weight=run.train.energy_weight)
        tests = table.sets[point.labels["set"]].tests.values()
        assert run.data.test == tuple(str(folder / table.data / file) for file in tests)


@pytest.mark.parametrize("name", NAMES)
def test_sizes_share_no_run_and_reduced_ones_are_small(name):
    full, reduced = (plan_table(read(name), size, "data") for size in SIZES)
    assert not {run.name for run in full.runs} & {run.name for run in reduced.runs}
    for large, small in zip(full.points, reduced.points, strict=True):
        assert large.labels == small.labels
        assert large.run.data == small.run.data
        assert small.run.model.irreps.dim < large.run.model.irreps.dim or small.run.model.is_linear


def test_settings_of_the_original():
    run = configs("3bpa", "full")["botnet"]
    assert (run.model.cutoff, run.model.num_layers, run.model.envelope_power) == (4.0, 5, 6)
    assert (run.model.dtype, run.model.scale, run.model.shift) == ("float64", "rms_force", "mean")
    train = run.train
    assert (train.optimizer, train.learning_rate, train.batch_size) == ("amsgrad", 0.01, 5)
    assert (train.schedule, train.plateau_factor, train.plateau_patience) == ("plateau", 0.8, 50)
    assert (train.ema_decay, train.weight_decay, train.clip_norm) == (0.99, 0.0, None)
    assert (train.max_epochs, train.early_stopping) == (3000, 512)
    nequip = configs("3bpa", "full")["nequip-allegro23"]
    assert (nequip.model.cutoff, nequip.model.envelope_power, nequip.train.max_minutes) == (
        5.0,
        2,
        7 * 24 * 60,
    )
    assert configs("acac", "full")["mace"].train.weight_decay == 5e-7


def test_a_learning_curve_has_parts_of_files():
    run = configs("rmd17-50", "full")["mace"]
    assert run.data.train[0].endswith("rmd17/aspirin_train_01.xyz@:50")
    assert run.data.valid[0].endswith("rmd17/aspirin_train_01.xyz@50:100")


def test_published_number_of_parameters_of_mace():
    """The original has 187 weights of products for each element and channel where 62 are independent."""
    model = configs("acac", "full")["mace"].model.replace(elements=("H", "C", "O"))
    potential = Potential(model, Statistics(np.zeros(3), 1.0, 0.0, 10.0))
    ours = sum(parameter.numel() for parameter in potential.parameters())
    assert ours + 3 * (187 - 62) * 256 == read("acac").models["mace"].parameters


# the loss


@pytest.mark.parametrize("power", [0, 1, 2])
def test_our_loss_is_that_of_the_original(power):
    random, N = np.random.default_rng(0), 27
    energy, forces = random.normal(size=5), random.normal(size=(5, N, 3))
    loss = Loss(energy=3.0, forces=7.0, power=power)
    original = 3.0 * np.mean(energy**2 / N**power) + 7.0 * np.mean(forces**2)
    w = loss.weights(N)
    ours = w["train.energy_weight"] * np.mean((energy / N) ** 2) + w["train.forces_weight"] * np.mean(
        forces**2
    )
    assert ours == pytest.approx(original, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "model", "weights"),
    [
        ("3bpa", "botnet", (729, 729)),  # 27 mean(ΔE²/27) + 729 mean(ΔF²): per atom, both alike
        ("3bpa", "nequip-allegro23", (1, 1)),
        ("3bpa", "mace-L2", (729, 1000)),  # forces 1.37 times more
        ("acac", "botnet", (225, 225)),
        ("acac", "mace", (225, 1000)),
        ("rmd17", "botnet", (1, 1)),
        ("rmd17", "mace", (441, 1000)),  # aspirin has 21 atoms
    ],
)
def test_weights_of_the_loss(name, model, weights):
    train = configs(name, "full")[model].train
    assert (train.energy_weight, train.forces_weight) == weights


def test_weights_of_mace_follow_the_molecule():
    points = plan_table(read("rmd17").only(["mace"]), "full", "data").points
    weights = {point.labels["set"]: point.run.train.energy_weight for point in points}
    assert (weights["ethanol"], weights["azobenzene"]) == (81, 576)


# printed numbers


def test_deviations_of_the_population_become_those_of_the_sample():
    """One paper prints 0.10 (n - 1) for runs of which the other prints 0.08 (n)."""
    assert Printed.parse("3.84 (0.08)").sample_deviation(POPULATION) == pytest.approx(0.08 * 1.5**0.5)
    assert Printed.parse("3.84 (0.08)").shown(POPULATION) == "3.84 ± 0.10"
    assert Printed.parse("3.84 (0.10)").shown(SAMPLE) == "3.84 ± 0.10"
    assert Printed.parse("23.2").shown(POPULATION) == "23.2"


@pytest.mark.parametrize("text", ["", "3.1 0.1", "3.1 ± 0.1", "-", "3.1 ()"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(InputError, match="is no published number"):
        Printed.parse(text)


def test_interval_of_a_difference_is_that_of_welch():
    ours = [5.0, 5.4, 5.9, 5.3]
    theirs = Printed.parse("6.000000 (0.300000)")  # rounding plays no part
    found = difference(ours, theirs, SAMPLE)
    test = stats.ttest_ind_from_stats(np.mean(ours), np.std(ours, ddof=1), 4, 6.0, 0.3, 3, equal_var=False)
    half = (found.high - found.low) / 2
    assert found.value == pytest.approx(np.mean(ours) - 6.0)
    error = abs(found.value / test.statistic)
    u, v = np.var(ours, ddof=1) / 4, 0.3**2 / 3
    freedom = (u + v) ** 2 / (u**2 / 3 + v**2 / 2)
    assert half == pytest.approx(stats.t.ppf(0.975, freedom) * error, rel=1e-4)


@pytest.mark.parametrize(
    ("ours", "statement"),
    [
        ([5.10, 5.11, 5.12], "lower"),
        ([7.10, 7.11, 7.12], "higher"),
        ([5.10, 6.11, 7.12], ""),
        ([5.10], ""),
    ],
)
def test_a_statement_needs_an_interval_without_zero(ours, statement):
    assert difference(ours, Printed.parse("6.00 (0.05)"), SAMPLE).statement == statement


def test_without_a_published_deviation_nothing_is_said():
    found = difference([1.0, 1.01, 1.02], Printed.parse("6.0"), SAMPLE)
    assert (found.statement, found.low) == ("", None)


def test_a_deviation_that_is_rounded_to_zero_is_not_zero():
    theirs = Printed.parse("0.9 (0.0)")
    found = difference([0.95, 0.95, 0.95], theirs, SAMPLE)
    t = stats.t.ppf(0.975, 2)
    assert found.high - found.low == pytest.approx(2 * (t * 0.05 / 3**0.5 + 0.05))
    assert found.statement == ""


# what is told


def results(scale, files=("test_MD_300K.xyz", "test_MD_600K.xyz"), parameters=7):
    errors = {
        file: {q: {"rmse": scale * (n + 1), "mae": 1.0} for q in ("energy", "forces")}
        for n, file in enumerate(files)
    }
    return {"errors": errors, "parameters": parameters, "seconds": 1.0}


@pytest.fixture
def store(folder, tmp_path):
    """A folder with runs of both sizes of AcAc, some of them done."""
    store, table = Store(tmp_path / "runs"), read("acac")
    for size, scale in (("full", 5.0), ("reduced", 100.0)):
        planned = plan_table(table, size, folder)
        store.add(planned.runs)
        for run in planned.runs:
            if run.point.labels["model"] != "mace":
                store.done(run.name, results(scale + 0.1 * run.seed))
    return store


def page(store, folder, size, absent=()):
    table = read("acac")
    return result_page(table, size, plan_table(table, size, folder), store.rows(), dict(absent))


def line(found, *start):
    (only,) = [line for line in found.sections[0].lines if line[: len(start)] == start]
    return only


def test_full_and_reduced_runs_are_never_mixed(store, folder):
    full, reduced = page(store, folder, "full"), page(store, folder, "reduced")
    start = ("300 K", "forces [meV/Å]", "botnet")
    assert line(full, *start) == (*start, "6.3 ± 0.0", "5.2 ± 0.1", "3", "-1.1", "-1.4 .. -0.8", "lower")
    assert line(reduced, *start) == (*start, "6.3 ± 0.0", "100.2 ± 0.1", "2", "+93.9")
    assert full.title == "Acetylacetone, trained at 300 K: full size"
    assert "REDUCED" in reduced.title
    assert "here is" not in reduced.sections[0].head


def test_models_without_runs_have_published_numbers_alone(store, folder):
    start = ("600 K", "energy [meV]", "mace")
    assert line(page(store, folder, "full"), *start) == (*start, "4.6 ± 0.4", "", "", "", "", "")


def test_parameters_are_compared(store, folder):
    found = line(page(store, folder, "full"), "", "parameters", "botnet")
    assert found[3:5] == ("2,756,416", "7")


def test_rows_without_data_are_told(folder, tmp_path):
    (folder / "acac/test_MD_600K.xyz").unlink()
    table, store = read("acac"), Store(tmp_path / "runs")
    absent = find_files(table, folder)
    assert absent == {"600 K": "test_MD_600K.xyz"}
    planned = plan_table(table, "full", folder, absent)
    store.add(planned.runs)
    for run in planned.runs:
        assert run.config.data.test == (str(folder / "acac/test_MD_300K.xyz"),)
        store.done(run.name, results(5.0, ["test_MD_300K.xyz"]))
    found = result_page(table, "full", planned, store.rows(), absent)
    assert line(found, "600 K", "energy [meV]", "botnet")[3:6] == ("6.2 ± 1.3", "no data", "")
    assert line(found, "300 K", "energy [meV]", "botnet")[4] == "5.00 ± 0.00"
    assert found.notes[0].startswith("no data for 600 K: test_MD_600K.xyz is not there")


def test_what_is_different_is_listed(store, folder):
    table = read("acac")
    full, reduced = "\n".join(differences(table, "full")), "\n".join(differences(table, "reduced"))
    assert "plateau: the authors' code validates every second epoch" in full
    assert "mace: weights decay in all matrices" in full
    assert "not stated, chosen for nequip: model.trainable_radial = true" in full
    assert "reduced" not in full
    assert "reduced, botnet: model.dtype = float32 in place of float64" in reduced
    assert "model.num_layers = 3 in place of 5" in reduced
    assert "seeds [1, 2] of [1, 2, 3]" in reduced


def test_published_page_has_both_sizes_and_marks_what_is_chosen():
    table = read("acac")
    found = published_page(table, {size: plan_table(table, size, "data") for size in SIZES})
    assert found.sections[0].lines[0] == ("300 K", "energy [meV]", "0.89 (0.0)", "0.81 (0.04)", "0.9 (0.03)")
    fields = {row[0]: row[1:] for row in found.sections[1].lines}
    assert fields["model.num_layers"] == ("5* → 3", "5 → 3", "2")
    assert fields["model.neighbor_norm"] == ("mean°", "sqrt*", "mean°")
    assert fields["model.nonlinearity"] == ("none°", "gate°", "none°")  # of presets, in no line of the table
    assert all(cell for row in found.sections[1].lines for cell in row)
    assert fields["train.energy_weight"] == ("225*", "225", "225")
    assert any("standard deviations of the population of 3 runs" in note for note in found.notes)
    assert "loss of botnet: 15 mean(ΔE²/N) + 225 mean(ΔF²)" in found.notes
    text = markdown(found)
    assert "| set | quantity | BOTNet [MACE22] | NequIP [MACE22] | MACE [MACE22] |" in text
    assert len({row.count("|") for row in text.splitlines() if row.startswith("| 300 K")}) == 1


# what is refused


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"source": "MACE23"}, "botnet has no source 'MACE23'. Did you mean 'MACE22'"),
        ({"published": {"300K": [1.0, 2.0]}}, "botnet has no row '300K'. Did you mean '300 K'"),
        ({"published": {"300 K": ["1.0+0.1", 2.0]}}, "'1.0\\+0.1' is no published number"),
    ],
)
def test_tables_that_contradict_themselves_are_refused(changes, sentence):
    values = yaml.safe_load((registry.FOLDER / "acac.yaml").read_text(encoding="utf-8"))
    values["models"]["botnet"] |= changes
    with pytest.raises(InputError, match=sentence):
        PublishedTable.from_dict(values)


def test_a_part_of_a_table():
    table = read("rmd17").only(["ace", "mace"], ["ethanol"])
    assert (list(table.models), list(table.rows)) == (["ace", "mace"], ["ethanol"])
    assert list(table.models["mace"].published) == ["ethanol"]


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["acca"], "there is no published table 'acca'. Did you mean 'acac'?"),
        (["acac"], "say --size reduced"),
        (["acac", "--show", "--models", "botnot"], "no model 'botnot'. Did you mean 'botnet'?"),
        (["rmd17", "--show", "--molecules", "ethane"], "no set 'ethane'. Did you mean 'ethanol'?"),
        (["acac", "--show", "--size", "full"], "--size has no effect with --show"),
        (["acac", "--show", "--quick"], "--quick has no effect with --show"),
        (["acac", "--size", "full", "--plan", "--out", "a.md"], "--out has no effect with --plan"),
        (["acac", "--size", "full", "--jobs", "0"], "--jobs 0: one or more"),
        (["acac", "--size", "full", "--jobs", "1", "--gpus", "0"], "--jobs has no effect with --gpus"),
        (["acac", "--size", "full"], "multiace data get acac --folder data gets it"),
        (["acac", "--size", "full", "--data", "else"], "there is no else/acac/train_300K.xyz"),
    ],
)
def test_commands_that_cannot_be_done(command, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", *command]) == 2
    assert sentence in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_any_test_file_there_is_nothing_to_compare(folder):
    for file in (folder / "acac").glob("test_*"):
        file.unlink()
    with pytest.raises(InputError, match=r"there is no .*test_MD_300K\.xyz"):
        find_files(read("acac"), folder)


# the command


def told(capsys):
    return " ".join(capsys.readouterr().out.split())


def test_tables_are_listed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["reproduce"]) == 0
    out = told(capsys)
    assert "rmd17-50" in out
    assert "arXiv:2206.07697" in out


@pytest.mark.parametrize("name", NAMES)
def test_tables_are_shown_without_data(name, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", name, "--show", "--out", "page.md"]) == 0
    out = told(capsys)
    assert read(name).title in out
    assert "forces [meV/Å]" in out
    assert (tmp_path / "page.md").read_text(encoding="utf-8").startswith(f"# {read(name).title}\n")


def test_a_plan_starts_nothing(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    (folder / "3bpa/test_1200K.xyz").unlink()
    monkeypatch.chdir(folder)
    assert main(["reproduce", "3bpa", "--size", "full", "--data", ".", "--plan", "--quick"]) == 0
    out = told(capsys)
    assert "7 points, 3 seeds: 21 runs" in out
    assert "test_1200K.xyz is not there: 1200 K is not tested" in out
    assert "model = ace solved" in out
    assert "model = nequip-allegro23 100,000 10,080" in out
    assert not (folder / "runs").exists()


TINY = {
    "model.preset": "botnet-small",
    "model.hidden_irreps": "4x0e + 4x1o",
    "model.l_max": 1,
    "model.num_layers": 2,
    "model.cutoff": 4.0,
    "model.energy_reference": "mean",
    "train.verify": False,
    "train.max_epochs": 1,
}


def test_a_table_is_run_and_compared(data, tmp_path, capsys, monkeypatch, here):
    (tmp_path / "own").mkdir()
    for file in ("clusters.xyz", "test.xyz"):
        shutil.copy(data / file, tmp_path / "own" / file)
    own = {
        "title": "Clusters",
        "data": "own",
        "statistic": "rmse",
        "sources": {"A": {"cite": "a paper", "deviation": "population", "runs": 3}},
        "sets": {
            "clusters": {
                "atoms": 4,
                "train": ["clusters.xyz"],
                "valid": 4,
                "tests": {"near": "test.xyz", "far": "far.xyz"},
            }
        },
        "models": {
            "botnet": {
                "column": "BOTNet",
                "source": "A",
                "published": {"near": ["1.0 (0.1)", "2.0 (0.1)"], "far": [3.0, 4.0]},
                "loss": {"energy": 1, "forces": 10, "power": 1},
                "stated": TINY,
            }
        },
        "seeds": {"full": [1, 2], "reduced": [1]},
    }
    registered = tmp_path / "tables"
    registered.mkdir()
    (registered / "own.yaml").write_text(yaml.safe_dump(own))
    monkeypatch.setattr(registry, "FOLDER", registered)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    command = ["reproduce", "own", "--size", "full", "--data", ".", "--jobs", "2", "--out", "page.md"]
    assert main(command) == 0
    out, text = told(capsys), (tmp_path / "page.md").read_text(encoding="utf-8")
    store = Store(tmp_path / "runs/reproduce/own-full")
    rows = store.rows()
    assert [row.state for row in rows] == ["done", "done"]
    mean = np.mean([row.results["errors"]["test.xyz"]["forces"]["rmse"] for row in rows])
    assert f"| near | forces [meV/Å] | botnet | 2.0 ± 0.1 | {mean:.1f} ± " in text
    assert "| far | energy [meV] | botnet | 3.0 | no data |" in text
    assert "Clusters: full size" in out
    assert main(command) == 0  # nothing is done again
    assert [row.attempts for row in store.rows()] == [1, 1]
