"""Molecular dynamics: constant energy (velocity Verlet) or constant temperature (Langevin, BAOAB)."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from ase.io.trajectory import Trajectory

from multiace.deploy.config import MDConfig
from multiace.errors import InputError
from multiace.files import writing

__all__ = ["Drift", "ExplosionError", "Sample", "degrees_of_freedom", "energy_drift", "read_log", "simulate"]


class ExplosionError(InputError):
    """A trajectory cannot go on.

    Args:
        sentence: For the user.
        time: How far it came [ps].
        reason: What went wrong.
    """

    def __init__(self, sentence: str, time: float, reason: str) -> None:
        super().__init__(sentence)
        self.time, self.reason = time, reason


@dataclass(frozen=True)
class Sample:
    """One moment of a trajectory; also a line of the log. Time [ps], energies [eV], temperature [K].

    ``ensemble`` is the one of the step, ``nve`` or ``langevin``, as equilibration may differ from the rest.
    """

    step: int
    num_atoms: int
    time: float
    potential: float
    kinetic: float
    total: float
    temperature: float
    ensemble: str = "nve"


@dataclass(frozen=True)
class Drift:
    r"""Drift of the total energy [meV/atom/ps], which exact dynamics at constant energy would keep.

    .. math:: \text{slope} = \frac{1}{N}\frac{\sum_k (t_k - \bar t)(H_k - \bar H)}{\sum_k (t_k - \bar t)^2},
              \quad \text{end\_to\_end} = \frac{H(t_n) - H(t_0)}{N\,(t_n - t_0)}

    The slope averages over the oscillation of a symplectic integrator, which the end-to-end value
    includes; ``fluctuation`` is the standard deviation of H / N about the line [meV/atom].
    """

    slope: float
    end_to_end: float
    fluctuation: float

    def __str__(self) -> str:
        return (
            f"{self.slope:+.4f} meV/atom/ps (least-squares slope), {self.end_to_end:+.4f} meV/atom/ps "
            f"(end to end), fluctuation {self.fluctuation:.4f} meV/atom"
        )


def energy_drift(samples: Sequence[Sample]) -> Drift:
    """Measure the drift over samples of a trajectory at constant energy.

    Raises:
        InputError: If there are fewer than three samples.
    """
    if len(samples) < 3:
        raise InputError(f"an energy drift needs at least 3 samples of the trajectory, got {len(samples)}.")
    t = np.array([sample.time for sample in samples])
    H = 1000 * np.array([sample.total / sample.num_atoms for sample in samples])
    slope, intercept = np.polyfit(t - t[0], H - H[0], 1)
    rest = H - H[0] - intercept - slope * (t - t[0])
    return Drift(float(slope), float((H[-1] - H[0]) / (t[-1] - t[0])), float(rest.std()))


def degrees_of_freedom(atoms: Atoms, ensemble: str) -> int:
    """Count 3N less what is constrained and, at constant energy, less the resting centre of mass."""
    free = int(atoms.get_number_of_degrees_of_freedom())
    return free - 3 if ensemble == "nve" and free > 3 and not atoms.constraints else free


def simulate(
    atoms: Atoms,
    config: MDConfig,
    trajectory: str | Path | None = None,
    log: str | Path | None = None,
) -> Iterator[Sample]:
    """Run dynamics on ``atoms`` (which carry a calculator) in place, yielding every ``log_interval`` steps.

    Equilibration steps count from -n to -1 and are neither written nor part of the drift. Frames
    (with momenta, energy and forces) are on disk as soon as they are made.

    Args:
        atoms: The structure; moved in place.
        config: Ensemble, temperature, time step, length.
        trajectory: File for the frames: ``.traj`` (ASE) or extended XYZ.
        log: CSV file for the samples.

    Raises:
        InputError: If the calculator cannot take the structure as it is given (files of an earlier trajectory are
            then left alone), or a file cannot be written.
        ExplosionError: If on the way energy or forces stop being finite, two atoms come to one place, or the structure
            is hotter than ``max_temperature`` or more uncertain than ``max_grade``: what was written so far stays,
            and that step is its last frame.
    """
    rng = np.random.default_rng(config.seed)
    prepare_velocities(atoms, config, rng)
    first = -config.n_equilibration
    atoms.get_forces()  # a structure that cannot be run removes no earlier trajectory
    if config.max_grade is not None and "extrapolation_grade" not in getattr(atoms.calc, "results", {}):
        raise InputError(
            "md.max_grade needs grades: give the structure a Calculator(..., extrapolation=True)."
        )
    add_frame, add_sample = _frame_writer(trajectory), _log_writer(log)
    for step in range(first, config.n_steps + 1):
        with _explosion(atoms, step, config, add_frame):
            if step > first:
                langevin = _ensemble(step - 1, config) == "langevin"
                temperature, friction = (config.temperature, config.friction) if langevin else (0.0, 0.0)
                integrate(atoms, config.timestep, temperature, friction, rng)
            if step == 0 and config.n_equilibration and config.ensemble == "nve":
                stop_centre_of_mass(atoms)
            sample = _sample(atoms, step, config)
            _check(sample, atoms, config)
        last = step == config.n_steps
        if step >= 0 and (step % config.frame_interval == 0 or last):
            add_frame(atoms)
        if step % config.log_interval == 0 or last:
            if step >= 0:
                add_sample(sample)
            yield sample


def integrate(
    atoms: Atoms, timestep: float, temperature: float, friction: float, rng: np.random.Generator
) -> None:
    r"""Advance positions and momenta by one BAOAB step; without friction this is velocity Verlet.

    .. math::
        B&: p \mathrel{+}= \tfrac{\Delta t}{2} F, \qquad A: r \mathrel{+}= \tfrac{\Delta t}{2} p / m, \\
        O&: p \leftarrow c\,p + \sqrt{(1 - c^2)\, m k_B T}\; \xi, \quad c = e^{-\gamma \Delta t}

    Args:
        atoms: Moved in place; its constraints (fixed atoms or coordinates) are respected.
        timestep: Δt [fs].
        temperature: T of the bath [K].
        friction: γ [1/fs].
        rng: Source of the normal numbers ξ.

    Source: Leimkuhler and Matthews, Appl. Math. Res. Express 2013, 34 (2013).
    """
    half = 0.5 * timestep * units.fs
    m = atoms.get_masses()[:, None]
    atoms.set_momenta(atoms.get_momenta() + half * atoms.get_forces())  # B
    atoms.set_positions(atoms.positions + half * atoms.get_momenta() / m)  # A
    if friction > 0:
        c = math.exp(-friction * timestep)
        noise = np.sqrt((1 - c**2) * m * units.kB * temperature) * rng.standard_normal((len(atoms), 3))
        atoms.set_momenta(c * atoms.get_momenta() + noise)  # O
    atoms.set_positions(atoms.positions + half * atoms.get_momenta() / m)  # A
    atoms.set_momenta(atoms.get_momenta() + half * atoms.get_forces())  # B


def prepare_velocities(atoms: Atoms, config: MDConfig, rng: np.random.Generator) -> None:
    """Draw momenta with exactly the temperature asked for and the centre of mass at rest, or keep the file's.

    Raises:
        InputError: If velocities are to be kept and the structure has none.
    """
    if config.velocities == "keep":
        if not atoms.has("momenta"):
            raise InputError("md.velocities = keep, but the structure has no momenta; use draw.")
        return
    m = atoms.get_masses()[:, None]
    atoms.set_momenta(np.sqrt(m * units.kB * config.temperature) * rng.standard_normal((len(atoms), 3)))
    stop_centre_of_mass(atoms)
    now = _temperature(atoms, "nve")
    if now > 0:
        atoms.set_momenta(atoms.get_momenta() * math.sqrt(config.temperature / now))


def stop_centre_of_mass(atoms: Atoms) -> None:
    """Take the velocity of the centre of mass away, where there is more than one atom and none is held."""
    if len(atoms) > 1 and not atoms.constraints:
        atoms.set_velocities(
            atoms.get_velocities() - atoms.get_momenta().sum(axis=0) / atoms.get_masses().sum()
        )


def read_log(path: str | Path) -> list[Sample]:
    """Read the samples that a trajectory logged.

    Raises:
        InputError: If the file cannot be read or is not such a log.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        samples = [
            Sample(
                step=int(row["step"]),
                num_atoms=int(row["num_atoms"]),
                **{f.name: float(row[f.name]) for f in fields(Sample) if f.type == "float"},
                ensemble=row["ensemble"],
            )
            for row in rows
        ]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}.") from None
    except (KeyError, ValueError, TypeError):
        samples = []
    if not samples:
        columns = ", ".join(field.name for field in fields(Sample))
        raise InputError(f"{path} is not a log of multiace md, which has lines with {columns}.")
    return samples


def _temperature(atoms: Atoms, ensemble: str) -> float:
    return 2 * atoms.get_kinetic_energy() / (units.kB * max(degrees_of_freedom(atoms, ensemble), 1))


def _ensemble(step: int, config: MDConfig) -> str:
    return config.ensemble if step >= 0 else "langevin"


def _sample(atoms: Atoms, step: int, config: MDConfig) -> Sample:
    potential, kinetic = float(atoms.get_potential_energy()), float(atoms.get_kinetic_energy())
    time, ensemble = _time(step, config), _ensemble(step, config)
    temperature = _temperature(atoms, ensemble)
    return Sample(step, len(atoms), time, potential, kinetic, potential + kinetic, temperature, ensemble)


def _time(step: int, config: MDConfig) -> float:
    return step * config.timestep / 1000


def _check(sample: Sample, atoms: Atoms, config: MDConfig) -> None:
    bad = np.flatnonzero(~np.isfinite(atoms.get_forces()).all(axis=1))
    if len(bad):
        raise InputError(f"the force on atom {bad[0]} ({atoms.symbols[bad[0]]}) is not finite")
    if not math.isfinite(sample.total):
        raise InputError(
            f"energies are not finite: {sample.potential} eV potential, {sample.kinetic} eV kinetic"
        )
    _check_grades(atoms, config)
    if sample.temperature > config.max_temperature:
        raise InputError(
            f"{sample.temperature:.0f} K is above md.max_temperature = {config.max_temperature:.0f} K"
        )


def _check_grades(atoms: Atoms, config: MDConfig) -> None:
    if config.max_grade is None or atoms.calc is None:
        return
    grades = atoms.calc.results["extrapolation_grade"]
    worst = int(np.argmax(grades))
    if grades[worst] > config.max_grade:
        raise InputError(
            f"atom {worst} ({atoms.symbols[worst]}) has the extrapolation grade {grades[worst]:.2f}, above "
            f"md.max_grade = {config.max_grade:g}"
        )


@contextmanager
def _explosion(
    atoms: Atoms, step: int, config: MDConfig, add_frame: Callable[[Atoms], None]
) -> Iterator[None]:
    """Say at which step a calculator refused the structure, or a check failed; write that frame, if it is one."""
    try:
        yield
    except InputError as error:
        if np.isfinite(atoms.positions).all():
            add_frame(atoms)
        time, reason = _time(step, config), str(error).rstrip(".")
        raise ExplosionError(
            f"the trajectory was stopped at step {step} ({time:.4f} ps): {reason}. What was written so far is kept; "
            "use a shorter time step, or train on structures like the last frame.",
            time,
            reason,
        ) from None


def _frame_writer(path: str | Path | None) -> Callable[[Atoms], None]:
    if path is None:
        return lambda atoms: None
    file = Path(path)
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)

    def add(atoms: Atoms) -> None:
        with writing(file):
            if file.suffix != ".traj":
                ase.io.write(file, atoms, format="extxyz", append=True)
                return
            with Trajectory(str(file), "a") as trajectory:
                trajectory.write(atoms)

    return add


def _log_writer(path: str | Path | None) -> Callable[[Sample], None]:
    if path is None:
        return lambda sample: None
    name = Path(path)
    with writing(name):
        name.parent.mkdir(parents=True, exist_ok=True)
        with name.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow([f.name for f in fields(Sample)])

    def add(sample: Sample) -> None:
        with writing(name), name.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(astuple(sample))

    return add
