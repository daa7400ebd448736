"""What the runs of a study will cost, before any is started: a few real steps of each point are timed."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import torch

from multiace.battery import Battery
from multiace.battery.cost import microseconds
from multiace.battery.job import search
from multiace.battery.parts import files_of
from multiace.battery.subject import subject_of
from multiace.data.dataset import Dataset
from multiace.data.read import read_structures
from multiace.data.split import RunData, read_data
from multiace.errors import InputError
from multiace.files import writing
from multiace.memory import Growth, resident
from multiace.model.potential import Potential
from multiace.study.plan import Point
from multiace.study.testing import beside
from multiace.train.clock import Clock, Spent
from multiace.train.config import RunConfig, TrainConfig
from multiace.train.folder import RunFolder
from multiace.train.learner import initial
from multiace.train.loop import Training
from multiace.train.prepare import prepare
from multiace.train.processes import cpu_threads, keep_memory, launch
from multiace.train.route import by_gradients
from multiace.train.validate import validate

__all__ = ["Estimate", "Length", "estimates"]

WARM_UP = 3  # steps that are not timed: kernels are compiled, memory grows
SECONDS = 1.0  # that steps are timed
SAMPLE = 50  # frames that are predicted
REPEATS = 5  # predictions of one structure, of which the fastest counts


@dataclass(frozen=True)
class Length:
    """How long training is.

    Attributes:
        epochs: Passes over the training set.
        steps: Of the optimiser.
        seconds: Of both.
    """

    epochs: int
    steps: int
    seconds: float

    @classmethod
    def of(cls, config: TrainConfig, batches: int, step: float, epoch: float, cores: float = 1.0) -> Length:
        """Return what the nearest bound leaves.

        Args:
            config: Has the bounds.
            batches: Of an epoch.
            step: Time of a step [s].
            epoch: Time of an epoch beside its steps [s].
            cores: How many cores are busy.
        """
        bounds = []
        if config.max_epochs is not None:
            bounds.append(config.max_epochs * batches)
        if config.max_steps is not None:
            bounds.append(config.max_steps)
        minutes = [config.max_minutes, None if (m := config.max_core_minutes) is None else m / cores]
        for allowed in filter(None, minutes):
            bounds.append(max(int(60 * allowed / (batches * step + epoch)), 1) * batches)
        steps = min(bounds)
        epochs = math.ceil(steps / batches)
        return cls(epochs, steps, steps * step + epochs * epoch)


@dataclass(frozen=True)
class Estimate:
    """What a run of a point costs; what is not estimated is None.

    Attributes:
        parameters: Number of them.
        length: Of training.
        seconds: From the start of its process to its end.
        memory: Of its process, or on its GPU [bytes].
    """

    parameters: int
    length: Length | None = None
    seconds: float | None = None
    memory: float | None = None


def estimates(
    points: Sequence[Point], threads: int, place: Path, battery: str | None = None
) -> Iterator[Estimate]:
    """Estimate a run of each point, one after another; data that several have are read once.

    Args:
        points: Of the study.
        threads: CPU threads of a run.
        place: A folder on the disk of the study, for files whose writing is timed.
        battery: What else models are tested on.

    Raises:
        InputError: If the data of a point cannot be used.
    """
    start, bare = starting(), resident()
    known: dict[str, tuple[RunData, float, float | None]] = {}
    keep_memory()
    for point in points:
        data = point.run.data.model_dump_json()
        try:
            with cpu_threads(point.run.train.threads or threads):
                known[data] = known.get(data) or read(point.run)
                frames, reading, size = known[data]
                found = estimate(point.run, frames, place, added(bare, size), battery)
        except InputError as error:
            raise InputError(f"study, {point.name}: {error}") from None
        yield replace(found, seconds=added(found.seconds, start, reading))


def read(run: RunConfig) -> tuple[RunData, float, float | None]:
    """Read data; return them, the time it took [s], and how much memory they take [bytes]."""
    growth, began = Growth(torch.device("cpu")), time.perf_counter()
    return read_data(run.data), time.perf_counter() - began, growth.most()


def estimate(
    run: RunConfig, data: RunData, place: Path, before: float | None, battery: str | None = None
) -> Estimate:
    """Estimate a run whose process is started, and whose data are read, with so much memory before [bytes]."""
    growth, began = Growth(torch.device("cpu")), time.perf_counter()
    prepared = prepare(run, data)
    if not by_gradients(run):
        return Estimate(sum(parameter.numel() for parameter in initial(prepared).parameters()))
    preparing = time.perf_counter() - began
    fabric = launch(run.train)
    if fabric.device.type == "cuda":
        growth, before = Growth(fabric.device), 0.0
    with writing(place), tempfile.TemporaryDirectory(dir=place, prefix=".plan-") as folder:
        training = Training(fabric, run, prepared, RunFolder(folder, main=False))
        batches, step, cores = step_time(training)
        prediction = prediction_time(training)
        writing_out = writing_time(training, Path(folder))
        most, testing = growth.most(), 0.0
        if battery is not None:
            folders = beside(run.data.model_dump())
            testing = testing_time(training.potential, Battery.read(battery), folders, prediction)
    datasets = (prepared.train, prepared.valid, *prepared.test.values())
    atoms = [dataset.all.graph.n_nodes for dataset in datasets]
    length = Length.of(run.train, batches, step, atoms[1] * prediction + writing_out, cores)
    parameters = sum(parameter.numel() for parameter in training.potential.parameters())
    seconds = preparing + length.seconds + sum(atoms) * prediction + testing
    return Estimate(parameters, length, seconds, added(before, most))


def step_time(training: Training) -> tuple[int, float, float]:
    """Return the number of batches of an epoch, the time of a step [s] and how many cores it keeps busy.

    At rate 0, weights stay as they are.
    """
    data, config = training.data.train, training.config
    plan = data.plan(config.batch_size, config.max_edges, torch.Generator().manual_seed(config.seed))
    batches = cycle(plan)
    step = timed(lambda: training.step(next(batches), 0.0).sum().item(), SECONDS, WARM_UP)
    return len(plan), step.seconds, step.core_seconds / step.seconds


def prediction_time(training: Training) -> float:
    """Return the time of predicting an atom, and of its errors [s]."""
    valid = training.data.valid
    sample = Dataset(valid.frames[:SAMPLE], valid.elements, valid.cutoff)
    arguments = training.loss, training.config, training.fabric, training.predictor
    spent = timed(lambda: validate(training.potential, sample, *arguments), SECONDS / 4)
    return spent.seconds / sample.all.graph.n_nodes


def testing_time(potential: Potential, battery: Battery, folders: Sequence[Path], prediction: float) -> float:
    """Return the time that a battery takes [s]: its structures, and its dynamics if none ends early.

    What cannot be predicted takes none.
    """
    found = search(battery, files_of(battery, ("sets", "curves", "dynamics")), folders)
    labelled = [
        path for file, path in found.items() if path and file in files_of(battery, ("sets", "curves"))
    ]
    seconds = prediction * sum(len(atoms) for path in labelled for atoms in read_structures(path))
    subject = subject_of(potential, battery.labels)
    for entry in battery.dynamics.values():
        if (path := found[entry.file]) is not None:
            start = read_structures(path)[0]
            with suppress(InputError):
                step = 1e-6 * len(start) * microseconds(subject, start, REPEATS)
                seconds += entry.replicas * entry.md(0).n_steps * step
    return seconds


def writing_time(training: Training, folder: Path) -> float:
    """Return the time that an epoch takes to write its state and its model [s]."""
    state = timed(lambda: training.snapshot().save(folder / "state"))
    model = timed(lambda: training.potential.save(folder / "best"))
    return state.seconds / training.config.checkpoint_every + model.seconds


def timed(action: Callable[[], object], seconds: float = 0.0, warm_up: int = 1) -> Spent:
    """Return the mean time of an action, which is done for so many seconds."""
    for _ in range(warm_up):
        action()
    clock, times = Clock(Spent()), 0
    while not times or clock.read().seconds < seconds:
        action()
        times += 1
    spent = clock.read()
    return Spent(spent.seconds / times, spent.core_seconds / times)


def starting() -> float:
    """Return the time that a process takes until it can train [s]: Python, and what it imports."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import multiace.train.loop"], check=True)
    return time.perf_counter() - began


def added(*parts: float | None) -> float | None:
    """Return the sum, None if a part is not known."""
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None
