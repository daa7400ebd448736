"""Energy and forces of linear ACE: microseconds for each atom.

    python benchmarks/ace_speed.py [--data FOLDER] [--against nequip] [--threads 1,2]

Frames of AcAc (15 atoms, 12 neighbours, three elements), one at a time and 32 in a batch; bases of about 500, 2,000 and
10,000 functions in all, with coefficients that no fit has found. With ``--against`` nequip (64 x (0e + 1o + 2e + 3o), 5
layers, float32, eager, in an environment of its own) takes turns with them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import torch
from codes import Process
from measure import task
from rows import NATURAL, Point, acac

from multiace.data.dataset import Dataset
from multiace.model import PRESETS, Potential, Statistics

SIZES = {500: (5.0, 5.0, 4.0, 4.0), 2_000: (8.0, 7.0, 5.5, 5.0), 10_000: (11.0, 10.0, 7.5, 7.0)}
"""Total degrees that make about so many functions."""

FRAMES = (1, 32)
ELEMENTS = ("C", "H", "O")


def linear_ace(degrees: tuple[float, ...], dtype: str) -> Potential:
    """A potential of preset ``ace`` with other degrees."""
    config = PRESETS["ace"].replace(elements=ELEMENTS, total_degree=degrees, dtype=dtype)
    return Potential(config, Statistics(np.zeros(len(ELEMENTS))))


def of_multiace(at: Potential, dataset: Dataset) -> dict[int, Callable[[], float]]:
    """Return what measures seconds of a prediction, by the number of frames; weights are frozen, as in calculators."""
    fixed = at.network.fixed()

    def seconds(frames: int) -> float:
        graph = dataset.collate(range(frames)).graph
        at(graph, tables=fixed)
        start = time.perf_counter()
        at(graph, tables=fixed)
        return time.perf_counter() - start

    return {frames: partial(seconds, frames) for frames in FRAMES}


def of_nequip(process: Process) -> dict[int, Callable[[], float]]:
    """Return the same of nequip, in its process."""

    def ask(frames: int) -> float:
        _, seconds = process.ask("time_inference", n=2, frames=frames)["seconds"]
        return float(seconds)

    return {frames: partial(ask, frames) for frames in FRAMES}


def start_nequip(stack: ExitStack, threads: int, data: Path, scratch: Path) -> Process:
    """Start nequip and build its model."""
    options = Namespace(data=data, scratch=scratch, threads=threads, device="cpu", botnet_source=None)
    process = stack.enter_context(Process("nequip", threads, scratch / "nequip.log"))
    point = Point(NATURAL, partial(acac, max(FRAMES), 0))
    process.ask("build", task=task(point, "nequip", "nequip", options))
    return process


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MULTIACE_DATA", "data")))
    parser.add_argument("--against", choices=["nequip"])
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    dataset = Dataset(acac(max(FRAMES), 0, arguments.data).frames, ELEMENTS, PRESETS["ace"].cutoff)
    models = {
        f"{at.network.get_parameter('layers.0.product.weight').numel():,}, {dtype}": of_multiace(at, dataset)
        for degrees in SIZES.values()
        for dtype in ("float64", "float32")
        for at in (linear_ace(degrees, dtype),)
    }
    columns: dict[str, list[float]] = {name: [] for name in (*models, *filter(None, [arguments.against]))}
    for threads in map(int, arguments.threads.split(",")):
        torch.set_num_threads(threads)
        with ExitStack() as stack:
            here = dict(models)
            if arguments.against:
                scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                here["nequip"] = of_nequip(start_nequip(stack, threads, arguments.data, scratch))
            for frames in FRAMES:
                for name, times in in_turns(here, frames, arguments.rounds).items():
                    columns[name].append(1e6 * statistics.median(times) / (15 * frames))
    places = [f"{n} threads, {frames} frames" for n in arguments.threads.split(",") for frames in FRAMES]
    print(f"| functions | {' | '.join(places)} |\n|{'---|' * (1 + len(places))}")
    for name, values in columns.items():
        print(f"| {name} | {' | '.join(f'{value:,.1f}' for value in values)} |")


def in_turns(
    models: dict[str, dict[int, Callable[[], float]]], frames: int, rounds: int
) -> dict[str, list[float]]:
    """Seconds of each model, round by round."""
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, measured in models.items():
            times[name].append(measured[frames]())
    return times


if __name__ == "__main__":
    main()
