"""The measurements: codes take turns, so that whatever else the machine does meets all of them alike."""

from __future__ import annotations

import json
import math
import statistics
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ase.io
from codes import CODES, Process
from rows import Point

from multiace.train.config import TrainConfig

__all__ = ["MEASUREMENTS"]

RECIPE = TrainConfig()
BATCH_SIZE = 5
LEAST_ROUNDS = 3
MEMORY_SHARE = 0.8  # of what is free; a point that would need more is left out
Record = dict[str, Any]


def speed(points: dict[str, Point], options: Namespace, training: bool = True) -> Iterator[Record]:
    """Time training steps and predictions of every code, in turns; memory and operations of a step."""
    per_atom = 0.0
    for label, point in points.items():
        atoms = len(point.frames(options.data).frames[0].atoms)
        if not training and per_atom * atoms > MEMORY_SHARE * free_memory():
            yield {"point": label, "code": "multiace", "skipped": f"would need {per_atom * atoms:,.0f} MiB"}
            continue
        with line_up(point, label, options) as (processes, records):
            if training:
                take_turns("time_training", "train", processes, records, options)
                for process, record in zip(processes, records, strict=True):
                    record |= process.ask("count_operations")
            take_turns("time_inference", "inference", processes, records, options)
        per_atom = records[0]["inference"]["memory"] / atoms
        yield from records


def inference(points: dict[str, Point], options: Namespace) -> Iterator[Record]:
    """Time predictions alone; memory is that of the prediction."""
    return speed(points, options, training=False)


def first_step(points: dict[str, Point], options: Namespace) -> Iterator[Record]:
    """Time from the start of a process to the end of its first training step, with empty and full caches."""
    for label, point in points.items():
        for name, family in entries(point, options):
            with tempfile.TemporaryDirectory() as cache:
                variables = dict.fromkeys(
                    ("MULTIACE_CACHE", "TORCHINDUCTOR_CACHE_DIR", "XDG_CACHE_HOME"), cache
                )
                for state in ("cold", "warm"):
                    started = time.perf_counter()
                    with open_process(name, options, variables) as process:
                        built = process.ask("build", task=task(point, name, family, options))
                        build = time.perf_counter() - started
                        process.ask("time_training", n=1)
                        total = time.perf_counter() - started
                    yield {
                        **{"point": f"{label} {state}".strip(), "code": name, "like": family, **built},
                        **{"build_seconds": build, "first_step_seconds": total},
                    }


def fit(points: dict[str, Point], options: Namespace) -> Iterator[Record]:
    """Give every code the same time for training, in slices, and compare errors on frames held out."""
    budget = 60.0 * options.minutes
    for label, point in points.items():
        with line_up(point, label, options) as (processes, records):
            slices = max(1, round(budget / options.slice))
            for _ in range(slices):
                for process, record in zip(processes, records, strict=True):
                    record |= process.ask("fit", seconds=budget / slices, budget=budget)
            for process, record in zip(processes, records, strict=True):
                record |= process.ask("test")
        yield from records


MEASUREMENTS = {"speed": speed, "inference": inference, "first_step": first_step, "fit": fit}
"""Every kind of row."""


# --- the line-up ----------------------------------------------------------------------------------------------


def entries(point: Point, options: Namespace) -> list[tuple[str, str]]:
    """Return codes with the family of their model: of each family multiace first, then the codes against it."""
    against = [(name, CODES[name].family or next(iter(point.models))) for name in options.against]
    for name, family in against:
        if family not in point.models:
            raise ValueError(
                f"{name} cannot be measured in this row, which has models of {', '.join(point.models)}"
            )
    families = dict.fromkeys(family for _, family in against) or [next(iter(point.models))]
    return [
        entry
        for family in families
        for entry in [("multiace", family), *(e for e in against if e[1] == family)]
    ]


def task(point: Point, name: str, family: str, options: Namespace) -> dict[str, Any]:
    """Write the frames and say what to build; see :class:`peers.worker.Peer`."""
    frame_set = point.frames(options.data)
    model, taken, frames = frame_set.resolve(point.models[family])
    path = options.scratch / "frames.xyz"
    ase.io.write(path, frames, format="extxyz")
    fields = json.loads(model.model_dump_json())
    recipe = json.loads(RECIPE.model_dump_json())
    extra = {"source": str(options.botnet_source)} if name == "botnet" else {}
    return {
        **{"model": fields, "statistics": asdict(taken), "train": recipe, "frames": str(path)},
        **{"threads": options.threads, "train_frames": frame_set.train_frames, "batch_size": BATCH_SIZE},
        **{**CODES[name].options, **extra},
    }


@contextmanager
def line_up(point: Point, label: str, options: Namespace) -> Iterator[tuple[list[Process], list[Record]]]:
    """Start all codes of a point and build their models; what they see must be the same edges."""
    with ExitStack() as stack:
        processes, records = [], []
        for name, family in entries(point, options):
            say(f"{label} {name} (as {family}): building")
            process = stack.enter_context(open_process(name, options))
            built = process.ask("build", task=task(point, name, family, options))
            processes.append(process)
            records.append({"point": label, "code": name, "like": family, **built})
        seen = {(record["atoms"], record["edges"]) for record in records}
        if len(seen) > 1:
            raise RuntimeError(f"the codes see different atoms and edges: {seen}")
        yield processes, records


def open_process(name: str, options: Namespace, variables: dict[str, str] | None = None) -> Process:
    """Start a code; its log lies beside the results."""
    number = len(list(options.scratch.glob("*.log"))) + 1
    return Process(name, options.threads, options.scratch / f"{number:03d}-{name}.log", variables)


def take_turns(
    do: str, key: str, processes: list[Process], records: list[Record], options: Namespace
) -> None:
    """Let each code run for a moment, in rounds; the first call of each turn is not counted."""
    counts, firsts, samples = [], [], [[] for _ in processes]
    for process, record in zip(processes, records, strict=True):
        say(f"{process.name} (as {record['like']}): first {key}")
        first = process.ask(do, n=1)
        warm = process.ask(do, n=2)
        firsts.append(warm | first | {"memory": warm["memory"]})
        counts.append(max(1, math.ceil(options.seconds / min(warm["seconds"]))))
    started = time.perf_counter()
    for number in range(options.rounds):
        for process, sample, n in zip(processes, samples, counts, strict=True):
            sample += process.ask(do, n=n + 1)["seconds"][1:]
        say(
            f"{key}, round {number + 1}: "
            + ", ".join(f"{statistics.median(s) * 1e3:.1f}" for s in samples)
            + " ms"
        )
        if number + 1 >= LEAST_ROUNDS and time.perf_counter() - started > options.patience:
            break
    for record, first, sample in zip(records, firsts, samples, strict=True):
        record[key] = {
            **{
                "median": statistics.median(sample),
                "best": min(sample),
                "count": len(sample),
                "samples": sample,
            },
            **{"first": first["seconds"][0], "memory": first["memory"]},
        }


def free_memory() -> float:
    """Return what the machine has available [MiB]; without bound where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return math.inf
    return next(int(line.split()[1]) / 1024.0 for line in lines if line.startswith("MemAvailable"))


def say(text: str) -> None:
    """Report progress."""
    print(f"  {text.strip()}", file=sys.stderr)
