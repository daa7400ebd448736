"""The training loop: read it from :func:`fit` down."""

from __future__ import annotations

import math
import platform
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from multiace.config import choose
from multiace.errors import InputError
from multiace.model.config import outside_choices
from multiace.model.potential import Potential
from multiace.model.replay import Predictor
from multiace.train.checkpoint import (
    Checkpoint,
    DamagedCheckpointError,
    checkpoint_path,
    newest_first,
)
from multiace.train.config import RunConfig
from multiace.train.console import Console
from multiace.train.ema import MovingAverage
from multiace.train.folder import RunFolder
from multiace.train.log import LOGGERS
from multiace.train.loss import Loss
from multiace.train.optimizer import OPTIMIZERS, FlatParameters
from multiace.train.prepare import Prepared, prepare, report
from multiace.train.processes import add_over_processes, cpu_threads, keep_memory, launch
from multiace.train.schedule import SCHEDULES, learning_rate
from multiace.train.step import Step, captures
from multiace.train.validate import validate
from multiace.verify.checks import of_potential, verify
from multiace.verify.structures import build, choose_few, to_plain

__all__ = ["fit"]

STEPS_BETWEEN_CHECKS = 50
CHECKPOINTS_KEPT = 2


def fit(run: RunConfig | str | Path, folder: str | Path | None = None) -> Potential:
    """Train a potential, or continue the run that lies in the folder; one that is complete may be made longer.

    Several processes (``train.strategy = ddp``) share each batch: gradients and validation sums are added
    over processes, so that their number changes results by rounding only.

    Args:
        run: The run, or its YAML file.
        folder: The run folder, see :class:`RunFolder`; by default ``runs/NAME`` for ``NAME.yaml``.

    Returns:
        The best potential by validation loss, with averaged weights; also in ``folder/model.safetensors``.

    Raises:
        InputError: If the config or the data cannot be used, if the folder holds a different run or one of
            other data, or if the loss becomes NaN.
    """
    if not isinstance(run, RunConfig):
        folder = folder or Path("runs") / Path(run).stem
        run = RunConfig.read(run)
    fabric = launch(run.train)
    place = RunFolder(folder or "runs/multiace", main=fabric.is_global_zero)
    longer = place.check(run)
    fabric.barrier()  # every process has read what the main one is about to change
    keep_memory()
    with cpu_threads(run.train.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.train.seed)
        if place.finished and not longer:
            place.check_files()
            Console(place.log if place.main else None).print(f"this run is complete: {place.model}")
            return reload(place.model, run, fabric)
        data = prepare(run)
        with place:
            return Training(fabric, run, data, place).fit()


@dataclass
class State:
    """Where a run is, between two epochs; with the weights' vectors, all that a resume needs.

    The order of frames follows from seed and epoch, and nothing else is random after the start.
    """

    epoch: int = 0
    step: int = 0
    stage: int = 0
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    best_loss: float = math.inf
    best_epoch: int = 0
    stale_epochs: int = 0
    schedule: dict[str, Any] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)


class Training:
    """One run: model, optimiser, data and state.

    Args:
        fabric: Devices and processes, launched.
        run: What to do.
        data: From :func:`prepare`.
        place: Where to write; locked.
    """

    def __init__(self, fabric: Fabric, run: RunConfig, data: Prepared, place: RunFolder) -> None:
        self.fabric, self.run, self.config, self.data, self.place = fabric, run, run.train, data, place
        self.console = Console(place.log if place.main else None)
        self.potential = initial(data).to(fabric.device)
        self.flat = FlatParameters(self.potential)
        build = choose(OPTIMIZERS, self.config.optimizer, "train.optimizer")
        self.optimizer: torch.optim.Optimizer = build(self.flat.groups(self.config.weight_decay))
        self.schedule = choose(SCHEDULES, self.config.schedule, "train.schedule")(self.config)
        decay = self.config.ema_decay
        self.average = MovingAverage(self.flat.vector, decay) if decay else None
        self.state = State(checksums=self.data.checksums)
        report(self.console, data, self.potential)
        if place.main:
            place.describe(run, data.split)
        self.resume()
        self.take_stage()
        self.predictor = Predictor(self.potential) if captures(fabric, self.config) else None
        names = self.config.loggers if place.main else ()
        makers = [choose(LOGGERS, name, "train.loggers") for name in names]
        self.loggers = [maker(place.path, self.state.epoch + 1) for maker in makers]

    def fit(self) -> Potential:
        """Train to the end and return the best potential."""
        state, config = self.state, self.config
        with self.console.progress("training") as show:
            while not self.done():
                started = time.perf_counter()
                self.enter_stage()
                train_loss = self.epoch(show)
                with self.averaged():
                    valid_loss, errors = validate(
                        self.potential, self.data.valid, self.loss, config, self.fabric, self.predictor
                    )
                    self.judge(train_loss, valid_loss)
                state.epoch += 1
                state.epoch_seconds = self.fabric.broadcast(time.perf_counter() - started)
                state.seconds += state.epoch_seconds
                self.log(train_loss, valid_loss, errors)
                if state.epoch % config.checkpoint_every == 0 or self.done():
                    self.checkpoint()
        return self.finish()

    # ------------------------------------------------------------------ where the run is

    def progress(self) -> tuple[float, float]:
        """Return progress (0 to 1) at the start of the epoch, and how far the epoch goes."""
        state, config = self.state, self.config
        done, span = state.epoch / config.max_epochs, 1 / config.max_epochs
        if config.max_minutes is not None:
            budget = 60 * config.max_minutes
            done, span = max(done, state.seconds / budget), max(span, state.epoch_seconds / budget)
        return min(done, 1.0), span

    def done(self) -> str:
        """Return the bound that is reached: epochs, time (another epoch would not fit), patience, or none."""
        state, config = self.state, self.config
        if state.epoch >= config.max_epochs:
            return f"train.max_epochs = {config.max_epochs}"
        if config.max_minutes is not None and state.seconds + state.epoch_seconds > 60 * config.max_minutes:
            return f"train.max_minutes = {config.max_minutes:g}"
        if config.early_stopping is not None and state.stale_epochs >= config.early_stopping:
            return f"train.early_stopping = {config.early_stopping}"
        return ""

    def enter_stage(self) -> None:
        """Take the weights and the rate of the stage; a new stage starts with fresh moments and judgement."""
        state, start = self.state, self.config.second_stage_start
        stage = int(start is not None and self.progress()[0] >= start)
        if stage > state.stage:
            state.stage, state.best_loss, state.stale_epochs = stage, math.inf, 0
            self.schedule.restart()
            self.optimizer.state.clear()  # moments of another loss: steps would be several times too long
            self.console.print(f"second stage from epoch {state.epoch + 1}")
            self.take_stage()

    def take_stage(self) -> None:
        """Fit as the stage says from here on."""
        self.stage = self.config.stage(self.state.stage)
        self.fit_batch = Step(
            self.fabric, self.stage, self.potential, self.flat, self.optimizer, self.average
        )
        self.loss = self.fit_batch.loss

    def judge(self, train_loss: float, valid_loss: float) -> None:
        """Keep the model if it is the best so far; stop if the loss is not a number."""
        state = self.state
        if not (math.isfinite(train_loss) and math.isfinite(valid_loss)):
            self.diverged()
        self.schedule.observe(valid_loss)
        state.stale_epochs += 1
        if valid_loss < state.best_loss:
            state.best_loss, state.best_epoch, state.stale_epochs = valid_loss, state.epoch + 1, 0
            if self.place.main:
                self.potential.save(self.place.best, epoch=state.best_epoch, valid_loss=valid_loss)

    def diverged(self) -> None:
        """Stop with what to do."""
        raise InputError(
            f"the loss is not a number in epoch {self.state.epoch + 1}, at learning rate "
            f"{self.stage.learning_rate:g}; lower train.learning_rate or train.clip_norm, in a new folder. "
            f"{self.place.checkpoints} holds the state before."
        )

    # ------------------------------------------------------------------ one epoch, one step

    def epoch(self, show: Any) -> float:
        """Pass once over the training set; return the mean training loss."""
        state, config, data = self.state, self.config, self.data.train
        generator = torch.Generator().manual_seed(seed_of_epoch(config.seed, state.epoch))
        plan = data.plan(config.batch_size, config.max_edges, generator)
        progress, span = self.progress()
        totals = torch.zeros(2, 3, dtype=torch.float64, device=self.fabric.device)
        for number, indices in enumerate(plan):
            done = (number + 1) / len(plan)
            rate = learning_rate(
                self.stage, self.schedule, min(progress + span * done, 1.0), state.epoch + done
            )
            totals += self.step(indices, rate)
            show(progress + span * done)
            if number % STEPS_BETWEEN_CHECKS == 0 and not totals.isfinite().all():
                self.diverged()
        sums, counts = add_over_processes(self.fabric, totals)
        return float(self.loss.combine(sums, counts))

    def step(self, indices: list[int], rate: float) -> Tensor:
        """Fit one batch, of which each process takes a share; return sums and counts of its loss (2, 3)."""
        share = indices[self.fabric.global_rank :: self.fabric.world_size]
        totals = self.fit_batch(self.data.train.collate(share), rate, self.state.step)
        self.state.step += 1
        return totals

    def averaged(self) -> Any:
        """Return a context in which the model has its averaged weights."""
        return nullcontext() if self.average is None else self.average.applied()

    # ------------------------------------------------------------------ what is written

    def log(self, train_loss: float, valid_loss: float, errors: dict[str, Any]) -> None:
        """Write one row of the learning curve."""
        state = self.state
        row = {
            "epoch": state.epoch,
            "seconds": state.seconds,
            "learning_rate": float(self.optimizer.param_groups[0]["lr"]),
            "train_loss": train_loss,
            "valid_loss": valid_loss,
        }
        for quantity, figures in errors.items():
            if "mae" in figures:
                row |= {f"valid_{quantity}_{name}": figures[name] for name in ("mae", "rmse")}
        for logger in self.loggers:
            logger.log_metrics(row, state.epoch)
        self.console.epoch(row)

    def checkpoint(self) -> None:
        """Write the state, keep the newest two."""
        if not self.place.main:
            return
        self.state.schedule = self.schedule.state()
        vectors = {"weights": self.flat.vector}
        if self.average is not None:
            vectors["average"] = self.average.average
        for index, state in self.optimizer.state_dict()["state"].items():
            vectors |= {f"optimizer.{index}.{name}": value.reshape(-1) for name, value in state.items()}
        folder = self.place.checkpoints
        Checkpoint(vectors, asdict(self.state)).save(checkpoint_path(folder, self.state.step))
        for path in newest_first(folder)[CHECKPOINTS_KEPT:]:
            path.unlink()

    def resume(self) -> None:
        """Continue from the newest whole checkpoint, if there is any.

        Raises:
            InputError: If all checkpoints are damaged, or a data file is not what it was.
        """
        paths = newest_first(self.place.checkpoints)
        for path in paths:
            try:
                checkpoint = Checkpoint.load(path)
                break
            except DamagedCheckpointError as error:
                self.console.print(f"checkpoint {error}; taking the one before")
        else:
            if paths:
                raise InputError(
                    f"all checkpoints in {self.place.checkpoints} are damaged; choose another folder."
                )
            return
        state = State(**checkpoint.state)
        for name, checksum in state.checksums.items():
            if checksum != self.data.checksums[name]:
                raise InputError(
                    f"{name} has changed since {path} was written; restore it, or choose another folder."
                )
        self.state = state
        self.schedule.restore(state.schedule)
        self.flat.vector.copy_(checkpoint.vectors["weights"])
        if self.average is not None:
            self.average.average.copy_(checkpoint.vectors["average"])
        moments = self.optimizer.state_dict()
        for key, vector in checkpoint.vectors.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".")
                value = vector.reshape(()) if name == "step" else vector
                moments["state"].setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict(moments)
        self.console.print(f"continuing after epoch {state.epoch} from {path}")

    def finish(self) -> Potential:
        """Test the best model on every set, and write it with its errors and its provenance."""
        place, sets = self.place, {"train": self.data.train, "valid": self.data.valid, **self.data.test}
        self.fabric.barrier()
        best = reload(place.best, self.run, self.fabric)
        loss = Loss(self.config.stage(self.state.stage))
        errors = {
            name: validate(best, dataset, loss, self.config, self.fabric)[1] for name, dataset in sets.items()
        }
        if place.main:
            self.console.errors(errors)
            verified = self.verified(best) if self.config.verify else {}
            best.save(place.model, metrics=errors, provenance=self.provenance(), **verified)
            summary = {**asdict(self.state), "parameters": len(self.flat.vector), "errors": errors}
            del summary["schedule"]
            place.write_json(place.summary, summary)
            for logger in self.loggers:
                logger.finalize("success")
            self.console.print(f"end after epoch {self.state.epoch}: {self.done()}")
            self.console.print(f"best epoch {self.state.best_epoch}; model: {place.model}")
        self.fabric.barrier()
        return reload(place.model, self.run, self.fabric)

    def verified(self, best: Potential) -> dict[str, Any]:
        """Verify the final model on a few structures of the training set; return what its file keeps of that."""
        structures = choose_few(frame.atoms for frame in self.data.train.frames)
        subject = of_potential(best, structures or build(best.elements))
        report = verify(subject, "training set" if structures else "built", quick=True)
        self.console.print(f"verification: {report}")
        return {"verification": report.to_dict(), "structures": to_plain(structures)}

    def provenance(self) -> dict[str, Any]:
        """Return what made this model: versions, data, config; files by name, without their folders."""
        packages = ("multiace", "torch", "numpy", "ase", "vesin")
        run = self.run.to_dict()
        for key in ("train", "valid", "test"):
            if isinstance(run["data"][key], list):
                run["data"][key] = [Path(name).name for name in run["data"][key]]
        return {
            "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
            "data_sha256": {Path(name).name: checksum for name, checksum in self.data.checksums.items()},
            "run": run,
            "epoch": self.state.best_epoch,
            "seconds": self.state.seconds,
        }


def initial(data: Prepared) -> Potential:
    """Return the potential that training starts with: random weights, or those of another, with E0 of the run."""
    potential = Potential(data.model, data.statistics)
    if data.start is not None:
        weights = data.start.state_dict() | {"isolated_energies": potential.isolated_energies}
        potential.load_state_dict(weights)
    return potential


def reload(path: Path, run: RunConfig, fabric: Fabric) -> Potential:
    """Load a model of this run; code from outside that its config names may run if the run names any."""
    outside = bool(outside_choices(run.model.model_dump()))
    return Potential.load(path, device=fabric.device, outside_code=outside)


def seed_of_epoch(seed: int, epoch: int) -> int:
    """Return a seed (32 bits) for the order of frames in an epoch."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
