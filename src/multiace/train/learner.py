"""What learns, and what a checkpoint holds of it: taken, restored, resumed, forked."""

from __future__ import annotations

import copy
import math
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from multiace.config import choose
from multiace.errors import InputError
from multiace.model.potential import Potential, read_model_file
from multiace.train.changes import Changes, allow, another_loss, differences, is_longer
from multiace.train.checkpoint import Checkpoint
from multiace.train.config import RunConfig
from multiace.train.console import Console
from multiace.train.ema import MovingAverage
from multiace.train.folder import RunFolder
from multiace.train.optimizer import OPTIMIZERS, FlatParameters
from multiace.train.prepare import Prepared, report
from multiace.train.schedule import SCHEDULES
from multiace.train.state import State, find_checkpoint, from_plain, restore_vectors, take_vectors, to_plain

__all__ = ["Learner"]


class Learner:
    """Model, optimiser, schedule, average and state of a run, as new or as its last checkpoint left them.

    Args:
        fabric: Devices and processes, launched.
        run: What to do.
        data: From :func:`prepare`.
        place: Where to write; locked.
        fork: Whether the run may be another than that of the checkpoint.

    Raises:
        InputError: If all checkpoints are damaged, or the run is another and may not.
    """

    def __init__(
        self, fabric: Fabric, run: RunConfig, data: Prepared, place: RunFolder, fork: bool = False
    ) -> None:
        self.fabric, self.run, self.config, self.place = fabric, run, run.train, place
        self.console = Console(place.log if place.main else None)
        self.state = State(
            checksums=data.sources.checksums,
            elements=list(data.model.elements),
            statistics=to_plain(data.statistics),
            run=run.to_dict(),
        )
        found = find_checkpoint(place.checkpoints, self.console, place.main)
        changes = {} if found is None else self.compare(State(**found[1].state), fork)
        if found is not None:
            data = replace(data, statistics=from_plain(found[1].state["statistics"]))
        self.data = data
        self.potential = initial(data).to(fabric.device)
        self.flat = FlatParameters(self.potential)
        build = choose(OPTIMIZERS, self.config.optimizer, "train.optimizer")
        self.optimizer: torch.optim.Optimizer = build(self.flat.groups(self.config.weight_decay))
        self.schedule = choose(SCHEDULES, self.config.schedule, "train.schedule")(self.config)
        decay = self.config.ema_decay
        self.average = MovingAverage(self.flat.vector, decay) if decay else None
        report(self.console, data, self.potential)
        if place.main:
            place.describe(run, data.split)
            place.write_json(place.data_check, data.check.to_dict())
        if found is not None:
            self.resume(*found, changes)

    def averaged(self) -> Any:
        """Return a context in which the model has its averaged weights."""
        return nullcontext() if self.average is None else self.average.applied()

    def start_afresh(self) -> None:
        """Forget moments and judgement: those of another loss are wrong by several times."""
        self.state.first_loss, self.state.best_loss, self.state.stale_epochs = None, math.inf, 0
        self.schedule.restart()
        self.optimizer.state.clear()

    def snapshot(self) -> Checkpoint:
        """Copy the state."""
        self.state.schedule = self.schedule.state()
        return Checkpoint(take_vectors(self.flat, self.average, self.optimizer), asdict(self.state))

    def compare(self, before: State, fork: bool) -> Changes:
        """Return what a checkpoint's run and this one do not have in common.

        Raises:
            InputError: If the difference is not allowed.
        """
        changes = differences(before.run, self.run)
        allow(changes, self.run, self.place.path, fork)
        now = self.state
        for name, checksum in now.checksums.items():
            if before.checksums.get(name, checksum) != checksum:
                if not fork:
                    raise InputError(
                        f"{name} has changed since the last checkpoint in {self.place.path}; restore it, say --fork to "
                        "go on with the file as it is, or choose another folder."
                    )
                changes[name] = before.checksums[name][:12], checksum[:12]
        if before.elements != now.elements:
            raise InputError(
                f"{self.place.path} holds a run with the elements {', '.join(before.elements)}, now the data have "
                f"{', '.join(now.elements)}: another model. Choose another folder."
            )
        return changes

    def restore(self, checkpoint: Checkpoint, moments: bool = True) -> None:
        """Put the state where it was."""
        self.state = State(**copy.deepcopy(checkpoint.state))
        self.schedule.restore(self.state.schedule)
        restore_vectors(checkpoint.vectors, self.flat, self.average, self.optimizer, moments)

    def resume(self, path: Path, checkpoint: Checkpoint, changes: Changes) -> None:
        """Continue from a checkpoint; under another config, if there are changes."""
        same_optimizer = "train.optimizer" not in changes
        now = self.state
        self.restore(checkpoint, same_optimizer)
        state = self.state
        batches = f" and {state.batch} batches" if state.batch else ""
        self.console.print(f"continuing after epoch {state.epoch}{batches} from {path}")
        none = state.best_epoch == 0 and math.isinf(state.best_loss)
        if not self.fabric.broadcast(none or is_model(self.place.best)):
            self.replace_best()
        state.run, state.checksums = now.run, now.checksums
        if not changes or all(map(is_longer, changes, changes.values())):
            return
        plain = {name: list(change) for name, change in changes.items()}
        state.forks.append({"epoch": state.epoch, "changes": plain})
        state.begin_epoch()  # of other batches
        if another_loss(changes):
            self.start_afresh()
        listed = "; ".join(f"{name} was {before!r}, is {now!r}" for name, (before, now) in changes.items())
        self.console.print(f"forked: {listed}")

    def replace_best(self) -> None:
        """Take the model as it is for the best: the file that held that is damaged or gone."""
        self.console.print(
            f"warning: {self.place.best}, the model of epoch {self.state.best_epoch}, is damaged or gone; that of "
            f"epoch {self.state.epoch} takes its place until there is a better one"
        )
        self.state.best_loss = math.inf
        if self.place.main:
            with self.averaged():
                self.potential.save(self.place.best, epoch=self.state.epoch)


def initial(data: Prepared) -> Potential:
    """Return the potential that training starts with: random weights, or those of another, with E0 of the run."""
    potential = Potential(data.model, data.statistics)
    if data.start is not None:
        weights = data.start.state_dict() | {"isolated_energies": potential.isolated_energies}
        potential.load_state_dict(weights)
    return potential


def is_model(path: Path) -> bool:
    """Whether a model can be read."""
    try:
        read_model_file(path)
    except InputError:
        return False
    return True
