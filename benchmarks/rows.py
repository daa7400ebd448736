"""What is measured: every row of the benchmarks, its models and its frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import ase.build
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from multiace.data.dataset import Dataset
from multiace.data.read import Frame, read_frames
from multiace.data.statistics import measure
from multiace.model.config import ModelConfig
from multiace.model.potential import Statistics
from multiace.model.presets import PRESETS

__all__ = ["ROWS", "FrameSet", "Point", "Row"]

MOLECULE = Path(__file__).parents[1] / "examples/data/malonaldehyde"
UNLABELLED = {"elements": ("Si",), "energy_reference": "none", "scale": "none", "shift": "none"}


@dataclass(frozen=True)
class FrameSet:
    """Frames, of which the first ``train_frames`` are for training, and isolated atoms beside them."""

    frames: list[Frame]
    isolated: list[Frame]
    train_frames: int

    def resolve(self, model: ModelConfig) -> tuple[ModelConfig, Statistics, list[Atoms]]:
        """Return the model with its elements, what it takes from the data, and the frames.

        Energies of the frames are relative to E0, and E0 is zero: a total energy of 10 keV in float32 would
        cost codes that sum in float32 their accuracy.
        """
        training = self.frames[: self.train_frames]
        elements = model.elements or tuple(sorted({s for frame in training for s in frame.atoms.symbols}))
        model = model.replace(elements=elements)
        statistics = measure(model, Dataset(training, elements, model.cutoff), self.isolated)
        E0 = dict(zip(elements, statistics.isolated_energies, strict=True))
        frames = []
        for frame in self.frames:
            atoms = Atoms(
                frame.atoms.symbols, frame.atoms.positions, cell=frame.atoms.cell, pbc=frame.atoms.pbc
            )
            if frame.energy is not None:
                energy = frame.energy - sum(E0[symbol] for symbol in atoms.symbols)
                atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=frame.forces)
            frames.append(atoms)
        zero = [0.0] * len(elements)
        model = model.replace(energy_reference="none")
        return model, Statistics(zero, statistics.scale, statistics.shift, statistics.num_neighbors), frames


@dataclass(frozen=True)
class Point:
    """One line-up: models of equal size by the family they belong to, and how to get their frames.

    ``bound`` is what multiace shall need at most.
    """

    models: dict[str, ModelConfig]
    frames: Callable[[Path], FrameSet]
    bound: str = ""


@dataclass(frozen=True)
class Row:
    """One measurement: ``kind`` names a function of measure.py, ``points`` are its lines by label."""

    about: str
    kind: str
    points: dict[str, Point]
    device: str = "cpu"


# --- frames ---------------------------------------------------------------------------------------------------


def acac(train: int, test: int, folder: Path) -> FrameSet:
    """The first frames of acetylacetone at 300 K, and the first of its test set."""
    place = folder / "acac"
    if not place.is_dir():
        raise FileNotFoundError(
            f"{place} is not there: multiace data get acac --folder {folder}, or give --data or set MULTIACE_DATA"
        )
    frames = read_frames(place / "train_300K.xyz")[:train] + read_frames(place / "test_MD_300K.xyz")[:test]
    return FrameSet(frames, read_frames(place / "isolated_atoms.xyz"), train)


def molecule(train: int, test: int, folder: Path) -> FrameSet:
    """Frames of malonaldehyde, which lie in the repository."""
    frames = read_frames(MOLECULE / "train_300K.xyz")[:train] + read_frames(MOLECULE / "test_300K.xyz")[:test]
    return FrameSet(frames, read_frames(MOLECULE / "isolated_atoms.xyz"), train)


def silicon(cells: tuple[int, int, int], folder: Path) -> FrameSet:
    """Bulk silicon, 8 atoms a cell, a little disordered."""
    atoms = ase.build.bulk("Si", cubic=True).repeat(cells)
    atoms.rattle(0.05, seed=0)
    return FrameSet([Frame(atoms)], [], 1)


def iron(cells: tuple[int, int, int], folder: Path) -> FrameSet:
    """Iron (bcc), 2 atoms a cell, a little disordered."""
    atoms = ase.build.bulk("Fe", cubic=True).repeat(cells)
    atoms.rattle(0.05, seed=0)
    return FrameSet([Frame(atoms)], [], 1)


def butane(folder: Path) -> FrameSet:
    """Butane and acetaldehyde side by side: 21 atoms."""
    atoms, other = (ase.build.molecule(name) for name in ("trans-butane", "CH3CHO"))
    other.translate([0.0, 0.0, 4.0])
    return FrameSet([Frame(atoms + other)], [], 1)


FIVE = partial(acac, 5, 0)


# --- models ---------------------------------------------------------------------------------------------------


def natural(channels: int, l_max: int) -> str:
    """Irreps of parity (-1)^l."""
    return " + ".join(f"{channels}x{degree}{'eo'[degree % 2]}" for degree in range(l_max + 1))


def both(channels: int, l_max: int) -> str:
    """Irreps of both parities."""
    return " + ".join(f"{channels}x{degree}{parity}" for degree in range(l_max + 1) for parity in "eo")


def botnet(irreps: str, **fields: object) -> ModelConfig:
    """As BOTNet, cutoff 5 Å."""
    return PRESETS["botnet"].replace(hidden_irreps=irreps, **{"cutoff": 5.0, **fields})


def nequip(irreps: str, **fields: object) -> ModelConfig:
    """As nequip 0.19 builds it: no self-connection in the first layer, elements embedded in all 0e channels."""
    model = PRESETS["nequip"].replace(hidden_irreps=irreps, first_self_connection="none", **fields)
    return model.replace(element_embedding="continuous", embedding_dim=model.channels)


def mace(irreps: str, **fields: object) -> ModelConfig:
    """As MACE."""
    return PRESETS["mace"].replace(hidden_irreps=irreps, **fields)


def small(
    channels: int = 32, l_max: int = 2, num_layers: int = 3, **fields: object
) -> dict[str, ModelConfig]:
    """``botnet-small`` and its NequIP of equal size, with one field changed."""
    irreps, fields = natural(channels, l_max), {"l_max": l_max, "num_layers": num_layers, **fields}
    return {"botnet": botnet(irreps, **fields), "nequip": nequip(irreps, **fields)}


def products(correlation: int) -> dict[str, ModelConfig]:
    """``mace-small`` with another correlation order."""
    return {"mace": mace("32x0e + 32x1o", l_max=2, correlation=correlation)}


def speed(about: str, frames: str = "5 frames of AcAc", **models: ModelConfig) -> Row:
    """Models of equal size on five frames of AcAc."""
    return Row(f"{about}; {frames}", "speed", {"": Point(models, FIVE)})


def four_layers(*elements: str, **fields: object) -> dict[str, ModelConfig]:
    """64 x (0e + 1o + 2e + 3o), 4 layers, and MACE of row mace-64, without anything that labels would say."""
    fields = {**UNLABELLED, "elements": elements, **fields}
    irreps = natural(64, 3)
    return {
        "botnet": botnet(irreps, num_layers=4, **fields),
        "nequip": nequip(irreps, num_layers=4, **fields),
        "mace": mace(natural(64, 2), **fields),
    }


# --- rows -----------------------------------------------------------------------------------------------------

NATURAL = {"nequip": nequip(natural(64, 3)), "botnet": botnet(natural(64, 3))}
MACE_64 = {"mace": mace(natural(64, 2))}
SILICON = {"64": (2, 2, 2), "512": (4, 4, 4), "4096": (8, 8, 8), "13824": (12, 12, 12), "50000": (25, 25, 10)}

ROWS: dict[str, Row] = {
    "natural": speed("64 x (0e + 1o + 2e + 3o), l <= 3, 5 layers", **NATURAL),
    "full-parity": speed(
        "80 x (0e + 0o + ... + 3e + 3o), l <= 3, 5 layers",
        botnet=botnet(both(80, 3)),
        nequip=nequip(both(80, 3)),
    ),
    "mace-64": speed("MACE 64x0e + 64x1o + 64x2e, 2 layers, ν = 3, l <= 3", **MACE_64),
    "mace-128": speed("MACE 128x0e + 128x1o, 2 layers, ν = 3, l <= 3", mace=mace(natural(128, 1))),
    "train-acac": Row(
        "the same time on the same recipe: 450 frames of AcAc at 300 K, tested on 100 others; botnet-small, its "
        "NequIP of equal size, and mace-small",
        "fit",
        {"": Point({**small(), **products(3)}, partial(acac, 450, 100))},
    ),
    "scaling-atoms": Row(
        "bulk silicon against the number of atoms, 28 neighbours; botnet-small and its NequIP of equal size",
        "inference",
        {label: Point(small(**UNLABELLED), partial(silicon, cells)) for label, cells in SILICON.items()},
    ),
    "scaling-neighbours": Row(
        "216 atoms of silicon against the cutoff [Å]; botnet-small and its NequIP of equal size",
        "inference",
        {
            str(cutoff): Point(small(cutoff=cutoff, **UNLABELLED), partial(silicon, (3, 3, 3)))
            for cutoff in (3.0, 4.0, 5.0, 6.0, 7.0)
        },
    ),
    "scaling-channels": Row(
        "5 frames of AcAc against the number of channels; botnet-small and its NequIP of equal size",
        "speed",
        {str(channels): Point(small(channels), FIVE) for channels in (8, 16, 32, 64, 128)},
    ),
    "scaling-degree": Row(
        "5 frames of AcAc against the largest degree l of features and of Y; botnet-small and its NequIP of equal "
        "size",
        "speed",
        {str(l_max): Point(small(l_max=l_max), FIVE) for l_max in (0, 1, 2, 3, 4)},
    ),
    "scaling-layers": Row(
        "5 frames of AcAc against the number of layers; botnet-small and its NequIP of equal size",
        "speed",
        {str(layers): Point(small(num_layers=layers), FIVE) for layers in (1, 2, 3, 4, 5)},
    ),
    "scaling-correlation": Row(
        "5 frames of AcAc against the correlation order ν; mace-small",
        "speed",
        {str(correlation): Point(products(correlation), FIVE) for correlation in (1, 2, 3, 4)},
    ),
    "memory": Row(
        "a training step of row natural and of row mace-64 against the size of the batch",
        "memory",
        {f"batch of {n}": Point({**NATURAL, **MACE_64}, partial(acac, n, 0)) for n in (1, 5, 20)},
    ),
    "operations": Row(
        "PyTorch operations of a training step and of a prediction: row natural and row mace-64",
        "operations",
        {"": Point({**NATURAL, **MACE_64}, FIVE)},
    ),
    "roofline": Row(
        "where a training step of multiace spends its time, against what the machine can do: rows natural and "
        "mace-64",
        "roofline",
        {family: Point({family: model}, FIVE) for family, model in {**NATURAL, **MACE_64}.items()},
    ),
    "first-step": Row(
        "from the start of the process to the end of the first training step, without and with what earlier "
        "processes have compiled; rows natural and mace-64",
        "first_step",
        {"": Point({**NATURAL, **MACE_64}, FIVE)},
    ),
    "gpu-prediction": Row(
        "on a GPU, 64 x (0e + 1o + 2e + 3o), l <= 3, 4 layers, and MACE of row mace-64: 3,456 atoms of iron with 58 "
        "neighbours, 4,096 of silicon with 16, and a molecule",
        "inference",
        {
            "58 neighbours": Point(
                four_layers("Fe", cutoff=5.3), partial(iron, (12, 12, 12)), "8 µs an atom"
            ),
            "16 neighbours": Point(
                four_layers("Si", cutoff=4.2), partial(silicon, (8, 8, 8)), "2.5 µs an atom"
            ),
            "21 atoms": Point(four_layers("H", "C", "O", cutoff=5.0), butane, "0.8 ms"),
        },
        device="cuda",
    ),
    "gpu-training": Row(
        "on a GPU, rows natural and mace-64; 5 frames of AcAc",
        "speed",
        {"": Point({**NATURAL, **MACE_64}, FIVE, "2 ms a training step")},
        device="cuda",
    ),
    **{
        f"quick-{kind}": Row(
            "a check of the benchmarks themselves: a tiny model on malonaldehyde",
            kind,
            {"": Point({"botnet": botnet(natural(4, 1), l_max=1, num_layers=2)}, partial(molecule, 3, 2))},
        )
        for kind in ("speed", "fit", "roofline", "operations")
    },
}
"""Every row by name."""
