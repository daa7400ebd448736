"""What every measured code does alike: answer commands, take training steps, time, count, measure memory.

A code is a subclass of :class:`Peer` that builds its model, makes batches and predicts. :func:`serve` reads
commands from stdin, one JSON object a line, ``{"do": method, ...arguments}``, and writes one line for each,
``answer: `` and a JSON object. This file runs in the environment of each code: it needs PyTorch and ASE alone.
"""

from __future__ import annotations

import ctypes
import gc
import json
import math
import os
import platform
import random
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ase.io
import numpy as np
import torch
from torch import Tensor

from peers import ANSWER

MIB = 1024.0**2


@dataclass(frozen=True)
class Batch:
    """Some frames in the code's own form, and their labels: E [eV] (n,), F [eV/Å] (atoms, 3), atoms (n,)."""

    inputs: Any
    energy: Tensor
    forces: Tensor
    num_atoms: Tensor


def require(model: dict[str, Any], **values: Any) -> None:
    """Refuse a model that a code cannot build, rather than measure another one."""
    for field, value in values.items():
        if model[field] != value:
            raise ValueError(f"this code has {field} = {value}, but the row asks for {model[field]}")


class Peer(ABC):
    """One code with its model.

    ``task`` says what to measure: ``model`` (fields of multiace's ModelConfig, resolved), ``statistics`` (E0,
    scale, shift, mean number of neighbours), ``frames`` (a file that ASE reads, energies relative to E0),
    ``train`` (fields of multiace's TrainConfig), ``threads``, ``train_frames`` (how many of the frames are for
    training; the others are for testing), ``batch_size``, ``device``, and options of the code.

    Attributes:
        network: What is moved to the device, set by :meth:`prepare`.
        packages: Distributions whose versions are reported.
        differences: What differs from multiace's model of the same row, for the reader of the table.
        parameters: The trainable parameters, set by :meth:`prepare`.
    """

    packages: tuple[str, ...] = ()
    differences: str = ""
    network: torch.nn.Module
    parameters: list[Tensor]

    def __init__(self, task: dict[str, Any]) -> None:
        self.device = torch.device(task["device"])
        self.task, self.model, self.recipe = task, task["model"], task["train"]
        torch.set_num_threads(task["threads"])
        torch.manual_seed(0)
        self.frames = ase.io.read(task["frames"], ":")
        self.prepare()
        self.network.to(self.device)
        self.initial = [parameter.detach().clone() for parameter in self.parameters]
        self.steps, self.spent = 0, 0.0
        self.order: Iterator[list[int]] = iter(())
        self.train_batch = self.batch(range(min(task["batch_size"], task["train_frames"])))
        self.one_frame = self.batch([0])
        self.resident = settle()

    # ------------------------------------------------------------------ what a code says

    @abstractmethod
    def prepare(self) -> None:
        """Build the model and whatever turns frames into batches; set ``parameters``."""

    @abstractmethod
    def collate(self, indices: list[int]) -> Any:
        """Return these frames as the code's own batch; neighbour lists are built before."""

    @abstractmethod
    def predict(self, inputs: Any, train: bool) -> tuple[Tensor, Tensor]:
        """Return E [eV] (n,) and F [eV/Å] (atoms, 3); differentiable for training."""

    @abstractmethod
    def edges(self, inputs: Any) -> int:
        """Return the number of directed edges of a batch."""

    def train_step(self, batch: Batch) -> None:
        """Take one step: loss of energy per atom and forces, gradient, clipping, Adam, moving average."""
        if self.steps == 0:
            self.optimizer = torch.optim.Adam(self.parameters, lr=self.recipe["learning_rate"], fused=True)
            self.average = [parameter.detach().clone() for parameter in self.parameters]
        self.optimizer.zero_grad(set_to_none=True)
        energy, forces = self.predict(batch.inputs, train=True)
        energy_loss = ((energy - batch.energy) / batch.num_atoms).square().mean()
        forces_loss = (forces - batch.forces).square().mean()
        (self.recipe["energy_weight"] * energy_loss + self.recipe["forces_weight"] * forces_loss).backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe["clip_norm"])
        self.optimizer.step()
        decay = min(self.recipe["ema_decay"], (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1.0 - decay)
        self.steps += 1

    def set_learning_rate(self, rate: float) -> None:
        """Set the rate of the next step."""
        self.recipe["learning_rate"] = rate
        if self.steps:
            for group in self.optimizer.param_groups:
                group["lr"] = rate

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Let the model have its averaged weights inside the ``with`` block."""
        weights = [parameter.detach() for parameter in self.parameters]
        raw = [weight.clone() for weight in weights]
        torch._foreach_copy_(weights, self.average)
        try:
            yield
        finally:
            torch._foreach_copy_(weights, raw)

    def batch(self, indices: Any) -> Batch:
        """Return frames and their labels."""
        indices = list(indices)
        frames = [self.frames[index] for index in indices]
        labels = [frame.calc.results if frame.calc else {} for frame in frames]
        energy = [label.get("energy", 0.0) for label in labels]
        forces = [label.get("forces", np.zeros((len(f), 3))) for label, f in zip(labels, frames, strict=True)]
        parts = (
            torch.tensor(energy),
            torch.tensor(np.concatenate(forces), dtype=torch.get_default_dtype()),
            torch.tensor([len(frame) for frame in frames]),
        )
        return Batch(*(moved(part, self.device) for part in (self.collate(indices), *parts)))

    # ------------------------------------------------------------------ commands

    def describe(self) -> dict[str, Any]:
        """Say what was built."""
        return {
            "versions": {name: version(name) for name in ("torch", *self.packages)},
            "python": platform.python_version(),
            "threads": torch.get_num_threads(),
            "parameters": sum(parameter.numel() for parameter in self.parameters),
            "dtype": str(self.parameters[0].dtype).removeprefix("torch."),
            "atoms": int(self.train_batch.num_atoms.sum()),
            "edges": self.edges(self.train_batch.inputs),
            "differences": self.differences,
        }

    def time_training(self, n: int) -> dict[str, Any]:
        """Take n steps on one batch: seconds of each, and memory at the peak above that before [MiB]."""
        return self._timed(lambda: self.train_step(self.train_batch), n)

    def time_inference(self, n: int, frames: int = 1) -> dict[str, Any]:
        """Predict energy and forces of the first frames n times, with weights frozen as calculators do."""
        batch = self.one_frame if frames == 1 else self.batch(range(frames))
        for parameter in self.parameters:
            parameter.requires_grad_(False)
        try:
            return self._timed(lambda: self.predict(batch.inputs, train=False), n)
        finally:
            for parameter in self.parameters:
                parameter.requires_grad_(True)

    def count_operations(self) -> dict[str, Any]:
        """Count the PyTorch operations of a training step and of a prediction: those no other operation called."""
        counts = {}
        for key, action in (
            ("train", lambda: self.train_step(self.train_batch)),
            ("inference", lambda: self.time_inference(1)),
        ):
            action()  # what is made once, such as tables of the new weights
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
                action()
            names = Counter(event.name for event in profile.events() if _is_outermost(event))
            counts[f"operations_{key}"] = {"total": names.total(), "most": dict(names.most_common(10))}
        return counts

    def precision(self) -> dict[str, Any]:
        """Return the root mean square by which forces in float32 differ from those in float64 [relative].

        Both have the initial weights, so that it does not matter how long a code has trained (and exported models
        have these too); everything else is computed anew in float64.
        """
        default = torch.get_default_dtype()
        twin = type(self)({**self.task, "model": {**self.model, "dtype": "float64"}, "compiled": False})
        with torch.no_grad():
            for exact, own, weight in zip(twin.parameters, self.parameters, self.initial, strict=True):
                exact.copy_(weight)
                own.copy_(weight)
        _, exact = twin.predict(twin.one_frame.inputs, train=False)
        torch.set_default_dtype(default)
        _, forces = self.predict(self.one_frame.inputs, train=False)
        return {"precision": float((forces.detach() - exact.detach()).norm() / exact.detach().norm())}

    def fit(self, seconds: float, budget: float) -> dict[str, Any]:
        """Train for some seconds of a budget, with a cosine from the full rate to zero."""
        started, size = time.perf_counter(), self.task["batch_size"]
        if not self.steps:
            self.peak_rate, self.seed = self.recipe["learning_rate"], random.Random(0)
        while (now := time.perf_counter() - started) < seconds:
            indices = next(self.order, None)
            if indices is None:
                shuffled = self.seed.sample(range(self.task["train_frames"]), self.task["train_frames"])
                self.order = (shuffled[i : i + size] for i in range(0, len(shuffled), size))
                continue
            progress = min((self.spent + now) / budget, 1.0)
            self.set_learning_rate(self.peak_rate * 0.5 * (1.0 + math.cos(math.pi * progress)))
            self.train_step(self.batch(indices))
        self.spent += time.perf_counter() - started
        return {"spent": self.spent, "steps": self.steps}

    def test(self) -> dict[str, Any]:
        """Return root mean square errors on the frames that are not for training [meV, meV/Å]."""
        energies, forces = [], []
        indices, size = range(self.task["train_frames"], len(self.frames)), self.task["batch_size"]
        with self.averaged():
            for start in range(0, len(indices), size):
                batch = self.batch(indices[start : start + size])
                energy, force = self.predict(batch.inputs, train=False)
                energies.append((energy.detach() - batch.energy).double())
                forces.append((force.detach() - batch.forces).double().reshape(-1))
        rms = [1000.0 * float(torch.cat(errors).square().mean().sqrt()) for errors in (energies, forces)]
        return {"energy_rmse": rms[0], "forces_rmse": rms[1]}

    def _timed(self, action: Callable[[], Any], n: int) -> dict[str, Any]:
        on_gpu, seconds = self.device.type == "cuda", []
        wait = torch.cuda.synchronize if on_gpu else lambda: None
        wait()
        for _ in range(n):
            started = time.perf_counter()
            action()
            wait()
            seconds.append(time.perf_counter() - started)
        peak = torch.cuda.max_memory_allocated() if on_gpu else status("VmHWM") - self.resident
        return {"seconds": seconds, "memory": peak / MIB}


def moved(inputs: Any, device: torch.device) -> Any:
    """Return the tensors of a code's own batch on the device; what is of another kind stays as it is."""
    if isinstance(inputs, Tensor):
        return inputs.to(device)
    if isinstance(inputs, dict):
        return {key: moved(value, device) for key, value in inputs.items()}
    if isinstance(inputs, SimpleNamespace):
        return SimpleNamespace(**moved(vars(inputs), device))
    return inputs


def serve(peer_class: type[Peer]) -> None:
    """Answer commands until stdin ends; the first one is ``build``."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # from here on, what libraries print goes to stderr
    peer: Any = None
    for line in sys.stdin:
        command = json.loads(line)
        do = command.pop("do")
        try:
            if do == "build":
                peer = peer_class(command["task"])
                answer = peer.describe()
            else:
                answer = getattr(peer, do)(**command)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(ANSWER + json.dumps(answer), file=answers, flush=True)


def settle() -> float:
    """Give freed memory back, let the high-water mark start anew, and return what is resident [bytes]."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):  # another system than Linux with glibc
        pass
    return status("VmRSS")


def status(field: str) -> float:
    """Return a field of /proc/self/status [bytes]; NaN where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return math.nan
    return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def _is_operation(event: Any) -> bool:
    """Whether a profiler event is an operation (aten::mm, multiace::convolution), not a note of autograd."""
    return "::" in event.name and not event.name.startswith(("autograd::", "torch::"))


def _is_outermost(event: Any) -> bool:
    if not _is_operation(event):
        return False
    parent = event.cpu_parent
    while parent is not None and not _is_operation(parent):
        parent = parent.cpu_parent
    return parent is None
