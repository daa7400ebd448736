"""Presets are values of one config: change one field and see what it does to the model."""

import time

import numpy as np
import torch
from ase.build import molecule

from multiace import PRESETS, ModelConfig, Potential, build_graph
from multiace.errors import InputError
from multiace.model.potential import Statistics

ETHANOL = molecule("CH3CH2OH")
ELEMENTS = ("H", "C", "O")


def describe(name: str, config: ModelConfig) -> None:
    """Print the size of a model and the time of one energy and its forces."""
    torch.manual_seed(0)
    config = config.replace(elements=ELEMENTS)
    potential = Potential(config, Statistics(np.zeros(3), num_neighbors=8.0))
    graph = build_graph(ETHANOL, ELEMENTS, config.cutoff)
    potential(graph)
    start = time.perf_counter()
    potential(graph)
    milliseconds = 1000 * (time.perf_counter() - start)
    parameters = sum(p.numel() for p in potential.parameters())
    print(f"{name:42s} {parameters:>9,d} {milliseconds:8.1f} ms")


print(f"{'model':42s} {'parameters':>9s} {'one call':>9s}")
for name, config in PRESETS.items():
    if name.endswith("-small"):
        describe(name, config)

print("\none field changed from botnet-small:")
base = PRESETS["botnet-small"]
CHANGES = [
    {"num_layers": 2},
    {"correlation": 2},
    {"radial_species": "sender"},
    {"radial_basis": "chebyshev"},
    {"element_embedding": "continuous"},
    {"nonlinearity": "gate"},
    {"readout": "last"},
    {"hidden_irreps": "32x0e + 16x1o + 8x2e"},
]
for change in CHANGES:
    describe(", ".join(f"{field} = {value}" for field, value in change.items()), base.replace(**change))

print("\na change that makes no sense is refused:")
for mistake in (
    {"radial_basis": "besel"},
    {"hidden_irreps": "32x1o"},
    {"l_max": 1, "hidden_irreps": "8x0e + 8x0o"},
):
    try:
        base.replace(**mistake)
    except InputError as error:
        print(f"- {error}")
    else:
        raise AssertionError(mistake)
