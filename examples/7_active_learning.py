"""Active learning: from 20 labelled structures of ethanol on, choose those to label next that tell most.

Labels are those of xTB (GFN2), a fast method of quantum chemistry, by the package tblite, which multiace itself does
not need: ``pip install tblite``. Pool and test set are from dynamics at 300, 600 and 1200 K; most of the pool is at
300 K, as pools are. About four minutes on one core.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # nine atoms: more threads only wait for each other

import ase.io
import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator

from multiace import RunConfig, evaluate, fit
from multiace.deploy.config import MDConfig
from multiace.deploy.md import simulate
from multiace.selection import select

try:
    from tblite.ase import TBLite
except ImportError:
    print("this example labels structures with xTB: pip install tblite")
    sys.exit()

APART = 5  # steps between frames [fs]
FOLDER = Path("runs/examples/7_active_learning")
ROUNDS, AT_ONCE, SEEDS = 3, 20, range(5)
POOL = {300: 360, 600: 90, 1200: 30}  # frames at each temperature [K]
TEST = {300: 30, 600: 30, 1200: 30}


def label(atoms: Atoms) -> Atoms:
    """Energy and forces of xTB."""
    atoms = Atoms(atoms.symbols, positions=atoms.positions, calculator=TBLite(method="GFN2-xTB", verbosity=0))
    forces, energy = atoms.get_forces(), atoms.get_potential_energy()
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    return atoms


def frames(numbers: dict[int, int], seed: int) -> list[Atoms]:
    """Frames of dynamics at several temperatures."""
    found = []
    for temperature, number in numbers.items():
        atoms = molecule("CH3CH2OH")
        atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
        config = MDConfig(
            ensemble="langevin",
            temperature=temperature,
            friction=0.02,
            timestep=1.0,
            steps=APART * (number - 1),
            equilibration=0.2,
            log_interval=APART,
            seed=seed,
        )
        for sample in simulate(atoms, config):
            if sample.step >= 0:
                found.append(Atoms(atoms.symbols, positions=atoms.positions))
    return found


def fitted(name: str, train: list[Atoms]):
    """A linear ACE of these structures, without anything to tune, and its run folder."""
    folder = FOLDER / f"{name}_{len(train)}"
    folder.mkdir(parents=True, exist_ok=True)
    ase.io.write(folder / "train.xyz", train)
    run = RunConfig.from_dict(
        {
            "model": {"preset": "ace-small", "energy_reference": "mean"},
            "data": {"train": [str(folder / "train.xyz")], "valid": [str(FOLDER / "test.xyz")]},
            "train": {"energy_weight": 100, "max_columns": 1500, "verify": False},
        }
    )
    return fit(run, folder / "run"), folder / "run"


def curve(name: str, train: list[Atoms], choose) -> list[float]:
    """Force RMSE on the test set [meV/Å] with more and more structures; ``choose(run, left)`` says which."""
    left, errors = list(pool), []
    for learned in range(ROUNDS + 1):
        potential, run = fitted(name if learned else "start", train)
        errors.append(evaluate(potential, FOLDER / "test.xyz").metrics["forces"]["rmse"])
        if learned < ROUNDS:
            chosen = choose(run, left)
            train = train + [label(left[n]) for n in chosen]
            left = [atoms for n, atoms in enumerate(left) if n not in chosen]
    return errors


FOLDER.mkdir(parents=True, exist_ok=True)
start = [label(atoms) for atoms in frames({300: 20}, seed=1)]
pool = frames(POOL, seed=2)
ase.io.write(FOLDER / "test.xyz", [label(atoms) for atoms in frames(TEST, seed=3)])


def informative(run: Path, left: list[Atoms]) -> list[int]:
    """Those that tell most: what ``multiace select`` writes."""
    return [atoms.info["pool_index"] for atoms in select(run, left, AT_ONCE).structures]


def at_random(seed: int):
    """A choice that does not look."""
    rng = np.random.default_rng(seed)
    return lambda run, left: rng.choice(len(left), AT_ONCE, replace=False).tolist()


selected = curve("select", start, informative)
random = [curve(f"random{seed}", start, at_random(seed)) for seed in SEEDS]

print("\nforce RMSE on the test set [meV/Å]")
print("structures   " + "".join(f"{20 + AT_ONCE * n:8d}" for n in range(ROUNDS + 1)))
print("select       " + "".join(f"{error:8.1f}" for error in selected))
for seed, errors in zip(SEEDS, random, strict=True):
    print(f"random {seed}     " + "".join(f"{error:8.1f}" for error in errors))
print("random, mean " + "".join(f"{error:8.1f}" for error in np.mean(random, axis=0)))
assert selected[-1] < min(errors[-1] for errors in random)
