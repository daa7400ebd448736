"""Stability of molecular dynamics: how long replicas last, and how atoms are distributed while they do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ase import Atoms

from multiace.battery.config import DynamicsConfig
from multiace.battery.distributions import bond_error, pair_error
from multiace.battery.job import Job, Show
from multiace.data.read import has_volume, read_structures
from multiace.deploy.md import ExplosionError, simulate
from multiace.errors import InputError, brief
from multiace.verify.dynamics import bonds, collapsed, length

__all__ = ["Bonds", "Replica", "dynamics"]


@dataclass(frozen=True)
class Replica:
    """One trajectory.

    Attributes:
        survived: Time until it failed, or all of it [ps].
        failed: Why; None if it did not.
        frames: Structures after equilibration, before it failed.
        steps: How many were made.
    """

    survived: float
    failed: str | None
    frames: list[Atoms]
    steps: int


class Bonds:
    """Bonds of a start structure: pairs within 1.25 sums of covalent radii.

    Args:
        start: The structure.
        stretch: A bond is broken when it is this many times as long as there.
    """

    def __init__(self, start: Atoms, stretch: float) -> None:
        self.pairs = bonds(start)
        self.lengths = [length(start, bond) for bond in self.pairs]
        self.stretch = stretch

    def failure(self, atoms: Atoms) -> str | None:
        """Say which bond has broken, or that atoms have collapsed to half of their covalent radii.

        A hydrogen within ``stretch`` sums of covalent radii of another atom that is no hydrogen has moved there; its
        old bond does not count.
        """
        near: list[tuple[int, int]] | None = None
        for (i, j, shift), start in zip(self.pairs, self.lengths, strict=True):
            ratio = length(atoms, (i, j, shift)) / start
            if ratio > self.stretch:
                if near is None:
                    found = bonds(atoms, self.stretch)
                    near = [(k, n) for k, n, _ in found if atoms.symbols[k] == "H" != atoms.symbols[n]]
                if not any(k in (i, j) and n not in (i, j) for k, n in near):
                    names = "-".join(f"{atoms.symbols[k]}{k}" for k in (i, j))
                    return f"the bond {names} is {ratio:.2f} times as long as at the start"
        return "atoms have collapsed" if collapsed(atoms) else None


def dynamics(job: Job) -> dict[str, Any]:
    """Replicas of each temperature, and the errors of their distributions where there is a reference."""
    entries = job.battery.dynamics
    planned = {name: config.replicas * config.md(0).n_steps for name, config in entries.items()}
    results: dict[str, Any] = {}
    for n, (name, config) in enumerate(entries.items()):
        done = sum(list(planned.values())[:n])
        show = partial(show_steps, job.show, done, sum(planned.values()))
        path = job.found[config.file]
        if path is not None:
            with job.skipping(name):
                results[name] = temperature(job, config, path, show)
        show(planned[name])
    return results


def show_steps(show: Show, done: int, total: int, steps: int) -> None:
    """Show steps of an entry, after those of the entries before it."""
    show("dynamics", done + steps, total)


def temperature(job: Job, config: DynamicsConfig, path: str, show: Callable[[int], None]) -> dict[str, Any]:
    """Run the replicas of one entry.

    Raises:
        InputError: If the reference has other atoms than the start structures.
    """
    reference = config.reference and job.found[config.reference]
    starts, sampled = read_structures(path), read_structures(reference) if reference else []
    if sampled and len({kind(atoms) for atoms in (*starts[: config.replicas], *sampled)}) > 1:
        raise InputError(
            f"{reference}: start structures and reference must have the same elements in the same proportions, all of "
            "them periodic or none."
        )
    began = time.perf_counter()
    replicas = [
        replica(job.subject.calculator, starts[number % len(starts)], config, number, show)
        for number in range(config.replicas)
    ]
    seconds = time.perf_counter() - began
    return {
        "temperature": config.temperature,
        "time": config.time,
        "replicas": [{"survived": one.survived, "failed": one.failed} for one in replicas],
        "survived": sum(one.survived for one in replicas) / len(replicas),
        "steps_per_second": sum(one.steps for one in replicas) / seconds,
        **(distribution_errors(replicas, sampled) if sampled else {}),
    }


def kind(atoms: Atoms) -> tuple[str, bool]:
    """What structures must have in common for their distributions to be compared: formula, and whether periodic."""
    formula, periodic = atoms.symbols.formula, has_volume(atoms)
    return (formula.reduce()[0] if periodic else formula).format("hill"), periodic


def distribution_errors(replicas: Sequence[Replica], reference: Sequence[Atoms]) -> dict[str, float]:
    """Return the errors of the distributions that there are: of all replicas together, as long as they lasted."""
    frames = [atoms for one in replicas for atoms in one.frames]
    if not frames:
        return {}
    errors = {"bond_error": bond_error(frames, reference), "pair_error": pair_error(frames, reference)}
    return {name: error for name, error in errors.items() if error is not None}


def replica(
    calculator: Any, start: Atoms, config: DynamicsConfig, number: int, show: Callable[[int], None]
) -> Replica:
    """Run one trajectory until it fails or ends.

    It fails when a bond breaks or atoms collapse (looked at every ``interval``), when energy or forces are not finite,
    when it is ten times as hot as its bath, or when the calculator raises an error.

    Raises:
        InputError: If the calculator cannot take the start structure.
    """
    atoms = start.copy()
    atoms.calc = calculator
    try:
        atoms.get_forces()
    except Exception as error:  # code of others
        raise InputError(
            f"dynamics cannot start: {error if isinstance(error, InputError) else told(error)}"
        ) from error
    md, held = config.md(number), Bonds(atoms, config.stretch)
    frames: list[Atoms] = []
    step, survived = 0, 0.0
    try:
        for sample in simulate(atoms, md):
            step, survived = sample.step, sample.time
            show(number * md.n_steps + step)
            broken = held.failure(atoms)
            if broken is not None:
                return Replica(survived, broken, frames, step)
            if survived >= config.equilibration:
                frames.append(atoms.copy())
    except ExplosionError as error:
        return Replica(error.time, error.reason, frames, round(error.time * 1000 / md.timestep))
    except Exception as error:  # code of others
        return Replica(survived, told(error), frames, step)
    return Replica(config.time, None, frames, step)


def told(error: Exception) -> str:
    """Write an error of a calculator on one line."""
    return f"{type(error).__name__}: {brief(error, 200)}"
