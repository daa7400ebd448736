"""The linear route of training: rows of every structure, compressed as they come, and one solution."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from multiace.errors import InputError, Interrupted
from multiace.linear.base import Solver
from multiace.linear.folds import Data, Folds
from multiace.linear.left_out import calibrated, left_out
from multiace.linear.ridge import NOTHING
from multiace.linear.solvers import SOLVERS
from multiace.linear.store import save
from multiace.linear.system import System
from multiace.model.committee import Committee
from multiace.model.linear_part import linear_part
from multiace.model.potential import Potential
from multiace.train.clock import Clock, Spent
from multiace.train.config import RunConfig
from multiace.train.console import Console
from multiace.train.finish import finish
from multiace.train.folder import RunFolder
from multiace.train.learner import initial
from multiace.train.linear_rows import ROWS, Labels, LinearRows
from multiace.train.metrics import Metrics
from multiace.train.prepare import Prepared, report
from multiace.train.route import DEFAULT_SOLVER
from multiace.train.state import State, to_plain
from multiace.train.stop import Stop

__all__ = ["LinearFit"]

LEFT_OUT = 100  # structures that error bars are calibrated on
MEMBERS = 32  # of the committee: a standard deviation is known to an eighth of it
SECONDS_BETWEEN_SAVES = 60.0
GRADED = 300  # structures of which the largest spread is taken
NO_CHANGE = "the data ask for no change of the weights of train.start_from, which stay."
FEW = 0.25  # labels for each function
FEW_LABELS = (
    "{rows:,} labels for {functions:,} functions: what they leave open comes from the prior; a smaller total_degree, "
    "or preset: ace-small, takes less time and may do as well."
)


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
        self.rows = LinearRows(run, data, self.potential)
        report(self.console, data, self.potential)
        place.describe(run, data.split)
        place.write_json(place.data_check, data.check.to_dict())
        self.clock = Clock(Spent())

    def fit(self) -> Potential:
        """Make the rows, solve, and return the potential."""
        rows = self.rows
        unseen = rows.matrix.n_columns - len(rows.columns)
        more = f"; {unseen:,} more see elements that are nowhere together in the data" if unseen else ""
        moves = rows.centred and not self.config.keep_weights
        around = "; the prior is centred at the weights of train.start_from" if moves else ""
        self.console.print(f"linear system: {len(rows.columns):,} functions{more}{around}")
        with self.stop.listening():
            with self.console.progress("finding directions") as show:
                rows.reduce(self.obeying(show, "nothing is saved yet, and the same command begins again"))
            if rows.subspace is not None:
                self.console.print(
                    f"reduced to {rows.n_solved:,} directions, of rows of a sample of structures"
                )
            with self.console.progress("making rows") as show:
                data = self.assembled(show)
            with self.console.progress("cross-validation") as show:
                tested = (
                    {"cross-validation": self.cross_validated(data, show)} if isinstance(data, Folds) else {}
                )
        system = data.total()
        del data
        self.console.print(f"{system.n_rows:,} rows in {self.clock.read().seconds:.0f} s")
        solved = self.solve(system)
        self.state.seconds, self.state.core_seconds = self.clock.read()
        self.potential.save(self.place.best)
        return finish(self, f"{solved['solver']} of {system.n_rows:,} rows", {"linear_fit": solved}, tested)

    @property
    def solver_name(self) -> str:
        """The solver that does it."""
        return DEFAULT_SOLVER if self.config.solver == "auto" else self.config.solver

    def solution(self, system: System) -> Solver:
        """Solve for the unknowns."""
        prior = {} if self.solver_name == "least_squares" else {"prior": self.rows.solved_prior}
        return SOLVERS[self.solver_name](**prior).fit(system)

    def put(self, change: np.ndarray) -> float | None:
        """Add what was solved for, (n_solved,), to the coefficients; return how large it is beside them."""
        rows, coefficients = self.rows, self.rows.centre.copy()
        coefficients[rows.columns] += rows.coefficients(change)
        rows.matrix.put(self.potential, coefficients)
        size = float(np.linalg.norm(rows.centre))
        return float(np.linalg.norm(coefficients - rows.centre)) / size if size else None

    def cross_validated(self, folds: Folds, show: Callable[[float], None]) -> dict[str, Any]:
        """Errors of the training structures, each predicted by a fit to the parts that it is not in."""
        dataset, k = self.data.train, len(folds.systems)
        metrics = Metrics(dataset, self.potential.isolated_energies)
        progress = self.obeying(
            show, "the rows are saved, and the same command goes on with the cross-validation"
        )
        for part, (others, _) in enumerate(folds.splits()):
            self.put(self.solution(others).coef_)
            for number in range(part, len(dataset), k):
                batch = dataset.collate([number])
                metrics.add(self.potential(batch.graph, stress=bool(batch.stress.isfinite().any())), batch)
            progress((part + 1) / k)
        return metrics.result()

    def solve(self, system: System) -> dict[str, Any]:
        """Solve, and draw the committee; return what is known of the fit.

        How wide the posterior is, a prior around 0 says, of the size of weights: that around the weights of a model
        says how far they should move, and residuals of data that they have seen ask for nothing.
        """
        name, started, rows = self.solver_name, time.perf_counter(), self.rows
        width = self.solution(system.moved(rows.directions(rows.centre)) if rows.centred else system)
        change, notes = np.zeros(system.n_columns), width.notes_
        if not self.config.keep_weights:
            fit = self.solution(system) if rows.centred else width
            change, notes = fit.coef_, fit.notes_
        moved = self.put(change)
        self.potential.committee = self.drawn(width, change)
        described = {
            "solver": name,
            "functions": int(rows.matrix.n_columns),
            "seen": len(rows.columns),
            "rows": system.n_rows,
            "degrees_of_freedom": width.dof_,
            "noise": math.sqrt(width.noise_variance_),
            "log_evidence": width.log_evidence_,
            "strength": getattr(width, "strength_", None),
            "moved": moved,
        }
        self.console.print(
            f"{name}: {width.dof_:.0f} effective coefficients, noise {described['noise']:.3g} eV/Å in forces, "
            + (f"weights moved by {100 * moved:.2g} % of their size, " if moved is not None else "")
            + f"{time.perf_counter() - started:.0f} s"
        )
        if self.run.model.is_linear and system.n_rows < FEW * len(rows.columns):
            notes = (*notes, FEW_LABELS.format(rows=system.n_rows, functions=len(rows.columns)))
        for note in notes:
            self.console.print(f"note: {NO_CHANGE if rows.centred and note == NOTHING else note}")
        return described

    def drawn(self, width: Solver, change: np.ndarray) -> Committee | None:
        """A committee around the coefficients, as wide as the posterior: columns that see no data keep the spread of
        their prior.

        None for solvers without a prior, whose error bars are infinite there.
        """
        outside, rows = width.posterior_.outside, self.rows
        if not outside:
            return None
        generator = np.random.default_rng(self.config.seed)
        every = (MEMBERS, rows.matrix.n_columns)
        deviations = outside / rows.whole_prior * generator.normal(size=every)
        seen = width.draw(MEMBERS, generator) - width.coef_
        deviations[:, rows.columns] = (
            seen if rows.subspace is None else rows.subspace.draw(seen, outside, generator)
        )
        scale, noise = self.calibration(width, change)
        members = linear_part(self.potential.network).present.double() + torch.from_numpy(scale * deviations)
        committee = Committee(members, noise.get("energy", 0.0), noise.get("forces", 0.0))
        blocks = self.rows.blocks(self.rows.shuffled[:GRADED])
        graphs = (self.data.train.collate(block).graph for block in blocks)
        return replace(committee, largest=committee.largest_of(self.potential, graphs))

    def calibration(self, width: Solver, change: np.ndarray) -> tuple[float, dict[str, float]]:
        """How wide the posterior has to be, and the noise of each target, for errors of structures left out.

        Of the structures that directions are taken from last, if they are reduced.
        """
        errors: dict[str, list[np.ndarray]] = {}
        variances: dict[str, list[np.ndarray]] = {}
        if width.noise_variance_ > 0:
            for block in self.rows.blocks(self.rows.shuffled[::-1][:LEFT_OUT]):
                for _, labels in groupby(self.rows.of(block), key=lambda part: part.number):
                    self.leave_out(width, change, list(labels), errors, variances)
        targets = [target for target in ("energy", "forces") if target in errors]
        found = [[np.concatenate(parts[target]) for target in targets] for parts in (errors, variances)]
        scale, noise = calibrated(*found)
        return scale, dict(zip(targets, noise, strict=True))

    def leave_out(
        self,
        width: Solver,
        change: np.ndarray,
        labels: list[Labels],
        errors: dict[str, list[np.ndarray]],
        variances: dict[str, list[np.ndarray]],
    ) -> None:
        """Add errors and variances of a structure that the fit has not seen; of energies, for one atom."""
        whole = np.concatenate([part.X for part in labels])
        X, beyond = whole, np.zeros(len(whole))
        if self.rows.subspace is not None:
            X = self.rows.subspace.project(whole)
            beyond = width.posterior_.outside**2 * (
                np.sum((whole / self.rows.prior) ** 2, axis=1) - np.sum(X**2, axis=1)
            )
        noise = np.concatenate([np.full(len(part.y), width.noise_variance_ / part.weight) for part in labels])
        error, variance = left_out(
            width.posterior_, X, X @ change - np.concatenate([p.y for p in labels]), noise
        )
        ends = np.cumsum([len(part.y) for part in labels])[:-1]
        for part, e, v in zip(labels, np.split(error, ends), np.split(variance + beyond, ends), strict=True):
            n = len(self.data.train.frames[part.number].atoms) if part.target == "energy" else 1
            errors.setdefault(part.target, []).append(e / math.sqrt(n))
            variances.setdefault(part.target, []).append(v / n)

    def assembled(self, show: Callable[[float], None]) -> Data:
        """Return the rows of all structures, those included that an earlier run has made."""
        path, n = self.place.checkpoints / ROWS, len(self.data.train)
        data, first = self.resumed(path)
        saved = time.perf_counter()
        for block in self.rows.blocks(range(first, n)):
            self.rows.add(data, block)
            done = block[-1] + 1
            late = time.perf_counter() - saved > SECONDS_BETWEEN_SAVES
            if late or self.stop.signal is not None or done == n:
                save(path, data, self.rows.made_from(done) | {"spent": list(self.clock.read())})
                saved = time.perf_counter()
            what = f"the rows of {done} of {n} structures are saved, and the same command goes on"
            self.obeying(show, what)(done / n)
        return data

    def resumed(self, path: Path) -> tuple[Data, int]:
        """Return the rows that a stopped run has left, and the number of the structure that comes next."""
        if path.exists():
            try:
                data, first, spent = self.rows.read(path)
            except InputError as error:
                self.console.print(f"warning: {error}")
            else:
                if data is not None:
                    self.clock = Clock(spent)
                    self.console.print(f"going on after the rows of {first} structures in {path}")
                    return data, first
                self.console.print(f"{path} has rows of another model or of other data; they are made again")
        return self.rows.empty(), 0

    def obeying(self, show: Callable[[float], None], what: str) -> Callable[[float], None]:
        """Show progress, and stop there if asked to, which raises Interrupted and says ``what`` that means."""

        def progress(part: float) -> None:
            show(part)
            try:
                self.stop.obey()
            except Interrupted as interrupt:
                self.console.note(f"{signal.Signals(interrupt.number).name}; {what}")
                raise Interrupted(interrupt.number, f"; {what}") from None

        return progress
