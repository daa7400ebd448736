"""The main job from data to dynamics, as a user types it: train, test, molecular dynamics, report.

Run it with ``make demo``; about four minutes on two cores.
"""

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # nine atoms: more threads only wait for each other

from rich.console import Console

from multiace.cli import main

HERE = Path(os.path.relpath(Path(__file__).parent))  # short, as typed from the folder above
DATA = HERE / "data" / "malonaldehyde"
TESTS = f"{DATA / 'test_300K.xyz'} {DATA / 'test_600K.xyz'}"
RUN = "runs/demo"

COMMANDS = [
    f"train {HERE / 'demo.yaml'} --folder {RUN}",
    f"evaluate {RUN} {TESTS} --out {RUN}/predictions.xyz",
    f"md {RUN} {DATA / 'test_300K.xyz'}@0 --equilibration 0.5 --time 1 --dtype float64 --trajectory {RUN}/nve.xyz",
    f"report {RUN} --test {TESTS} --scan {DATA / 'scan_proton_transfer.xyz'} --md {RUN}/nve.csv",
]

console = Console(highlight=False)
start = time.monotonic()
for command in COMMANDS:
    console.print(f"\n[bold cyan]$ multiace {command}[/]", soft_wrap=True)
    status = main(command.split())
    if status:
        sys.exit(status)
minutes = (time.monotonic() - start) / 60
console.print(f"\n[bold]done in {minutes:.1f} minutes; open {RUN}/report.html in a browser[/]")
