"""The design matrix of each kind of linear part."""

from __future__ import annotations

from multiace.model.linear_part import LastLayers, LinearPart, Products, linear_part
from multiace.model.potential import Potential
from multiace.solve.ace import AceRows
from multiace.solve.last_layer import LastLayerRows
from multiace.solve.rows import DesignMatrix

__all__ = ["DESIGN_MATRICES", "design_matrix"]

DESIGN_MATRICES: dict[type[LinearPart], type[DesignMatrix]] = {Products: AceRows, LastLayers: LastLayerRows}
"""What makes the rows of each kind."""


def design_matrix(potential: Potential) -> DesignMatrix:
    """Return the design matrix of the part of a potential that its energies are linear in."""
    return DESIGN_MATRICES[type(linear_part(potential.network))](potential)
