"""What the model sees: a batch of structures as atoms and directed edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from torch import Tensor

__all__ = ["Graph"]


@dataclass(frozen=True)
class Graph:
    r"""Atoms and directed edges j -> i of one or several structures.

    The vector of an edge points from the sender j to the receiver i,

    .. math:: \mathbf r_{ij} = \mathbf r_i - \mathbf r_j + \mathbf S_{ij} \mathbf C,

    with integer shifts S and the lattice vectors as the rows of the cell C. Each pair is stored in both
    directions; edges are sorted by receiver. Geometry is float64 whatever the model's dtype.

    ==================  =====================================================  =====================
    field               meaning                                                shape
    ==================  =====================================================  =====================
    ``species``         index into the model's table of elements               (n_nodes,) int64
    ``positions``       r [Å]                                                  (n_nodes, 3) float64
    ``senders``         j                                                      (n_edges,) int64
    ``receivers``       i, ascending                                           (n_edges,) int64
    ``shifts``          S, lattice translations of the edge                    (n_edges, 3) float64
    ``reverse``         number of the edge i -> j, with shift -S               (n_edges,) int64
    ``cells``           C [Å], zero where not periodic                         (n_graphs, 3, 3) float64
    ``node_graph``      structure of each atom, ascending                      (n_nodes,) int64
    ``vectors``         edge vectors given from outside, instead of positions  (n_edges, 3) or None
    ==================  =====================================================  =====================
    """

    species: Tensor
    positions: Tensor
    senders: Tensor
    receivers: Tensor
    shifts: Tensor
    reverse: Tensor
    cells: Tensor
    node_graph: Tensor
    vectors: Tensor | None = None

    @property
    def n_nodes(self) -> int:
        """Number of atoms."""
        return self.species.shape[0]

    @property
    def n_edges(self) -> int:
        """Number of directed edges."""
        return self.senders.shape[0]

    @property
    def n_graphs(self) -> int:
        """Number of structures."""
        return self.cells.shape[0]

    @property
    def edge_graph(self) -> Tensor:
        """Structure of each edge, shape (n_edges,)."""
        return self.node_graph[self.receivers]

    @cached_property
    def pairs(self) -> tuple[Tensor, Tensor]:
        """Undirected pairs: the two edges of each (n_pairs, 2), and the pair that each edge is of (n_edges,)."""
        is_first = torch.arange(self.n_edges, device=self.reverse.device) < self.reverse
        first, number = is_first.nonzero().squeeze(1), is_first.cumsum(0) - 1
        edges = torch.stack([first, self.reverse[first]], dim=1)
        return edges, torch.where(is_first, number, number[self.reverse])

    @cached_property
    def first(self) -> Tensor:
        """First edge that each atom receives, and the number of edges, (n_nodes + 1,)."""
        return torch.searchsorted(
            self.receivers, torch.arange(self.n_nodes + 1, device=self.receivers.device)
        )

    @property
    def order(self) -> tuple[Tensor, Tensor]:
        """How to walk the edges of an atom: those received from ``first`` on, those sent by ``reverse``."""
        return self.first, self.reverse

    @property
    def indices(self) -> list[Tensor]:
        """All that operations are told about the edges and atoms, beside numbers that are differentiated."""
        return [self.senders, self.receivers, *self.pairs, *self.order, self.species]

    @cached_property
    def volumes(self) -> Tensor:
        """Volume of each cell [Å³], (n_graphs,); 0 where not periodic in three directions."""
        return torch.linalg.det(self.cells).abs()

    def edge_vectors(self) -> Tensor:
        """Return r_ij [Å], (n_edges, 3) float64, differentiable."""
        if self.vectors is not None:
            return self.vectors
        translations = (self.shifts[:, :, None] * self.cells[self.edge_graph]).sum(dim=1)
        return self.positions[self.receivers] - self.positions[self.senders] + translations

    def edge_lengths(self) -> Tensor:
        """Return |r_ij| [Å], (n_edges,) float64, differentiable."""
        return torch.linalg.vector_norm(self.edge_vectors(), dim=-1)

    def forces(self, g: Tensor) -> Tensor:
        r"""Return forces [eV/Å], (..., n_nodes, 3), of energies whose gradients with respect to edge vectors are g.

        .. math:: F_k = \sum_{ij} g_{ij} (\delta_{jk} - \delta_{ik})
        """
        F = g.new_zeros(*g.shape[:-2], self.n_nodes, 3)
        return F.index_add(-2, self.senders, g).index_add_(-2, self.receivers, g, alpha=-1)

    def with_vectors(self, vectors: Tensor) -> Graph:
        """Return the same graph with these edge vectors (n_edges, 3) in place of its positions."""
        graph = replace(self, vectors=vectors)
        derived = {"pairs": self.pairs, "first": self.first}
        vars(graph).update(derived | {name: vars(self)[name] for name in ("volumes",) if name in vars(self)})
        return graph

    def to(self, device: torch.device | str) -> Graph:
        """Return the same graph on another device; what is derived from it is found before, where it lies.

        On a GPU the host would wait for the number of pairs.
        """
        if self.species.device == torch.device(device):
            return self
        return Graph.from_tensors({name: tensor.to(device) for name, tensor in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """Return all there is by name, what is derived from the fields included."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        edges, pair = self.pairs
        derived = {"pair_edges": edges, "pair": pair, "first": self.first, "volumes": self.volumes}
        return {name: tensor for name, tensor in (given | derived).items() if tensor is not None}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Graph:
        """Make a graph of what :meth:`tensors` returns; nothing is computed."""
        graph = cls(**{f.name: tensors[f.name] for f in fields(cls) if f.name in tensors})
        pairs = (tensors["pair_edges"], tensors["pair"])
        vars(graph).update({"pairs": pairs, "first": tensors["first"], "volumes": tensors["volumes"]})
        return graph

    @classmethod
    def batch(cls, graphs: Sequence[Graph]) -> Graph:
        """Join graphs into one; order of structures, atoms and edges is kept."""
        if len(graphs) == 1:
            return graphs[0]
        device = graphs[0].species.device
        first_node = torch.tensor([0, *(g.n_nodes for g in graphs)][:-1], device=device).cumsum(0)
        first_graph = torch.tensor([0, *(g.n_graphs for g in graphs)][:-1], device=device).cumsum(0)
        num_edges = torch.tensor([g.n_edges for g in graphs], device=device)
        first_edge = (num_edges.cumsum(0) - num_edges).repeat_interleave(num_edges)
        of_edge = first_node.repeat_interleave(num_edges)
        of_node = first_graph.repeat_interleave(torch.tensor([g.n_nodes for g in graphs], device=device))
        vectors_given = any(g.vectors is not None for g in graphs)
        return cls(
            species=torch.cat([g.species for g in graphs]),
            positions=torch.cat([g.positions for g in graphs]),
            senders=torch.cat([g.senders for g in graphs]) + of_edge,
            receivers=torch.cat([g.receivers for g in graphs]) + of_edge,
            shifts=torch.cat([g.shifts for g in graphs]),
            reverse=torch.cat([g.reverse for g in graphs]) + first_edge,
            cells=torch.cat([g.cells for g in graphs]),
            node_graph=torch.cat([g.node_graph for g in graphs]) + of_node,
            vectors=torch.cat([g.edge_vectors() for g in graphs]) if vectors_given else None,
        )
