"""The summary says what intervals exclude, and nothing else."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import numpy as np

from multiace.study.analysis import Analysis
from multiace.study.measures import Measure, Quantity
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
        r"In the domain of the training data\ngate = on, against the base: forces RMSE: −10 % on near "
        r"\(−10 to −(9.\d|10)\)\.\n",
        inside,
    )
    assert "Not told apart from no change: cut = 4, against the base; rate = 1, against the base." in inside
    assert re.search(r"\ncut = 4, against the base: forces RMSE: \+[34](.\d+)? % on far \(", outside)
    assert "They matter in the domain and outside: gate = on, against the base." in text
    assert (
        "They matter outside of the domain, and in it are not told apart from no change: cut = 4, against the base."
        in text
    )
    assert (
        "They are not told apart from no change, neither in the domain nor outside: rate = 1, against the base."
        in text
    )
    assert "They matter in the domain, and" not in text
    assert "Of 6 intervals 3 exclude zero; about 0.3 would by chance" in text


def test_nothing_is_claimed_where_nothing_is_told_apart():
    text = told(analysis(grid(a="01", b="01"), test=lambda at: 0.0))
    assert "On the test sets\nNo change makes a difference that its interval tells apart from none." in text
    assert "forces RMSE, test: all 4 points share the first rank." in text
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
    assert "Changes that depend" not in told(
        analysis(grid(a="01", b="01"), test=lambda at: 4.0 * (at["a"] == "1"))
    )


def test_measures_of_one_title_are_told_together():
    study = analysis(
        [point({}), point({"a": "1"})], near=lambda at: -5.0 * ("a" in at), test=lambda at: -5.0 * ("a" in at)
    )
    (hot,) = [m for m in study.measures if m.quantity is PLAIN]
    study.measures.append(Measure(replace(PLAIN, where="hot"), hot.values))
    assert re.search(
        r"a = 1, against the base: forces RMSE: −\S+ % on test \(.*?\), −\S+ % on hot \(", told(study)
    )


def test_a_reference_of_zero_has_no_percent():
    study = Analysis(
        [point({}), point({"a": "1"})],
        [Measure(PLAIN, {"base": {1: 0.0, 2: 0.0}, "a = 1": {1: 2.0, 2: 2.0}})],
    )
    assert "forces RMSE: +2 meV/Å on test (+2 to +2)." in told(study)


def test_points_without_runs_are_named():
    points = [point({}), point({"a": "1"}, ()), point({"b": "1"}, (1,))]
    text = told(analysis(points, test=lambda at: 0.0))
    assert "Nothing is claimed of points with one run, which has no interval: b = 1." in text
    assert "Without any run so far: a = 1." in text


def test_names_are_escaped():
    study = analysis([point({}), point({"a": "<b>1</b>"})], test=lambda at: -9.0 * ("a" in at))
    for text in (summary(study), cards(study)):
        assert "<b>1" not in text
        assert "a = &lt;b&gt;1&lt;/b&gt;" in text


def test_the_best_point_of_each_measure_is_on_a_card():
    found = cards(analysis(grid(a="012"), test=lambda at: 5.0 * (at["a"] == "0")))
    assert (
        "forces RMSE, test: a = 1; 1 more shares its rank" in found
        or "a = 2; 1 more shares its rank" in found
    )
    assert re.search(r"<strong>(50.0|49.9)", found)
