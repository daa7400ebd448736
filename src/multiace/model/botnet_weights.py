"""Parameters of the original BOTNet code, flat and in e3nn's order, become those of MultiACE."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from math import prod
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from multiace.basis.coupling import OPPOSITE_SIGN_IN_E3NN_04
from multiace.basis.irreps import Irrep, Irreps
from multiace.errors import InputError
from multiace.layers.activations import Activation
from multiace.layers.radial import RadialNetwork
from multiace.model.multi_ace import MultiACE
from multiace.ops.paths import Path

__all__ = ["Block", "Parameters", "fill"]


class Block(NamedTuple):
    """What an interaction block of the original does.

    Attributes:
        radial: How its radial weights are made, a key of ``RADIAL_NETWORKS``.
        self_connection: As ``ModelConfig.self_connection``.
        linear_up: Whether the channels of h are mixed before the convolution.
        gated: Whether the update is a gate.
    """

    radial: str
    self_connection: str
    linear_up: bool = True
    gated: bool = False


class Parameters:
    """The original's parameters by name; each is taken once.

    Args:
        path: ``NAME.npz``, of which ``param/<original name>`` is read.

    Raises:
        InputError: If the file cannot be read, or holds anything but finite floating-point numbers.
    """

    def __init__(self, path: str | PathLike):
        self.path = path
        self.left = {}
        for name, array in _read_npz(path).items():
            if array.dtype.kind != "f" or not np.isfinite(array).all():
                raise InputError(f"{path}: {name} ({array.dtype}) must hold finite floating-point numbers.")
            self.left[name] = torch.from_numpy(array.astype(np.float64))

    def take(self, name: str, *shape: int) -> Tensor:
        """Return a parameter in the shape that the hyper-parameters ask for; the file may hold it flat.

        Raises:
            InputError: If there is none, or it has another shape.
        """
        if name not in self.left:
            raise InputError(f"{self.path} has no parameter {name!r}, which the hyper-parameters ask for.")
        value = self.left.pop(name)
        if tuple(value.shape) not in (shape, (prod(shape),)):
            raise InputError(
                f"{self.path}: {name} has shape {tuple(value.shape)}, but the hyper-parameters ask for {shape}."
            )
        return value.reshape(shape)

    def within(self, prefix: str) -> Take:
        """Return :meth:`take` for the names below ``prefix``."""
        return lambda name, *shape: self.take(f"{prefix}.{name}", *shape)

    def check_none_left(self) -> None:
        """Raise InputError if there are parameters that no part of the model took."""
        if self.left:
            raise InputError(
                f"{self.path} holds {len(self.left)} parameters that the hyper-parameters do not ask for, "
                f"such as {min(self.left)!r}."
            )


Take = Callable[..., Tensor]
"""``take(name, *shape)``, as :meth:`Parameters.take`."""


def _read_npz(path: str | PathLike) -> dict[str, np.ndarray]:
    """The arrays ``param/<name>`` of a file, by name."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            names = [name for name in arrays.files if name.startswith("param/")]
            return {name.removeprefix("param/"): arrays[name] for name in names}
    except OSError as error:
        raise InputError(f"cannot read parameters from {path}: {error.strerror or error}.") from None
    except Exception:  # numpy and zipfile raise a dozen kinds for damaged files
        raise InputError(f"{path} is not an intact .npz file of numbers.") from None


@dataclass(frozen=True)
class _Layout:
    """Irreps along a layer of the original, in the order of its parameters.

    Attributes:
        h_in: Features that come in.
        l_max: Largest degree of Y.
        hidden: Features wanted.
        gated: Whether the update is a gate.
    """

    h_in: Irreps
    l_max: int
    hidden: Irreps
    gated: bool

    @cached_property
    def paths(self) -> dict[Path, int]:
        """Channels of each path: by irrep of h, degree of Y, irrep of the result."""
        return {
            Path(irrep_in, l2, irrep_out): mul
            for mul, irrep_in in self.h_in
            for l2 in range(self.l_max + 1)
            for irrep_out in irrep_in * Irrep(l2, (-1) ** l2)
            if self.hidden.mul(irrep_out)
        }

    def paths_to(self, irrep: Irrep) -> dict[Path, int]:
        """The paths that end in one irrep."""
        return {path: mul for path, mul in self.paths.items() if path.irrep_out == irrep}

    @cached_property
    def reached(self) -> list[Irrep]:
        """Irreps that paths lead to, in e3nn's order: 0o, 0e, 1o, 1e, ..."""
        return sorted({path.irrep_out for path in self.paths})

    @property
    def A(self) -> Irreps:
        """The channels of all paths, before they are mixed."""
        return Irreps((sum(self.paths_to(irrep).values()), irrep) for irrep in self.reached)

    @property
    def m(self) -> Irreps:
        """The message; for a gate it has one more 0e for each channel of degree l > 0."""
        n_gates = sum(self.hidden.mul(irrep) for irrep in self.reached if irrep.l > 0) if self.gated else 0
        return Irreps((self.hidden.mul(irrep) + n_gates * irrep.is_scalar, irrep) for irrep in self.reached)

    @property
    def h_out(self) -> Irreps:
        """Features that go out: the message, or those of a gate, which keeps the order wanted, l = 0 first."""
        if not self.gated:
            return self.m
        kept = self.hidden.keep(self.reached)
        return Irreps([*(block for block in kept if block.irrep.l == 0), *(b for b in kept if b.irrep.l > 0)])


def fill(network: MultiACE, blocks: Sequence[Block], mlp_width: int, parameters: Parameters) -> None:
    """Fill all weights of a network, whose last layer keeps only invariants: the original reads no others.

    Args:
        network: Built from the config that the hyper-parameters were translated to.
        blocks: The original's block of each layer.
        mlp_width: Hidden width of the last readout; 0 where it is linear.
        parameters: Those of the original; none is left.

    Raises:
        InputError: If parameters are missing, have other shapes, or are left over.
    """
    config, n_elements = network.config, len(network.config.elements)
    W = parameters.take("node_embedding.linear.weight", n_elements, config.channels)
    network.get_parameter("embedding.weight").copy_(W * n_elements**-0.5)
    h = config.irreps.keep([Irrep(0, 1)])
    for t, (layer, block) in enumerate(zip(network.layers, blocks, strict=True)):
        layout = _Layout(h, config.l_max, config.irreps, block.gated)
        _fill_layer(layer, block, layout, n_elements, parameters.within(f"interactions.{t}"))
        h = layout.h_out
    for t, readout in enumerate(network.readouts):
        last = t == len(network.readouts) - 1
        _fill_readout(readout, config.channels, mlp_width if last else 0, parameters.within(f"readouts.{t}"))
    parameters.check_none_left()


def _fill_layer(layer: Any, block: Block, layout: _Layout, n_elements: int, take: Take) -> None:
    density = layer.density
    if block.linear_up:
        _copy(density.linear_up.matrices(), _matrices(take, "linear_up.weight", layout.h_in, layout.h_in))
    else:
        for W in density.linear_up.matrices().values():
            W.copy_(torch.eye(len(W), dtype=W.dtype) * len(W) ** 0.5)
    _fill_radial(density.radial_network, block, layout, density.paths.paths, n_elements, take)

    mixing = _matrices(take, "linear.weight", layout.A, layout.m)
    for irrep in density.linear.irreps_out.irreps:
        paths = [path for path in density.paths.paths if path.irrep_out == irrep]
        mixing[irrep] = _reorder(mixing[irrep].T, layout.paths_to(irrep), paths).T
    _copy(density.linear.matrices(), mixing)

    element_linear = layer.selector or layer.residual
    if element_linear is not None:
        source = layout.m if block.self_connection == "selector" else layout.h_in
        matrices = _matrices(take, "skip_tp.weight", source, layout.m, n_elements)
        scaled = {irrep: W.transpose(0, 1) * n_elements**-0.5 for irrep, W in matrices.items()}
        _copy(element_linear.matrices(), scaled)
    for activation in layer.nonlinearity.children():
        if isinstance(activation, Activation):
            _set_e3nn_scale(activation)


def _matrices(
    take: Take, name: str, irreps_in: Irreps, irreps_out: Irreps, *n_elements: int
) -> dict[Irrep, Tensor]:
    """Matrices (mul_in, [elements,] mul_out) by irrep of an e3nn Linear.

    With ``n_elements`` it is a FullyConnectedTensorProduct with one-hot elements.
    """
    common = [irrep for irrep in irreps_in.irreps if irreps_out.mul(irrep)]
    shapes = [(irreps_in.mul(irrep), *n_elements, irreps_out.mul(irrep)) for irrep in common]
    flat = take(name, sum(prod(shape) for shape in shapes))
    parts = flat.split([prod(shape) for shape in shapes])
    return {irrep: part.view(shape) for irrep, part, shape in zip(common, parts, shapes, strict=True)}


def _copy(ours: dict[Irrep, Tensor], matrices: dict[Irrep, Tensor]) -> None:
    """Fill ours; where we have fewer columns (the last layer has no gates), the first ones."""
    for irrep, into in ours.items():
        into.copy_(matrices[irrep][..., : into.shape[-1]])


def _reorder(x: Tensor, blocks: dict[Path, int], order: Iterable[Path]) -> Tensor:
    """Cut the last dimension into the blocks of paths, and join those of ``order``."""
    by_path = dict(zip(blocks, x.split(list(blocks.values()), dim=-1), strict=True))
    return torch.cat([by_path[path] for path in order], dim=-1)


def _fill_radial(
    network: RadialNetwork, block: Block, layout: _Layout, paths: list[Path], n_elements: int, take: Take
) -> None:
    weights, biases = RADIAL_NETWORKS[block.radial](
        take, n_elements, network.mlp.fan_in, sum(layout.paths.values())
    )
    signs = torch.cat([torch.full((layout.paths[path],), _sign(path)) for path in paths])
    for values in (weights, biases):
        values[-1:] = [_reorder(last, layout.paths, paths) * signs for last in values[-1:]]
    for into, value in zip([*network.mlp.matrices(), *network.biases], [*weights, *biases], strict=True):
        into.copy_(value)
    if biases:
        network.mlp.activation.scale.fill_(1.0)
    else:
        _set_e3nn_scale(network.mlp.activation)


def _sign(path: Path) -> float:
    """Sign of e3nn 0.4's Clebsch-Gordan coefficients relative to ours."""
    return -1.0 if (path.irrep_in.l, path.l2, path.irrep_out.l) in OPPOSITE_SIGN_IN_E3NN_04 else 1.0


# How radial weights are made: (take, n_elements, n_radial, n_weights) -> matrices, biases of a RadialNetwork.
Radial = tuple[list[Tensor], list[Tensor]]


def _linear(take: Take, n_elements: int, n_radial: int, n_weights: int) -> Radial:
    """One e3nn Linear of the radial basis."""
    return [take("conv_tp_weights.weight", n_radial, n_weights)], []


def _elements(take: Take, n_elements: int, n_radial: int, n_weights: int) -> Radial:
    """One matrix per element of the sender, without a factor."""
    W = take("conv_tp_weights.weights", n_elements, n_radial, n_weights)
    return [W.transpose(0, 1).flatten(0, 1) * n_radial**0.5], []


def _biased(take: Take, n_elements: int, n_radial: int, n_weights: int) -> Radial:
    """A torch MLP of the sender's one-hot element beside the radial basis, without factors.

    Ours multiplies the basis by the one-hot element instead: the same rows for every element, and the
    rows of the elements go into its first bias.
    """
    width = n_elements + n_radial
    first, second = (
        take(f"conv_tp_weights.layers.{n}.weight", rows, width).T for n, rows in ((0, width), (1, n_weights))
    )
    first_bias, second_bias = (
        take(f"conv_tp_weights.layers.{n}.bias", rows) for n, rows in ((0, width), (1, n_weights))
    )
    of_element, of_basis = first.split([n_elements, n_radial])
    weights = [of_basis.repeat_interleave(n_elements, dim=0) * n_radial**0.5, second * width**0.5]
    return weights, [of_element + first_bias, second_bias]


def _net(take: Take, n_elements: int, n_radial: int, n_weights: int) -> Radial:
    """e3nn's FullyConnectedNet of the radial basis."""
    sizes = pairwise([n_radial, 64, 64, 64, n_weights])
    return [take(f"conv_tp_weights.layer{n}.weight", *size) for n, size in enumerate(sizes)], []


RADIAL_NETWORKS = {"linear": _linear, "elements": _elements, "biased": _biased, "net": _net}


def _fill_readout(readout: Any, channels: int, mlp_width: int, take: Take) -> None:
    matrices = readout.mlp.matrices()
    if not mlp_width:
        matrices[0].copy_(take("linear.weight", channels, 1))
        return
    first, second = take("linear_1.weight", channels, mlp_width), take("linear_2.weight", mlp_width, 1)
    if len(matrices) == 1:  # no activation: the two matrices are one
        matrices[0].copy_(first @ second * mlp_width**-0.5)
        return
    matrices[0].copy_(first)
    matrices[1].copy_(second)
    _set_e3nn_scale(readout.mlp.activation)


def _set_e3nn_scale(activation: Activation) -> None:
    """Use e3nn's estimate of the constant, instead of the exact one."""
    activation.scale.fill_(_e3nn_scale(activation.function))


@cache
def _e3nn_scale(function: Callable[[Tensor], Tensor]) -> float:
    """⟨f²⟩^(-1/2) over a million normal numbers from seed 0; 1 where that is nearly 1."""
    z = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scale = float(function(z).square().mean() ** -0.5)
    return 1.0 if abs(scale - 1.0) < 1e-4 else scale
