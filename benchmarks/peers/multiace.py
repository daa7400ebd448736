"""multiace, through its own pieces: the training step is that of multiace.train.loop."""

from __future__ import annotations

import statistics
import time
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from lightning_fabric import Fabric
from roofline import UPDATE_PASSES, bandwidth, floor, fma_peak, matrix_products, watched
from torch import Tensor

from multiace.data.dataset import Batch as Labelled
from multiace.data.dataset import Dataset
from multiace.data.read import Frame
from multiace.model.config import ModelConfig
from multiace.model.potential import Potential, Statistics
from multiace.model.replay import Predictor
from multiace.train.config import TrainConfig
from multiace.train.ema import MovingAverage
from multiace.train.optimizer import OPTIMIZERS, FlatParameters
from multiace.train.processes import keep_memory
from multiace.train.step import Step
from peers.worker import Batch, Peer, serve


class Multiace(Peer):
    """A point of the design space."""

    packages = ("multiace",)

    def prepare(self) -> None:
        """As Training does: one vector of parameters, optimiser, moving average, loss."""
        keep_memory()
        statistics = dict(self.task["statistics"])
        statistics["isolated_energies"] = np.array(statistics["isolated_energies"])
        self.potential = Potential(ModelConfig(**self.model), Statistics(**statistics)).to(self.device)
        self.network = self.potential
        config = TrainConfig(**self.recipe)
        flat = FlatParameters(self.potential)
        optimizer = OPTIMIZERS[config.optimizer](flat.groups(config.weight_decay))
        self.moving_average = MovingAverage(flat.vector, config.ema_decay)
        self.rate, fabric = config.learning_rate, Fabric(accelerator=self.device.type, devices=1)
        self.step = Step(fabric, config, self.potential, flat, optimizer, self.moving_average)
        self.predictor = Predictor(self.potential) if self.device.type == "cuda" else None
        self.tables = None
        self.parameters = flat.parameters
        frames = []
        for atoms in self.frames:
            labels = atoms.calc.results if atoms.calc else {}
            frames.append(Frame(atoms, labels.get("energy"), labels.get("forces")))
        self.dataset = Dataset(frames, self.potential.elements, self.potential.cutoff)

    def collate(self, indices: list[int]) -> Labelled:
        """The dataset's own batch."""
        return self.dataset.collate(indices)

    def predict(self, inputs: Labelled, train: bool) -> tuple[Tensor, Tensor]:
        """Through the potential; radial weights of predictions in float32 are from tables, as in the calculator."""
        tables = None
        if not train and self.potential.config.dtype == "float32" and self.device.type == "cpu":
            network = self.potential.network
            if self.tables is None or self.tables.version != network.version():
                self.tables = network.tabulate()
            tables = self.tables
        if self.predictor is not None:
            prediction = self.predictor(inputs.graph, stress=False, tables=tables)
        else:
            prediction = self.potential(inputs.graph, tables=tables)
        return prediction.energy, prediction.forces

    def edges(self, inputs: Labelled) -> int:
        """Those of the graph."""
        return inputs.graph.n_edges

    def train_step(self, batch: Batch) -> None:
        """As Training does, from a batch on."""
        self.step(batch.inputs, self.rate, self.steps)
        self.steps += 1

    def set_learning_rate(self, rate: float) -> None:
        """Set the rate of the next step."""
        self.rate = rate

    def averaged(self) -> AbstractContextManager[None]:
        """Averaged weights, as in validation."""
        return self.moving_average.applied()

    def roofline(self, steps: int) -> dict[str, Any]:
        """Take training steps apart: calls, seconds, FLOP and bytes of each operation in the median step.

        For that every kernel is called by itself; the median of steps as they are comes last.
        """
        before = self.limits()
        whole = statistics.median(self.time_training(2 * steps)["seconds"])
        self.potential.network.recorder.succeeds = False  # so that each kernel is called by itself
        samples, step_seconds = [], []
        for _ in range(steps):
            with watched() as totals:
                step_seconds += self.time_training(1)["seconds"]
            samples.append(totals)
            products = matrix_products(lambda: self.train_step(self.train_batch))
            totals |= products
        median = {
            name: sums | {"seconds": statistics.median(sample[name]["seconds"] for sample in samples)}
            for name, sums in samples[0].items()
        }
        operations = [{"operation": name, **sums} for name, sums in median.items()]
        operations.append({"operation": "update of the weights", **self.update(steps)})
        step = statistics.median(step_seconds)
        rest = step - sum(operation["seconds"] for operation in operations)
        operations.sort(key=lambda operation: -operation["seconds"])
        operations.append({"operation": "all else: small operations, autograd, Python", "seconds": rest})
        operations.append(
            {"operation": "the same step, as it runs: its kernels in programs", "seconds": whole}
        )
        limits = {name: max(value, before[name]) for name, value in self.limits().items()}
        for operation in operations:
            operation["floor_seconds"] = floor(operation, **limits)
        operations[-1]["floor_seconds"] = sum(operation["floor_seconds"] for operation in operations)
        return {**limits, "step_seconds": step, "operations": operations}

    def limits(self) -> dict[str, float]:
        """Measure what the machine can do."""
        return {"peak": fma_peak(self.task["threads"]), "bandwidth": bandwidth()}

    def update(self, steps: int) -> dict[str, float]:
        """Time clipping, optimiser and moving average."""
        flat, step = self.step.flat, self.step
        seconds = []
        for _ in range(steps):
            started = time.perf_counter()
            flat.clip(step.config.clip_norm or 1.0)
            step.optimizer.step()
            self.moving_average.update()
            seconds.append(time.perf_counter() - started)
        return {
            "calls": 1,
            "seconds": statistics.median(seconds),
            "bytes": UPDATE_PASSES * flat.vector.nbytes,
        }

    def time_inference(self, n: int, frames: int = 1) -> dict[str, Any]:
        """In evaluation mode, as the calculator does."""
        self.potential.eval()
        try:
            return super().time_inference(n, frames)
        finally:
            self.potential.train()


if __name__ == "__main__":
    serve(Multiace)
