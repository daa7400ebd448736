"""Weights of the original BOTNet and NequIP-variant code become a potential.

The original (github.com/gncs/botnet, on e3nn 0.4.4) keeps flat weight vectors in e3nn's order; a model is
handed over as ``NAME.json`` (hyper-parameters) and ``NAME.npz`` (``param/<original name>``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor

from multiace.basis.coupling import OPPOSITE_SIGN_IN_E3NN_04
from multiace.basis.irreps import Irrep, Irreps
from multiace.errors import InputError, did_you_mean
from multiace.layers.activations import Activation
from multiace.layers.equivariant import ElementLinear, Linear
from multiace.layers.update import Layer
from multiace.model.config import ModelConfig
from multiace.model.irreps import reachable_irreps
from multiace.model.potential import Potential, Statistics
from multiace.ops.paths import Path as TensorPath

__all__ = ["BLOCKS", "MODELS", "import_botnet"]

MLP = {"radial_network": "mlp", "radial_widths": (64, 64, 64), "radial_species": "none"}
ELEMENTS = {"radial_network": "linear", "radial_species": "sender"}

BLOCKS: dict[str, dict[str, Any]] = {
    "SimpleInteractionBlock": {
        "radial_network": "linear",
        "radial_species": "none",
        "self_connection": "selector",
    },
    "ElementDependentInteractionBlock": {**ELEMENTS, "self_connection": "selector"},
    "ResidualElementDependentInteractionBlock": {**ELEMENTS, "self_connection": "residual"},
    "NonlinearInteractionBlock": {
        "radial_network": "mlp",
        "radial_species": "sender",
        "radial_activation": "relu",
        "radial_bias": True,
        "self_connection": "selector",
    },
    "AgnosticNonlinearInteractionBlock": {**MLP, "self_connection": "selector"},
    "AgnosticResidualNonlinearInteractionBlock": {**MLP, "self_connection": "residual"},
    "AgnosticNoScNonlinearInteractionBlock": {**MLP, "self_connection": "none"},
    "NequIPInteractionBlock": {**MLP, "self_connection": "residual", "nonlinearity": "gate"},
}
"""The original's interaction blocks as config fields."""

MODELS: dict[str, dict[str, Any]] = {
    "BodyOrderedModel": {"readout": "every", "mlp": False},
    "NonLinearBodyOrderedModel": {"readout": "every", "mlp": True},
    "SingleReadoutModel": {"readout": "last", "mlp": False},
    "NonLinearSingleReadoutModel": {"readout": "last", "mlp": True},
}
"""The original's model classes; each also exists with the prefix ``ScaleShift``."""


def import_botnet(json_path: str | PathLike, npz_path: str | PathLike) -> Potential:
    """Carry a model of the original code over, in float64.

    Energies and forces agree with the original to rounding; layers are read as they were, except that
    the last one keeps only its invariants, the only features the original reads there.

    Args:
        json_path: Hyper-parameters.
        npz_path: Parameters, ``param/<original name>``.

    Raises:
        InputError: If a file cannot be read, names an unknown block or model, or lacks a parameter.
    """
    hyper = _read_json(Path(json_path))
    parameters = _Parameters(Path(npz_path))
    config = botnet_config(hyper, str(json_path))
    scaled = hyper["model"].startswith("ScaleShift")
    statistics = Statistics(
        isolated_energies=np.array(hyper["atomic_energies"]),
        scale=hyper["atomic_inter_scale"] if scaled else 1.0,
        shift=hyper["atomic_inter_shift"] if scaled else 0.0,
        num_neighbors=hyper["avg_num_neighbors"],
    )
    potential = Potential(config, statistics, {"imported_from": f"gncs/botnet, {hyper['model']}"})
    with torch.no_grad():
        _carry_over(potential, parameters, hyper)
    parameters.check_all_used()
    return potential


def botnet_config(hyper: dict[str, Any], source: str) -> ModelConfig:
    """Translate the original's hyper-parameters.

    Args:
        hyper: Content of the JSON file.
        source: Its name, for messages.
    """
    name = _get(hyper, "model", source)
    scaled, base = name.startswith("ScaleShift"), name.removeprefix("ScaleShift")
    if base not in MODELS:
        raise InputError(f"{source}: model {name!r} is unknown.{did_you_mean(base, MODELS)}")
    model = MODELS[base]
    later_name = _get(hyper, "interaction", source)
    first_name = hyper.get("interaction_first") or later_name
    for block in (first_name, later_name):
        if block not in BLOCKS:
            raise InputError(f"{source}: interaction {block!r} is unknown.{did_you_mean(block, BLOCKS)}")
    elements = tuple(chemical_symbols[number] for number in _get(hyper, "atomic_numbers", source))
    l_max = _get(hyper, "max_ell", source)
    hidden = reachable_irreps(Irreps.parse(_get(hyper, "hidden_irreps", source)), l_max, 1)
    num_bessel = _get(hyper, "num_bessel", source)
    first, later = (dict(BLOCKS[block]) for block in (first_name, later_name))
    for block in (first, later):
        if block.get("radial_bias"):
            block["radial_widths"] = (len(elements) + num_bessel,)
    first_self_connection = first.pop("self_connection")
    defaults = {"radial_bias": False, "radial_activation": "silu", "nonlinearity": "none", **MLP}
    differing = {
        field: first.get(field, defaults[field])
        for field in first.keys() | later.keys()
        if field != "self_connection"
        and first.get(field, defaults[field]) != later.get(field, defaults[field])
    }
    return ModelConfig(
        elements=elements,
        cutoff=_get(hyper, "r_max", source),
        l_max=l_max,
        hidden_irreps=str(hidden),
        num_layers=_get(hyper, "num_interactions", source),
        num_radial=num_bessel,
        envelope_power=_get(hyper, "num_polynomial_cutoff", source),
        first_self_connection=first_self_connection,
        first_layer=differing,
        readout=model["readout"],
        readout_width=_readout_width(hyper, source) if model["mlp"] else 0,
        readout_activation=hyper.get("gate") if model["mlp"] and _gated(hyper) else "silu",
        energy_reference="given",
        isolated_energies=dict(zip(elements, _get(hyper, "atomic_energies", source), strict=True)),
        scale="rms_force" if scaled else "none",
        shift="mean" if scaled else "none",
        dtype="float64",
        **later,
    )


def _gated(hyper: dict[str, Any]) -> bool:
    return hyper.get("gate") not in (None, "None")


def _readout_width(hyper: dict[str, Any], source: str) -> int:
    """Hidden width of the last readout; without an activation its two matrices are one."""
    irreps = Irreps.parse(_get(hyper, "MLP_irreps", source))
    if irreps.irreps != [Irrep(0, 1)]:
        raise InputError(
            f"{source}: MLP_irreps = {irreps} cannot be carried over; only invariants (16x0e) can."
        )
    return irreps.dim if _gated(hyper) else 0


def _carry_over(potential: Potential, parameters: _Parameters, hyper: dict[str, Any]) -> None:
    """Fill all weights, layer by layer."""
    network = potential.network
    n_elements = len(potential.elements)
    target = Irreps.parse(hyper["hidden_irreps"])
    embedding = parameters["node_embedding.linear.weight"].view(n_elements, -1)
    network.embedding.weight.copy_(embedding * n_elements**-0.5)
    h_in = target.keep([Irrep(0, 1)])
    for t, layer in enumerate(network.layers):
        h_in = _carry_layer(layer, parameters.within(f"interactions.{t}"), h_in, target, n_elements, t, hyper)
    for t, readout in enumerate(network.readouts):
        prefix = f"readouts.{t}"
        if f"{prefix}.linear.weight" in parameters:
            readout.weight.copy_(parameters[f"{prefix}.linear.weight"].view_as(readout.weight))
            continue
        hidden = parameters[f"{prefix}.linear_1.weight"].view(network.layers[-1].irreps.h_out.dim, -1)
        last = parameters[f"{prefix}.linear_2.weight"].view(-1, 1)
        if readout.hidden is None:
            readout.weight.copy_(hidden @ last * last.shape[0] ** -0.5)
        else:
            readout.hidden.copy_(hidden)
            readout.weight.copy_(last)
            _set_e3nn_scale(readout.activation)


def _carry_layer(
    layer: Layer,
    parameters: _Parameters,
    h_in: Irreps,
    target: Irreps,
    n_elements: int,
    t: int,
    hyper: dict[str, Any],
) -> Irreps:
    """Fill one layer; return the irreps of its output in the original's order."""
    block = hyper["interaction"] if t else hyper.get("interaction_first") or hyper["interaction"]
    paths = _original_paths(h_in, hyper["max_ell"], target)
    reached = [irrep for irrep in sorted(set(path.irrep_out for path in paths))]
    A = Irreps((sum(h_in.mul(p.irrep_in) for p in paths if p.irrep_out == irrep), irrep) for irrep in reached)
    h_out = target.keep(reached)
    if block == "NequIPInteractionBlock":
        h_out = Irreps(sorted(h_out, key=lambda part: part.irrep.l > 0))  # scalars first
        n_gates = sum(mul for mul, irrep in h_out if irrep.l > 0)
        m = Irreps((target.mul(ir) + n_gates * ir.is_scalar, ir) for ir in reached)
    else:
        h_out = m = Irreps((target.mul(irrep), irrep) for irrep in reached)

    density = layer.density
    if "linear_up.weight" in parameters:
        _carry_linear(density.linear_up, parameters["linear_up.weight"], h_in, h_in)
    else:
        for name, weight in density.linear_up.weights.items():
            weight.copy_(torch.eye(h_in.mul(name), dtype=torch.float64) * h_in.mul(name) ** 0.5)

    columns = _columns(paths, h_in)
    order = torch.cat([columns[path] for path in density.paths.paths])
    signs = torch.cat([torch.full((h_in.mul(p.irrep_in),), _sign(p)) for p in density.paths.paths])
    _carry_radial(density.radial_network, parameters, order, signs)

    rows = {irrep: torch.cat([columns[p] for p in paths if p.irrep_out == irrep]) for irrep in reached}
    for irrep, weight in _split_linear(parameters["linear.weight"], A, m):
        if str(irrep) in density.linear.weights:
            mine = torch.cat([columns[p] for p in density.paths.paths if p.irrep_out == irrep])
            where = torch.argsort(rows[irrep])[torch.searchsorted(rows[irrep].sort().values, mine)]
            into = density.linear.weights[str(irrep)]
            into.copy_(weight[where, : into.shape[1]])

    if "skip_tp.weight" in parameters:
        element_linear = layer.selector if layer.selector is not None else layer.residual
        source = m if layer.selector is not None else h_in
        _carry_element_linear(element_linear, parameters["skip_tp.weight"], source, m, n_elements)
    for module in layer.nonlinearity.children():
        _set_e3nn_scale(module)
    return h_out


def _original_paths(h_in: Irreps, l_max: int, target: Irreps) -> list[TensorPath]:
    """Paths in the order of the original's weights: irrep of h, degree of Y, irrep of the result."""
    return [
        TensorPath(irrep_in, l2, irrep_out)
        for irrep_in in h_in.irreps
        for l2 in range(l_max + 1)
        for irrep_out in irrep_in * Irrep(l2, (-1) ** l2)
        if target.mul(irrep_out)
    ]


def _columns(paths: list[TensorPath], h_in: Irreps) -> dict[TensorPath, Tensor]:
    """Positions of each path's channels in the original's radial weights."""
    columns, start = {}, 0
    for path in paths:
        mul = h_in.mul(path.irrep_in)
        columns[path] = torch.arange(start, start + mul)
        start += mul
    return columns


def _sign(path: TensorPath) -> float:
    """Relative sign of e3nn 0.4's Clebsch-Gordan coefficients."""
    return -1.0 if (path.irrep_in.l, path.l2, path.irrep_out.l) in OPPOSITE_SIGN_IN_E3NN_04 else 1.0


def _carry_radial(network: Any, parameters: _Parameters, order: Tensor, signs: Tensor) -> None:
    """Fill the radial network; ``order`` and ``signs`` apply to the columns of its last matrix."""
    if "conv_tp_weights.weight" in parameters:  # Simple: one e3nn Linear
        weights = [parameters["conv_tp_weights.weight"].view(network.fan_in[0], -1)]
    elif "conv_tp_weights.weights" in parameters:  # per element of the sender, without a factor
        per_element = parameters["conv_tp_weights.weights"]  # [elements, num_bessel, paths K]
        weights = [per_element.transpose(0, 1).flatten(0, 1) * network.fan_in[0] ** 0.5]
    elif "conv_tp_weights.layers.0.weight" in parameters:  # MLP with biases on [one-hot, radial]
        first, last = (parameters[f"conv_tp_weights.layers.{n}.weight"].T for n in (0, 1))
        first_bias, last_bias = (parameters[f"conv_tp_weights.layers.{n}.bias"] for n in (0, 1))
        n_elements = first.shape[0] - network.fan_in[0]
        one_hot, radial = first[:n_elements], first[n_elements:]
        weights = [
            radial.repeat_interleave(n_elements, dim=0) * network.fan_in[0] ** 0.5,
            last * network.fan_in[1] ** 0.5,
        ]
        network.biases[0].copy_(one_hot + first_bias)
        network.biases[1].copy_(last_bias[order] * signs)
        network.activation.scale.fill_(1.0)
    else:  # e3nn's FullyConnectedNet
        weights = [parameters[f"conv_tp_weights.layer{n}.weight"] for n in range(len(network.weights))]
        _set_e3nn_scale(network.activation)
    weights[-1] = weights[-1][:, order] * signs
    for into, weight in zip(network.weights, weights, strict=True):
        into.copy_(weight)


def _split_linear(flat: Tensor, irreps_in: Irreps, irreps_out: Irreps) -> Iterator[tuple[Irrep, Tensor]]:
    """Cut the flat weights of an e3nn Linear into (mul_in, mul_out) per irrep."""
    start = 0
    for mul, irrep in irreps_in:
        size = mul * irreps_out.mul(irrep)
        if size:
            yield irrep, flat[start : start + size].view(mul, -1)
        start += size


def _carry_linear(linear: Linear, flat: Tensor, irreps_in: Irreps, irreps_out: Irreps) -> None:
    for irrep, weight in _split_linear(flat, irreps_in, irreps_out):
        linear.weights[str(irrep)].copy_(weight)


def _carry_element_linear(
    linear: ElementLinear | None, flat: Tensor, irreps_in: Irreps, irreps_out: Irreps, n_elements: int
) -> None:
    """Fill from e3nn's FullyConnectedTensorProduct with one-hot elements, (mul_in, elements, mul_out) per irrep."""
    assert linear is not None
    start = 0
    for mul, irrep in irreps_in:
        size = mul * n_elements * irreps_out.mul(irrep)
        if str(irrep) in linear.weights:
            weight = flat[start : start + size].view(mul, n_elements, -1).transpose(0, 1)
            into = linear.weights[str(irrep)]
            into.copy_(weight[:, :, : into.shape[2]] * n_elements**-0.5)
        start += size


def _set_e3nn_scale(activation: Any) -> None:
    """Use e3nn's estimate of the second moment: a million normal numbers from seed 0."""
    if isinstance(activation, Activation):
        z = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        activation.scale.fill_(activation.function(z).square().mean() ** -0.5)


class _Parameters:
    """The original's parameters by name; remembers which were used."""

    def __init__(self, path: Path | None, values: dict[str, Tensor] | None = None, prefix: str = ""):
        self.prefix = prefix
        self.used: set[str] = set()
        if values is None and path is not None:
            self.source = str(path)
            values = _read_npz(path)
        self.values = values or {}

    def within(self, prefix: str) -> _Parameters:
        """The parameters below a prefix."""
        inner = _Parameters(None, self.values, f"{self.prefix}{prefix}.")
        inner.used, inner.source = self.used, self.source
        return inner

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.values

    def __getitem__(self, name: str) -> Tensor:
        if name not in self:
            raise InputError(
                f"{self.source} has no parameter {self.prefix + name!r}, which the config asks for."
            )
        self.used.add(self.prefix + name)
        return self.values[self.prefix + name]

    def check_all_used(self) -> None:
        """Raise InputError if the file holds parameters that no part of the model took."""
        unused = sorted(self.values.keys() - self.used)
        if unused:
            raise InputError(
                f"{self.source}: {len(unused)} parameters were not used, the first is {unused[0]!r}."
            )


def _read_npz(path: Path) -> dict[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {
                name.removeprefix("param/"): torch.from_numpy(arrays[name]).double()
                for name in arrays.files
                if name.startswith("param/")
            }
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read parameters from {path}: {error}.") from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        hyper = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read hyper-parameters from {path}: {error}.") from None
    if not isinstance(hyper, dict):
        raise InputError(f"{path} must hold a JSON object, found {type(hyper).__name__}.")
    return hyper


def _get(hyper: dict[str, Any], key: str, source: str) -> Any:
    if key not in hyper:
        raise InputError(f"{source} has no {key!r} (keys found: {', '.join(hyper)}).")
    return hyper[key]
