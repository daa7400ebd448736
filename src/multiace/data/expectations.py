"""What a run expects of its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from multiace.data.config import LabelKeys

__all__ = ["Expectations"]


@dataclass(frozen=True)
class Expectations:
    """What a run expects of its data; the defaults are those of a check without a run file.

    Attributes:
        keys: Names, units and signs of labels.
        cutoff: r_c [Å].
        reference: ``energy_reference`` of the model; None without a run.
        isolated_energies: E0 [eV] that are given.
        weights: Weight of each target in the loss; None without a run.
        elements: Elements that the model knows beside those of the training frames.
    """

    keys: LabelKeys = field(default_factory=LabelKeys)
    cutoff: float = 5.0
    reference: str | None = None
    isolated_energies: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] | None = None
    elements: Sequence[str] = ()
