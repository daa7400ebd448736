"""Measure multiace and other codes in the same run: ``python benchmarks/run.py ROW --against CODES``.

Rows are in rows.py, codes in codes.py (each in its own environment under ``benchmarks/.envs``, made when first
needed), measurements in measure.py. Results go to ``OUT/ROW.json`` and ``OUT/ROW.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import shutil
import sys
import time
from pathlib import Path

from codes import CODES
from measure import MEASUREMENTS
from rows import ROWS
from tables import table

HERE = Path(__file__).parent


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Measure multiace and other codes in the same run, in turns.",
        epilog="rows: " + "; ".join(f"{name}: {row.about}" for name, row in ROWS.items()),
    )
    parser.add_argument("rows", nargs="+", choices=ROWS, metavar="ROW", help=", ".join(ROWS))
    parser.add_argument(
        "--against",
        default=[],
        type=lambda text: text.split(","),
        help=f"of {', '.join(CODES)}; comma between",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("MULTIACE_DATA", HERE / "data")),
        help="folder with acac/; by default $MULTIACE_DATA, else benchmarks/data",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="folder of the results")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of each code")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each code")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a turn, at least one call")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds after which three rounds do")
    parser.add_argument("--minutes", type=float, default=2.0, help="time for training of each code")
    parser.add_argument(
        "--slice", type=float, default=10.0, help="seconds of training before the next code's turn"
    )
    parser.add_argument("--botnet-source", type=Path, help="clone of github.com/gncs/botnet, for code botnet")
    options = parser.parse_args(arguments)
    for name in options.against:
        if name not in CODES:
            parser.error(f"{name} is not a code; choose of {', '.join(CODES)}")
    if "botnet" in options.against and options.botnet_source is None:
        parser.error("botnet needs --botnet-source: git clone https://github.com/gncs/botnet")
    if options.botnet_source is not None:
        options.botnet_source = options.botnet_source.resolve()
    return options


def main() -> None:
    """Measure each row and write its results."""
    options = parse()
    for name in options.rows:
        row = ROWS[name]
        options.scratch = (options.out / "logs" / name).resolve()
        shutil.rmtree(options.scratch, ignore_errors=True)
        options.scratch.mkdir(parents=True)
        print(f"{name}: {row.about}", file=sys.stderr)
        load = os.getloadavg()[0]
        records = list(MEASUREMENTS[row.kind](row.points, options))
        result = {
            "row": name,
            "about": row.about,
            "command": shlex.join(["python", "benchmarks/run.py", *sys.argv[1:]]),
            "date": time.strftime("%Y-%m-%d %H:%M"),
            "threads": options.threads,
            "machine": {
                "processor": processor(),
                "cores": os.cpu_count(),
                "system": platform.platform(),
                "load_before": load,
                "load_after": os.getloadavg()[0],
            },
            "records": records,
        }
        (options.out / f"{name}.json").write_text(json.dumps(result, indent=1, ensure_ascii=False))
        (options.out / f"{name}.md").write_text(page := table(result))
        print(page)


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.processor()
    )


if __name__ == "__main__":
    main()
