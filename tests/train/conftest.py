"""Copper and aluminium with the labels of ASE's effective-medium theory: small, real and with stress."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator


def label(atoms, stress=False):
    atoms.calc = EMT()
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    if stress:
        results["stress"] = atoms.get_stress()
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def clusters(count, seed):
    random = np.random.default_rng(seed)
    frames = []
    for number in range(count):
        symbols = ("Cu4", "Cu3Al", "Cu2Al3")[number % 3]
        n = len(Atoms(symbols))
        corners = np.array([[0, 0, 0], [2.5, 0, 0], [1.2, 2.2, 0], [1.2, 0.8, 2.1], [3.6, 2.1, 0.3]])[:n]
        atoms = label(Atoms(symbols, positions=corners + random.normal(scale=0.15, size=(n, 3))))
        atoms.info["config_type"] = f"atoms{n}"
        frames.append(atoms)
    return frames


def crystals(count, seed):
    random = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        atoms = bulk("Cu", cubic=True) * (1, 1, 1)
        atoms.set_cell(atoms.cell @ (np.eye(3) + random.normal(scale=0.03, size=(3, 3))), scale_atoms=True)
        atoms.rattle(0.05, rng=random)
        frames.append(label(atoms, stress=True))
    return frames


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder with clusters.xyz (16), test.xyz (6), and crystals.xyz (8 periodic frames with stress)."""
    folder = tmp_path_factory.mktemp("data")
    ase.io.write(folder / "clusters.xyz", clusters(16, seed=1))
    ase.io.write(folder / "test.xyz", clusters(6, seed=2))
    ase.io.write(folder / "crystals.xyz", crystals(8, seed=3))
    return folder


@pytest.fixture
def run(data):
    """Make a run config of a tiny model: ``run(max_epochs=3)``; ``files`` are names in the data folder."""
    from multiace.train.config import RunConfig

    def make(files=("clusters.xyz",), model=None, **train):
        tiny = {"preset": "botnet-small", "num_layers": 2, "hidden_irreps": "4x0e + 4x1o", "l_max": 1}
        tiny |= {"cutoff": 4.0, "radial_widths": [8], "energy_reference": "mean", "shift": "none"}
        return RunConfig.from_dict(
            {
                "model": {**tiny, **(model or {})},
                "data": {
                    "train": [str(data / name) for name in files],
                    "valid": 4,
                    "test": [str(data / "test.xyz")],
                },
                "train": {
                    "max_epochs": 2,
                    "batch_size": 4,
                    "energy_weight": 1.0,
                    "loggers": ["csv"],
                    "verify": False,
                    **train,
                },
            }
        )

    return make


@pytest.fixture
def linear(run):
    """Make a run of a small linear ACE: ``linear(solver="ridge")``."""

    from multiace.train.config import RunConfig
    from tests.potentials import LINEAR_ACE

    def make(files=("clusters.xyz",), model=None, **train):
        sections = run(files, **train).to_dict()
        return RunConfig.from_dict(
            {
                "model": {**LINEAR_ACE, **(model or {})},
                "data": {
                    name: value
                    for name, value in sections["data"].items()
                    if name in ("train", "valid", "test")
                },
                "train": {"verify": False, **train},
            }
        )

    return make
