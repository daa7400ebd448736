"""nequip: eager, or compiled (torch.compile for training, AOTInductor for inference)."""

from __future__ import annotations

import tempfile
import time
from typing import Any

import torch
from nequip.data import AtomicDataDict
from nequip.data.ase import from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.model import NequIPGNNModel
from nequip.nn.compile import DictInputOutputWrapper
from nequip.scripts._compile_utils import ASE_TARGET
from nequip.utils.aot import aot_export_model
from nequip.utils.global_state import set_global_state
from torch import Tensor

from peers.worker import Peer, moved, require, serve

LABELS = {AtomicDataDict.TOTAL_ENERGY_KEY, AtomicDataDict.FORCE_KEY}


class NequIP(Peer):
    """NequIPGNNModel; geometry in float64, the network in float32."""

    packages = ("nequip", "e3nn")
    differences = "also computes the virial"

    def prepare(self) -> None:
        """Translate the fields of the model."""
        set_global_state()
        model, statistics = self.model, self.task["statistics"]
        require(
            model,
            correlation=1,
            nonlinearity="gate",
            readout="last",
            radial_basis="bessel",
            envelope="polynomial",
            neighbor_norm="sqrt",
            first_self_connection="none",
            self_connection="residual",
        )
        channels, parity = irreps(model["hidden_irreps"], model["l_max"])
        widths = model["radial_widths"]
        self.build = {
            "seed": 0,
            "model_dtype": model["dtype"],
            "type_names": list(model["elements"]),
            "r_max": model["cutoff"],
            "num_layers": model["num_layers"],
            "l_max": model["l_max"],
            "parity": parity,
            "num_features": channels,
            "radial_mlp_depth": len(widths),
            "radial_mlp_width": widths[0],
            "num_bessels": model["num_radial"],
            "polynomial_cutoff_p": model["envelope_power"],
            "avg_num_neighbors": statistics["num_neighbors"],
            "per_type_energy_scales": dict.fromkeys(model["elements"], statistics["scale"]),
            "per_type_energy_shifts": {
                element: E0 + statistics["shift"]
                for element, E0 in zip(model["elements"], statistics["isolated_energies"], strict=True)
            },
            "readout_mlp_hidden_layers_depth": int(model["readout_width"] > 0),
            "readout_mlp_hidden_layers_width": model["readout_width"],
        }
        compiled = self.task.get("compiled", False)
        self.network = NequIPGNNModel(**self.build, compile_mode="compile" if compiled else "eager")
        self.parameters = list(self.network.parameters())
        self.inference = None if compiled else self.network
        transforms = [
            ChemicalSpeciesToAtomTypeMapper(list(model["elements"])),
            NeighborListTransform(model["cutoff"]),
        ]
        self.data = []
        for atoms in self.frames:
            data = from_ase(atoms)
            for transform in transforms:
                data = transform(data)
            self.data.append({key: value for key, value in data.items() if key not in LABELS})

    def collate(self, indices: list[int]) -> AtomicDataDict.Type:
        """nequip's own batch."""
        return AtomicDataDict.batched_from_list([self.data[index] for index in indices])

    def predict(self, inputs: AtomicDataDict.Type, train: bool) -> tuple[Tensor, Tensor]:
        """Through the network, or its exported form."""
        with torch.enable_grad():
            output = (self.network if train or self.inference is None else self.inference)(inputs)
        return output[AtomicDataDict.TOTAL_ENERGY_KEY].reshape(-1), output[AtomicDataDict.FORCE_KEY]

    def edges(self, inputs: AtomicDataDict.Type) -> int:
        """Those of the neighbour list."""
        return inputs[AtomicDataDict.EDGE_INDEX_KEY].shape[1]

    def time_inference(self, n: int, frames: int = 1) -> dict[str, Any]:
        """Of the exported model where compilation is asked for: ``nequip-compile --target ase`` does the same."""
        started = time.perf_counter()
        exported = self.inference is None
        if exported:
            model = NequIPGNNModel(**self.build).to(self.device)
            self.inference = export(model, moved(self.data[0], self.device))
        answer = super().time_inference(n, frames)
        return answer | ({"compilation": time.perf_counter() - started} if exported else {})


def irreps(hidden: str, l_max: int) -> tuple[list[int], bool]:
    """Return the channels of each degree, and whether both parities are there."""
    channels = {}
    for part in hidden.replace(" ", "").split("+"):
        number, irrep = part.split("x")
        channels[irrep] = int(number)
    natural = [f"{degree}{'eo'[degree % 2]}" for degree in range(l_max + 1)]
    both = [f"{degree}{parity}" for degree in range(l_max + 1) for parity in "eo"]
    for wanted in (natural, both):
        if set(channels) == set(wanted):
            if any(channels[f"{irrep[0]}e"] != channels[irrep] for irrep in wanted if wanted is both):
                break
            return [channels[irrep] for irrep in natural], wanted is both
    raise ValueError(f"nequip has all irreps of natural or of both parities up to l_max, not {hidden}")


def export(model: torch.nn.Module, data: AtomicDataDict.Type) -> torch.nn.Module:
    """Compile the model for single frames."""
    inputs, outputs = ASE_TARGET["input"], ASE_TARGET["output"]
    data = ASE_TARGET["data_settings"](data.copy())
    if not data[AtomicDataDict.CELL_KEY].det():  # stress, which it also computes, needs a volume
        data[AtomicDataDict.CELL_KEY] = 100.0 * torch.eye(3)[None].to(
            data[AtomicDataDict.POSITIONS_KEY].device
        )
    sizes = {name: torch.export.Dim(f"num_{name}s", min=2, max=1_000_000) for name in ("node", "edge")}
    path = tempfile.mkdtemp() + "/model.nequip.pt2"
    aot_export_model(
        model,
        data[AtomicDataDict.POSITIONS_KEY].device.type,
        inputs,
        outputs,
        data,
        ASE_TARGET["batch_map_settings"]({"graph": None, **sizes}),
        path,
    )
    return DictInputOutputWrapper(torch._inductor.aoti_load_package(path), inputs, outputs)


if __name__ == "__main__":
    serve(NequIP)
