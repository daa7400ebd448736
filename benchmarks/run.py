"""Measure multiace and other codes in the same run: ``python benchmarks/run.py ROW --against CODES``.

Rows are in rows.py, codes in codes.py (each in its own environment under ``benchmarks/.envs``, made when first
needed), measurements in measure.py. Results go to ``OUT/ROW.json``, ``OUT/ROW.md`` and, where there is something
to draw, ``OUT/ROW.svg``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from codes import CODES
from figures import draw
from measure import MEASUREMENTS
from rows import ROWS
from tables import table

HERE = Path(__file__).parent


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Measure multiace and other codes in the same run, in turns.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="rows:\n" + "\n".join(f"  {name:21}{row.about}" for name, row in ROWS.items()),
    )
    parser.add_argument(
        "rows", nargs="+", metavar="ROW", help="name of a row, or what names begin with: scaling"
    )
    parser.add_argument(
        "--against", default=[], type=lambda text: text.split(","), metavar="CODES", help=", ".join(CODES)
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("MULTIACE_DATA", HERE / "data")),
        help="folder with acac/; by default $MULTIACE_DATA, else benchmarks/data",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="folder of the results")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of each code (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each code (%(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a turn (%(default)s)")
    parser.add_argument(
        "--patience", type=float, default=120.0, help="seconds after which three turns do (%(default)s)"
    )
    parser.add_argument(
        "--minutes", type=float, default=2.0, help="training of each code in train-acac (%(default)s)"
    )
    parser.add_argument("--slice", type=float, default=10.0, help="seconds of a turn there (%(default)s)")
    parser.add_argument(
        "--botnet-source",
        type=Path,
        default=os.environ.get("BOTNET_SOURCE"),
        help="clone of github.com/gncs/botnet, for code botnet; by default $BOTNET_SOURCE",
    )
    options = parser.parse_args()
    found = {
        wanted: [name for name in ROWS if (name + "-").startswith(wanted + "-")] for wanted in options.rows
    }
    for wanted, names in found.items():
        if not names:
            parser.error(f"there is no row {wanted}; choose of {', '.join(ROWS)}")
    options.rows = [name for names in found.values() for name in names]
    on_gpu = [name for name in options.rows if ROWS[name].device == "cuda"]
    if on_gpu and not torch.cuda.is_available():
        parser.error(f"{', '.join(on_gpu)}: to be measured on a GPU, but PyTorch sees no CUDA device here")
    for name in options.against:
        if name not in CODES:
            parser.error(f"there is no code {name}; choose of {', '.join(CODES)}")
    if "botnet" in options.against and not options.botnet_source:
        parser.error(
            "botnet is on no package index: git clone https://github.com/gncs/botnet, then --botnet-source"
        )
    if options.botnet_source:
        options.botnet_source = options.botnet_source.resolve()
    return options


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure a row; return its records, with what they were measured on."""
    row = ROWS[name]
    options.device = row.device
    options.scratch = Path(tempfile.mkdtemp(prefix=f"multiace-{name}-"))
    print(f"{name}: {row.about} (logs: {options.scratch})", file=sys.stderr)
    load, started = os.getloadavg()[0], time.perf_counter()
    records = list(MEASUREMENTS[row.kind](row.points, options))
    return {
        **{"row": name, "about": row.about, "kind": row.kind, "against": options.against},
        **{"date": time.strftime("%Y-%m-%d"), "minutes": (time.perf_counter() - started) / 60.0},
        **{"processor": processor(row.device), "threads": options.threads},
        **{"load_before": load, "load_after": os.getloadavg()[0], "records": records},
    }


def main() -> None:
    """Measure each row and write its results."""
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.rows:
        result = measure(name, options)
        path = options.out / name
        path.with_suffix(".json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
        path.with_suffix(".md").write_text(page := table(result))
        draw(result, path.with_suffix(".svg"))
        print(page)


def processor(device: str) -> str:
    """Return the name of the processor, or of the GPU."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


if __name__ == "__main__":
    main()
