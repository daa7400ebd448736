"""Build a model and predict energy and forces, without training: what goes in and what comes out."""

import numpy as np
import torch
from ase.build import molecule

from multiace import PRESETS, Potential, build_graph
from multiace.model.potential import Statistics

# A model is a point of the design space. Every field has a name; a preset fills them all.
config = PRESETS["botnet-small"].replace(elements=("H", "C", "O"), dtype="float64")

# E0, scale and shift come from the training set. Here they are given by hand.
torch.manual_seed(0)
E0 = np.array([-13.6, -1028.0, -2041.0])
potential = Potential(config, Statistics(isolated_energies=E0, num_neighbors=8.0))
print(f"parameters: {sum(p.numel() for p in potential.parameters()):,}")

# A structure becomes a graph: atoms are nodes, pairs closer than the cutoff are edges.
ethanol = molecule("CH3CH2OH")
graph = build_graph(ethanol, config.elements, config.cutoff)
print(f"atoms: {graph.n_nodes}, directed edges: {graph.n_edges}")

prediction = potential(graph)
assert prediction.forces is not None
print(f"energy: {float(prediction.energy):.6f} eV")
print(f"site energies sum to: {float(prediction.site_energies.sum()):.6f} eV")
print(f"net force: {float(prediction.forces.sum(dim=0).norm()):.1e} eV/Å")

# Turning the molecule leaves the energy as it is and turns the forces.
turned = ethanol.copy()
turned.rotate(50, (1, 2, 3))
again = potential(build_graph(turned, config.elements, config.cutoff))
assert again.forces is not None
lengths = prediction.forces.norm(dim=1), again.forces.norm(dim=1)
print(f"energy after a rotation differs by {float((again.energy - prediction.energy).abs()):.1e} eV")
print(f"lengths of the forces differ by at most {float((lengths[0] - lengths[1]).abs().max()):.1e} eV/Å")
assert torch.allclose(again.energy, prediction.energy, rtol=0, atol=1e-8)
assert torch.allclose(*lengths, rtol=0, atol=1e-8)
