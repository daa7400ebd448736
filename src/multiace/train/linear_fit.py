"""The linear route of training: rows of every structure, compressed as they come, and one solution."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms
from lightning_fabric import Fabric

from multiace.errors import InputError, Interrupted
from multiace.linear.base import Solver
from multiace.linear.folds import Data, Folds
from multiace.linear.left_out import calibrated, left_out
from multiace.linear.solvers import SOLVERS
from multiace.linear.store import load, save
from multiace.linear.subspace import Subspace
from multiace.linear.system import System
from multiace.model.committee import Committee
from multiace.model.potential import Potential
from multiace.ops import AROUND, VOIGT
from multiace.solve.ace import AceRows
from multiace.train.config import RunConfig, TrainConfig
from multiace.train.console import Console
from multiace.train.finish import finish
from multiace.train.folder import RunFolder
from multiace.train.learner import initial
from multiace.train.metrics import Metrics
from multiace.train.prepare import Prepared, report
from multiace.train.state import State, to_plain
from multiace.train.stop import Stop

__all__ = ["LinearFit", "is_solved"]

DEFAULT_SOLVER = "bayesian_ridge"
LEFT_OUT = 100  # structures that error bars are calibrated on
MEMBERS = 32  # of the committee: a standard deviation is known to an eighth of it
SECONDS_BETWEEN_SAVES = 60.0
BLOCK = 512  # rows that are made together
ROWS = "rows.safetensors"
GRADIENT_FIELDS = (
    *("start_from", "max_epochs", "max_minutes", "optimizer", "learning_rate", "weight_decay", "schedule"),
    *("warmup_epochs", "plateau_patience", "plateau_factor", "min_learning_rate", "ema_decay", "clip_norm"),
    *("energy_loss", "forces_loss", "stress_loss", "huber_delta", "second_stage_start", "early_stopping"),
    *(
        "divergence_limit",
        "divergence_retries",
        "radial",
        "checkpoint_every",
        "devices",
        "num_nodes",
        "strategy",
    ),
)
"""Fields of the train section that a solution has no use for."""


def is_solved(run: RunConfig) -> bool:
    """Whether a run is fitted by a solver.

    Raises:
        InputError: If a solver is asked for and the model is not linear, or a field is set that only training by
            gradients reads.
    """
    solver, linear = run.train.solver, run.model.is_linear
    if solver == "gradient" or (solver == "auto" and not linear):
        if run.train.folds:
            raise InputError(
                f"train.folds = {run.train.folds} needs a model that is solved for, as preset: ace; remove it."
            )
        return False
    if not linear:
        raise InputError(
            f"train.solver = {solver} needs a model whose energies are linear in all parameters: channel_coupling = "
            "complete, hidden_irreps = 1x0e, readout_function = mlp, readout_width = 0, radial_network = none, "
            "trainable_radial = false, "
            "element_embedding = one_hot. Set train.solver = gradient, or model.preset = ace."
        )
    defaults = TrainConfig()
    for field in GRADIENT_FIELDS:
        if getattr(run.train, field) != getattr(defaults, field):
            raise InputError(
                f"train.{field} has no effect where the model is solved for (train.solver = {solver}): remove it, or "
                "set train.solver = gradient."
            )
    return True


class Labels(NamedTuple):
    """Labels of one kind of a structure, as rows.

    Attributes:
        number: Of the structure in the training set.
        target: ``energy``, ``forces`` or ``stress``.
        X: Rows, (n, p).
        y: Labels without what is given (E0, shift, ZBL), (n,).
        weight: Of each row.
        redundant: How many rows follow from the others.
    """

    number: int
    target: str
    X: np.ndarray
    y: np.ndarray
    weight: float
    redundant: int = 0


class LinearFit:
    """A run that is solved for.

    Args:
        fabric: One process.
        run: What to do.
        data: From :func:`multiace.train.prepare.prepare`.
        place: Where to write; locked.
    """

    def __init__(self, fabric: Fabric, run: RunConfig, data: Prepared, place: RunFolder) -> None:
        self.fabric, self.run, self.config, self.place, self.data = fabric, run, run.train, place, data
        self.console = Console(place.log)
        self.state = State(
            checksums=data.sources.checksums,
            elements=list(data.model.elements),
            statistics=to_plain(data.statistics),
            run=run.to_dict(),
        )
        self.stop = Stop(fabric)
        if self.config.folds and self.config.folds > len(data.train):
            raise InputError(
                f"train.folds = {self.config.folds} parts of {len(data.train)} training frames: ask for fewer parts."
            )
        self.potential = initial(data)
        self.rows = AceRows(self.potential)
        self.columns = np.flatnonzero(self.rows.seen(data.train.all.graph))
        self.rows.choose(self.columns)
        self.prior = self.rows.roughness()[self.columns] ** self.config.smoothness
        self.subspace: Subspace | None = None
        self.shuffled: list[int] = np.random.default_rng(run.train.seed).permutation(len(data.train)).tolist()
        report(self.console, data, self.potential)
        place.describe(run, data.split)
        place.write_json(place.data_check, data.check.to_dict())

    def fit(self) -> Potential:
        """Make the rows, solve, and return the potential."""
        unseen = self.rows.n_columns - len(self.columns)
        more = f"; {unseen:,} more see elements that are nowhere together in the data" if unseen else ""
        self.console.print(f"linear system: {len(self.columns):,} basis functions{more}")
        started = time.perf_counter()
        with self.stop.listening():
            with self.console.progress("finding directions") as show:
                self.reduce(show)
            with self.console.progress("making rows") as show:
                data = self.assembled(show)
            with self.console.progress("cross-validation") as show:
                tested = (
                    {"cross-validation": self.cross_validated(data, show)} if isinstance(data, Folds) else {}
                )
        system = data.total()
        del data
        self.console.print(f"{system.n_rows:,} rows in {time.perf_counter() - started:.0f} s")
        solved = self.solve(system)
        self.state.seconds = time.perf_counter() - started
        self.potential.save(self.place.best)
        return finish(self, f"{solved['solver']} of {system.n_rows:,} rows", {"linear_fit": solved}, tested)

    @property
    def solver_name(self) -> str:
        """The solver that does it."""
        return DEFAULT_SOLVER if self.config.solver == "auto" else self.config.solver

    def solution(self, system: System) -> Solver:
        """Find the coefficients, and put them into the potential."""
        prior = self.prior if self.subspace is None else np.ones(system.n_columns)
        solver = SOLVERS[self.solver_name](
            **({} if self.solver_name == "least_squares" else {"prior": prior})
        )
        fit = solver.fit(system)
        coefficients = np.zeros(self.rows.n_columns)
        coefficients[self.columns] = (
            fit.coef_ if self.subspace is None else self.subspace.coefficients(fit.coef_)
        )
        self.rows.put(self.potential, coefficients)
        return fit

    def cross_validated(self, folds: Folds, show: Callable[[float], None]) -> dict[str, Any]:
        """Errors of the training structures, each predicted by a fit to the parts that it is not in."""
        dataset, k = self.data.train, len(folds.systems)
        metrics = Metrics(dataset, self.potential.isolated_energies)
        for part, (others, _) in enumerate(folds.splits()):
            self.solution(others)
            for number in range(part, len(dataset), k):
                batch = dataset.collate([number])
                metrics.add(self.potential(batch.graph, stress=bool(batch.stress.isfinite().any())), batch)
            show((part + 1) / k)
            self.obey("the rows are saved, and the same command goes on with the cross-validation")
        return metrics.result()

    def solve(self, system: System) -> dict[str, Any]:
        """Solve, and draw the committee; return what is known of the fit."""
        name, started = self.solver_name, time.perf_counter()
        fit = self.solution(system)
        self.potential.committee = self.drawn(fit)
        described = {
            "solver": name,
            "functions": int(self.rows.n_columns),
            "seen": len(self.columns),
            "rows": system.n_rows,
            "degrees_of_freedom": fit.dof_,
            "noise": math.sqrt(fit.noise_variance_),
            "log_evidence": fit.log_evidence_,
            "strength": getattr(fit, "strength_", None),
        }
        self.console.print(
            f"{name}: {fit.dof_:.0f} effective coefficients, noise {described['noise']:.3g} eV/Å in forces, "
            f"{time.perf_counter() - started:.0f} s"
        )
        for note in fit.notes_:
            self.console.print(f"note: {note}")
        return described

    def drawn(self, fit: Solver) -> Committee | None:
        """A committee from the posterior: columns that see no data keep the spread of their prior.

        None for solvers without a prior, whose error bars are infinite there.
        """
        outside = fit.posterior_.outside
        if not outside:
            return None
        generator = np.random.default_rng(self.config.seed)
        prior = self.rows.roughness() ** self.config.smoothness
        members = outside / prior * generator.normal(size=(MEMBERS, self.rows.n_columns))
        seen = fit.draw(MEMBERS, generator)
        members[:, self.columns] = (
            seen if self.subspace is None else self.subspace.draw(seen, outside, generator)
        )
        weight = self.potential.network.get_parameter(self.rows.parameter)
        scale, noise = self.calibration(fit)
        mean = weight.detach().numpy().ravel()
        tensor = torch.from_numpy(mean + scale * (members - mean)).view(MEMBERS, *weight.shape)
        return Committee(self.rows.parameter, tensor, noise.get("energy", 0.0), noise.get("forces", 0.0))

    def calibration(self, fit: Solver) -> tuple[float, dict[str, float]]:
        """How wide the posterior has to be, and the noise of each target, for errors of structures left out.

        Of the structures that directions are taken from last, if they are reduced.
        """
        errors: dict[str, list[np.ndarray]] = {}
        variances: dict[str, list[np.ndarray]] = {}
        if fit.noise_variance_ > 0:
            for block in self.blocks(self.shuffled[::-1][:LEFT_OUT]):
                for _, labels in groupby(self.rows_of(block), key=lambda part: part.number):
                    self.leave_out(fit, list(labels), errors, variances)
        targets = [target for target in ("energy", "forces") if target in errors]
        found = [[np.concatenate(parts[target]) for target in targets] for parts in (errors, variances)]
        scale, noise = calibrated(*found)
        return scale, dict(zip(targets, noise, strict=True))

    def leave_out(
        self,
        fit: Solver,
        labels: list[Labels],
        errors: dict[str, list[np.ndarray]],
        variances: dict[str, list[np.ndarray]],
    ) -> None:
        """Add errors and variances of a structure that the fit has not seen; of energies, for one atom."""
        whole = np.concatenate([part.X for part in labels])
        X, beyond = whole, np.zeros(len(whole))
        if self.subspace is not None:
            X = self.subspace.project(whole)
            beyond = fit.posterior_.outside**2 * (
                np.sum((whole / self.prior) ** 2, axis=1) - np.sum(X**2, axis=1)
            )
        noise = np.concatenate([np.full(len(part.y), fit.noise_variance_ / part.weight) for part in labels])
        error, variance = left_out(
            fit.posterior_, X, fit.predict(X) - np.concatenate([p.y for p in labels]), noise
        )
        ends = np.cumsum([len(part.y) for part in labels])[:-1]
        for part, e, v in zip(labels, np.split(error, ends), np.split(variance + beyond, ends), strict=True):
            n = len(self.data.train.frames[part.number].atoms) if part.target == "energy" else 1
            errors.setdefault(part.target, []).append(e / math.sqrt(n))
            variances.setdefault(part.target, []).append(v / n)

    # ------------------------------------------------------------------ rows

    def reduce(self, show: Callable[[float], None]) -> None:
        """Choose directions if there are more functions than are solved for."""
        most = self.config.max_columns
        if len(self.columns) <= most:
            return
        parts: list[np.ndarray] = []
        left = most
        for block in self.blocks(self.shuffled):
            for labels in self.rows_of(block):
                parts.append(math.sqrt(labels.weight) * labels.X)
                left -= len(labels.y) - labels.redundant
            show(min(1 - left / most, 1.0))
            self.obey("nothing is saved yet, and the same command begins again")
            if left <= 0:
                break
        X = np.concatenate(parts)
        parts.clear()
        self.subspace = Subspace.of_rows(X, self.prior, most, overwrite=True)
        self.console.print(
            f"reduced to {self.subspace.V.shape[1]:,} directions, of rows of a sample of structures"
        )

    def assembled(self, show: Callable[[float], None]) -> Data:
        """Return the rows of all structures, those included that an earlier run has made."""
        path = self.place.checkpoints / ROWS
        data, first = self.resumed(path)
        saved = time.perf_counter()
        n = len(self.data.train)
        for block in self.blocks(range(first, n)):
            self.add(data, block)
            done = block[-1] + 1
            show(done / n)
            late = time.perf_counter() - saved > SECONDS_BETWEEN_SAVES
            if late or self.stop.signal is not None or done == n:
                save(path, data, self.made_from(done))
                saved = time.perf_counter()
            self.obey(f"the rows of {done} of {n} structures are saved, and the same command goes on")
        return data

    def obey(self, what: str) -> None:
        """Stop here if asked to.

        Raises:
            Interrupted: With what that means.
        """
        try:
            self.stop.obey()
        except Interrupted as interrupt:
            self.console.print(what)
            raise Interrupted(interrupt.number, f"; {what}") from None

    def blocks(self, numbers: Sequence[int]) -> Iterator[list[int]]:
        """Structures in their order, as many together as have some hundred rows."""
        block, rows = [], 0
        for number in numbers:
            block.append(number)
            rows += 3 * len(self.data.train.frames[number].atoms) + AROUND
            if rows >= BLOCK:
                yield block
                block, rows = [], 0
        if block:
            yield block

    def add(self, data: Data, block: list[int]) -> None:
        """Add the rows of some structures; directions are read once for all of them."""
        parts = list(self.rows_of(block))
        matrices = [labels.X for labels in parts]
        if self.subspace is not None and matrices:
            ends = np.cumsum([len(X) for X in matrices])
            matrices = np.split(self.subspace.project(np.concatenate(matrices)), ends[:-1])
        for X, labels in zip(matrices, parts, strict=True):
            system = data.systems[labels.number % len(data.systems)] if isinstance(data, Folds) else data
            source = str(self.data.train.frames[labels.number].source)
            system.add(X, labels.y, labels.weight, source, labels.redundant)

    def made_from(self, frames: int) -> dict[str, Any]:
        """What rows depend on, and how many structures they are of."""
        run = self.run.to_dict()
        fields = (
            "energy_weight",
            "forces_weight",
            "stress_weight",
            "max_columns",
            "smoothness",
            "seed",
            "folds",
        )
        return {
            "frames": frames,
            "model": self.data.model.model_dump(mode="json"),
            "weights": {name: run["train"][name] for name in fields},
            "statistics": self.state.statistics,
            "checksums": self.state.checksums,
            "data": run["data"],
        }

    def resumed(self, path: Path) -> tuple[Data, int]:
        """Return the rows that a stopped run has left, and the number of the structure that comes next."""
        if path.exists():
            try:
                data, state = load(path)
            except InputError as error:
                self.console.print(f"warning: {error}")
            else:
                if state == self.made_from(state.get("frames", 0)):
                    self.console.print(f"going on after the rows of {state['frames']} structures in {path}")
                    return data, int(state["frames"])
                self.console.print(f"{path} has rows of another model or of other data; they are made again")
        n_columns = len(self.columns) if self.subspace is None else self.subspace.V.shape[1]
        return Folds(n_columns, self.config.folds) if self.config.folds else System(n_columns), 0

    def rows_of(self, block: list[int]) -> Iterator[Labels]:
        """Rows of the labels of some structures."""
        batch, config = self.data.train.collate(block), self.config
        base, rows = self.potential.without_network(batch.graph), self.rows(batch.graph)
        assert base.forces is not None
        assert base.stress is not None
        energies, volumes = (batch.energy - base.energy).numpy(), batch.graph.volumes.numpy()
        all_forces, stresses = (batch.forces - base.forces).numpy(), (batch.stress - base.stress).numpy()
        ends = batch.num_atoms.cumsum(0).tolist()
        for k, (number, end) in enumerate(zip(block, ends, strict=True)):
            atoms, weight = self.data.train.frames[number].atoms, float(batch.weights[k])
            if np.isfinite(energies[k]) and config.energy_weight * weight:
                w = weight * config.energy_weight / len(atoms)
                yield Labels(number, "energy", rows.energy[k : k + 1], energies[k : k + 1], w)
            forces = all_forces[end - len(atoms) : end].ravel()
            known = np.isfinite(forces)
            if known.any() and config.forces_weight * weight:
                X = rows.forces[3 * (end - len(atoms)) : 3 * end]
                redundant = rigid_motions(atoms) if known.all() else 0
                w = weight * config.forces_weight
                yield Labels(number, "forces", X[known], forces[known], w, redundant)
            stress = stresses[k][tuple(zip(*VOIGT, strict=True))]
            if volumes[k] > 0 and config.stress_weight * weight and np.isfinite(stress).all():
                w = weight * config.stress_weight
                yield Labels(number, "stress", rows.virial[k] / volumes[k], stress, w)


def rigid_motions(atoms: Atoms) -> int:
    """Number of displacements of all atoms that change no energy: translations, and rotations of a molecule."""
    motions = [np.tile(axis, len(atoms)) for axis in np.eye(3)]
    if not atoms.pbc.any():
        motions += [
            np.cross(axis, atoms.positions - atoms.positions.mean(axis=0)).ravel() for axis in np.eye(3)
        ]
    return int(np.linalg.matrix_rank(np.array(motions), tol=1e-3))
