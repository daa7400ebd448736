"""The points of the design space that the symmetry and physics suites visit, and structures to visit them with.

A point is named ``preset`` or ``base/field=value`` (a one-key change). The choices come from ``TABLES``, so
that a new one is tested the day it is added to its table.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import ase
import ase.build
import numpy as np
import torch

from multiace.graph import Graph
from multiace.graph.neighbors import build_graph
from multiace.model import PRESETS, ModelConfig, Potential, Statistics, consistent
from multiace.model.config import FIRST_LAYER_FIELDS, TABLES

ELEMENTS = ("H", "C", "O")
E0 = np.array([-1.0, -2.0, -3.0])
STATISTICS = Statistics(E0, scale=1.7, shift=0.0, num_neighbors=5.0)
CUTOFF = 3.0

BASE = ModelConfig(
    elements=ELEMENTS,
    cutoff=CUTOFF,
    l_max=2,
    hidden_irreps="4x0e + 3x1o + 2x2e",
    num_layers=2,
    num_radial=4,
    radial_widths=(8,),
    readout_width=4,
    dtype="float64",
)

OUTSIDE_THE_NETWORK = ("energy_reference", "scale", "shift")
"""What these choose is measured on data, see tests/data/test_statistics.py; a potential takes the numbers."""

COMPLETE = {
    "channel_coupling": "complete",
    "hidden_irreps": "2x0e",
    "num_layers": 1,
    "correlation": 3,
    "num_radial": 3,
    "total_degree": (6.0, 6.0, 5.0),
    "radial_network": "none",
    "first_self_connection": "none",
}

ONLY_COMPLETE = (("channel_coupling", "complete"), ("radial_network", "none"))
OF_COMPLETE: dict[str, list] = {
    "total_degree": [(5.0,)],
    "degree_weight": [2.0],
    "pair_num_radial": [2],
    "n_max": [2],
}
"""Values that complete coupling alone has."""

COMPLETE_NEEDS: dict[str, dict] = {
    "correlation": {"total_degree": (5.0,)},
    "n_max": {"radial_network": "linear"},
    "radial_species": {"radial_network": "linear"},
    "radial_bias": {"radial_network": "linear"},
    "radial_widths": {"radial_network": "mlp"},
    "radial_activation": {"radial_network": "mlp"},
}
"""Fields that only act together with others there."""

NEEDS: dict[str, dict] = {
    "activation": {"nonlinearity": "gate"},
    "odd_activation": {
        "nonlinearity": "gate",
        "hidden_irreps": "4x0e + 3x0o + 2x1o + 2x1e",
        "l_max": 1,
        "correlation": 2,
        "num_layers": 3,
    },
    "embedding_dim": {"element_embedding": "continuous"},
    "pair_envelope": {"pair_num_radial": 3},
    "readout_exponents": {"readout_function": "finnis_sinclair"},
}
"""Fields that only act together with others."""

NUMBERS: dict[str, list] = {
    "cutoff": [2.5],
    "num_layers": [1, 3, 4],
    "correlation": [2, 3, 4],
    "product_elements": [True],
    "num_radial": [1, 7],
    "trainable_radial": [True],
    "envelope_power": [1, 2, 5],
    "radial_widths": [(5, 7)],
    "radial_knots": [1001],
    "radial_bias": [True],
    "embedding_dim": [1, 5],
    "readout_width": [0],
    "readout_exponents": [(2.0,)],
    "zbl": [True],
}
"""Values of the fields that are not choices."""

COMBINATIONS: dict[str, dict] = {
    "l_max=0": {"l_max": 0, "hidden_irreps": "4x0e"},
    "l_max=1": {"l_max": 1, "hidden_irreps": "4x0e + 3x1o"},
    "l_max=3": {"l_max": 3, "hidden_irreps": "4x0e + 2x1o + 2x2e + 2x3o"},
    "l_max=4": {"l_max": 4, "hidden_irreps": "4x0e + 2x4e"},
    "l_max=5": {"l_max": 5, "hidden_irreps": "4x0e + 2x5o"},
    "l_max=6": {"l_max": 6, "hidden_irreps": "4x0e + 2x6e"},
    "only invariants, correlation=3": {"hidden_irreps": "4x0e", "correlation": 3},
    "both parities": {"hidden_irreps": "8x0e + 4x0o + 6x1o + 2x1e + 3x2e", "num_layers": 4},
    "both parities, correlation=2": {"hidden_irreps": "4x0e + 2x0o + 2x1o + 2x1e + 2x2o", "correlation": 2},
    "both parities, gate": {"hidden_irreps": "2x1e + 4x0e + 1x0o + 3x1o", "nonlinearity": "gate"},
    "unequal, norm, full": {"nonlinearity": "norm", "channel_coupling": "full"},
    "gate, correlation=2": {"nonlinearity": "gate", "correlation": 2},
    "full, correlation=2": {"channel_coupling": "full", "correlation": 2, "hidden_irreps": "3x0e + 2x1o"},
    "full, correlation=3, elements": {
        "channel_coupling": "full",
        "correlation": 3,
        "hidden_irreps": "2x0e",
        "l_max": 1,
        "product_elements": True,
    },
    "complete": COMPLETE,
    "complete, elements": {**COMPLETE, "product_elements": True, "hidden_irreps": "1x0e", "readout_width": 0},
    "complete, densities": {
        **COMPLETE,
        "product_elements": True,
        "hidden_irreps": "3x0e",
        "readout_function": "finnis_sinclair",
        "readout_exponents": (1.0, 0.5, 1.5),
    },
    "complete, five factors": {**COMPLETE, "correlation": 5, "total_degree": (5.0,), "l_max": 1},
    "complete, own two-body term": {
        **COMPLETE,
        "envelope": "two_sided",
        "envelope_power": 3,
        "radial_basis": "jacobi",
        "distance_transform": "agnesi",
        "pair_num_radial": 4,
        "pair_envelope": "inverse",
        "product_elements": True,
    },
    "complete, listed": {
        **COMPLETE,
        "product_elements": True,
        "radial_knots": 501,
        "distance_transform": "agnesi",
        "products": (
            ((0, 1, 0),),
            ((1, 2, 0),),
            ((2, 3, 0),),
            ((0, 2, 1), (2, 1, 1)),
            ((1, 1, 2), (1, 1, 2)),
        ),
    },
    "complete, R of pairs": {
        **COMPLETE,
        "radial_network": "linear",
        "radial_species": "pair",
        "n_max": 2,
        "pair_num_radial": 3,
    },
    "complete, MLP": {**COMPLETE, "radial_network": "mlp", "n_max": 4, "pair_num_radial": 2},
    "complete, continuous": {
        **COMPLETE,
        "product_elements": True,
        "element_embedding": "continuous",
        "embedding_dim": 2,
        "radial_basis": "gaussian",
        "trainable_radial": True,
        "distance_transform": "agnesi",
        "neighbor_norm": "learned",
        "zbl": True,
    },
    "gaussian, trained": {"radial_basis": "gaussian", "trainable_radial": True},
    "continuous, pair": {"element_embedding": "continuous", "embedding_dim": 2, "radial_species": "pair"},
    "continuous, product": {
        "element_embedding": "continuous",
        "embedding_dim": 2,
        "product_elements": True,
        "correlation": 2,
    },
    "norms, both parities, correlation=2": {
        "hidden_irreps": "4x0e + 2x0o + 2x1o + 2x1e + 2x2o",
        "correlation": 2,
        "radial_norm": "layer",
        "feature_norm": "layer",
    },
    "norms, full, biased": {
        "channel_coupling": "full",
        "radial_norm": "layer",
        "radial_bias": True,
        "radial_species": "pair",
        "distance_transform": "agnesi",
        "feature_norm": "layer",
        "nonlinearity": "gate",
        "first_self_connection": "residual",
    },
    "norms, knots": {
        "radial_norm": "layer",
        "radial_knots": 1001,
        "first_layer": {"radial_norm": "none", "feature_norm": "layer"},
    },
    "linear, biased": {"radial_network": "linear", "radial_bias": True, "radial_species": "sender"},
    "everything": {
        "correlation": 2,
        "nonlinearity": "gate",
        "element_embedding": "continuous",
        "embedding_dim": 2,
        "radial_species": "pair",
        "distance_transform": "agnesi",
        "neighbor_norm": "learned",
        "product_elements": True,
        "first_self_connection": "residual",
        "self_connection": "selector",
        "first_layer": {"radial_network": "linear", "nonlinearity": "none"},
        "zbl": True,
    },
}


def one_key_changes(base: ModelConfig) -> dict[str, dict]:
    """Changes of one field (with what it needs) away from ``base``, by name."""
    changes: dict[str, dict] = {}
    complete, fixed = base.channel_coupling == "complete", {"channel_coupling", *consistent.COMPLETE}
    for field in [*TABLES, *NUMBERS, *(OF_COMPLETE if complete else ())]:
        if field in OUTSIDE_THE_NETWORK or (field == "pair_envelope" and not complete):
            continue
        needs = {key: value for key, value in NEEDS.get(field, {}).items() if getattr(base, key) != value}
        values = [*TABLES.get(field, ()), *NUMBERS.get(field, ())]
        if complete:
            needs |= COMPLETE_NEEDS.get(field, {})
            values += OF_COMPLETE.get(field, [])
            values = values if {field, *needs}.isdisjoint(fixed) else []
        else:
            values = [value for value in values if (field, value) not in ONLY_COMPLETE]
        for value in values:
            if value != getattr(base, field) or needs:
                changes[f"{field}={value}"] = {**needs, field: value}
        if field in FIRST_LAYER_FIELDS and not needs and not complete:
            other = next(value for value in values if value != getattr(base, field))
            changes[f"first_layer.{field}={other}"] = {"first_layer": {field: other}}
    return changes


def shrink(preset: ModelConfig, mul: int = 3) -> ModelConfig:
    """The same point with few channels."""
    return preset.replace(
        elements=ELEMENTS,
        cutoff=CUTOFF,
        hidden_irreps=" + ".join(f"{mul}x{irrep}" for irrep in preset.irreps.irreps),
        radial_widths=tuple(6 for _ in preset.radial_widths),
        readout_width=min(preset.readout_width, 4),
        readout_exponents=(preset.readout_exponents * mul)[:mul],
        dtype="float64",
    )


POINTS: dict[str, ModelConfig] = {
    "base": BASE,
    **{f"base/{name}": BASE.replace(**change) for name, change in one_key_changes(BASE).items()},
    **{f"base/{name}": BASE.replace(**change) for name, change in COMBINATIONS.items()},
    **{name: shrink(preset, mul=2) for name, preset in PRESETS.items() if not name.endswith("-small")},
}
del POINTS["botnet-e0"]  # the network of botnet


@cache
def potential(name: str) -> Potential:
    """The potential at a point, with random weights; biases that start at zero are not zero."""
    return random_potential(POINTS[name])


def random_potential(config: ModelConfig, seed: int = 0) -> Potential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        result = Potential(config, STATISTICS)
        with torch.no_grad():
            for parameter in result.parameters():
                zero = parameter == 0
                if zero.any():
                    parameter[zero] = 0.5 * torch.randn_like(parameter)[zero]
    return result


def molecule() -> ase.Atoms:
    """Methanol without any symmetry, compressed so that the short-range repulsion acts."""
    atoms = ase.build.molecule("CH3OH")
    atoms.positions *= 0.9
    atoms.rattle(0.25, seed=1)
    return atoms


def crystal() -> ase.Atoms:
    """Three atoms in a triclinic cell smaller than twice the cutoff: each sees several images of itself."""
    cell = [[2.9, 0.2, -0.1], [0.7, 2.6, 0.3], [-0.4, 0.5, 3.1]]
    return ase.Atoms(
        "HCO", scaled_positions=[[0.0, 0.1, 0.0], [0.4, 0.5, 0.45], [0.9, 0.6, 0.1]], cell=cell, pbc=True
    )


def graph_of(atoms: ase.Atoms, at: Potential) -> Graph:
    return build_graph(atoms, at.elements, at.cutoff)


def batch_of(structures: Iterable[ase.Atoms], at: Potential) -> Graph:
    return Graph.batch([graph_of(atoms, at) for atoms in structures])


def displaced(atoms: ase.Atoms, step: np.ndarray | torch.Tensor) -> ase.Atoms:
    moved = atoms.copy()
    moved.positions += np.asarray(step)
    return moved


def strained(atoms: ase.Atoms, strain: np.ndarray) -> ase.Atoms:
    moved = atoms.copy()
    moved.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
    return moved


STENCIL = {1: 8 / 12, -1: -8 / 12, 2: -1 / 12, -2: 1 / 12}
"""Central differences of fourth order: f' = Σ c f(x + n h) / h."""


def derivative(values: torch.Tensor, h: float) -> torch.Tensor:
    """f' from the values at ``n h for n in STENCIL``."""
    return torch.tensordot(torch.tensor(list(STENCIL.values()), dtype=values.dtype), values, 1) / h


def energies_of(at: Potential, structures: list[ase.Atoms]) -> torch.Tensor:
    with torch.no_grad():
        return at(batch_of(structures, at), forces=False).energy


def differentiable(graph: Graph) -> Graph:
    return replace(graph, positions=graph.positions.clone().requires_grad_())


def assert_close(
    actual: torch.Tensor, expected: torch.Tensor, relative: float, scale: torch.Tensor | None = None
):
    """Equal up to ``relative`` times the largest number in ``scale`` (default: expected), which is not tiny.

    Stresses without a cell are NaN, and equal.
    """
    if expected.isnan().all():
        assert actual.isnan().all()
        return
    size = (expected if scale is None else scale).abs().max().item()
    assert size > 1e-5, "a comparison of zeros"
    difference = (actual - expected).abs().max().item()
    assert difference <= relative * size, f"differs by {difference:.3g}, {difference / size:.3g} relative"
