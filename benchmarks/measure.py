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
FIT_BATCH = 5  # frames a step where models are trained; elsewhere all frames of the row
LEAST_ROUNDS = 3
MEMORY_SHARE = 0.8  # of what is free; a code that would need more is left out
Record = dict[str, Any]
Entry = tuple[str, str]


def speed(points: dict[str, Point], options: Namespace) -> Iterator[Record]:
    """Training steps and predictions: time in turns, memory, and the accuracy of forces in float32."""
    for label, point in points.items():
        with line_up(point, label, entries(point, options), options) as (processes, records):
            take_turns("time_training", "train", processes, records, options)
            take_turns("time_inference", "inference", processes, records, options)
            ask_all("precision", processes, records)
        yield from records


def inference(points: dict[str, Point], options: Namespace) -> Iterator[Record]:
    """Predictions alone: time in turns, and memory. A code that would not fit into memory is left out."""
    per_atom: dict[Entry, float] = {}
    for label, point in points.items():
        atoms = len(point.frames(options.data).frames[0].atoms)
        fitting = []
        for entry in entries(point, options):
            needed = per_atom.get(entry, 0.0) * atoms
            if needed < MEMORY_SHARE * free_memory():
                fitting.append(entry)
            else:
                name, family = entry
                yield {
                    **{"point": label, "code": name, "like": family},
                    "skipped": f"would need {needed:,.0f} MiB",
                }
        with line_up(point, label, fitting, options) as (processes, records):
            take_turns("time_inference", "inference", processes, records, options)
        for entry, record in zip(fitting, records, strict=True):
            per_atom[entry] = record["inference"]["memory"] / atoms
        yield from records


def memory(points: dict[str, Point], options: Namespace) -> Iterator[Record]:
    """Memory of training steps at its peak, one code after another."""
    for label, point in points.items():
        for entry in entries(point, options):
            with line_up(point, label, [entry], options) as (processes, records):
                ask_all("time_training", processes, records, "train", n=3)
            yield from records


def operations(points: dict[str, Point], options: Namespace) -> Iterator[Record]:
    """Operations of a training step and of a prediction."""
    for label, point in points.items():
        with line_up(point, label, entries(point, options), options) as (processes, records):
            ask_all("time_training", processes, records, "warm", n=2)
            ask_all("count_operations", processes, records)
        yield from records


def roofline(points: dict[str, Point], options: Namespace) -> Iterator[Record]:
    """What each operation of a training step of multiace takes and attains."""
    for label, point in points.items():
        with line_up(point, label, entries(point, options)[:1], options) as (processes, records):
            ask_all("time_training", processes, records, "warm", n=3)
            answer = processes[0].ask("roofline", steps=max(LEAST_ROUNDS, options.rounds))
        for operation in answer.pop("operations"):
            yield {**records[0], **answer, **operation}


def first_step(points: dict[str, Point], options: Namespace) -> Iterator[Record]:
    """Time from the start of a process to the end of its first training step, with empty and full caches."""
    for label, point in points.items():
        for name, family in entries(point, options):
            with tempfile.TemporaryDirectory() as cache:
                variables = dict.fromkeys(
                    ("MULTIACE_CACHE", "TORCHINDUCTOR_CACHE_DIR", "XDG_CACHE_HOME"), cache
                )
                for state in ("empty caches", "full caches"):
                    say(f"{name} (as {family}): {state}")
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
    """Give every code the same time for training, in slices, with errors on frames held out after each."""
    budget = 60.0 * options.minutes
    slices = max(1, round(budget / options.slice))
    for label, point in points.items():
        with line_up(point, label, entries(point, options), options, FIT_BATCH) as (processes, records):
            for number in range(slices):
                for process, record in zip(processes, records, strict=True):
                    spent = process.ask("fit", seconds=budget / slices, budget=budget)
                    record |= spent | process.ask("test")
                    keys = ("spent", "steps", "energy_rmse", "forces_rmse")
                    record.setdefault("curve", []).append({key: record[key] for key in keys})
                errors = ", ".join(f"{record['forces_rmse']:.0f}" for record in records)
                say(f"{(number + 1) * budget / slices:.0f} s of training: {errors} meV/Å")
        yield from records


MEASUREMENTS = {
    measurement.__name__: measurement
    for measurement in (speed, inference, memory, operations, roofline, first_step, fit)
}
"""Every kind of row."""


# --- the line-up ----------------------------------------------------------------------------------------------


def entries(point: Point, options: Namespace) -> list[Entry]:
    """Return codes with the family of their model: of each family multiace first, then the codes against it.

    Codes without a model in this row stay away; without any code, multiace runs the row's first model.
    """
    codes = [(name, CODES[name].family) for name in options.against]
    families = dict.fromkeys(f for _, f in codes if f in point.models) or [next(iter(point.models))]
    return [(name, f) for f in families for name in ("multiace", *(n for n, own in codes if own == f))]


def task(
    point: Point, name: str, family: str, options: Namespace, batch_size: int | None = None
) -> dict[str, Any]:
    """Write the frames and say what to build; see :class:`peers.worker.Peer`."""
    frame_set = point.frames(options.data)
    model, taken, frames = frame_set.resolve(point.models[family])
    path = options.scratch / "frames.xyz"
    ase.io.write(path, frames, format="extxyz")
    return {
        **{"model": json.loads(model.model_dump_json()), "statistics": asdict(taken), "frames": str(path)},
        **{"train": json.loads(RECIPE.model_dump_json()), "threads": options.threads},
        **{"train_frames": frame_set.train_frames, "batch_size": batch_size or frame_set.train_frames},
        **{"device": options.device, "source": str(options.botnet_source), **CODES[name].options},
    }


@contextmanager
def line_up(
    point: Point, label: str, chosen: list[Entry], options: Namespace, batch_size: int | None = None
) -> Iterator[tuple[list[Process], list[Record]]]:
    """Start codes and build their models; what they see must be the same edges."""
    with ExitStack() as stack:
        processes, records = [], []
        for name, family in chosen:
            say(f"{label} {name} (as {family}): building")
            process = stack.enter_context(open_process(name, options))
            built = process.ask("build", task=task(point, name, family, options, batch_size))
            processes.append(process)
            records.append({"point": label, "bound": point.bound, "code": name, "like": family, **built})
        seen = {(record["atoms"], record["edges"]) for record in records}
        if len(seen) > 1:
            raise RuntimeError(f"the codes see different atoms and edges: {seen}")
        yield processes, records


def open_process(name: str, options: Namespace, variables: dict[str, str] | None = None) -> Process:
    """Start a code; its log lies beside the results."""
    number = len(list(options.scratch.glob("*.log"))) + 1
    return Process(name, options.threads, options.scratch / f"{number:03d}-{name}.log", variables)


def ask_all(
    do: str, processes: list[Process], records: list[Record], key: str | None = None, **arguments: Any
) -> None:
    """Ask one code after another; answers go into the records, under a key if there is one."""
    for process, record in zip(processes, records, strict=True):
        answer = process.ask(do, **arguments)
        record |= {key: answer} if key else answer


def take_turns(
    do: str, key: str, processes: list[Process], records: list[Record], options: Namespace
) -> None:
    """Let each code run for a moment, in rounds; the first call of a turn is not counted where calls are short."""
    firsts, counts, samples = [], [], [[] for _ in processes]
    for process, record in zip(processes, records, strict=True):
        say(f"{record['point']} {process.name} (as {record['like']}): first {key}")
        first = process.ask(do, n=1)["seconds"][0]
        warm = process.ask(do, n=2)
        firsts.append({"first": first, "memory": warm["memory"]})
        counts.append(math.ceil(options.seconds / min(warm["seconds"])))
    started = time.perf_counter()
    for number in range(options.rounds):
        for process, sample, n in zip(processes, samples, counts, strict=True):
            idle = 1 if n > 1 else 0
            sample += process.ask(do, n=n + idle)["seconds"][idle:]
        medians = ", ".join(f"{1e3 * statistics.median(sample):.1f}" for sample in samples)
        say(f"{key}, round {number + 1}: {medians} ms")
        if number + 1 >= LEAST_ROUNDS and time.perf_counter() - started > options.patience:
            break
    for record, first, sample in zip(records, firsts, samples, strict=True):
        record[key] = {
            **first,
            "median": statistics.median(sample),
            "best": min(sample),
            "calls": len(sample),
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
