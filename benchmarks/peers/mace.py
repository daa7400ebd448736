"""mace-torch, eager: its own training does not compile either."""

from __future__ import annotations

import os

os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # the constants of e3nn 0.4.4 are pickled

import numpy as np
import torch
from ase.data import atomic_numbers
from e3nn import o3
from mace import data, modules
from mace.tools import AtomicNumberTable, torch_geometric
from torch import Tensor

from peers.worker import Peer, require, serve


class MACE(Peer):
    """ScaleShiftMACE in float32."""

    packages = ("mace-torch", "e3nn")
    differences = "keeps linearly dependent paths of the product basis"

    def prepare(self) -> None:
        """Translate the fields of the model."""
        model, statistics = self.model, self.task["statistics"]
        require(
            model,
            nonlinearity="none",
            readout="every",
            radial_basis="bessel",
            envelope="polynomial",
            neighbor_norm="mean",
            first_self_connection="selector",
            self_connection="residual",
            product_elements=True,
        )
        torch.set_default_dtype(getattr(torch, model["dtype"]))
        numbers = [atomic_numbers[element] for element in model["elements"]]
        order = np.argsort(numbers)
        table = AtomicNumberTable([numbers[place] for place in order])
        self.network = modules.ScaleShiftMACE(
            r_max=model["cutoff"],
            num_bessel=model["num_radial"],
            num_polynomial_cutoff=model["envelope_power"],
            max_ell=model["l_max"],
            interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
            interaction_cls_first=modules.interaction_classes["RealAgnosticInteractionBlock"],
            num_interactions=model["num_layers"],
            num_elements=len(numbers),
            hidden_irreps=o3.Irreps(model["hidden_irreps"]),
            MLP_irreps=o3.Irreps(f"{model['readout_width']}x0e"),
            atomic_energies=np.array(statistics["isolated_energies"])[order],
            avg_num_neighbors=statistics["num_neighbors"],
            atomic_numbers=table.zs,
            correlation=model["correlation"],
            gate=torch.nn.functional.silu,
            radial_MLP=list(model["radial_widths"]),
            atomic_inter_scale=statistics["scale"],
            atomic_inter_shift=statistics["shift"],
        )
        if self.task.get("cuequivariance"):
            from mace.cli.convert_e3nn_cueq import run

            self.network = run(self.network, device=self.task["device"], return_model=True)
        self.parameters = [p for p in self.network.parameters() if p.requires_grad]
        self.data = [
            data.AtomicData.from_config(data.config_from_atoms(atoms), table, model["cutoff"])
            for atoms in self.frames
        ]

    def collate(self, indices: list[int]) -> dict[str, Tensor]:
        """mace's own batch."""
        return torch_geometric.Batch.from_data_list([self.data[index] for index in indices]).to_dict()

    def predict(self, inputs: dict[str, Tensor], train: bool) -> tuple[Tensor, Tensor]:
        """Through the network."""
        output = self.network(inputs, training=train)
        return output["energy"], output["forces"]

    def edges(self, inputs: dict[str, Tensor]) -> int:
        """Those of the neighbour list."""
        return inputs["edge_index"].shape[1]


if __name__ == "__main__":
    serve(MACE)
