"""The benchmarks run: multiace alone, a tiny model, on data of the repository."""

import json
import subprocess
import sys
from pathlib import Path

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
