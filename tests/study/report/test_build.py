"""The report of studies with drawn results: grids, changes alone and paths, whole and with gaps."""

from __future__ import annotations

import html
import re
import shutil

import pytest

from multiace.cli import main
from multiace.errors import InputError
from multiace.study.analysis import Analysis
from multiace.study.config import StudyConfig
from multiace.study.frame_errors import FILE
from multiace.study.measures import LOST, SCORES
from multiace.study.plan import plan
from multiace.study.report import build, svg
from multiace.study.report.build import write_study_report
from multiace.study.report.points import commands
from multiace.study.store import Store
from tests.study.synthetic import ALONE, BASE, GRID, PATH, write_study

NAME = "model.nonlinearity = none, reference = <b>E0</b> & 100% of_it $"


@pytest.fixture
def undrawn(monkeypatch):
    """Leave figures out, which take most of the time."""
    monkeypatch.setattr(svg, "inline", lambda content, description: "<svg></svg>")


def sections(text):
    return re.findall(r"<h2>(.*?)</h2>", text)


def words(text):
    return html.unescape(re.sub(r"<[^>]*>", " ", text)).replace("\N{NO-BREAK SPACE}", " ")


def test_the_report_of_a_grid_has_everything_and_needs_nothing_else(page):
    text = page.read_text(encoding="utf-8")
    assert sections(text) == [
        "What was studied",
        "Summary",
        "What each change does",
        "Errors of the points",
        "Curves",
        "Pairs of atoms",
        "Dynamics",
        "Error against cost",
        "Learning curves",
        "Points and runs",
        "How the numbers are made",
    ]
    assert len(text) < 1_000_000
    assert "<h3>Interactions</h3>" in text
    assert "Files of the battery that were not there: gone.xyz." in text
    assert "Not measured of 12 runs: hot: it has no &lt;label&gt;." in text
    assert "intervals over seeds and 60 structures" in text
    links = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert not [link for link in links if re.match(r"[a-z]+:|/", link)]
    assert "http" not in text.replace("http://www.w3.org/", "")  # names of XML, which are not fetched
    assert "url(http" not in text
    assert "@import" not in text


def test_what_is_planted_is_found(page):
    text = words(page.read_text(encoding="utf-8"))
    assert re.search(r"nonlinearity = gate instead of none : energy RMSE: −\d+ % on near \(−", text)
    assert re.search(r"nonlinearity = gate instead of none +lowers (some )?errors in the domain", text)


def test_every_score_is_defined(page, store):
    text = page.read_text(encoding="utf-8")
    titles = {measure.quantity.title for measure in Analysis.of(store.rows(), store.folder).measures}
    scores = {title for kind in SCORES.values() for title, _ in kind.values() if "RMSE" not in title} | {LOST}
    assert set(build.SCORES) == scores
    assert len(titles & scores) == 5
    for score in scores:
        assert (f"<li><b>{score}</b>: " in text) == (score in titles)


def test_the_first_rank_is_said_in_words(page):
    text = page.read_text(encoding="utf-8")
    assert "<td class=n>1, the best</td>" in text
    assert "<td class=n>1, tied with the best</td>" in text
    assert "though its mean is higher than one of a later rank" in text


def test_names_of_users_are_text(page):
    text = page.read_text(encoding="utf-8")
    assert "<b>E0" not in text
    assert "of &lt;gates&gt;" in text
    assert "<gates>" not in text
    assert html.escape(NAME) in text


def test_every_point_leads_to_its_runs_changes_and_commands(page, store):
    text = page.read_text(encoding="utf-8")
    for k in range(4):
        assert f'<tbody id="point-{k}">' in text
        assert f'href="#point-{k}"' in text
    for row in store.rows():
        assert (
            f'<a href="{row.name}">seed-{row.seed}</a> <a href="{row.name}/config.yaml">config.yaml</a>'
            in text
        )
    assert text.count(" --folder NEW_FOLDER") == 12
    gate = text[text.index('<tbody id="point-3">') :]
    assert "<td>model.nonlinearity</td><td>none</td><td>gate</td>" in gate
    assert "<td>model.shift</td><td>none</td><td>mean</td>" in gate
    assert "train.seed" not in gate


@pytest.mark.parametrize("kind", ["one axis", "grid", "one_at_a_time"])
def test_errors_are_drawn_against_an_axis_of_numbers(kind, monkeypatch, tmp_path):
    figures = {}
    monkeypatch.setattr(svg, "inline", lambda content, description: figures.setdefault(description, content))
    gate = {} if kind == "one axis" else {"model.nonlinearity": ["gate", "norm"]}
    numbers = (
        [4, 1, 3] if kind == "one_at_a_time" else [4, 1, 3, 2]
    )  # not in their order; that of the base is 2
    design = {"axes": {"model.l_max": numbers, **gate}}
    design |= {"design": kind} if kind == "one_at_a_time" else {}
    text = write_study_report(write_study(tmp_path / "study", design).folder).read_text("utf-8")
    assert "Errors against l max" in sections(text)
    drawn = figures["Forces RMSE against l max"]
    for panel in drawn.axes:
        lines = [line for line in panel.lines if len(line.get_xdata()) == 4]
        assert [list(line.get_xdata()) for line in lines] == [[1, 2, 3, 4]] * (2 if kind == "grid" else 1)
    assert [panel.get_title(loc="left") for panel in drawn.axes] == ["near", "far"]


def test_every_change_leads_to_its_points(page, tmp_path, undrawn):
    text = page.read_text(encoding="utf-8")
    assert '<a href="#points">nonlinearity = gate</a>' in text  # a mean over points of a grid
    assert '<a href="#point-3">nonlinearity = gate with reference = mean</a>' in text
    assert "<div class=wide id=points>" in text
    alone = write_study_report(write_study(tmp_path / "alone", ALONE).folder).read_text(encoding="utf-8")
    assert '<a href="#point-3">nonlinearity = gate</a>' in alone


def test_what_a_battery_found_has_its_command(store):
    row, *_ = store.rows()
    row.config["data"]["test"] = ["/data/near.xyz"]
    train, evaluate = commands(row, store.folder, "acac")
    assert train.startswith("multiace train ")
    assert evaluate == "multiace evaluate NEW_FOLDER --battery acac --data /data ."
    assert list(commands(row, store.folder, None)) == [train]


def test_tables_are_written_in_each_format(page, store):
    found = sorted(path.name for path in (store.folder / "tables").iterdir())
    names = ("cost", "effects", "errors", "interactions", "overview")
    assert found == sorted(f"{name}.{ending}" for name in names for ending in ("csv", "md", "tex"))
    head, *rows = (store.folder / "tables" / "errors.csv").read_text(encoding="utf-8").splitlines()
    assert head.startswith(
        "point,of,domain,quantity,unit,difference is,mean,s.d.,mean from,mean to,seeds,difference,from,to,rank"
    )
    assert len(rows) == 4 * (2 * 4 + 2 * 2 + 3 + 1 + 2)  # sets, train and valid, curve, dimer, dynamics
    overview = (store.folder / "tables" / "overview.md").read_text(encoding="utf-8")
    assert re.search(r"\| model.nonlinearity = gate, reference = mean \| \d+.\d ± \d.\d \|", overview)


def test_costs_are_told_with_their_spread_and_by_which_clock(page, store):
    text = words(page.read_text(encoding="utf-8"))
    assert "what else the machine did counts: wall-clock time of training, prediction time." in text
    head, *_ = (store.folder / "tables" / "cost.csv").read_text(encoding="utf-8").splitlines()
    assert head == (
        "quantity,point,beaten in,mean,s.d.,seeds,parameters,wall-clock time of training [s],s.d. [s],"
        "prediction time [µs/atom],s.d. [µs/atom]"
    )


def test_the_same_study_gives_the_same_report(undrawn, store, tmp_path):
    first, second = (write_study_report(store.folder, tmp_path / "own.html").read_bytes() for _ in range(2))
    assert first == second


def test_seeds_of_one_model_have_intervals_and_nothing_that_compares(tmp_path, capsys):
    store = write_study(tmp_path / "one", {"axes": {}})
    path = write_study_report(store.folder, tables=store.folder / "tables")
    text = path.read_text(encoding="utf-8")
    assert "What each change does" not in sections(text)
    shown = words(re.sub(r"<(script|style)>.*?</\1>", "", text, flags=re.DOTALL))
    assert "One point; runs: 3 done" in shown
    assert re.search(r"energy RMSE, near: \d+ meV \(\d+ to \d+\)", shown)
    for said in ("Rank:", "tied", "1, the best", "Beaten", "ifference to", "ifferences to", "excludes 0"):
        assert said not in shown, said
    assert len((store.folder / "tables" / "effects.csv").read_text(encoding="utf-8").splitlines()) == 1
    assert main(["study", "status", str(store.folder)]) == 0
    told = capsys.readouterr().out
    assert re.search(r"energy \[meV\] +64\.7 ± 7\.7 +3\b", told)
    assert "difference" not in told
    assert "validation" not in told  # of runs at work, and there are none


def test_changes_alone_without_battery_structures_and_repeats(tmp_path):
    store = write_study(tmp_path / "alone", ALONE, seeds=(1,), battery=False, structures=False)
    text = write_study_report(store.folder).read_text(encoding="utf-8")
    assert sections(text) == [
        "What was studied",
        "Summary",
        "What each change does",
        "Errors of the points",
        "Error against cost",
        "Learning curves",
        "Points and runs",
        "How the numbers are made",
    ]
    assert "Nothing is claimed of points with one run" in text
    assert "The errors of the structures of 4 runs are not kept and cannot be measured now" in text
    assert "<th class=n>rank<" not in text
    shown = words(re.sub(r"<(script|style)>.*?</\1>", "", text, flags=re.DOTALL))
    for said in ("95 %", "Mean over seeds", "±", "difference is", "tied", "s.d.", "Beaten"):
        assert said not in shown, said
    assert shown.count("with one seed there are no standard deviations and no intervals") >= 4


def test_a_path_with_failures_and_runs_to_come(tmp_path):
    store = write_study(tmp_path / "path", PATH)
    rows = store.rows()
    store.failed(rows[1].name, "the loss is <not> a number")  # of the second point, seed 1
    with store.connection() as connection:
        connection.execute("UPDATE runs SET results = NULL WHERE name = ?", (rows[1].name,))
        connection.execute(
            "UPDATE runs SET results = NULL, state = 'waiting' WHERE point = ?", (rows[3].point,)
        )
    shutil.rmtree(store.folder / rows[3].folder)
    text = write_study_report(store.folder).read_text(encoding="utf-8")
    assert "One change after another: 4 points; runs: 8 done, 1 failed, 3 waiting" in text
    assert "the loss is &lt;not&gt; a number" in text
    assert "Without any run so far: nonlinearity = gate, correlation = 2, l_max = 3." in text
    unfinished = text[text.index("<h2>Runs that are not done") :]
    assert unfinished.count("<td>waiting</td>") == 3
    assert unfinished.count("<td>failed</td>") == 1
    effects = text[text.index("<h2>What each change does") : text.index("<h2>Errors of the points")]
    assert "<td>the point before</td>" in effects
    assert "l_max = 3" not in effects


def test_runs_of_other_study_files_in_the_folder_are_left_out(undrawn, tmp_path):
    store = write_study(tmp_path / "study", GRID, seeds=(1,), battery=False)
    other = StudyConfig.from_dict({"base": BASE, "seeds": [1], **ALONE})
    store.add(plan(other).runs)
    with pytest.raises(InputError, match=r"no run of .* is done so far"):
        write_study_report(store.folder)
    store.add(plan(StudyConfig.from_dict({"base": BASE, "seeds": [1], **GRID})).runs)
    assert "All combinations of values: 4 points" in write_study_report(store.folder).read_text(
        encoding="utf-8"
    )
    assert len(store.rows()) == 8


def test_errors_of_structures_that_are_not_those_of_the_results_are_not_used(undrawn, tmp_path):
    store = write_study(tmp_path / "study", PATH, seeds=(1, 2), battery=False)
    first, second = store.rows()[0], store.rows()[1]
    (store.folder / second.name / FILE).write_bytes((store.folder / first.name / FILE).read_bytes())
    (store.folder / store.rows()[2].name / FILE).write_bytes(b"damaged")
    text = write_study_report(store.folder).read_text(encoding="utf-8")
    assert "intervals over seeds alone" in text
    assert "intervals over seeds and" not in text


def test_what_is_no_study_is_refused(tmp_path, capsys):
    assert main(["study", "report", str(tmp_path)]) == 2
    assert "no folder of a study" in capsys.readouterr().err
    Store(tmp_path / "empty").add(plan(StudyConfig.from_dict({"base": BASE, "seeds": [1], **GRID})).runs)
    assert main(["study", "report", str(tmp_path / "empty")]) == 2
    assert "no run of" in capsys.readouterr().err


def test_the_command_says_where_the_report_is_and_links_are_relative_to_it(undrawn, store, tmp_path, capsys):
    out, tables = tmp_path / "elsewhere" / "own.html", tmp_path / "tables"
    assert main(["study", "report", str(store.folder), "--out", str(out), "--tables", str(tables)]) == 0
    told = capsys.readouterr().out.replace("\n", "")
    assert f"report: {out}" in told
    assert f"tables: {tables}" in told
    link = re.search(r'<a href="([^"]*/config.yaml)">', out.read_text(encoding="utf-8"))
    assert (out.parent / html.unescape(link[1])).is_file()
