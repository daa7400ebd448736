"""Frames -> graphs, built once and kept -> batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from multiace.data.read import Frame
from multiace.errors import InputError
from multiace.graph.graph import Graph
from multiace.graph.neighbors import build_graph
from multiace.graph.padding import padded

__all__ = ["Batch", "Dataset"]


@dataclass(frozen=True)
class Batch:
    """Some structures of a dataset and their labels, NaN where there is none.

    =============  =======================================  =========================
    field          meaning                                  shape
    =============  =======================================  =========================
    ``graph``      the structures                           :class:`Graph`
    ``energy``     E [eV]                                   (n_graphs,) float64
    ``forces``     F [eV/Å]                                 (n_nodes, 3) float64
    ``stress``     σ [eV/Å³], positive in tension           (n_graphs, 3, 3) float64
    ``weights``    weight of each structure in the loss     (n_graphs,) float64
    ``num_atoms``  atoms of each structure                  (n_graphs,) int64
    ``indices``    frame of the dataset                     (n_graphs,) int64
    =============  =======================================  =========================
    """

    graph: Graph
    energy: Tensor
    forces: Tensor
    stress: Tensor
    weights: Tensor
    num_atoms: Tensor
    indices: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """Return the same batch on another device."""
        return Batch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def padded(self, cutoff: float) -> Batch:
        """Return the batch with one more structure without labels; see :func:`multiace.graph.padding.padded`."""
        graph = padded(self.graph, cutoff)
        more: dict[str, tuple[int, ...]] = {
            "energy": (1,),
            "forces": (graph.n_nodes - self.graph.n_nodes, 3),
            "stress": (1, 3, 3),
        }
        labels = {
            name: torch.cat([getattr(self, name), _tensor(np.full(shape, np.nan))])
            for name, shape in more.items()
        }
        return Batch(
            graph,
            **labels,
            weights=torch.cat([self.weights, torch.ones_like(self.weights[:1])]),
            num_atoms=graph.node_graph.bincount(minlength=graph.n_graphs),
            indices=torch.cat([self.indices, torch.zeros_like(self.indices[:1])]),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return all there is by name, that of the graph included."""
        names = [field.name for field in fields(self) if field.name != "graph"]
        return self.graph.tensors() | {name: getattr(self, name) for name in names}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Batch:
        """Make a batch of what :meth:`tensors` returns."""
        names = [field.name for field in fields(cls) if field.name != "graph"]
        return cls(Graph.from_tensors(tensors), **{name: tensors[name] for name in names})


class Dataset:
    """Labelled structures as one large graph, of which a batch is a selection.

    Neighbour lists are built here, once. All tensors lie end to end, so that a batch costs a handful of
    gathers whatever its size.

    Args:
        frames: Labelled structures.
        elements: The model's table of elements.
        cutoff: r_c [Å].

    Attributes:
        frames: The frames, in order.
        elements: As given.
        cutoff: As given.
        all: Every frame in one batch.

    Raises:
        InputError: If there are no frames, or a structure cannot be turned into a graph (says which).
    """

    def __init__(self, frames: Sequence[Frame], elements: Sequence[str], cutoff: float) -> None:
        if not frames:
            raise InputError("a dataset without structures was asked for; it must have at least one.")
        self.frames = list(frames)
        self.elements = tuple(elements)
        self.cutoff = cutoff
        graphs = [_graph(frame, self.elements, cutoff) for frame in self.frames]
        num_atoms = torch.tensor([graph.n_nodes for graph in graphs])
        self.num_edges = torch.tensor([graph.n_edges for graph in graphs])
        self._first_node = num_atoms.cumsum(0) - num_atoms
        self._first_edge = self.num_edges.cumsum(0) - self.num_edges
        self.all = Batch(
            graph=Graph.batch(graphs),
            energy=_tensor([np.nan if frame.energy is None else frame.energy for frame in self.frames]),
            forces=_tensor(np.concatenate([_or_nan(f.forces, (len(f.atoms), 3)) for f in self.frames])),
            stress=_tensor(np.stack([_or_nan(f.stress, (3, 3)) for f in self.frames])),
            weights=_tensor([frame.weight for frame in self.frames]),
            num_atoms=num_atoms,
            indices=torch.arange(len(graphs)),
        )

    def __len__(self) -> int:
        return len(self.frames)

    def collate(self, indices: Sequence[int] | Tensor) -> Batch:
        """Return these frames, in this order, as one batch."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        graph, labels = self.all.graph, self.all
        num_atoms, num_edges = labels.num_atoms[chosen], self.num_edges[chosen]
        nodes, moved_nodes = _ranges(self._first_node[chosen], num_atoms)
        edges, moved_edges = _ranges(self._first_edge[chosen], num_edges)
        offset = moved_nodes.repeat_interleave(num_edges)
        return Batch(
            graph=Graph(
                species=graph.species[nodes],
                positions=graph.positions[nodes],
                senders=graph.senders[edges] + offset,
                receivers=graph.receivers[edges] + offset,
                shifts=graph.shifts[edges],
                reverse=graph.reverse[edges] + moved_edges.repeat_interleave(num_edges),
                cells=graph.cells[chosen],
                node_graph=torch.arange(len(chosen)).repeat_interleave(num_atoms),
            ),
            energy=labels.energy[chosen],
            forces=labels.forces[nodes],
            stress=labels.stress[chosen],
            weights=labels.weights[chosen],
            num_atoms=num_atoms,
            indices=chosen,
        )

    def plan(
        self,
        batch_size: int | None = None,
        max_edges: int | None = None,
        generator: torch.Generator | None = None,
    ) -> list[list[int]]:
        """Divide all frames into batches.

        Args:
            batch_size: Most frames in a batch.
            max_edges: Most edges in a batch; a frame with more is a batch of its own.
            generator: Shuffles the frames; file order without it. Saving its state before the call saves the
                order.

        Returns:
            The frames of each batch; each frame occurs once.
        """
        if generator is None:
            order = list(range(len(self)))
        else:
            order = torch.randperm(len(self), generator=generator).tolist()
        edges = self.num_edges.tolist()
        batches: list[list[int]] = []
        total = 0
        for index in order:
            total += edges[index]
            full = batches and batch_size is not None and len(batches[-1]) >= batch_size
            heavy = max_edges is not None and total > max_edges
            if full or heavy or not batches:
                batches.append([])
                total = edges[index]
            batches[-1].append(index)
        return batches

    def batches(
        self,
        batch_size: int | None = None,
        max_edges: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Batch]:
        """Yield all frames in batches, divided as :meth:`plan` says."""
        for indices in self.plan(batch_size, max_edges, generator):
            yield self.collate(indices)


def _graph(frame: Frame, elements: Sequence[str], cutoff: float) -> Graph:
    try:
        return build_graph(frame.atoms, elements, cutoff)
    except InputError as error:
        raise InputError(f"{frame.source}: {error}") from None


def _ranges(first: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Return first_0, first_0 + 1, ... (count_0 values), first_1, ..., and how far each range moves down."""
    moved = count.cumsum(0) - count - first
    return torch.arange(int(count.sum())) - moved.repeat_interleave(count), moved


def _or_nan(label: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    return np.full(shape, np.nan) if label is None else label


def _tensor(values: Sequence[float] | np.ndarray) -> Tensor:
    return torch.as_tensor(np.asarray(values, dtype=np.float64))
