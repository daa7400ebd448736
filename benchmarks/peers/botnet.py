"""BOTNet's own code (github.com/gncs/botnet), from a clone: it is on no package index and has no licence.

Its models and blocks run as they are. What they import beside: ``scatter_sum`` of torch_scatter, which is the
PyTorch operation below, and names of its data pipeline, which only annotate types.
"""

from __future__ import annotations

import os

os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # the constants of e3nn 0.4.4 are pickled

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from ase.neighborlist import neighbor_list
from e3nn import o3
from torch import Tensor

from peers.worker import Peer, require, serve


def scatter_sum(src: Tensor, index: Tensor, dim: int, dim_size: int) -> Tensor:
    """Sum rows, as torch_scatter does."""
    shape = [1] * src.ndim
    shape[dim] = -1
    size = list(src.shape)
    size[dim] = dim_size
    return src.new_zeros(size).scatter_add_(dim, index.view(shape).expand_as(src), src)


def stand_in(name: str, **names: Any) -> None:
    """Make a module that holds these names."""
    sys.modules[name] = ModuleType(name)
    vars(sys.modules[name]).update(names)


class BOTNet(Peer):
    """ScaleShiftNonLinearBodyOrderedModel in float32."""

    packages = ("e3nn",)
    differences = "all irreps in the last layer too, of which its readout uses 0e"

    def prepare(self) -> None:
        """Import the clone, and translate the fields of the model."""
        model, statistics = self.model, self.task["statistics"]
        require(
            model,
            correlation=1,
            nonlinearity="none",
            readout="every",
            radial_basis="bessel",
            envelope="polynomial",
            radial_widths=[64, 64, 64],
            neighbor_norm="mean",
            first_self_connection="selector",
            self_connection="residual",
        )
        sys.path.append(self.task["source"])
        stand_in("torch_scatter", scatter_sum=scatter_sum)
        stand_in("torch_geometric")
        stand_in("torch_geometric.data", Batch=object)
        stand_in("botnet.data", AtomicData=object)
        stand_in("botnet.tools", TensorDict=dict, to_numpy=lambda tensor: tensor.detach().cpu().numpy())
        from botnet import modules

        torch.set_default_dtype(getattr(torch, model["dtype"]))
        self.network = modules.ScaleShiftNonLinearBodyOrderedModel(
            r_max=model["cutoff"],
            num_bessel=model["num_radial"],
            num_polynomial_cutoff=model["envelope_power"],
            max_ell=model["l_max"],
            interaction_cls=modules.interaction_classes["AgnosticResidualNonlinearInteractionBlock"],
            interaction_cls_first=modules.interaction_classes["AgnosticNonlinearInteractionBlock"],
            num_interactions=model["num_layers"],
            num_elements=len(model["elements"]),
            hidden_irreps=o3.Irreps(model["hidden_irreps"]),
            MLP_irreps=o3.Irreps(f"{model['readout_width']}x0e"),
            atomic_energies=np.array(statistics["isolated_energies"]),
            gate=torch.nn.functional.silu,
            avg_num_neighbors=statistics["num_neighbors"],
            atomic_inter_scale=statistics["scale"],
            atomic_inter_shift=statistics["shift"],
        )
        self.parameters = list(self.network.parameters())
        self.data = [self.graph(atoms) for atoms in self.frames]

    def graph(self, atoms: Any) -> dict[str, Tensor]:
        """One frame: one-hot elements, positions, edges (sender, receiver), and shifts [Å]."""
        i, j, S = neighbor_list("ijS", atoms, self.model["cutoff"])
        species = [self.model["elements"].index(symbol) for symbol in atoms.symbols]
        return {
            "node_attrs": torch.eye(len(self.model["elements"]))[species],
            "positions": torch.tensor(atoms.positions, dtype=torch.get_default_dtype()),
            "edge_index": torch.tensor(np.stack([j, i])),
            "shifts": torch.tensor(S @ atoms.cell.array, dtype=torch.get_default_dtype()),
        }

    def collate(self, indices: list[int]) -> SimpleNamespace:
        """What its models read of a torch_geometric batch."""
        graphs = [self.data[index] for index in indices]
        sizes = torch.tensor([len(graph["positions"]) for graph in graphs])
        first = (sizes.cumsum(0) - sizes).tolist()
        edges = [graph["edge_index"] + offset for graph, offset in zip(graphs, first, strict=True)]
        return SimpleNamespace(
            **{
                key: torch.cat([graph[key] for graph in graphs])
                for key in ("node_attrs", "positions", "shifts")
            },
            edge_index=torch.cat(edges, dim=1),
            batch=torch.arange(len(graphs)).repeat_interleave(sizes),
            num_graphs=len(graphs),
        )

    def predict(self, inputs: SimpleNamespace, train: bool) -> tuple[Tensor, Tensor]:
        """Through the network."""
        output = self.network(inputs, training=train)
        return output["energy"], output["forces"]

    def edges(self, inputs: SimpleNamespace) -> int:
        """Those of the neighbour list."""
        return inputs.edge_index.shape[1]


if __name__ == "__main__":
    serve(BOTNet)
