"""The benchmarks run: multiace alone, a tiny model, on data of the repository."""

import json
import subprocess
import sys
from pathlib import Path

from multiace.study.measures import measures
from tests.study.synthetic import write_study

ROOT = Path(__file__).parents[1]


def test_rows_are_measured_and_written(tmp_path: Path) -> None:
    rows = ["quick-speed", "quick-fit", "quick-roofline"]
    short = ["--threads", "1", "--rounds", "1", "--seconds", "0.01", "--minutes", "0.01", "--slice", "0.3"]
    command = [sys.executable, "benchmarks/run.py", *rows, *short, "--out", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    speed, fit, roofline = (json.loads((tmp_path / f"{row}.json").read_text())["records"] for row in rows)
    assert speed[0]["train"]["median"] > speed[0]["inference"]["median"] > 0.0
    assert speed[0]["precision"] < 1e-4
    assert len(fit[0]["curve"]) == 2
    attained = {record["operation"]: record for record in roofline}
    assert 0.0 < attained["convolution"]["flop"] / attained["convolution"]["seconds"] < roofline[0]["peak"]
    assert "| multiace, as botnet |" in (tmp_path / "quick-speed.md").read_text()
    assert (tmp_path / "quick-roofline.svg").exists()


def test_points_of_two_studies_are_compared_as_those_of_one(tmp_path: Path) -> None:
    one, two = (write_study(tmp_path / name) for name in ("one", "two"))
    rows = one.rows()
    first, other = (
        next(row for row in rows if row.folder == folder) for folder in sorted({r.folder for r in rows})[:2]
    )
    points = [f"{one.folder}:{first.point}", f"{two.folder}:{first.point}", f"{two.folder}:{other.point}"]
    command = [sys.executable, "benchmarks/compare.py", *points]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    lines = [line.strip("| ").split(" | ") for line in text.splitlines()]
    assert lines[0] == ["quantity", first.point, first.point, other.point]
    main = [measure for measure in measures(rows, one.folder) if measure.quantity.is_main]
    assert [line[0] for line in lines[2:]] == [measure.quantity.label for measure in main]
    for (_, of_first, again, of_other), measure in zip(lines[2:], main, strict=True):
        gain = measure.difference(first.folder, other.folder)
        assert gain is not None
        assert of_first.startswith(f"{measure.mean(first.folder).mean:.3g} ± ")
        assert "(+0, +0 to +0)" in again
        assert (
            f"({gain.mean:+.2g}, {gain.low:+.2g} to {gain.high:+.2g}{' *' * gain.excludes_zero})" in of_other
        )


def test_a_model_is_compared_with_published_ones_as_far_as_rounding_allows(tmp_path: Path) -> None:
    store = write_study(tmp_path / "one", {"axes": {}}, structures=False)
    for row, drawn in zip(store.rows(), (0.9, 1.0, 1.1), strict=True):
        assert row.results is not None
        battery = dict(row.results["battery"])
        of = battery["sets"]["near"]
        errors = {
            **of["errors"],
            "energy": {"rmse": drawn + 0.3, "mae": 1},
            "forces": {"rmse": 50 * drawn, "mae": 1},
        }
        battery["sets"] = {f"{T} K": {**of, "errors": errors} for T in (300, 600, 1200)}
        battery["dynamics"] = {"dynamics at 1200 K": battery["dynamics"]["500 K"]}
        store.done(row.name, {**row.results, "battery": battery})
    command = [sys.executable, "benchmarks/against_published.py", str(store.folder)]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    _, _, mace, *_ = (line.strip("| ").split(" | ") for line in text.splitlines())
    assert mace[0] == "less mace"
    assert mace[1] == "−0.300 (−0.657 to +0.0566)"  # without rounding ±0.23, as of two deviations of 0.1
    assert mace[2].startswith("+40.4 * (+")
