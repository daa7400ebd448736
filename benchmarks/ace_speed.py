"""Energy and forces of linear ACE: microseconds for each atom, on one core.

    python benchmarks/ace_speed.py [--data FOLDER]

Frames of AcAc (15 atoms, 12 neighbours, three elements), all in one batch and one at a time; bases of about 500,
2,000 and 10,000 functions in all, float64 and float32, weights that no fit has found.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import ase.io
import numpy as np
import torch

from multiace.graph import Graph
from multiace.graph.neighbors import build_graph
from multiace.model import PRESETS, Potential, Statistics

SIZES = {500: (5.0, 5.0, 4.0, 4.0), 2_000: (8.0, 7.0, 5.5, 5.0), 10_000: (11.0, 10.0, 7.5, 7.0)}
"""Total degrees that make about so many functions."""


def microseconds(at: Potential, graph: Graph, rounds: int = 15) -> float:
    """Median time of a prediction for an atom."""
    fixed = at.network.fixed()
    for _ in range(3):
        at(graph, tables=fixed)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        at(graph, tables=fixed)
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times) / graph.n_nodes


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MULTIACE_DATA", "data")))
    parser.add_argument("--frames", type=int, default=64)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    frames = ase.io.read(arguments.data / "acac" / "train_300K.xyz", f":{arguments.frames}")
    print("| functions | dtype | in a batch [µs/atom] | one frame at a time [µs/atom] |\n|---|---|---|---|")
    for degrees in SIZES.values():
        for dtype in ("float64", "float32"):
            config = PRESETS["ace"].replace(elements=("H", "C", "O"), total_degree=degrees, dtype=dtype)
            at = Potential(config, Statistics(np.zeros(3)))
            graphs = [build_graph(atoms, at.elements, at.cutoff) for atoms in frames]
            functions = at.network.get_parameter("layers.0.product.weight").numel()
            batch, single = microseconds(at, Graph.batch(graphs)), microseconds(at, graphs[0], 40)
            print(f"| {functions:,} | {dtype} | {batch:.1f} | {single:.0f} |", flush=True)


if __name__ == "__main__":
    main()
