"""Potential: site energies become energy, forces and stress; models are saved and loaded."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from multiace.errors import InputError
from multiace.files import atomic
from multiace.graph import Graph
from multiace.graph.neighbors import build_graph
from multiace.layers.table import RadialTables
from multiace.model.committee import Committee
from multiace.model.config import ModelConfig, outside_choices
from multiace.model.file import SCHEMA_VERSION, NoMoreThan, check_fit, checksum, read_model_file
from multiace.model.multi_ace import MultiACE
from multiace.model.zbl import ZBL

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Potential", "Prediction", "Statistics"]

UNITS = {"length": "Å", "energy": "eV", "forces": "eV/Å", "stress": "eV/Å³"}


@dataclass(frozen=True)
class Statistics:
    """What is measured on the training set before the network exists.

    Attributes:
        isolated_energies: E0 of each element [eV], (n_species,).
        scale: Factor of the network's site energies [eV].
        shift: Constant added to each site energy [eV].
        num_neighbors: Mean number of neighbours within the cutoff.
    """

    isolated_energies: np.ndarray
    scale: float = 1.0
    shift: float = 0.0
    num_neighbors: float = 1.0


@dataclass(frozen=True)
class Prediction:
    """What a potential gives for a batch.

    Attributes:
        energy: Energy of each structure [eV], (n_graphs,) float64.
        site_energies: Energy of each atom [eV], (n_nodes,) float64; they sum to ``energy``.
        forces: F = -dE/dr [eV/Å], (n_nodes, 3) float64, or None.
        stress: dE/dε / V [eV/Å³], positive in tension, (n_graphs, 3, 3) float64, or None.
    """

    energy: Tensor
    site_energies: Tensor
    forces: Tensor | None = None
    stress: Tensor | None = None


class Potential(nn.Module):
    r"""Total energy from the network's site energies.

    .. math:: E = \sum_i \Bigl( E^0_{z_i} + \text{shift} + \text{scale} \sum_t \mathcal R_t(h_i^t) \Bigr) + E_{ZBL}

    Energies, E0 and edge vectors are float64; only the network runs in ``config.dtype``.

    Args:
        config: The model; its ``elements`` must be set.
        statistics: E0, scale, shift and mean number of neighbours.
        metadata: Provenance and metrics, kept in the file.

    Attributes:
        committee: Error bars, where a linear fit has left them.

    Raises:
        InputError: If ``config.elements`` is empty, or E0 is not given for each of them.
    """

    isolated_energies: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, config: ModelConfig, statistics: Statistics, metadata: dict[str, Any] | None = None):
        super().__init__()
        if not config.elements:
            raise InputError("a potential needs model.elements, such as [H, C, O].")
        E0 = torch.as_tensor(np.asarray(statistics.isolated_energies, dtype=np.float64))
        if E0.shape != (len(config.elements),):
            raise InputError(
                f"{E0.numel()} isolated-atom energies were given for {len(config.elements)} elements "
                f"({', '.join(config.elements)}); one for each is needed."
            )
        self.config = config
        self.metadata = dict(metadata or {})
        self.committee: Committee | None = None
        self.network = MultiACE(config, statistics.num_neighbors)
        self.zbl = ZBL(config.elements, config.cutoff) if config.zbl else None
        self.register_buffer("isolated_energies", E0.clone())
        self.register_buffer("scale", torch.tensor(float(statistics.scale), dtype=torch.float64))
        self.register_buffer("shift", torch.tensor(float(statistics.shift), dtype=torch.float64))

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols in the order of the species index."""
        return self.config.elements

    @property
    def cutoff(self) -> float:
        """Cutoff radius r_c [Å]."""
        return self.config.cutoff

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.isolated_energies.device

    def forward(
        self,
        graph: Graph,
        forces: bool = True,
        stress: bool = False,
        create_graph: bool = False,
        tables: RadialTables | None = None,
    ) -> Prediction:
        r"""Predict a batch.

        One gradient with respect to the edge vectors gives both forces and stress:
        :math:`g_{ij} = dE/d\mathbf r_{ij}`, :math:`F_k = \sum_{ij} g_{ij} (\delta_{jk} - \delta_{ik})`,
        :math:`\sigma = \frac{1}{V} \sum_{ij} \mathbf r_{ij} \otimes g_{ij}`.

        Args:
            graph: The batch, on the potential's device.
            forces: Whether forces are wanted.
            stress: Whether stress is wanted; NaN for structures without a cell.
            create_graph: Keep the result differentiable, to train on forces or for Hessians.
            tables: Of the radial networks, ``network.tabulate()``, to be read instead of them.
        """
        vectors = graph.edge_vectors()
        gradient_wanted = forces or stress
        g: Tensor | None = None
        if gradient_wanted and torch.is_inference_mode_enabled():
            raise InputError(
                "forces are a gradient, which torch.inference_mode() forbids; use torch.no_grad()."
            )
        if gradient_wanted and not create_graph:
            vectors = vectors.detach()
            terms, g = self._terms_and_gradient(graph.with_vectors(vectors), tables)
        else:
            if gradient_wanted and not vectors.requires_grad:
                vectors = vectors.detach().requires_grad_()
            with torch.set_grad_enabled(gradient_wanted or torch.is_grad_enabled()):
                terms = self._terms(graph.with_vectors(vectors), tables)
                if gradient_wanted:
                    g = _gradient(terms, vectors, create_graph=True)
        return self._prediction(graph.with_vectors(vectors), terms.sum(dim=1), g, forces, stress)

    def _prediction(
        self, graph: Graph, site_energies: Tensor, g: Tensor | None, forces: bool, stress: bool
    ) -> Prediction:
        """What follows from the energies of atoms and the gradient g with respect to edge vectors."""
        energy = _sum_by(site_energies, graph.node_graph, graph.n_graphs)
        if g is None:
            return Prediction(energy, site_energies)
        sigma = self._stress(g, graph.edge_vectors(), graph) if stress else None
        return Prediction(energy, site_energies, graph.forces(g) if forces else None, sigma)

    def without_network(self, graph: Graph) -> Prediction:
        """Predict E0, shift and ZBL alone, all targets, without a graph: what a linear fit takes for given."""
        graph = graph.with_vectors(graph.edge_vectors().detach())
        with torch.no_grad():
            return self._prediction(
                graph, self._reference(graph), self._reference_gradient(graph), forces=True, stress=True
            )

    def _terms(self, graph: Graph, tables: RadialTables | None = None) -> Tensor:
        """Site energies by term [eV]: E0 + shift + ZBL, then one column per readout; float64."""
        return self._joined(self._reference(graph), self.network(graph, tables))

    def _terms_and_gradient(self, graph: Graph, tables: RadialTables | None) -> tuple[Tensor, Tensor]:
        """The same and dE/dr_ij [eV/Å], (n_edges, 3), without a graph."""
        with torch.no_grad():
            network, g = self.network.with_gradient(graph, tables)
            terms = self._joined(self._reference(graph), network)
            return terms, self.scale * g + self._reference_gradient(graph)

    def _reference(self, graph: Graph) -> Tensor:
        """E0 + shift + ZBL of each atom [eV]."""
        reference = self.isolated_energies[graph.species] + self.shift
        return reference if self.zbl is None else reference + self.zbl(graph)

    def _reference_gradient(self, graph: Graph) -> Tensor:
        """Gradient of its sum with respect to edge vectors [eV/Å], (n_edges, 3), without a graph."""
        vectors = graph.edge_vectors()
        if self.zbl is None:
            return torch.zeros_like(vectors)
        with torch.enable_grad():
            vectors = vectors.detach().requires_grad_()
            return _gradient(self.zbl(graph.with_vectors(vectors)), vectors)

    def _joined(self, reference: Tensor, network: Tensor) -> Tensor:
        return torch.cat([reference[:, None], self.scale * network.double()], dim=1)

    def _stress(self, g: Tensor, vectors: Tensor, graph: Graph) -> Tensor:
        virial = _sum_by(vectors[:, :, None] * g[:, None, :], graph.edge_graph, graph.n_graphs)
        volume = graph.volumes[:, None, None]
        periodic = volume > 0
        stress = 0.5 * (virial + virial.transpose(1, 2)) / torch.where(periodic, volume, 1.0)
        return torch.where(periodic, stress, torch.nan)

    def contributions(self, atoms: Atoms) -> np.ndarray:
        """Split the energy of a structure by layer.

        Returns:
            (1 + n_readouts,) [eV]: Σ (E0 + shift) with ZBL, then each readout; they sum to the energy.
        """
        graph = build_graph(atoms, self.elements, self.cutoff).to(self.device)
        with torch.no_grad():
            return self._terms(graph).sum(dim=0).cpu().numpy()

    def save(self, path: str | os.PathLike, **metadata: Any) -> None:
        """Write weights and header (config, units, provenance, ``metadata``) as one safetensors file.

        The file appears whole or not at all.

        Raises:
            InputError: If it cannot be written.
        """
        self.metadata.update(metadata)
        content = {
            "schema_version": SCHEMA_VERSION,
            "multiace": version("multiace"),
            "config": self.config.model_dump(),
            "units": UNITS,
            "metadata": self.metadata,
        }
        header = json.dumps(content)
        members = {} if self.committee is None else self.committee.tensors(self)
        tensors = {
            name: value.detach().cpu().contiguous() for name, value in (self.state_dict() | members).items()
        }
        data = save(tensors, metadata={"multiace": header, "sha256": checksum(header, tensors)})
        with atomic(Path(path)) as temporary:
            temporary.write_bytes(data)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike,
        device: torch.device | str | None = None,
        dtype: str | None = None,
        outside_code: bool = False,
    ) -> Self:
        """Read a model file; nothing in it is executed.

        Args:
            path: A file written by :meth:`save`.
            device: Where to put it; by default the CPU.
            dtype: ``float32`` or ``float64``, if other than in the file.
            outside_code: Import the choices ``package.module:Name`` of the model's config, which run code
                that the file names.

        Raises:
            InputError: If the file is missing, damaged, not a multiace model, newer than this version, or
                asks for code from outside.
        """
        header, tensors = read_model_file(path)
        outside = outside_choices(header["config"])
        if outside and not outside_code:
            raise InputError(
                f"{path} asks for code from outside multiace ({', '.join(outside)}), which is not run. If you "
                "trust it, say --outside-code on the command line, or outside_code=True in Python."
            )
        with torch.random.fork_rng(devices=[]), NoMoreThan(tensors):  # the first weights are replaced
            try:
                config = ModelConfig().replace(**{**header["config"], **({"dtype": dtype} if dtype else {})})
                potential = cls(config, Statistics(np.zeros(len(config.elements))), header["metadata"])
                potential.committee = Committee.taken_from(tensors, potential)
                check_fit(potential.state_dict(), tensors)
                potential.load_state_dict(tensors)
            except InputError as error:
                raise InputError(f"{path}: {error}") from None
        return potential.to(device or "cpu")


def _gradient(energies: Tensor, vectors: Tensor, create_graph: bool = False) -> Tensor:
    """Gradient of the sum with respect to edge vectors."""
    (g,) = torch.autograd.grad([energies.sum()], [vectors], create_graph=create_graph, materialize_grads=True)
    return g


def _sum_by(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Sum rows that share an index, (n, ...) -> (size, ...)."""
    return values.new_zeros(size, *values.shape[1:]).index_add(0, index, values)
