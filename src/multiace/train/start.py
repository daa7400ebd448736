"""Where training starts from: the weights of a model of the same architecture, or of the linear model inside it."""

from __future__ import annotations

from typing import Any, cast

import torch

from multiace.errors import InputError
from multiace.fields import plain
from multiace.layers.readout import FinnisSinclairReadout
from multiace.model.config import OWN_FIELDS, ModelConfig, outside_choices
from multiace.model.file import read_model_file
from multiace.model.potential import Potential, Statistics
from multiace.solve.ace import AceRows

__all__ = ["embedded", "read_start"]

OF_EMBEDDING = {
    "hidden_irreps",
    "readout_function",
    "readout_exponents",
    "readout_width",
    "readout_activation",
}
"""Fields in which a nonlinear ACE may differ from the linear one that it starts from."""


def read_start(path: str, model: ModelConfig) -> Potential:
    """Read the model that training starts from.

    Raises:
        InputError: If it cannot be read, or its architecture is neither that of the run nor its linear part; names
            the fields.
    """
    header, _ = read_model_file(path)
    there, here = {**ModelConfig().model_dump(), **header["config"]}, model.model_dump()
    free = set(OWN_FIELDS) - ({"elements"} if model.elements else set())
    different = [name for name in here if name not in free and plain(here[name]) != plain(there[name])]
    embeds = bool(different) and is_embedding(there, model)
    changes = [
        f"{name} = {plain(here[name])} (there {plain(there[name])})"
        for name in different
        if not (embeds and name in OF_EMBEDDING)
    ]
    if changes:
        raise InputError(
            f"train.start_from = {path} is a model of another architecture than the run: model."
            f"{', '.join(changes)}. Set {'it' if len(changes) == 1 else 'them'} as there; what the model section "
            "leaves out is taken from there."
        )
    start = Potential.load(path, dtype=model.dtype, outside_code=bool(outside_choices(here)))
    return embedded(start, model) if embeds else start


def is_embedding(there: dict[str, Any], model: ModelConfig) -> bool:
    """Whether a model is linear ACE with densities and powers in the place of one linear readout."""
    return (
        model.channel_coupling == "complete"
        and model.readout_function == "finnis_sinclair"
        and 1.0 in model.readout_exponents
        and ModelConfig().replace(**there).is_linear
    )


def embedded(start: Potential, model: ModelConfig) -> Potential:
    """Return a nonlinear ACE that predicts what a linear one does.

    The first density of exponent 1 gets the coefficients of the linear model; the others are zero, where F is zero too
    but has a slope, so that their coefficients have gradients.

    Args:
        start: Linear ACE.
        model: The same with densities and ``readout_function = finnis_sinclair``.
    """
    potential = Potential(model.replace(elements=start.elements), Statistics(start.isolated_energies.numpy()))
    ours = potential.state_dict()
    name = AceRows.parameter
    kept = {key: value for key, value in start.state_dict().items() if key in ours and "readouts." not in key}
    potential.load_state_dict(ours | {key: value for key, value in kept.items() if key != f"network.{name}"})
    readout = cast("FinnisSinclairReadout", potential.network.readouts[0])
    (linear,) = start.network.readouts[0].parameters()
    density = readout.exponents.index(1.0)
    with torch.no_grad():
        weight = potential.network.get_parameter(name)
        weight.zero_()
        weight[:, :, density] = start.network.get_parameter(name)[:, :, 0] * linear.item()
        readout.weight[:, density] = len(readout.exponents) ** 0.5
    return potential
