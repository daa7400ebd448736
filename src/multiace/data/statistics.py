"""What a model takes over from its training set: E0, scale, shift, mean number of neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multiace.data.dataset import Dataset
from multiace.data.read import Frame
from multiace.errors import InputError
from multiace.model.config import ModelConfig
from multiace.model.potential import Statistics

__all__ = ["measure"]

DISAGREEMENT = 1e-3  # [eV] two energies of the same isolated atom that differ by more are not the same


def measure(config: ModelConfig, dataset: Dataset, isolated: Sequence[Frame] = ()) -> Statistics:
    r"""Measure E0, scale, shift and neighbour number as ``config`` asks for.

    With n structures of N atoms and composition :math:`n_z`, energies E and force components f,

    =====================  =======================================================================
    ``energy_reference``   E0_z
    =====================  =======================================================================
    ``isolated``           energy of the isolated atom in the data
    ``given``              ``config.isolated_energies``
    ``least_squares``      minimum of Σ (E - Σ_z n_z E0_z)²; of least norm where that is not unique
    ``mean``               mean of E/N, for every element
    ``none``               0
    =====================  =======================================================================

    scale: root mean square of f (``rms_force``), or standard deviation of (E - ΣE0)/N (``std``), or 1;
    shift: mean of (E - ΣE0)/N, or 0. Missing labels are left out.

    Args:
        config: Reads ``energy_reference``, ``isolated_energies``, ``scale`` and ``shift``.
        dataset: Training set; its ``elements`` are the species.
        isolated: Isolated atoms found beside it.

    Returns:
        E0 [eV] shape (n_species,), scale and shift [eV], mean number of neighbours of an atom.

    Raises:
        InputError: If a label that is needed occurs nowhere, an isolated atom is missing or has two
            energies, or the scale would be zero.
    """
    E0 = isolated_energies(config, dataset, isolated)
    interaction = interaction_energies(dataset, E0)
    return Statistics(
        isolated_energies=E0,
        scale=find_scale(config.scale, dataset, interaction),
        shift=find_shift(config.shift, interaction),
        num_neighbors=dataset.all.graph.n_edges / dataset.all.graph.n_nodes or 1.0,
    )


def composition(dataset: Dataset) -> np.ndarray:
    """n_z of each structure, shape (n_graphs, n_species)."""
    graph, n_species = dataset.all.graph, len(dataset.elements)
    pairs = (graph.node_graph * n_species + graph.species).numpy()
    return np.bincount(pairs, minlength=len(dataset) * n_species).reshape(-1, n_species).astype(np.float64)


def labelled_energies(dataset: Dataset, field: str) -> tuple[np.ndarray, np.ndarray]:
    """Return E [eV] (n,) and n_z (n, n_species) of the structures with an energy; ``field`` needs them."""
    energy = dataset.all.energy.numpy()
    present = ~np.isnan(energy)
    if not present.any():
        raise InputError(
            f"{field} needs energies, but no training structure has one. Set data.energy_key, or choose none."
        )
    return energy[present], composition(dataset)[present]


def isolated_energies(config: ModelConfig, dataset: Dataset, isolated: Sequence[Frame]) -> np.ndarray:
    """E0 [eV] of each species, shape (n_species,)."""
    reference, elements = config.energy_reference, dataset.elements
    if reference == "none":
        return np.zeros(len(elements))
    if reference in ("isolated", "given"):
        found = energies_of_isolated_atoms(isolated)  # refused where they differ, given E0 or not
        return look_up(config.isolated_energies if reference == "given" else found, elements, reference)
    energy, counts = labelled_energies(dataset, f"model.energy_reference = {reference}")
    if reference == "mean":
        return np.full(len(elements), (energy / counts.sum(axis=1)).mean())
    return np.asarray(np.linalg.lstsq(counts, energy, rcond=None)[0])


def energies_of_isolated_atoms(isolated: Sequence[Frame]) -> dict[str, float]:
    """E0 [eV] by element; those without a label are left out."""
    found: dict[str, float] = {}
    sources: dict[str, str] = {}
    for frame in isolated:
        if frame.energy is None:
            continue
        symbol = frame.atoms.get_chemical_symbols()[0]
        if abs(found.setdefault(symbol, frame.energy) - frame.energy) > DISAGREEMENT:
            raise InputError(
                f"isolated {symbol} has energy {found[symbol]} eV in {sources[symbol]}, "
                f"but {frame.energy} eV in {frame.source}. Keep that of the training energies."
            )
        sources.setdefault(symbol, frame.source)
    return found


def look_up(energies: dict[str, float], elements: Sequence[str], reference: str) -> np.ndarray:
    """E0 in species order."""
    missing = [symbol for symbol in elements if symbol not in energies]
    if missing:
        where = (
            "the data has no isolated atom with an energy"
            if reference == "isolated"
            else "model.isolated_energies has nothing"
        )
        raise InputError(
            f"model.energy_reference = {reference}, but {where} for {', '.join(missing)}. "
            "Add isolated atoms (config_type=isolated_atom) to data.train, or set energy_reference to given "
            "(with isolated_energies), least_squares, mean or none."
        )
    return np.array([energies[symbol] for symbol in elements], dtype=np.float64)


def interaction_energies(dataset: Dataset, E0: np.ndarray) -> np.ndarray:
    """(E - ΣE0)/N [eV] of the structures with an energy."""
    energy, counts = dataset.all.energy.numpy(), composition(dataset)
    interaction = (energy - counts @ E0) / counts.sum(axis=1)
    return interaction[~np.isnan(interaction)]


def find_scale(scale: str, dataset: Dataset, interaction: np.ndarray) -> float:
    """Root mean square force component, standard deviation of (E - ΣE0)/N, or 1."""
    if scale == "none":
        return 1.0
    if scale == "rms_force":
        forces = dataset.all.forces.numpy()
        values = forces[~np.isnan(forces)]
        label, key = "forces", "data.forces_key"
        result = np.sqrt(np.mean(values**2)) if len(values) else 0.0
    else:
        values, label, key = interaction, "energies", "data.energy_key"
        result = np.std(values) if len(values) else 0.0
    if len(values) == 0:
        raise InputError(
            f"model.scale = {scale} needs {label}, but no training structure has any. "
            f"Set {key}, or model.scale = none."
        )
    if not result > 0:
        raise InputError(
            f"model.scale = {scale} would be zero: all training {label} are equal. Set model.scale = none."
        )
    return float(result)


def find_shift(shift: str, interaction: np.ndarray) -> float:
    """Mean of (E - ΣE0)/N [eV], or 0."""
    if shift == "none":
        return 0.0
    if len(interaction) == 0:
        raise InputError(
            "model.shift = mean needs energies, but no training structure has one. "
            "Set data.energy_key, or model.shift = none."
        )
    return float(interaction.mean())
