"""Tables in HTML, Markdown, LaTeX and CSV."""

import csv
import io
import math
import re

from multiace.study.numbers import decimals, number
from multiace.study.report.formats import (
    Column,
    Table,
    to_csv,
    to_html,
    to_latex,
    to_markdown,
)
from multiace.study.report.words import rounded

TABLE = Table(
    "own",
    "50 % of_all",
    [Column("point", number=False), Column("RMSE [meV/Å]"), Column("change", signed=True), Column("runs")],
    [
        ["<b>a</b> | 100% of_it & $x$ \\ {y}", 1234.5678, -0.123456, 3],
        ["b", 0.00123456, math.inf, None],
    ],
)


def test_numbers_have_four_digits():
    assert [number(x) for x in (12.34567, 0.00123456, 1234567.0, 12, 1234, None, math.nan, 8.0, 999.96)] == [
        *("12.35", "0.001235", "1,234,567", "12", "1,234", "", "", "8.000", "1000")
    ]
    assert [number(x, signed=True) for x in (12.3456, -0.5, 0.0, 1234.5)] == [
        "+12.3",
        "−0.500",
        "0",
        "+1,234",
    ]


def test_huge_numbers_have_a_power_of_ten():
    assert [number(x, decimals=1) for x in (-2.2638e31, 123456789.0, 123456789)] == [
        "−2.26e+31",
        "1.23e+08",
        "123,456,789",
    ]
    assert rounded(2.2638e31) == "2.3e+31"


def test_numbers_of_a_column_share_their_decimals():
    assert [number(x, decimals=1) for x in (75.25, 0.04, -1.0, 3, math.inf)] == [
        "75.2",
        "0.0",
        "−1.0",
        "3",
        "",
    ]
    assert number(2.0, signed=True, decimals=0) == "+2"
    for sizes, expected in {
        (46.0, 10.0): 0,
        (11.7, 1.6, 5.6): 1,
        (11.7, 0.012): 1,  # at most one digit more of the largest
        (0.012, 0.034): 3,
        (1234.0,): 0,
        (0.0, math.nan): None,
        (): None,
    }.items():
        assert decimals(sizes) == expected
    assert decimals([75.3, 44.1], 3) == 1


def test_columns_without_cells_are_not_shown():
    head = [Column("point", number=False), Column("is", number=False), Column("s.d."), Column("mean")]
    found = to_html(Table("own", "", head, [["", "", math.nan, 1], ["", "", None, 2]]))
    assert re.findall("<th(?: class=n)?>(.*?)</th>", found) == ["point", "mean"]
    assert "<td></td><td class=n>2</td>" in found


def test_html_is_escaped_and_links_to_points():
    found = to_html(TABLE, {"b": "#point-1"})
    assert "<td>&lt;b&gt;a&lt;/b&gt; | 100% of_it &amp; $x$ \\ {y}</td>" in found
    assert '<td><a href="#point-1">b</a></td>' in found
    assert "<td class=n>1,235</td><td class=n>−0.123</td><td class=n>3</td>" in found
    assert "<table class=sortable>" in found


def test_a_name_that_is_html_stays_a_name_in_a_link():
    found = to_html(TABLE, {TABLE.rows[0][0]: "#point-0"})
    assert '<a href="#point-0">&lt;b&gt;a&lt;/b&gt; |' in found


def test_markdown_has_as_many_cells_as_columns():
    caption, _, head, rule, first, second, *_ = to_markdown(TABLE).split("\n")
    assert caption == "50 % of\\_all"
    assert head == "| point | RMSE [meV/Å] | change | runs |"
    assert rule == "| --- | ---: | ---: | ---: |"
    assert first == "| &lt;b&gt;a&lt;/b&gt; \\| 100% of\\_it &amp; \\$x\\$ \\\\ {y} | 1,235 | −0.123 | 3 |"
    assert second == "| b | 0.001235 |  |  |"


def test_latex_is_escaped():
    found = to_latex(TABLE)
    assert r"\caption{50 \% of\_all}" in found
    assert r"\begin{tabular}{lrrr}" in found
    name = r"\textless{}b\textgreater{}a\textless{}/b\textgreater{} \textbar{} 100\% of\_it \& \$x\$ "
    assert name + r"\textbackslash{} \{y\} & 1,235 & $-$0.123 & 3 \\" in found
    assert r"RMSE [meV/\AA{}]" in found
    assert found.count("\\toprule") == found.count("\\midrule") == found.count("\\bottomrule") == 1


def test_csv_has_all_digits():
    head, first, second = csv.reader(io.StringIO(to_csv(TABLE)))
    assert head == ["point", "RMSE [meV/Å]", "change", "runs"]
    assert first == [TABLE.rows[0][0], "1234.5678", "-0.123456", "3"]
    assert second == ["b", "0.00123456", "", ""]
