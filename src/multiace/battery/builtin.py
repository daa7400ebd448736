"""The batteries of the public data sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from multiace.battery.config import Battery
from multiace.data.config import LabelKeys

__all__ = ["BATTERIES"]


def at_temperatures(file: str, temperatures: Sequence[int], **references: str) -> dict[str, Any]:
    """Return dynamics at several temperatures [K]; ``T300`` is the reference at 300 K."""
    return {
        f"{T} K": {
            "file": file,
            "temperature": T,
            **({"reference": references[f"T{T}"]} if f"T{T}" in references else {}),
        }
        for T in temperatures
    }


def battery(name: str, **parts: Any) -> Battery:
    """Return a battery whose files have labels in eV and Å under the usual names, and are where they are put."""
    return Battery(name=name, data="data", labels=LabelKeys(), **parts)


ACAC = battery(
    "acac",
    sets={
        "MD 300K": {"file": "test_MD_300K.xyz", "domain": "in"},
        "MD 600K": {"file": "test_MD_600K.xyz", "domain": "out"},
    },
    curves={
        "dihedral": {
            "file": "test_dihedral.xyz",
            "coordinate": ("reaction_coordinate", "dihedral_angle"),
            "scores": ("barrier",),
        },
        "H transfer": {
            "file": "test_H_transfer.xyz",
            "coordinate": ("reaction_coordinate", "transfer 5 11 3"),
            "scores": ("barrier",),
        },
    },
    dynamics=at_temperatures(
        "test_MD_300K.xyz", (300, 600, 1000), T300="test_MD_300K.xyz", T600="test_MD_600K.xyz"
    ),
)

ETHANOL = battery(
    "ethanol",
    sets={
        "MD": {"file": "test_MD.xyz", "domain": "in"},
        "methanol": {"file": "test_eth_meth.xyz", "domain": "out"},
    },
    curves={
        "H removal": {
            "file": "test_H_removal.xyz",
            "coordinate": "OH_dist",
            "scores": ("dissociation",),
        },
        "mode 874": {"file": "test_norm_mode_874.xyz", "coordinate": "displacement"},
        "mode 3005": {"file": "test_norm_mode_3005.xyz", "coordinate": "displacement"},
        "dimer": {"file": "test_dimers.xyz", "coordinate": "distance", "scores": ("dissociation",)},
    },
    dynamics=at_temperatures("test_MD.xyz", (300, 500, 1000), T500="test_MD.xyz"),
)

BPA = battery(
    "3bpa",
    sets={
        "MD 300K": {"file": "test_300K.xyz", "domain": "in"},
        "MD 600K": {"file": "test_600K.xyz", "domain": "out"},
        "MD 1200K": {"file": "test_1200K.xyz", "domain": "out"},
    },
    curves={
        "dihedral": {
            "file": "test_dih.xyz",
            "coordinate": "dihedrals[2]",
            "group": "dihedrals[1]",
            "scores": ("barrier",),
        },
    },
    dynamics=at_temperatures(
        "test_300K.xyz",
        (300, 600, 1200),
        T300="test_300K.xyz",
        T600="test_600K.xyz",
        T1200="test_1200K.xyz",
    ),
)

BATTERIES = {at.name: at for at in (ACAC, ETHANOL, BPA)}
"""By name; the files are those of ``multiace data get NAME``."""
