"""Fields that are impossible beside others: each is refused, with what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ase.data import atomic_numbers

from multiace.basis.irreps import Irrep
from multiace.basis.radial import RADIAL_BASES
from multiace.config import choose
from multiace.errors import InputError, brief
from multiace.model.irreps import reachable_irreps

if TYPE_CHECKING:
    from multiace.model.config import ModelConfig

__all__ = ["refuse_inconsistent"]

COMPLETE = {
    "num_layers": 1,
    "first_self_connection": "none",
    "nonlinearity": "none",
    "radial_norm": "none",
    "feature_norm": "none",
    "first_layer": {},
}
"""What complete coupling asks of other fields."""

FIXED_RADIAL = {"radial_species": "none", "radial_bias": False}
"""What radial functions without weights ask of other fields."""

SMALLEST_EXPONENT, LARGEST_EXPONENT = 0.05, 4.0
"""Powers of densities beyond these are slips: slopes at zero, or sizes, that no fit survives."""


def refuse_inconsistent(config: ModelConfig) -> None:
    """Refuse fields that are impossible beside others.

    Raises:
        InputError: If there are some.
    """
    refuse_coupling(config)
    refuse_irreps(config)
    refuse_exponents(config)
    refuse_radial(config)
    refuse_norms(config)
    refuse_energies(config)
    if config.first_layer:
        config.of_layer(0)


def refuse_irreps(config: ModelConfig) -> None:
    """Refuse features without invariants, or that nothing can reach."""
    irreps = config.irreps
    if not irreps.mul("0e"):
        raise InputError(
            f"model.hidden_irreps = {config.hidden_irreps!r} has no 0e, so that there is nothing to read the "
            "energy from. Add invariants, such as 64x0e."
        )
    reachable = reachable_irreps(irreps, config.l_max, config.correlation, config.channel_coupling == "full")
    unreachable = [str(irrep) for irrep in irreps.irreps if irrep not in reachable.irreps]
    if unreachable:
        raise InputError(
            f"model.hidden_irreps = {config.hidden_irreps!r}: {', '.join(unreachable)} can never be reached with "
            f"l_max = {config.l_max} and correlation = {config.correlation}. Leave it out, or raise l_max."
        )


def refuse_radial(config: ModelConfig) -> None:
    """Refuse networks without layers, forces that jump at the cutoff, and what a basis cannot do."""
    if config.radial_network == "mlp" and not config.radial_widths:
        raise InputError(
            "model.radial_network = mlp needs radial_widths; for none use radial_network = linear."
        )
    for field in ("envelope", "pair_envelope"):
        if getattr(config, field) == "two_sided" and config.envelope_power < 2:
            raise InputError(
                f"model.envelope_power = 1: forces jump at the cutoff with {field} = two_sided. Set 2, or 3 for "
                "continuous derivatives of forces."
            )
    if config.radial_knots == 1 or (config.radial_knots and config.trainable_radial):
        raise InputError(
            f"model.radial_knots = {config.radial_knots}: splines need two knots or more, and trainable_radial = "
            "false."
        )
    basis = choose(RADIAL_BASES, config.radial_basis, "")
    try:
        basis(config.num_radial, config.cutoff, config.trainable_radial)
    except TypeError as error:
        raise InputError(
            f"model.radial_basis = {config.radial_basis!r} is no radial basis ({brief(error)}); it takes num_radial, "
            "cutoff and trainable."
        ) from None


def refuse_energies(config: ModelConfig) -> None:
    """Refuse energies of isolated atoms that are missing, or not used."""
    if config.energy_reference == "given" and not config.isolated_energies:
        raise InputError(
            "model.energy_reference = given needs isolated_energies, such as {H: -13.57, C: -1026.85}."
        )
    if config.isolated_energies and config.energy_reference != "given":
        raise InputError(
            f"model.isolated_energies are given, but energy_reference = {config.energy_reference} does not use "
            "them. Set energy_reference = given, or remove them."
        )
    missing = sorted(set(config.elements) - set(config.isolated_energies))
    if config.energy_reference == "given" and missing:
        raise InputError(f"model.isolated_energies lacks {', '.join(missing)}.")


def refuse_norms(config: ModelConfig) -> None:
    """Refuse to normalise a single value, which would always be zero."""
    if config.normalises_radial and 1 in config.radial_widths:
        raise InputError(
            f"model.radial_norm = layer needs hidden layers of two values or more, and radial_widths = "
            f"{list(config.radial_widths)}: less its mean, a single one is zero."
        )
    if config.feature_norm == "layer" and config.channels == 1:
        raise InputError(
            f"model.feature_norm = layer needs two channels 0e or more, and hidden_irreps = {config.hidden_irreps}: "
            "less its mean, a single one is zero."
        )


def refuse_coupling(config: ModelConfig) -> None:
    """Refuse what complete coupling has no place for, and what only it has."""
    if config.channel_coupling != "complete":
        for field, value in (("correlation", 5), ("correlation", 6), ("radial_network", "none")):
            if getattr(config, field) == value:
                raise InputError(
                    f"model.{field} = {value} needs channel_coupling = complete, not {config.channel_coupling}."
                )
        return
    for field in FIXED_RADIAL if config.radial_network == "none" else ():
        given, needed = (str(value).lower() for value in (getattr(config, field), FIXED_RADIAL[field]))
        if given != needed:
            raise InputError(
                f"model.{field} = {given} needs radial functions with weights, but radial_network = none. Set "
                f"radial_network = linear, or {field} = {needed}."
            )
    changes = [
        f"{field} = {str(value).lower()}"
        for field, value in COMPLETE.items()
        if getattr(config, field) != value
    ]
    if config.irreps.irreps != [Irrep(0, 1)]:
        changes.append(f"hidden_irreps = {config.channels or 1}x0e")
    if changes:
        raise InputError(
            f"model.channel_coupling = complete is one layer of products; set {', '.join(changes)}."
        )
    refuse_products(config)
    few = 1 < len(config.total_degree) < config.correlation
    if few or min(config.total_degree, default=0) <= 0:
        raise InputError(
            f"model.total_degree = {list(config.total_degree)}: one positive number is needed, or one for each of "
            f"the {config.correlation} orders."
        )


def refuse_products(config: ModelConfig) -> None:
    """Refuse products that are not of the factors there are, have no invariant, or are listed twice."""
    largest = config.truncation.num_radial
    one_hot = config.element_embedding == "one_hot"
    n_elements = (len(config.elements) or len(atomic_numbers)) if one_hot else config.embedding_dim
    seen = set()
    for product in config.products:
        key, where = tuple(sorted(product)), f"model.products: {[list(factor) for factor in product]}"
        if not 1 <= len(product) <= config.correlation:
            raise InputError(
                f"{where} has {len(product)} factors; 1 to correlation = {config.correlation} are needed."
            )
        radial = config.pair_num_radial if len(product) == 1 and config.pair_num_radial else largest
        for z, n, degree in product:
            inside = n_elements > z >= 0 and 0 <= degree <= config.l_max and 1 <= n <= radial
            if not inside:
                raise InputError(
                    f"{where} has the factor [{z}, {n}, {degree}]; z must be the number of an element from 0, n "
                    f"between 1 and {radial}, and l at most l_max = {config.l_max}."
                )
        degrees = [degree for *_, degree in product]
        if sum(degrees) % 2 or 2 * max(degrees) > sum(degrees):
            raise InputError(f"{where} has no invariant: the l do not couple to 0 with even parity.")
        if key in seen:
            raise InputError(f"{where} is listed twice.")
        seen.add(key)


def refuse_exponents(config: ModelConfig) -> None:
    """Refuse exponents that are not one for each density, or out of range."""
    if config.readout_function != "finnis_sinclair":
        return
    exponents = list(config.readout_exponents)
    if len(exponents) not in (1, config.channels):
        raise InputError(
            f"model.readout_exponents = {exponents}: one number is needed, or one for each of the {config.channels} "
            f"channels 0e of hidden_irreps = {config.hidden_irreps}."
        )
    if not all(SMALLEST_EXPONENT <= m <= LARGEST_EXPONENT for m in exponents):
        raise InputError(
            f"model.readout_exponents = {exponents}: each must be between {SMALLEST_EXPONENT} and "
            f"{LARGEST_EXPONENT}."
        )
