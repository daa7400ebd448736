"""What every design matrix of a potential has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import torch

from multiace.graph import Graph
from multiace.model.linear_part import LinearPart, linear_part
from multiace.model.potential import Potential, Statistics

__all__ = ["DesignMatrix", "Rows"]


class Rows(NamedTuple):
    """Derivatives of what a potential predicts for a batch with respect to p coefficients.

    Attributes:
        energy: Of each energy [eV], (n_graphs, p).
        forces: Of each force component [eV/Å], (3 n_nodes, p).
        virial: Of stress times volume of each structure [eV], (n_graphs, 6, p): xx, yy, zz, yz, xz, xy.
    """

    energy: np.ndarray
    forces: np.ndarray
    virial: np.ndarray


class DesignMatrix(ABC):
    """Rows of the part of a potential that energies are linear in, all in float64.

    Args:
        potential: Its other parameters stay as they are.

    Attributes:
        potential: A copy in float64.
        part: What the columns are coefficients of.
    """

    def __init__(self, potential: Potential) -> None:
        self.potential = Potential(
            potential.config.replace(dtype="float64"), Statistics(np.zeros(len(potential.elements)))
        )
        self.potential.load_state_dict(potential.state_dict())
        self.part: LinearPart = linear_part(self.potential.network)

    @property
    def n_columns(self) -> int:
        """Number of coefficients."""
        return self.part.n_columns

    @property
    def present(self) -> np.ndarray:
        """The coefficients that the potential had, (n_columns,)."""
        return self.part.present.numpy()

    def put(self, potential: Potential, coefficients: np.ndarray) -> None:
        """Give a potential the coefficients of all columns, (n_columns,)."""
        linear_part(potential.network).put(torch.from_numpy(coefficients))

    @abstractmethod
    def choose(self, columns: np.ndarray) -> None:
        """Make only these columns, ascending, from here on."""

    @abstractmethod
    def seen(self, graph: Graph) -> np.ndarray:
        """Whether a column can differ from 0 for an atom of a graph, (n_columns,)."""

    @abstractmethod
    def roughness(self) -> np.ndarray:
        """How fast the function of each column varies, (n_columns,), 1 and more."""

    @abstractmethod
    def __call__(self, graph: Graph) -> Rows:
        """Return the rows of a batch."""
