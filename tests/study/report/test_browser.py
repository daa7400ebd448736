"""The report in a headless browser: no script errors, tables sort, figures are drawn and answer."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from multiace.study.report.build import write_study_report
from tests.study.synthetic import ALONE, PATH, write_study

NUMBERS = {"axes": {"model.l_max": [1, 2, 3], "model.nonlinearity": ["none", "gate"]}}
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"no browser found, none of {', '.join(BROWSERS)}")

WATCH = """<script>
window.failures = [];
addEventListener("error", (e) => failures.push(String(e.message)), true);
addEventListener("unhandledrejection", (e) => failures.push(String(e.reason)));
document.addEventListener("securitypolicyviolation", (e) => failures.push(e.violatedDirective));
</script>"""

SEE = """const found = {};
found.figures = [...document.querySelectorAll("figure.drawn")].map((figure) => {
  const off = figure.closest(".panels > .off");
  off?.classList.remove("off");
  const svg = figure.querySelector("svg[role=img]").getBoundingClientRect();
  const marks = [...figure.querySelectorAll("svg [data-series]")];
  const seen = marks.filter((mark) => mark.getBoundingClientRect().width + mark.getBoundingClientRect().height > 0);
  off?.classList.add("off");
  return { width: svg.width, height: svg.height, marks: marks.length, seen: seen.length };
});
"""
TELL = """found.width = [document.documentElement.scrollWidth, innerWidth];
found.ids = [...document.querySelectorAll("[id]")].map((part) => part.id);
found.failures = failures;
const told = document.createElement("pre");
told.id = "probe";
told.textContent = JSON.stringify(found);
document.body.append(told);
"""
CLICK = """const column = (table, k) => [...table.tBodies[0].rows].map((row) => row.cells[k].textContent);
const click = (part) => part.dispatchEvent(new MouseEvent("click", { bubbles: true }));
const tables = [...document.querySelectorAll("table.sortable")];
const ranking = tables.find((table) => table.tHead.textContent.includes("rank"));
const heads = [...ranking.tHead.rows[0].cells];
const by = (title) => heads.findIndex((head) => head.textContent === title);
found.titles = heads.map((head) => head.textContent);
found.sorts = {};
for (const title of ["point", "s.d.", "difference", "rank"]) {
  const k = by(title);
  click(heads[k].firstChild);
  const up = column(ranking, k);
  const state = heads[k].getAttribute("aria-sort");
  click(heads[k].firstChild);
  found.sorts[title] = { up, state, down: column(ranking, k), rows: ranking.tBodies[0].rows.length };
}
const points = document.querySelector("table.points");
const name = points.tHead.rows[0].cells[2];
click(name.firstChild);
found.points = [...points.tBodies].map((body) => [body.id, body.rows[0].cells[2].textContent, body.rows.length]);
const figure = document.querySelector("figure.drawn");
const button = figure.querySelector(".legend button");
const all = [...figure.querySelectorAll("svg [data-series]")];
const parts = all.filter((part) => part.dataset.series === button.dataset.series);
const shown = () => parts.filter((part) => getComputedStyle(part).display !== "none").length;
found.legend = [parts.length, shown()];
for (let k = 0; k < 2; k++) {
  click(button);
  found.legend.push(shown(), button.getAttribute("aria-pressed"));
}
const tipped = parts.find((part) => part.dataset.tip);
const box = tipped.getBoundingClientRect();
const event = { bubbles: true, clientX: box.x, clientY: box.y };
tipped.dispatchEvent(new PointerEvent("pointermove", event));
const tip = document.querySelector(".tip");
found.tip = [tip.textContent, tip.hidden];
document.body.dispatchEvent(new PointerEvent("pointermove", event));
found.tip.push(tip.hidden);
const body = document.getElementById("point-2");
const more = () => getComputedStyle(body.rows[1]).display;
found.opens = [more(), click(body.querySelector("button.point")), more(), click(body.rows[0]), more()];
location.hash = "#point-2";
dispatchEvent(new HashChangeEvent("hashchange"));
found.opens.push(more());
const panels = document.querySelector("select + .panels");
const select = panels.previousSibling;
const visible = () => [...panels.children].map((part) => getComputedStyle(part).display !== "none");
found.panels = [select.options.length, visible().indexOf(true)];
select.value = "1";
select.dispatchEvent(new Event("change"));
found.panels.push(visible().indexOf(true), visible().filter(Boolean).length);
"""


def browse(path, *options):
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,900", *options]
    return subprocess.run(
        [*command, path.as_uri()], capture_output=True, text=True, timeout=300, check=True
    ).stdout


def probed(page, folder, script=""):
    """What a script saw on a page."""
    text = page.read_text(encoding="utf-8").replace("<head>", f"<head>{WATCH}", 1)
    path = folder / "probed.html"
    probe = f"<script>{SEE}{script}{TELL}</script>"
    path.write_text(text.replace("</body>", f"{probe}</body>", 1), encoding="utf-8")
    dom = browse(path, "--virtual-time-budget=2000", "--dump-dom")
    told = re.search(r'<pre id="probe">(.*?)</pre>', dom, flags=re.DOTALL)
    assert told, "the probe has not come to its end"
    return json.loads(told[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@pytest.fixture(scope="module")
def found(page, tmp_path_factory):
    """What a script saw that clicked through the page."""
    return probed(page, tmp_path_factory.mktemp("browser"), CLICK)


@pytest.mark.parametrize("design", [ALONE, PATH, NUMBERS], ids=["alone", "path", "numbers"])
def test_reports_of_all_designs_are_drawn(design, tmp_path):
    found = probed(write_study_report(write_study(tmp_path / "study", design).folder), tmp_path)
    assert found["failures"] == []
    assert found["width"][0] <= found["width"][1] == 1280
    assert len(found["figures"]) >= 8
    for figure in found["figures"]:
        assert figure["width"] > 900
        assert figure["seen"] == figure["marks"] > 0


def test_scripts_run_without_errors(found):
    assert found["failures"] == []


@pytest.mark.parametrize("title", ["s.d.", "difference", "rank"])
def test_numbers_sort_as_numbers(found, title):
    sort = found["sorts"][title]
    up, down = (
        [float(x.partition(", ")[0].replace("−", "-")) for x in sort[way] if x] for way in ("up", "down")
    )
    assert up == sorted(up)
    assert down == sorted(down, reverse=True)
    assert sort["rows"] == 4
    assert sort["state"] == "ascending"
    assert [x for x in sort["up"] if not x] == sort["up"][len(up) :]  # empty cells are last
    assert [x for x in sort["down"] if not x] == sort["down"][len(down) :]


def test_names_sort_as_words(found):
    assert found["sorts"]["point"]["up"] == sorted(found["sorts"]["point"]["up"])
    assert found["sorts"]["point"]["down"] == found["sorts"]["point"]["up"][::-1]


def test_points_sort_with_what_belongs_to_them(found):
    parameters = [int(text.replace(",", "")) for _, text, _ in found["points"]]
    assert parameters == sorted(parameters)
    assert sorted(name for name, *_ in found["points"]) == [f"point-{k}" for k in range(4)]
    assert {rows for *_, rows in found["points"]} == {2}


def test_figures_are_drawn(found):
    assert len(found["figures"]) == 11
    for figure in found["figures"]:
        assert figure["width"] > 900
        assert figure["height"] > 100
        assert figure["marks"] >= 4
        assert figure["seen"] == figure["marks"]


def test_legends_hide_and_show(found):
    parts, before, hidden, pressed, after, pressed_again = found["legend"]
    assert parts == before == after > 0
    assert hidden == 0
    assert (pressed, pressed_again) == ("false", "true")


def test_the_mouse_is_told_what_it_is_on(found):
    text, hidden, gone = found["tip"]
    assert re.search(
        r"^model.nonlinearity = gate, against none\n.*: −\d.* meV\n95 %: .* to .* meV\n3 seeds$", text
    )
    assert not hidden
    assert gone


def test_points_open_on_a_click_and_through_links(found):
    closed, _, opened, _, again, led = found["opens"]
    assert (closed, opened, again, led) == ("none", "table-row", "none", "table-row")


def test_one_panel_is_shown_of_several(found):
    number, before, after, visible = found["panels"]
    assert number == 2
    assert (before, after, visible) == (0, 1, 1)


def test_the_page_fits_1280_pixels(found):
    assert found["width"][0] <= found["width"][1] == 1280


def test_names_of_parts_are_of_one_part(found):
    assert len(found["ids"]) == len(set(found["ids"]))


def test_it_can_be_printed(page, tmp_path):
    browse(page, f"--print-to-pdf={tmp_path / 'report.pdf'}")
    assert (tmp_path / "report.pdf").stat().st_size > 50_000


def test_without_scripts_everything_is_there(page):
    """As readers of e-mail show it: nothing is hidden but by a script."""
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"<(?!button)[a-z]+[^>]*class=[\"']?off", text)
    assert Path(page).read_text(encoding="utf-8").count("<script>") == 1
