"""CUDA graphs: what a GPU does for a padded graph is captured once for each size, then replayed without Python.

A step of a small structure is hundreds of kernels that take a few microseconds each; launching them one by one takes
longer than running them. Everything here but :func:`captured` is independent of CUDA.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from multiace.graph import Graph
from multiace.graph.padding import padded
from multiace.layers.table import RadialTables
from multiace.model.potential import Potential, Prediction

__all__ = ["Capture", "Predictor", "Replay", "captured"]

Tensors = Mapping[str, Tensor]
Run = Callable[[], tuple[Tensor, ...]]
Capture = Callable[[Run], Run]

FIRST_CALLS = 2  # of each size run as they are: kernels are compiled, optimisers make their state
MOST_SIZES = 32


def captured(run: Run) -> Run:
    """Capture what ``run`` launches on the GPU, which does not run it; return what replays it.

    All that is captured works in the same memory: there is nothing in it but results, which hold until the next replay
    of anything, and what is written before it is read.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=_memory()):
        results = run()

    def replay() -> tuple[Tensor, ...]:
        graph.replay()
        return results

    return replay


@cache
def _memory() -> Any:
    return torch.cuda.graph_pool_handle()


class Replay:
    """A function of tensors whose calls with inputs of one size after the first two are replays.

    Inputs are copied to where the function found them when it was captured, and its results are always at one place:
    they hold until the next call of any function that is replayed. The function may change tensors that it keeps,
    such as weights; it must launch the same operations for inputs of one size, and not wait for the device.

    Args:
        function: From tensors by name, on the device, to results.
        device: Where it runs.
        capture: Turns a call into its replay.
    """

    def __init__(
        self,
        function: Callable[[Tensors], tuple[Tensor, ...]],
        device: torch.device,
        capture: Capture = captured,
    ) -> None:
        self.function, self.device, self.capture = function, device, capture
        self.sizes: dict[tuple, _Size] = {}

    def __call__(self, inputs: Tensors) -> tuple[Tensor, ...]:
        """Return the results for these inputs, which lie on the host."""
        key = tuple((name, tensor.dtype, tensor.shape) for name, tensor in inputs.items())
        size = self.sizes.pop(key, None) or _Size(self.function, inputs, self.device)
        self.sizes[key] = size  # the last one used is the last one
        if len(self.sizes) > MOST_SIZES:
            del self.sizes[next(iter(self.sizes))]
        size.fill(inputs)
        if size.calls == FIRST_CALLS:
            size.run = self._replay_of(size.run)
        size.calls += 1
        return size.run()

    def _replay_of(self, run: Run) -> Run:
        try:
            return self.capture(run)
        except RuntimeError as error:  # such as code from outside that waits for the device
            warnings.warn(
                f"this cannot be captured as a CUDA graph, and runs slower without: {error}", stacklevel=4
            )
            return run


class _Size:
    """Inputs of one size at a fixed place, and how often they were filled."""

    def __init__(
        self, function: Callable[[Tensors], tuple[Tensor, ...]], inputs: Tensors, device: torch.device
    ) -> None:
        self.inputs = {name: torch.empty_like(tensor, device=device) for name, tensor in inputs.items()}
        self.run: Run = lambda: function(self.inputs)
        self.calls = 0

    def fill(self, inputs: Tensors) -> None:
        """Copy inputs; a GPU fetches them from pinned memory while the host goes on."""
        for name, place in self.inputs.items():
            place.copy_(inputs[name].pin_memory() if place.is_cuda else inputs[name], non_blocking=True)


class Predictor:
    """A potential whose predictions, of one graph after another, are replays.

    Args:
        potential: On the GPU; its weights may change between calls.
        capture: See :class:`Replay`.
    """

    def __init__(self, potential: Potential, capture: Capture = captured) -> None:
        self.potential, self.capture = potential, capture
        self.tables: RadialTables | None = None
        self.replays: dict[bool, Replay] = {}

    def __call__(self, graph: Graph, stress: bool, tables: RadialTables | None = None) -> Prediction:
        """Predict energies, forces and, if wanted, stress; see :meth:`Potential.forward`.

        Args:
            graph: On the host.
            stress: Whether stress is wanted.
            tables: Of the radial networks.

        Returns:
            The prediction on the potential's device, which holds until the next replay of anything.
        """
        if tables is not self.tables:
            self.tables, self.replays = tables, {}
        if stress not in self.replays:
            self.replays[stress] = Replay(
                lambda tensors: self._predict(tensors, stress), self.potential.device, self.capture
            )
        energy, site_energies, forces, *rest = self.replays[stress](
            padded(graph, self.potential.cutoff).tensors()
        )
        n_graphs, n_nodes = graph.n_graphs, graph.n_nodes
        return Prediction(
            energy[:n_graphs],
            site_energies[:n_nodes],
            forces[:n_nodes],
            rest[0][:n_graphs] if stress else None,
        )

    def _predict(self, tensors: Tensors, stress: bool) -> tuple[Tensor, ...]:
        prediction = self.potential(Graph.from_tensors(tensors), stress=stress, tables=self.tables)
        results = (prediction.energy, prediction.site_energies, prediction.forces, prediction.stress)
        return tuple(tensor for tensor in results if tensor is not None)
