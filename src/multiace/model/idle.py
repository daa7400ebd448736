"""Fields that have no effect beside others: what a user gives must act, what is inherited may idle."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from multiace.basis.irreps import Irrep, Irreps
from multiace.config import Idle
from multiace.model.irreps import density_irreps, irreps_by_depth
from multiace.ops import ConvolutionPaths

if TYPE_CHECKING:
    from multiace.model.config import ModelConfig

__all__ = ["BESIDE", "idle_fields"]


class Beside(NamedTuple):
    """``field`` has no effect beside these values of ``other``; it has with ``instead``."""

    field: str
    other: str
    values: tuple[Any, ...]
    instead: str


BESIDE = (
    Beside("envelope_power", "envelope", ("cosine",), "polynomial"),
    Beside("radial_widths", "radial_network", ("linear", "none"), "mlp"),
    Beside("radial_activation", "radial_network", ("linear", "none"), "mlp"),
    Beside("radial_norm", "radial_network", ("linear", "none"), "mlp"),
    Beside("n_max", "radial_network", ("none",), "linear or mlp"),
    Beside("n_max", "channel_coupling", ("channelwise", "full"), "complete"),
    Beside("pair_num_radial", "channel_coupling", ("channelwise", "full"), "complete"),
    Beside("pair_envelope", "channel_coupling", ("channelwise", "full"), "complete"),
    Beside("pair_envelope", "pair_num_radial", (0,), "1 or more"),
    Beside("total_degree", "channel_coupling", ("channelwise", "full"), "complete"),
    Beside("products", "channel_coupling", ("channelwise", "full"), "complete"),
    Beside("degree_weight", "channel_coupling", ("channelwise", "full"), "complete"),
    Beside("embedding_dim", "element_embedding", ("one_hot",), "continuous"),
    Beside("self_connection", "num_layers", (1,), "2 or more (of the first layer: first_self_connection)"),
    Beside("activation", "nonlinearity", ("none",), "gate or norm"),
    Beside("odd_activation", "nonlinearity", ("none", "norm"), "gate"),
    Beside("readout", "num_layers", (1,), "2 or more"),
    Beside("readout_activation", "readout_width", (0,), "1 or more"),
    Beside("readout_activation", "readout_function", ("finnis_sinclair",), "mlp"),
    Beside("readout_width", "readout_function", ("finnis_sinclair",), "mlp"),
    Beside("readout_exponents", "readout_function", ("mlp",), "finnis_sinclair"),
)
"""What one other field decides. ``idle_fields`` adds what follows from the irreps that layers reach."""


class Seen(NamedTuple):
    """What layers see of the config, and the irreps that go out of them."""

    config: ModelConfig
    h_out: Irreps


def idle_fields(config: ModelConfig) -> Iterator[Idle]:
    """Find the fields that change nothing in this model."""
    depths = irreps_by_depth(
        config.irreps, config.l_max, config.correlation, config.channel_coupling == "full"
    )
    T = config.num_layers
    h = [depths[min(t, len(depths) - 1)] for t in range(T)] + [depths[0]]  # the last layer gives 0e
    first = [Seen(config.of_layer(0), h[1])]
    later = [Seen(config, h[T - 1] if T > 2 else h[T])] if T > 1 else []

    yield from _set_twice(config)
    for field, other, values, instead in BESIDE:
        for name, layers in _readers(config, field, first, later):
            found = sorted({getattr(seen.config, other) for seen in layers})
            if found and set(found) <= set(values) and not _pair_reads(config, field):
                yield Idle(
                    name.partition(".")[0],
                    (other, "first_layer") if other in config.first_layer else (other,),
                    f"model.{name} has no effect with {other} = {' and '.join(map(str, found))}: remove it, "
                    f"or set {other} = {instead}.",
                )
    for name, layers in _readers(config, "odd_activation", first, later):
        if not any(seen.h_out.mul("0o") for seen in layers):
            yield Idle(
                name.partition(".")[0],
                ("hidden_irreps", "num_layers", "l_max", "correlation", "channel_coupling"),
                f"model.{name} has no effect, as no gate sees 0o with hidden_irreps = {config.hidden_irreps} "
                f"and num_layers = {T}: remove it, or set both so that 0o is reached.",
            )
    if config.channel_coupling == "complete":
        yield from _idle_of_complete(config)
    yield from _lost_irreps(config, depths, h)
    yield from _idle_degrees(config, h)


ONE_FACTOR = (
    " has no effect with {}, which is of functions of one factor: remove it, or set correlation = 2 or more."
)


def _idle_of_complete(config: ModelConfig) -> Iterator[Idle]:
    """What the basis of complete coupling has no use for."""
    given, orders = config.total_degree, config.correlation
    if config.products:
        yield Idle(
            "total_degree",
            ("products",),
            "model.total_degree has no effect beside products, which list the basis: remove one of them.",
        )
    elif len(given) > orders:
        yield Idle(
            "total_degree",
            ("correlation",),
            f"model.total_degree = {list(given)}: with correlation = {orders} only the first {orders} of the "
            f"{len(given)} numbers have an effect; remove the others.",
        )
    if orders > 1:
        return
    yield Idle(
        "degree_weight", ("correlation",), "model.degree_weight" + ONE_FACTOR.format("correlation = 1")
    )
    of_many = ("total_degree", "envelope", *(["num_radial"] if config.radial_network == "none" else []))
    for field in of_many if config.pair_num_radial else ():
        where = f"correlation = 1 and pair_num_radial = {config.pair_num_radial}"
        yield Idle(field, ("correlation", "pair_num_radial"), f"model.{field}" + ONE_FACTOR.format(where))


def _pair_reads(config: ModelConfig, field: str) -> bool:
    """Whether the two-body term's own radial functions read a field that the others may not."""
    has_own = config.channel_coupling == "complete" and config.pair_num_radial > 0
    return has_own and field == "envelope_power" and config.pair_envelope != "cosine"


def _readers(
    config: ModelConfig, field: str, first: list[Seen], later: list[Seen]
) -> list[tuple[str, list[Seen]]]:
    """Layers that read a field, and those that read the entry of ``first_layer`` in its place."""
    if field in config.first_layer:
        return [(field, later), (f"first_layer.{field}", first)]
    return [(field, first + later)]


def _set_twice(config: ModelConfig) -> Iterator[Idle]:
    for field in config.first_layer if config.num_layers == 1 else ():
        yield Idle(
            field,
            ("num_layers", "first_layer"),
            f"model.{field} has no effect with num_layers = 1 where first_layer sets it too: remove one of them.",
        )


def _lost_irreps(config: ModelConfig, depths: list[Irreps], h: list[Irreps]) -> Iterator[Idle]:
    """Irreps that no layer passes on; the A-basis of products (ν > 1) may have parities because of them."""
    T, used = config.num_layers, h[config.num_layers - 1]
    lost = [irrep for irrep in config.irreps.irreps if irrep not in used.irreps]

    def A(hidden: Irreps) -> list[list[Irrep]]:
        return [density_irreps(h_in, hidden, config.l_max, config.correlation) for h_in in h[:T]]

    if lost and (config.correlation == 1 or A(config.irreps) == A(used)):
        enough = 1 + next(depth for depth, irreps in enumerate(depths) if {*lost} <= {*irreps.irreps})
        yield Idle(
            "hidden_irreps",
            ("num_layers", "l_max", "correlation", "channel_coupling"),
            f"model.hidden_irreps = {config.hidden_irreps}: with num_layers = {T} no layer passes "
            f"{', '.join(map(str, lost))} on; leave that out, or set num_layers = {enough}.",
        )


def _idle_degrees(config: ModelConfig, h: list[Irreps]) -> Iterator[Idle]:
    """Degrees of Y that no path has; products (ν > 1) use all of them."""
    if config.correlation > 1:
        return
    steps = (ConvolutionPaths(h_in, config.l_max, tuple(h_out.irreps)) for h_in, h_out in pairwise(h))
    highest = max(path.l2 for paths in steps for path in paths.paths)
    used = h[config.num_layers - 1]
    if highest < config.l_max:
        yield Idle(
            "l_max",
            ("hidden_irreps", "num_layers", "correlation"),
            f"model.l_max = {config.l_max} has no effect above {highest} with hidden_irreps = "
            f"{config.hidden_irreps}, num_layers = {config.num_layers} and correlation = 1: "
            f"remove it, or set l_max = {highest}{'' if used == config.irreps else f' and hidden_irreps = {used}'}.",
        )
