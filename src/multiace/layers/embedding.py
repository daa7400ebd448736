"""What an element is to the network: its attributes a(z), and the first features h⁰."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ELEMENT_EMBEDDINGS", "ContinuousEmbedding", "InitialFeatures", "OneHotEmbedding"]


class OneHotEmbedding(nn.Module):
    """Each element has weights of its own: a_d(z) = δ_dz."""

    table: Tensor

    def __init__(self, n_species: int, dim: int):
        super().__init__()
        self.register_buffer("table", torch.eye(n_species), persistent=False)

    def forward(self) -> Tensor:
        """Attributes of all elements, (n_species, dim)."""
        return self.table


class ContinuousEmbedding(nn.Module):
    """Elements are points in a space learned with the model: a(z) in R^dim, |a| about 1.

    One table serves all layers, so that the number of parameters does not grow with the elements
    (alchemical learning: Willatt et al., arXiv:1807.00236; Darby et al., arXiv:2210.01705).
    """

    def __init__(self, n_species: int, dim: int):
        super().__init__()
        self.table = nn.Parameter(torch.randn(n_species, dim) * dim**-0.5)

    def forward(self) -> Tensor:
        """Attributes of all elements, (n_species, dim)."""
        return self.table


class InitialFeatures(nn.Module):
    r"""First features, invariants of the element alone: :math:`h^0_{i,k} = \sum_d a_d(z_i) W_{dk}`.

    Args:
        embedding_dim: Length of a(z).
        channels: K, the number of 0e channels.
    """

    def __init__(self, embedding_dim: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(embedding_dim, channels))

    def forward(self, species: Tensor, attributes: Tensor) -> Tensor:
        """Return h⁰, (n_nodes, channels), from z (n_nodes,) and a (n_species, embedding_dim)."""
        return (attributes @ self.weight).index_select(0, species)


ELEMENT_EMBEDDINGS: dict[str, type[nn.Module]] = {
    "one_hot": OneHotEmbedding,
    "continuous": ContinuousEmbedding,
}
"""Choices of ``ModelConfig.element_embedding``."""
