"""The summary says what intervals exclude, and nothing else."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import numpy as np
import pytest

from multiace.study.analysis import Analysis
from multiace.study.measures import HOLE, Measure, Quantity
from multiace.study.report.words import cards, summary
from tests.study.test_effects import grid, point

IN = Quantity("set", "near", "in", "forces RMSE", "meV/Å")
OUT = Quantity("set", "far", "out", "forces RMSE", "meV/Å")
PLAIN = Quantity("set", "test", None, "forces RMSE", "meV/Å")


def analysis(points, **by_quantity):
    rng = np.random.default_rng(4)
    found = []
    for quantity, value in by_quantity.items():
        values = {
            p.folder: {row.seed: 50.0 + value(p.labels) + rng.normal(scale=0.01) for row in p.done}
            for p in points
        }
        found.append(Measure({"near": IN, "far": OUT, "test": PLAIN}[quantity], values))
    return Analysis(points, found)


def told(study):
    """The summary as text, a line for each item."""
    text = (
        summary(study)
        .replace("</li>", "\n")
        .replace("</h3>", "\n")
        .replace("</p>", "\n")
        .replace("</ul>", "")
    )
    return html.unescape(re.sub(r"<[^>]*>", "", text)).replace("\N{NO-BREAK SPACE}", " ")


def test_what_matters_in_and_out_of_the_domain_is_told_apart():
    points = [point({}), point({"model.gate": "on"}), point({"model.cut": "4"}), point({"train.rate": "1"})]
    text = told(
        analysis(
            points,
            near=lambda at: -5.0 * ("model.gate" in at),
            far=lambda at: -5.0 * ("model.gate" in at) + 2.0 * ("model.cut" in at),
        )
    )
    inside, outside = text.split("Outside of the domain of the training data\n")
    assert re.search(
        r"In the domain of the training data\ngate = on: forces RMSE: −10 % on near \(−10 to −(9.\d|10)\)\.\n",
        inside,
    )
    assert "Not told apart from no change: cut = 4; rate = 1." in inside
    assert re.search(r"\ncut = 4: forces RMSE: \+[34](.\d+)? % on far \(", outside)
    assert "gate = on lowers errors in the domain and outside.\n" in text
    assert "cut = 4 raises errors outside; in the domain none is told apart from no change.\n" in text
    assert "Not told apart from no change, in the domain and outside: rate = 1.\n" in text
    assert "Changes of mean errors against the base in percent" in text
    assert "Of 6 intervals 3 exclude zero; about 0.3 would by chance" in text


def test_nothing_is_claimed_where_nothing_is_told_apart():
    text = told(analysis(grid(a="01", b="01"), test=lambda at: 0.0))
    assert "On the test sets\nNo change makes a difference that its interval tells apart from none." in text
    assert "forces RMSE, test: all 4 points are tied." in text
    assert "95 %" not in text
    assert "domain" not in text


def test_one_seed_claims_nothing():
    study = analysis([point({}, (1,)), point({"a": "1"}, (1,))], test=lambda at: -9.0 * ("a" in at))
    text = told(study)
    assert text.strip() == "Nothing is claimed of points with one run, which have no interval: base; a = 1."
    assert cards(study) == ""


def test_interactions_are_told_where_their_interval_excludes_zero():
    text = told(analysis(grid(a="01", b="01"), test=lambda at: 4.0 * (at["a"] == at["b"] == "1")))
    assert (
        "Changes that depend on each other, beyond the sum of both alone\na = 1 with b = 1: forces RMSE: +8"
        in text
    )
    additive = told(analysis(grid(a="01", b="01"), test=lambda at: 4.0 * (at["a"] == "1")))
    assert (
        "None of 1 such interactions is told apart from zero: as far as intervals tell, effects add up."
        in additive
    )
    assert "interactions" not in told(analysis([point({}), point({"a": "1"})], test=lambda at: 0.0))


def test_a_change_may_lower_some_errors_and_raise_others():
    points = [point({}), point({"a": "1"}), point({"b": "1"})]
    study = analysis(points, near=lambda at: -5.0 * ("a" in at), far=lambda at: 5.0 * ("a" in at))
    assert "a = 1 lowers errors in the domain, and raises errors outside.\n" in told(study)
    near, far = (measure.values for measure in study.measures)
    other = {"higher": far, "not told apart": dict.fromkeys(near, near["base"])}
    both, some = (
        told(Analysis(points, [Measure(IN, near), Measure(replace(IN, where="other"), values)]))
        for values in other.values()
    )
    assert "a = 1 lowers some errors and raises others in the domain (see below).\n" in both
    assert "a = 1 lowers some errors in the domain.\n" in some


@pytest.mark.parametrize(
    ("effect", "said"),
    [
        (lambda at: -5.0 if at["b"] == "1" else -1.0, r"−6(.\d)? % on test \([^;]*\)"),
        (
            lambda at: -5.0 if at["b"] == "1" else 1.0,
            r"−4(.\d)? % on test \([^;]*; lower with b = 1, higher with b = 0, by",
        ),
        (
            lambda at: -5.0 if at["b"] == "1" else 5.0,
            r"a = 1 instead of 0: Not told apart: forces RMSE: test \(lower with b = 1, higher with b = 0, by",
        ),
    ],
)
def test_opposite_effects_in_cells_of_a_grid_are_told_beside_their_mean(effect, said):
    text = told(analysis(grid(a="01", b="01"), test=lambda at: effect(at) * (at["a"] == "1")))
    assert re.search(said, text), text


def test_holes_of_most_points_are_told():
    points = [point({}), point({"a": "1"}), point({"a": "2"})]
    depths = {"base": 0.5, "a = 1": 0.25, "a = 2": 0.0}

    def hole(pair, scale):
        values = {p.folder: dict.fromkeys((1, 2), scale * depths[p.folder]) for p in points}
        return Measure(Quantity("dimer", pair, None, HOLE, "eV"), values)

    study = analysis(points, test=lambda at: 0.0)
    study.measures.extend([hole("C-H", 1.0), hole("O-O", 2.0)])
    assert (
        "Holes: in 2 of 3 points the energy of two atoms falls again where they are closer than bonds, by 0.5 to "
        "1 eV for the pair with the deepest one (O-O), mean over seeds." in told(study)
    )
    depths |= {"a = 1": 0.001}
    study.measures[1:] = [hole("C-H", 1.0)]
    assert "Holes" not in told(study)


def test_measures_of_one_title_are_told_together():
    study = analysis(
        [point({}), point({"a": "1"})], near=lambda at: -5.0 * ("a" in at), test=lambda at: -5.0 * ("a" in at)
    )
    (hot,) = [m for m in study.measures if m.quantity is PLAIN]
    study.measures.append(Measure(replace(PLAIN, where="hot"), hot.values))
    assert re.search(r"a = 1: forces RMSE: −\S+ % on test \(.*?\), −\S+ % on hot \(", told(study))


def test_a_reference_of_zero_has_no_percent():
    study = Analysis(
        [point({}), point({"a": "1"})],
        [Measure(PLAIN, {"base": {1: 0.0, 2: 0.0}, "a = 1": {1: 2.0, 2: 2.0}})],
    )
    assert "forces RMSE: +2 meV/Å on test (+2 to +2)." in told(study)


@pytest.mark.parametrize("before", [0.0, 10.0])
def test_time_lost_is_told_in_percentage_points(before):
    lost, calm = (Quantity("dynamics", where, None, "time lost", "%") for where in ("500 K", "300 K"))
    changed = {"base": {1: before, 2: before}, "a = 1": {1: before + 44.0, 2: before + 46.0}}
    none = {name: {1: 0.0, 2: 0.0} for name in changed}
    study = Analysis([point({}), point({"a": "1"})], [Measure(lost, changed), Measure(calm, none)])
    text = told(study)
    assert "time lost: +45 percentage points on 500 K (+32 to +58)." in text
    assert "Of 1 intervals 1 exclude zero" in text  # not those of what no run has lost


def test_errors_of_the_validation_set_are_told_as_such():
    valid = Quantity("set", "valid", None, "forces RMSE", "meV/Å")
    study = analysis([point({}), point({"a": "1"})], test=lambda at: -5.0 * ("a" in at))
    text = told(Analysis(study.points, [Measure(valid, study.measures[0].values)]))
    assert "a = 1 lowers errors on the validation set." in text
    assert "On the validation set" in text
    assert "test set" not in text


def test_points_without_runs_are_named():
    points = [point({}), point({"a": "1"}, ()), point({"b": "1"}, (1,))]
    text = told(analysis(points, test=lambda at: 0.0))
    assert "Nothing is claimed of points with one run, which has no interval: b = 1." in text
    assert "Without any run so far: a = 1." in text


def test_points_that_effects_leave_out_are_named():
    points = grid(a="01", b="01")
    assert "leave out" not in told(analysis(points, test=lambda at: 0.0))
    points[3] = point(points[3].labels, (1, 7))
    text = told(analysis(points, test=lambda at: 0.0))
    assert "leave out those that have other runs: a = 1, b = 1." in text


def test_names_are_escaped():
    study = analysis([point({}), point({"a": "<b>1</b>"})], test=lambda at: -9.0 * ("a" in at))
    for text in (summary(study), cards(study)):
        assert "<b>1" not in text
        assert "a = &lt;b&gt;1&lt;/b&gt;" in text


def test_the_best_point_of_each_measure_is_on_a_card():
    found = cards(analysis(grid(a="012"), test=lambda at: 5.0 * (at["a"] == "0")))
    assert re.search(r"<span>forces RMSE, test: a = [12]; 1 more is tied with it<", found)
    assert "mean ± standard deviation over seeds" in found
    assert re.search(r"<strong>(50.0|49.9)", found)
