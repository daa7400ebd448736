"""Figures in the page: what their parts are, and names that are no XML and no mathematics."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from multiace.study.report import figures, svg
from multiace.study.report.figures import Bar, Curve, Dot, Panel

NAME = '$x_{1 <b> & \\frac"'
LEGEND = figures.series({"a": NAME, "b": "other"})


def bars(differences):
    numbers = (
        [(-1.0, -2.0, -0.1), (0.5, -1e6, 1e6)] if differences else [(3.0, 1.0, 5.0), (4.0, -np.inf, np.inf)]
    )
    return {
        "RMSE [meV]": [
            Bar(NAME, series, *x, tip=f"{NAME}\n{series}") for series, x in zip("ab", numbers, strict=True)
        ]
    }


def drawn():
    x = np.linspace(0, 1, 5)
    curve = Curve(x, np.array([x, x + 1]), "two runs")
    panels = [Panel(NAME, "x", "y", {"a": curve}, (x, x)), Panel("log", "x", "y", {"b": curve}, log=True)]
    dots = {"a": Dot(1.0, 3.0, 2.0, 4.0, False, "a"), "b": Dot(10.0, 3.0, -np.inf, np.inf, True, "b")}
    return {
        "differences": lambda: figures.forest(bars(True), LEGEND, differences=True),
        "values": lambda: figures.forest(bars(False), LEGEND, differences=False),
        "curves": lambda: figures.curves(panels, LEGEND),
        "pareto": lambda: figures.pareto({"cost": dots}, {"cost": ["a"]}, LEGEND, "error"),
    }


@pytest.mark.parametrize("kind", ["differences", "values", "curves", "pareto"])
def test_parts_say_what_they_are(kind):
    text = svg.inline(drawn()[kind](), "own")
    root = ElementTree.fromstring(text)
    parts = [part for part in root.iter() if part.get("data-series")]
    assert {part.get("data-series") for part in parts} >= {"a", "b"}
    assert all(len(part) for part in parts)
    assert "marked:" not in text
    assert root.get("aria-label") == "own"
    assert root.get("viewBox")


@pytest.mark.parametrize("kind", ["differences", "curves"])
def test_the_same_figure_is_the_same_text(kind):
    assert svg.inline(drawn()[kind](), "own") == svg.inline(drawn()[kind](), "own")


def test_parts_of_two_figures_have_different_names():
    texts = [svg.inline(drawn()["values"](), name) for name in ("first", "second")]
    ids = [{part.get("id") for part in ElementTree.fromstring(text).iter()} - {None} for text in texts]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_names_are_shown_as_they_are():
    root = ElementTree.fromstring(svg.inline(drawn()["differences"](), "own"))
    shown = "".join(text for part in root.iter() for text in (part.text or "").split("\n"))
    assert NAME in shown.replace("\N{NO-BREAK SPACE}", " ")
    assert f"{NAME}\na" in [part.get("data-tip") for part in root.iter()]
    legend = svg.figure(drawn()["values"](), LEGEND.values(), "own", "<i>")
    assert "<b>" not in legend
    assert "&lt;i&gt;" in legend


def test_dots_of_a_figure_are_dots_in_its_legend():
    entries = [svg.Series("a", "reference", "#000", dots=True), svg.Series("b", "other", "#111", dashed=True)]
    reference, other = svg.figure(drawn()["curves"](), entries, "own", "").split("</button>")[:2]
    assert "<circle" in reference
    assert "<line" not in reference
    assert "stroke-dasharray" in other


def test_a_long_interval_leaves_the_panel():
    (ax,) = drawn()["differences"]().axes
    low, high = ax.get_xlim()
    assert -4 < low < -1.5
    assert 0.5 < high < 3


@pytest.mark.parametrize("height", [1000, -1000])
@pytest.mark.parametrize("reference", [True, False])
def test_a_curve_that_runs_away_does_not_hide_the_others(reference, height):
    x = np.linspace(0.5, 4.0, 50)
    well = Curve(x, np.array([np.cos(x)]), "well")
    wall = Curve(x, np.array([np.cos(x) + height * (x < 0.7)]), "wall")
    panel = Panel("own", "x", "y", {"a": well, "b": wall}, (x, np.cos(x)) if reference else None)
    low, high = figures.curves([panel], LEGEND).axes[0].get_ylim()
    assert -3 < low < -1
    assert 0.8 < high < 3


def test_a_barrier_that_is_too_high_is_seen_and_its_spread_need_not_be():
    x = np.linspace(-1, 1, 21)
    E = 0.03 * np.cos(np.pi * x)
    low, high = (8 * E + 0.2 * np.cos(np.pi * x) * side for side in (-1, 1))
    curves = {"a": Curve(x, np.array([low, high]), "too high"), "b": Curve(x, np.array([E, E]), "right")}
    bottom, top = figures.curves([Panel("own", "x", "y", curves, (x, E))], LEGEND).axes[0].get_ylim()
    assert -0.3 < bottom < -0.24
    assert 0.24 < top < 0.3


def test_a_flat_curve_has_room():
    flat = Curve(np.arange(3.0), np.ones((1, 3)), "flat")
    for reference in (None, (np.arange(3.0), np.ones(3))):
        low, high = (
            figures.curves([Panel("own", "x", "y", {"a": flat}, reference)], LEGEND).axes[0].get_ylim()
        )
        assert low < 1 < high


def test_intervals_of_rising_errors_are_seen_to_include_zero():
    low, high = figures.around(np.array([0.0, 5.0, 6.0]), [-3.0, 9.0])
    assert low < -3.0
    assert high > 9.0
    assert figures.around(np.array([5.0, 6.0]), [4.5, 9.0], floor=0.0)[0] > 4.0
    assert -1.0 < figures.around(np.array([5.0, 1.0]), [-9.0, 9.0], floor=0.0)[0] < 0.0


def test_many_series_are_told_apart():
    legend = figures.series({str(k): str(k) for k in range(16)})
    assert len({(s.color, s.dashed) for s in legend.values()}) == 16
