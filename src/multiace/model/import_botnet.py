"""Models of the original BOTNet and NequIP-variant code (github.com/gncs/botnet) become potentials.

A model is handed over as ``NAME.json``, its hyper-parameters, and ``NAME.npz``, ``param/<original name>``.
This file translates the hyper-parameters, ``botnet_weights.py`` the parameters.
"""

from __future__ import annotations

import json
import re
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from ase.data import chemical_symbols
from pydantic import Field, field_validator, model_validator

from multiace.basis.irreps import Irreps
from multiace.config import Config
from multiace.errors import InputError, did_you_mean
from multiace.fields import plain
from multiace.layers.activations import ACTIVATIONS
from multiace.model.botnet_weights import Block, Parameters, fill
from multiace.model.config import ModelConfig
from multiace.model.irreps import reachable_irreps
from multiace.model.potential import Potential, Statistics

__all__ = ["BLOCKS", "MODELS", "Hyperparameters", "botnet_config", "import_botnet"]

BLOCKS = {
    "SimpleInteractionBlock": Block("linear", "selector", linear_up=False),
    "ElementDependentInteractionBlock": Block("elements", "selector"),
    "ResidualElementDependentInteractionBlock": Block("elements", "residual"),
    "NonlinearInteractionBlock": Block("biased", "selector", linear_up=False),
    "AgnosticNonlinearInteractionBlock": Block("net", "selector"),
    "AgnosticResidualNonlinearInteractionBlock": Block("net", "residual"),
    "AgnosticNoScNonlinearInteractionBlock": Block("net", "none"),
    "NequIPInteractionBlock": Block("net", "residual", gated=True),
}
"""The original's interaction blocks."""

MODELS = (
    "BodyOrderedModel",
    "NonLinearBodyOrderedModel",
    "SingleReadoutModel",
    "NonLinearSingleReadoutModel",
)
"""The original's model classes; each also exists with the prefix ``ScaleShift``."""

INVARIANTS = re.compile(r"\s*([1-9]\d*\s*x\s*)?0\s*e\s*")

MAX_DEGREE = 6
"""Degree up to which ``OPPOSITE_SIGN_IN_E3NN_04`` is complete."""


def import_botnet(json_path: str | PathLike, npz_path: str | PathLike) -> Potential:
    """Carry a model of the original code over, in float64.

    Energies, forces and contributions agree with the original to rounding. Layers are as they were, except
    that irreps which no layer reaches are left out, and that the last layer keeps only its invariants: the
    original reads nothing else there.

    Args:
        json_path: Hyper-parameters.
        npz_path: Parameters, ``param/<original name>``.

    Raises:
        InputError: If a file cannot be read, the two do not fit, or the model cannot be carried over.
    """
    hyper = Hyperparameters.read(json_path)
    parameters = Parameters(npz_path)
    statistics = Statistics(
        isolated_energies=np.array(hyper.atomic_energies),
        scale=hyper.atomic_inter_scale if hyper.scaled else 1.0,
        shift=hyper.atomic_inter_shift if hyper.scaled else 0.0,
        num_neighbors=hyper.avg_num_neighbors,
    )
    metadata = {"imported_from": f"gncs/botnet, {hyper.model}"}
    potential = Potential(botnet_config(hyper), statistics, metadata)
    with torch.no_grad():
        blocks = [BLOCKS[name] for name in hyper.layers]
        fill(potential.network, blocks, hyper.mlp_width, parameters)
    return potential


class Hyperparameters(Config):
    """What ``NAME.json`` holds, under the original's names; other keys are not looked at."""

    model: str = Field(description="class of the model")
    interaction: str = Field(description="class of the interaction blocks")
    interaction_first: str | None = Field(None, description="class of the first one, where it is another")
    atomic_numbers: tuple[int, ...] = Field(description="elements, in the order of the model's")
    atomic_energies: tuple[float, ...] = Field(description="E0 of each element [eV]")
    r_max: float = Field(gt=0, description="cutoff radius [Å]")
    num_bessel: int = Field(ge=1, description="number of radial basis functions")
    num_polynomial_cutoff: int = Field(ge=1, description="power of the envelope")
    max_ell: int = Field(ge=0, le=MAX_DEGREE, description="largest degree of the spherical harmonics")
    num_interactions: int = Field(ge=1, le=8, description="number of layers")
    hidden_irreps: str = Field(description="features of a node, such as 80x0e + 80x1o")
    avg_num_neighbors: float = Field(gt=0, description="number that sums over neighbours are divided by")
    MLP_irreps: str = Field("", description="hidden features of the last readout, such as 16x0e")
    gate: str | None = Field(None, description="activation of the last readout")
    atomic_inter_scale: float = Field(1.0, description="factor of the site energies")
    atomic_inter_shift: float = Field(0.0, description="constant added to each site energy [eV]")

    @classmethod
    def section(cls) -> str:
        """None: errors name the key alone."""
        return ""

    @classmethod
    def read(cls, path: str | PathLike) -> Self:
        """Read and check ``NAME.json``.

        Raises:
            InputError: If the file cannot be read, or a value is missing, wrong, or cannot be carried over.
        """
        try:
            content = json.loads(Path(path).read_bytes())
        except OSError as error:
            raise InputError(f"cannot read hyper-parameters from {path}: {error.strerror}.") from None
        except ValueError as error:
            raise InputError(f"{path} is not valid JSON: {error}.") from None
        if not isinstance(content, dict):
            raise InputError(f"{path} must hold a JSON object of hyper-parameters, found {plain(content)}.")
        try:
            return cls(**{key: value for key, value in content.items() if key in cls.model_fields})
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    @property
    def scaled(self) -> bool:
        """Whether site energies are scaled and shifted."""
        return self.model.startswith("ScaleShift")

    @property
    def layers(self) -> list[str]:
        """Block of each layer; only NonLinearBodyOrderedModel has another one in the first."""
        first = self.interaction_first if "NonLinearBodyOrdered" in self.model else None
        return [first or self.interaction, *[self.interaction] * (self.num_interactions - 1)]

    @property
    def readout(self) -> str:
        """Layers that are read out: the last, or every one."""
        return "last" if "SingleReadout" in self.model else "every"

    @property
    def nonlinear_readout(self) -> bool:
        """Whether the last readout is an MLP; where every layer is read out, the first never is."""
        return "NonLinear" in self.model and (self.readout == "last" or self.num_interactions > 1)

    @property
    def mlp_width(self) -> int:
        """Hidden width of the last readout; 0 where it is linear."""
        return Irreps.parse(self.MLP_irreps).dim if self.nonlinear_readout else 0

    @property
    def activation(self) -> str | None:
        """Activation of the last readout, if any."""
        return self.gate if self.nonlinear_readout and self.gate != "None" else None

    @model_validator(mode="before")
    @classmethod
    def _without_null(cls, values: Any) -> Any:
        if isinstance(values, dict):  # null is a value of the gate; elsewhere it means that there is none
            return {key: value for key, value in values.items() if value is not None or key == "gate"}
        return values

    @field_validator("atomic_numbers")
    @classmethod
    def _elements(cls, numbers: tuple[int, ...]) -> tuple[int, ...]:
        if not all(0 < number < len(chemical_symbols) for number in numbers):
            raise InputError(f"atomic_numbers = {list(numbers)}: not all of them are numbers of elements.")
        return numbers

    @field_validator("hidden_irreps")
    @classmethod
    def _features(cls, text: str) -> str:
        irreps = Irreps.parse(text)  # no irrep twice: the original's layers then differ in their channels
        given = f"hidden_irreps = {text!r}"
        if len(irreps) <= text.count("+"):
            raise InputError(f"{given} has a multiplicity of 0, which cannot be carried over.")
        if not irreps.mul("0e"):
            raise InputError(f"{given} has no 0e, so that there is nothing to read the energy from.")
        if irreps.l_max > MAX_DEGREE:
            raise InputError(f"{given} has degrees above {MAX_DEGREE}, which cannot be carried over.")
        return text

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.model.removeprefix("ScaleShift") not in MODELS:
            raise InputError(f"model {self.model!r} is unknown.{did_you_mean(self.model, MODELS)}")
        for block in self.layers:
            if block not in BLOCKS:
                raise InputError(f"interaction {block!r} is unknown.{did_you_mean(block, BLOCKS)}")
        if len(self.atomic_energies) != len(self.atomic_numbers):
            raise InputError(
                f"{len(self.atomic_energies)} atomic_energies are given for "
                f"{len(self.atomic_numbers)} atomic_numbers; one for each is needed."
            )
        needed = ["atomic_inter_scale", "atomic_inter_shift"] if self.scaled else []
        needed += ["MLP_irreps", "gate"] if self.nonlinear_readout else []
        for key in needed:
            if key not in self.model_fields_set:
                raise InputError(f"{self.model} needs {key}.")
        if self.nonlinear_readout and not INVARIANTS.fullmatch(self.MLP_irreps):
            raise InputError(
                f"MLP_irreps = {self.MLP_irreps!r} cannot be carried over; only invariants, such as 16x0e, can."
            )
        if self.activation is not None and self.activation not in ACTIVATIONS:
            raise InputError(f"gate = {self.gate!r} is unknown.{did_you_mean(self.activation, ACTIVATIONS)}")
        return self


RADIAL_FIELDS: dict[str, dict[str, Any]] = {
    "linear": {"radial_network": "linear"},
    "elements": {"radial_network": "linear", "radial_species": "sender"},
    "biased": {"radial_species": "sender", "radial_activation": "relu", "radial_bias": True},
    "net": {},
}
"""How ``Block.radial`` differs from an MLP of the distance alone."""


def botnet_config(hyper: Hyperparameters) -> ModelConfig:
    """Translate the original's hyper-parameters."""
    first, later = (_layer_fields(BLOCKS[name], hyper) for name in (hyper.layers[0], hyper.interaction))
    elements = tuple(chemical_symbols[number] for number in hyper.atomic_numbers)
    return ModelConfig().replace(
        elements=elements,
        cutoff=hyper.r_max,
        l_max=hyper.max_ell,
        hidden_irreps=str(reachable_irreps(Irreps.parse(hyper.hidden_irreps), hyper.max_ell, 1)),
        num_layers=hyper.num_interactions,
        num_radial=hyper.num_bessel,
        envelope_power=hyper.num_polynomial_cutoff,
        first_self_connection=first.pop("self_connection"),
        first_layer={field: value for field, value in first.items() if value != later[field]},
        readout=hyper.readout,
        readout_width=hyper.mlp_width if hyper.activation else 0,  # without it the two matrices are one
        readout_activation=hyper.activation or "silu",
        energy_reference="given",
        isolated_energies=dict(zip(elements, hyper.atomic_energies, strict=True)),
        scale="rms_force" if hyper.scaled else "none",
        shift="mean" if hyper.scaled else "none",
        dtype="float64",
        **later,
    )


def _layer_fields(block: Block, hyper: Hyperparameters) -> dict[str, Any]:
    width = len(hyper.atomic_numbers) + hyper.num_bessel
    return {
        "radial_network": "mlp",
        "radial_widths": (width,) if block.radial == "biased" else (64, 64, 64),
        "radial_species": "none",
        "radial_activation": "silu",
        "radial_bias": False,
        **RADIAL_FIELDS[block.radial],
        "self_connection": block.self_connection,
        "nonlinearity": "gate" if block.gated else "none",
    }
