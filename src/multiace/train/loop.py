"""The training loop: read it from :func:`fit` down."""

from __future__ import annotations

import math
import signal
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from multiace.config import choose
from multiace.errors import InputError, Interrupted
from multiace.machine import crowd
from multiace.model.potential import Potential
from multiace.model.replay import Predictor
from multiace.train.checkpoint import checkpoint_path, newest_first
from multiace.train.clock import Clock, Spent
from multiace.train.config import RunConfig
from multiace.train.console import Console
from multiace.train.finish import finish, reload
from multiace.train.folder import RunFolder
from multiace.train.learner import Learner
from multiace.train.linear_fit import LinearFit
from multiace.train.log import LOGGERS, Logger
from multiace.train.memory import batch_in_memory
from multiace.train.prepare import Prepared, prepare
from multiace.train.processes import add_over_processes, cpu_threads, keep_memory, launch
from multiace.train.radial import present_intervals, tabulates
from multiace.train.route import is_solved
from multiace.train.schedule import learning_rate
from multiace.train.step import Step, captures
from multiace.train.stop import Stop
from multiace.train.validate import validate

__all__ = ["fit"]

STEPS_BETWEEN_CHECKS = 50
CHECKPOINTS_KEPT = 2


def fit(run: RunConfig | str | Path, folder: str | Path | None = None, fork: bool = False) -> Potential:
    """Train a potential, or continue the run that lies in the folder; one that is complete may be made longer.

    Several processes (``train.strategy = ddp``) share each batch: gradients and validation sums are added
    over processes, so that their number changes results by rounding only.

    Args:
        run: The run, or its YAML file.
        folder: The run folder, see :class:`RunFolder`; by default ``runs/NAME`` for ``NAME.yaml``.
        fork: Go on from the last checkpoint although the data or fields of the train section are others.

    Returns:
        The best potential by validation loss, with averaged weights; also in ``folder/model.safetensors``.

    Raises:
        InputError: If the config or the data cannot be used, if the folder holds a different run, one of
            other data, or one that another process is training, if the loss explodes or becomes NaN, if a batch
            does not fit into the memory, or if a file cannot be written.
        Interrupted: After Ctrl-C or SIGTERM, once the state is saved.
    """
    if not isinstance(run, RunConfig):
        folder = folder or Path("runs") / Path(run).stem
        run = RunConfig.read(run)
    fabric = launch(run.train)
    keep_memory()
    with (
        RunFolder(folder or "runs/multiace", main=fabric.is_global_zero) as place,
        cpu_threads(run.train.threads),
        torch.random.fork_rng(devices=[]),
    ):
        goes_on = place.check(run, fork)
        fabric.barrier()  # every process has read what the main one is about to change
        torch.manual_seed(run.train.seed)
        if place.finished and not goes_on:
            if not fork:
                place.check_files()
            Console(place.log if place.main else None).print(f"this run is complete: {place.model}")
            return reload(place.model, run, fabric)
        solved = is_solved(run)
        data = prepare(run)
        place.make()
        if fabric.device.type == "cpu" and (why := crowd(torch.get_num_threads())):
            Console(place.log if place.main else None).print(f"note: {why}: train.threads = 1")
        if solved:
            return LinearFit(fabric, run, data, place).fit()
        return Training(fabric, run, data, place, fork).fit()


class DivergedError(Exception):
    """The loss explodes or is not a number."""


class Training(Learner):
    """One run of a learner.

    Args:
        fabric: Devices and processes, launched.
        run: What to do.
        data: From :func:`prepare`.
        place: Where to write; locked.
        fork: See :func:`fit`.
    """

    def __init__(
        self, fabric: Fabric, run: RunConfig, data: Prepared, place: RunFolder, fork: bool = False
    ) -> None:
        super().__init__(fabric, run, data, place, fork)
        self.stop = Stop(fabric)
        self.take_stage()
        self.tabulates = tabulates(self.config.radial, self.potential.network)
        self.predictor = Predictor(self.potential) if captures(fabric, self.config) else None
        self.loggers: list[Logger] = []
        self.open_loggers()
        self.good = self.snapshot() if self.config.divergence_retries else None

    def fit(self) -> Potential:
        """Train to the end and return the best potential."""
        with self.stop.listening(), self.console.progress("training") as show:
            while not self.done():
                self.clock = Clock(Spent(self.state.batch_seconds, self.state.batch_core_seconds))
                try:
                    if self.config.start_from is not None and self.state.step == 0:
                        self.keep_start()
                    self.train_epoch(show)
                    self.stop.obey()
                except DivergedError as error:
                    self.step_back(error)
                except Interrupted as interrupt:
                    self.pause(interrupt)
        best = finish(self, self.done())
        for logger in self.loggers:
            logger.finalize("success")
        return best

    def keep_start(self) -> None:
        """Keep the model that training starts from: it is the best so far."""
        with self.averaged():
            loss, _ = self.validated("the validation of the model of train.start_from")
            if math.isfinite(loss):
                self.state.best_loss = loss
                if self.place.main:
                    self.potential.save(self.place.best, epoch=0, valid_loss=loss)

    def validated(self, name: str) -> tuple[float, dict[str, Any]]:
        """Return the loss and the errors of the validation set."""
        return validate(
            self.potential,
            self.data.valid,
            self.loss,
            self.config,
            self.fabric,
            self.predictor,
            name,
            self.between_batches,
        )

    def train_epoch(self, show: Any) -> None:
        """Train and validate once, or what an interrupted run has left of that; write what came out."""
        state, config = self.state, self.config
        self.enter_stage()
        train_loss = self.epoch(show)
        with self.averaged():
            valid_loss, errors = self.validated(f"the validation of epoch {state.epoch + 1}")
            self.judge(train_loss, valid_loss)
        state.epoch += 1
        self.take_time()
        self.log(train_loss, valid_loss, errors)
        if state.epoch % config.checkpoint_every == 0 or self.done():
            self.checkpoint()

    def take_time(self) -> None:
        """Take note of what the epoch that is now complete has taken."""
        state, spent = self.state, self.clock.read()
        of_cores = torch.tensor(spent.core_seconds, dtype=torch.float64, device=self.fabric.device)
        state.epoch_seconds = self.fabric.broadcast(spent.seconds)
        state.epoch_core_seconds = float(add_over_processes(self.fabric, of_cores))
        state.seconds += state.epoch_seconds
        state.core_seconds += state.epoch_core_seconds
        state.begin_epoch()

    # ------------------------------------------------------------------ where the run is

    def progress(self, batches: int = 0, of: int = 1) -> float:
        """Return progress (0 to 1) towards the nearest bound, after so many of the batches of the next epoch."""
        state, config = self.state, self.config
        share, reached = batches / of, []
        if config.max_epochs is not None:
            reached.append(state.epoch / config.max_epochs + 1 / config.max_epochs * share)
        if config.max_steps is not None:
            reached.append((state.step - state.batch + batches) / config.max_steps)
        if config.max_minutes is not None:
            reached.append((state.seconds + state.epoch_seconds * share) / (60 * config.max_minutes))
        if config.max_core_minutes is not None:
            spent = state.core_seconds + state.epoch_core_seconds * share
            reached.append(spent / (60 * config.max_core_minutes))
        return min(max(reached), 1.0)

    def done(self) -> str:
        """Return the bound that is reached: epochs, steps, time (another epoch would not fit), patience, or none."""
        state, config = self.state, self.config
        if config.max_epochs is not None and state.epoch >= config.max_epochs:
            return f"train.max_epochs = {config.max_epochs}"
        if config.max_steps is not None and state.step - state.batch >= config.max_steps:
            return f"train.max_steps = {config.max_steps}"
        if config.max_minutes is not None and state.seconds + state.epoch_seconds > 60 * config.max_minutes:
            return f"train.max_minutes = {config.max_minutes:g}"
        of_cores = state.core_seconds + state.epoch_core_seconds
        if config.max_core_minutes is not None and of_cores > 60 * config.max_core_minutes:
            return f"train.max_core_minutes = {config.max_core_minutes:g}"
        if config.early_stopping is not None and state.stale_epochs >= config.early_stopping:
            return f"train.early_stopping = {config.early_stopping}"
        return ""

    def enter_stage(self) -> None:
        """Take the weights and the rate of the stage."""
        state, start = self.state, self.config.second_stage_start
        stage = int(start is not None and self.progress() >= start)
        if stage > state.stage:
            state.stage = stage
            self.start_afresh()
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
        """Keep the model if it is the best so far.

        Raises:
            DivergedError: If the loss has exploded.
        """
        state, limit = self.state, self.config.divergence_limit
        loss = max(train_loss, valid_loss)
        if not (math.isfinite(train_loss + valid_loss) and self.flat.vector.isfinite().all()):
            raise DivergedError("is not a number")
        state.first_loss = loss if state.first_loss is None else state.first_loss
        if limit is not None and loss > limit * state.first_loss:
            raise DivergedError(f"has exploded to {loss:.3g}, from {state.first_loss:.3g} at first,")
        self.schedule.observe(valid_loss)
        state.stale_epochs += 1
        if valid_loss < state.best_loss:
            state.best_loss, state.best_epoch, state.stale_epochs = valid_loss, state.epoch + 1, 0
            if self.place.main:
                self.potential.save(self.place.best, epoch=state.best_epoch, valid_loss=valid_loss)

    def step_back(self, error: DivergedError) -> None:
        """Return to the last checkpoint with half of the rate.

        Raises:
            InputError: If that is not configured, or has been done often enough; says what to do.
        """
        state, retries = self.state, self.config.divergence_retries
        rate = self.stage.learning_rate * 0.5**state.retries
        what = f"the loss {error} in epoch {state.epoch + bool(state.batch)}, at learning rate {rate:g}"
        if self.good is None or state.retries >= retries:
            raise InputError(
                f"{what}; lower train.learning_rate or train.clip_norm (with --fork to go on from the last checkpoint, "
                f"else in a new folder), or raise train.divergence_retries = {retries}. {self.place.checkpoints} "
                "holds the state before."
            ) from None
        self.restore(self.good)
        self.state.retries = state.retries + 1
        self.state.seconds, self.state.core_seconds = state.seconds, state.core_seconds
        self.take_stage()
        self.open_loggers()
        self.console.print(f"{what}; back to epoch {self.state.epoch}, with half of the rate")

    def pause(self, interrupt: Interrupted) -> None:
        """Save the state, and end.

        Raises:
            Interrupted: With how to go on.
        """
        state = self.state
        state.batch_seconds, state.batch_core_seconds = self.clock.read() if state.batch else Spent()
        where = f"{state.batch} batches of epoch" if state.batch else "epoch"
        try:
            self.checkpoint()
            sentence = (
                f"; the state after {where} {state.epoch + bool(state.batch)} is saved, and the same command "
            )
            sentence += "goes on from there"
        except DivergedError as error:
            sentence = (
                f"; nothing is saved, as the loss {error}: the same command goes on from the last checkpoint"
            )
        self.console.note(f"{signal.Signals(interrupt.number).name}{sentence}")
        raise Interrupted(interrupt.number, sentence) from None

    # ------------------------------------------------------------------ one epoch, one step

    def epoch(self, show: Any) -> float:
        """Pass once over the training set, or to the last step there may be; return the mean training loss."""
        state, config, data = self.state, self.config, self.data.train
        generator = torch.Generator().manual_seed(seed_of_epoch(config.seed, state.epoch))
        plan = data.plan(config.batch_size, config.max_edges, generator)
        n_batches = len(plan)
        if config.max_steps is not None:
            n_batches = min(n_batches, config.max_steps - (state.step - state.batch))
        self.totals = torch.zeros(2, 3, dtype=torch.float64, device=self.fabric.device)
        if state.totals is not None and self.place.main:
            self.totals += torch.tensor(state.totals, dtype=torch.float64)
        for number in range(state.batch, n_batches):
            progress = self.progress(number + 1, len(plan))
            epochs = state.epoch + (number + 1) / len(plan)
            state.rate = 0.5**state.retries * learning_rate(self.stage, self.schedule, progress, epochs)
            where = f"epoch {state.epoch + 1}, batch {number + 1} of {n_batches}"
            with batch_in_memory(data, plan[number], where):
                self.totals += self.step(plan[number], state.rate)
            state.batch = number + 1
            show(progress)
            if number % STEPS_BETWEEN_CHECKS == 0:
                if not self.summed().isfinite().all():
                    raise DivergedError("is not a number")
                self.stop.obey()
            self.between_batches()
        sums, counts = self.summed()
        return float(self.loss.combine(sums, counts))

    def step(self, indices: list[int], rate: float) -> Tensor:
        """Fit one batch, of which each process takes a share; return sums and counts of its loss (2, 3)."""
        share = indices[self.fabric.global_rank :: self.fabric.world_size]
        state = self.state
        intervals = present_intervals(self.potential.network, state, self.console) if self.tabulates else 0
        totals = self.fit_batch(self.data.train.collate(share), rate, state.step, intervals)
        state.step += 1
        return totals

    def summed(self) -> Tensor:
        """Return sums and counts of the loss in this epoch so far, of all processes."""
        return add_over_processes(self.fabric, self.totals.clone())

    def between_batches(self) -> None:
        """Stop here if asked to; several processes agree on that less often, as they wait for each other."""
        if self.fabric.world_size == 1:
            self.stop.obey()

    # ------------------------------------------------------------------ what is written

    def log(self, train_loss: float, valid_loss: float, errors: dict[str, Any]) -> None:
        """Write one row of the learning curve."""
        state = self.state
        row = {
            "epoch": state.epoch,
            "seconds": state.seconds,
            "core_seconds": state.core_seconds,
            "steps": state.step,
            "learning_rate": state.rate,
            "train_loss": train_loss,
            "valid_loss": valid_loss,
        }
        for quantity, figures in errors.items():
            if "mae" in figures:
                row |= {f"valid_{quantity}_{name}": figures[name] for name in ("mae", "rmse")}
        for logger in self.loggers:
            logger.log_metrics(row, state.epoch)
        self.console.epoch(row)

    def open_loggers(self) -> None:
        """Open the learning curves; rows of epochs that are to come are dropped, there and in the log."""
        self.console.forget(self.state.epoch + 1)
        for logger in self.loggers:
            logger.finalize("aborted")
        names = self.config.loggers if self.place.main else ()
        makers = [choose(LOGGERS, name, "train.loggers") for name in names]
        self.loggers = [maker(self.place.path, self.state.epoch + 1) for maker in makers]

    def checkpoint(self) -> None:
        """Write the state, keep the newest two.

        Raises:
            DivergedError: If a number in it is not finite: such a state is of no use.
        """
        if self.state.batch:
            self.state.totals = self.summed().tolist()
        checkpoint = self.snapshot()
        if not all(vector.isfinite().all() for vector in checkpoint.vectors.values()):
            raise DivergedError("is finite, but weights or moments are not")
        self.good = checkpoint if self.config.divergence_retries else None
        if not self.place.main:
            return
        folder = self.place.checkpoints
        checkpoint.save(checkpoint_path(folder, self.state.step))
        for path in newest_first(folder)[CHECKPOINTS_KEPT:]:
            path.unlink()
        for name in self.data.sources.changed():
            self.console.print(
                f"warning: {name} has changed since it was read; this run goes on with what was read, but cannot be "
                "resumed unless the file is restored"
            )


def seed_of_epoch(seed: int, epoch: int) -> int:
    """Return a seed (32 bits) for the order of frames in an epoch."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
