"""What an element is to the network: its attributes a(z), and the first features h⁰."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

__all__ = [
    "ELEMENT_EMBEDDINGS",
    "ContinuousEmbedding",
    "ElementEmbedding",
    "FixedElements",
    "InitialFeatures",
    "OneHotEmbedding",
]


T = TypeVar("T", Tensor, tuple[Tensor, ...])


class OneHotEmbedding(nn.Module):
    """Each element has weights of its own: a_d(z) = δ_dz.

    Args:
        n_species: Number of elements.
        dim: Has no meaning here.
    """

    table: Tensor

    def __init__(self, n_species: int, dim: int):
        super().__init__()
        self.register_buffer("table", torch.eye(n_species), persistent=False)

    def forward(self, W: Tensor) -> Tensor:
        """Return W(z) of all elements: W itself, (n_species, ...)."""
        return W


class ContinuousEmbedding(nn.Module):
    """Elements are points in a space learned with the model: a(z) in R^dim, |a| about 1.

    One table serves all layers, so that the number of parameters does not grow with the elements
    (alchemical learning: Willatt et al., arXiv:1807.00236; Darby et al., arXiv:2210.01705).

    Args:
        n_species: Number of elements.
        dim: Length of a(z).
    """

    def __init__(self, n_species: int, dim: int):
        super().__init__()
        self.table = nn.Parameter(torch.randn(n_species, dim) * dim**-0.5)

    def forward(self, W: Tensor) -> Tensor:
        r"""Return :math:`W(z) = \sum_d a_d(z) W_d` of all elements, (dim, ...) -> (n_species, ...)."""
        return torch.tensordot(self.table, W, 1)


class FixedElements:
    """W(z) of parameters that do not change, made once for each.

    Args:
        elements: Makes them.
    """

    def __init__(self, elements: OneHotEmbedding | ContinuousEmbedding):
        self.elements = elements
        # a parameter, which keeps its number, and what was made of it
        self.made: dict[int, tuple[Tensor, Any]] = {}

    @property
    def table(self) -> Tensor:
        """a, (n_species, dim)."""
        return self.elements.table

    def __call__(self, W: Tensor) -> Tensor:
        """Return W(z) of all elements."""
        if not isinstance(W, nn.Parameter) or isinstance(self.elements, OneHotEmbedding):
            return self.elements(W)
        return self.once(W, self.elements)

    def once(self, W: Tensor, make: Callable[[Tensor], T]) -> T:
        """Return what was made of a parameter, or make it: a tensor, or several."""
        if id(W) not in self.made:
            with torch.inference_mode(False), torch.no_grad():  # what is kept must serve training too
                self.made[id(W)] = (W, make(W))
        return cast("T", self.made[id(W)][1])

    @property
    def tensors(self) -> list[Tensor]:
        """All that was made."""
        all_made = [made for _, made in self.made.values()]
        return [tensor for made in all_made for tensor in (made if isinstance(made, tuple) else (made,))]


class InitialFeatures(nn.Module):
    r"""First features, invariants of the element alone: :math:`h^0_{i,k} = \sum_d a_d(z_i) W_{dk}`.

    Args:
        embedding_dim: Length of a(z).
        channels: K, the number of 0e channels.
    """

    def __init__(self, embedding_dim: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(embedding_dim, channels))

    def forward(self, species: Tensor, elements: ElementEmbedding) -> Tensor:
        """Return h⁰, (n_nodes, channels), from z (n_nodes,)."""
        return elements(self.weight).index_select(0, species)


ElementEmbedding = OneHotEmbedding | ContinuousEmbedding | FixedElements
"""a(z): ``elements(W)`` gives W(z) of all elements, ``elements.table`` is a, (n_species, dim)."""

ELEMENT_EMBEDDINGS: dict[str, type[OneHotEmbedding] | type[ContinuousEmbedding]] = {
    "one_hot": OneHotEmbedding,
    "continuous": ContinuousEmbedding,
}
"""Choices of ``ModelConfig.element_embedding``."""
