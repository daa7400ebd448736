"""Small potentials with random weights, and structures for them."""

from __future__ import annotations

import numpy as np
import torch
from ase import Atoms

from multiace.model.config import ModelConfig
from multiace.model.potential import Potential, Statistics

CONFIG = ModelConfig(
    elements=("H", "C", "O"),
    cutoff=3.5,
    l_max=1,
    hidden_irreps="4x0e + 4x1o",
    num_layers=2,
    radial_widths=(8,),
    num_radial=4,
    dtype="float64",
)


def small_potential(scale: float = 0.3, **changes: object) -> Potential:
    """A two-layer potential with random weights, the same at every call."""
    torch.manual_seed(7)
    return Potential(
        CONFIG.replace(**changes), Statistics(np.array([-13.6, -1027.0, -2038.0]), scale, -0.2, 8.0)
    )


def methanol() -> Atoms:
    """Methanol, slightly distorted."""
    return Atoms(
        "COH4",
        [
            [-0.05, 0.66, 0.0],
            [-0.05, -0.76, 0.05],
            [-1.09, 0.97, 0.0],
            [0.88, -1.05, 0.0],
            [0.44, 1.07, 0.89],
            [0.44, 1.07, -0.93],
        ],
    )


def crystal() -> Atoms:
    """Eight atoms in a triclinic cell smaller than twice the cutoff, periodic in three directions."""
    rng = np.random.default_rng(3)
    cell = np.array([[4.2, 0.0, 0.0], [0.7, 4.5, 0.0], [-0.5, 0.9, 5.1]])
    grid = np.array([[x, y, z] for x in (0.0, 0.5) for y in (0.0, 0.5) for z in (0.0, 0.5)])
    scaled = grid + 0.04 * rng.standard_normal((8, 3))
    return Atoms("CHOHCHOH", scaled_positions=scaled, cell=cell, pbc=True)


KINDS = [
    {},
    {"zbl": True},
    {"correlation": 3, "distance_transform": "agnesi", "envelope": "cosine"},
    {"channel_coupling": "full", "correlation": 2, "hidden_irreps": "2x0e + 2x1o"},
    {"nonlinearity": "gate", "radial_species": "pair", "element_embedding": "continuous"},
    {"nonlinearity": "norm", "radial_basis": "gaussian", "neighbor_norm": "learned"},
    {"radial_norm": "layer", "feature_norm": "layer"},
]
"""Changes of small_potential: layers of each kind."""

LINEAR_ACE = {
    "preset": "ace-small",
    "cutoff": 4.0,
    "l_max": 2,
    "num_radial": 4,
    "total_degree": [5.0, 5.0, 5.0],
    "energy_reference": "mean",
}


def graph_of(atoms, at):
    from multiace.graph.neighbors import build_graph

    return build_graph(atoms, at.elements, at.cutoff)
