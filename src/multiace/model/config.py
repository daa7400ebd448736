"""The design space: every axis of the model is one field here, with its table of choices."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar, Literal, Self

from ase.data import atomic_numbers
from pydantic import Field, field_validator, model_validator

from multiace.basis.ace import Truncation
from multiace.basis.envelope import ENVELOPES, PAIR_ENVELOPES
from multiace.basis.irreps import Irreps
from multiace.basis.radial import DISTANCE_TRANSFORMS, RADIAL_BASES
from multiace.config import Config, Idle, choose, refuse_idle, when_given
from multiace.errors import InputError, did_you_mean
from multiace.layers.activations import ACTIVATIONS, ODD_ACTIVATIONS
from multiace.layers.complete import CHANNEL_COUPLINGS
from multiace.layers.density import NEIGHBOR_NORMS
from multiace.layers.embedding import ELEMENT_EMBEDDINGS
from multiace.layers.radial import RADIAL_NETWORKS, RADIAL_NORMS, RADIAL_SPECIES
from multiace.layers.readout import READOUT_FUNCTIONS
from multiace.layers.update import FEATURE_NORMS, NONLINEARITIES, SELF_CONNECTIONS
from multiace.model.consistent import refuse_inconsistent
from multiace.model.idle import idle_fields

__all__ = ["ENERGY_REFERENCES", "SCALES", "SHIFTS", "TABLES", "ModelConfig"]

ENERGY_REFERENCES = ("isolated", "given", "least_squares", "mean", "none")
SCALES = ("rms_force", "std", "none")
SHIFTS = ("mean", "none")

TABLES: dict[str, Any] = {
    "radial_basis": RADIAL_BASES,
    "envelope": ENVELOPES,
    "pair_envelope": PAIR_ENVELOPES,
    "distance_transform": DISTANCE_TRANSFORMS,
    "radial_network": RADIAL_NETWORKS,
    "radial_activation": ACTIVATIONS,
    "radial_norm": RADIAL_NORMS,
    "radial_species": RADIAL_SPECIES,
    "element_embedding": ELEMENT_EMBEDDINGS,
    "channel_coupling": CHANNEL_COUPLINGS,
    "neighbor_norm": NEIGHBOR_NORMS,
    "feature_norm": FEATURE_NORMS,
    "first_self_connection": SELF_CONNECTIONS,
    "self_connection": SELF_CONNECTIONS,
    "nonlinearity": NONLINEARITIES,
    "activation": ACTIVATIONS,
    "odd_activation": ODD_ACTIVATIONS,
    "readout": ("last", "every"),
    "readout_function": READOUT_FUNCTIONS,
    "readout_activation": ACTIVATIONS,
    "energy_reference": ENERGY_REFERENCES,
    "scale": SCALES,
    "shift": SHIFTS,
}
"""Every field that is a choice, with its choices: validation, help, documentation and tests read this."""

OPEN_TABLES = (
    *("radial_basis", "envelope", "pair_envelope"),
    *("distance_transform", "radial_activation", "activation"),
)
"""Fields that also take ``package.module:Name``."""

FIRST_LAYER_FIELDS = (
    "radial_network",
    "radial_widths",
    "radial_activation",
    "radial_norm",
    "radial_species",
    "radial_bias",
    "neighbor_norm",
    "feature_norm",
    "nonlinearity",
    "activation",
    "odd_activation",
)
"""Fields that ``first_layer`` may set."""

OWN_FIELDS = ("elements", "energy_reference", "isolated_energies", "dtype")
"""Fields that models of one architecture may differ in."""

MOST_CHANNELS = 10_000
"""Largest width of anything; more than this is a slip, and would take all memory."""

MOST_KNOTS = 100_000
"""Finest spline."""

MOST_FUNCTIONS = 1_000
"""Largest radial basis."""

KINKS = "; relu and abs have a kink, where forces jump"


def outside_choices(values: Mapping[str, Any]) -> list[str]:
    """Choices among these fields that name code from outside multiace, ``field = package.module:Name``."""
    first = values.get("first_layer")
    values = {**values, **(first if isinstance(first, Mapping) else {})}
    return [f"{field} = {values[field]}" for field in OPEN_TABLES if ":" in str(values.get(field, ""))]


class ModelConfig(Config):
    """A point of the design space. Equations: docs, "Design space"; published points: ``PRESETS``.

    Fields that are given must have an effect; those with defaults need not, nor those of a whole config, which
    gives every field (``replace``, model files).

    Raises:
        InputError: If a field is unknown, impossible, or given without effect.
    """

    added: ClassVar[tuple[str, ...]] = ("radial_norm", "feature_norm")

    # what is seen
    elements: tuple[str, ...] = Field(
        (), description="chemical symbols the model knows; () takes them from the training data"
    )
    cutoff: float = Field(5.0, gt=0, description="cutoff radius r_c [Å]")
    l_max: int = Field(3, ge=0, le=6, description="largest degree of the spherical harmonics Y_lm")

    # features and layers
    hidden_irreps: str = Field(
        "64x0e + 64x1o + 64x2e + 64x3o",
        description="features h of a node: channels x degree and parity; the last layer keeps only 0e",
    )
    num_layers: int = Field(5, ge=1, le=8, description="number of message-passing layers T")
    correlation: int = Field(
        1,
        ge=1,
        le=6,
        description="correlation order ν of the product basis; a message has ν + 1 bodies; 5 and 6 only if coupling is "
        "complete",
    )
    product_elements: bool = Field(
        False, description="whether the weights of the product basis depend on the receiver's element"
    )
    channel_coupling: str = Field(
        "channelwise",
        description="channelwise: channels stay apart in φ and in products (uvu); full: all pairs are mixed; "
        "complete: all products of one-particle functions up to total_degree, each with its own coefficient (linear "
        "ACE, one layer)",
    )
    total_degree: tuple[float, ...] = Field(
        (12.0,),
        description="complete coupling: largest Σ (n + degree_weight l) over the factors of a product, n from 1, for "
        "each order 1..ν (a longer list serves any smaller ν); one number serves all orders",
    )
    degree_weight: float = Field(
        1.5, gt=0, description="complete coupling: what a degree l counts in total_degree against one of n"
    )

    products: tuple[tuple[tuple[int, int, int], ...], ...] = Field(
        (),
        description="complete coupling: the products of the basis, each a list of factors [z, n, l] with z the number "
        "of an element from 0 and n from 1; () = all within total_degree",
    )

    # radial part
    radial_basis: str = Field("bessel", description="radial basis e_n(r)")
    num_radial: int = Field(8, ge=1, le=MOST_FUNCTIONS, description="number of radial basis functions")
    trainable_radial: bool = Field(
        False,
        description="whether the basis itself is trained (roots of bessel, centres and widths of gaussian)",
    )
    envelope: str = Field(
        "polynomial",
        description="envelope f_c that takes the basis to zero at the cutoff, two_sided at r = 0 too",
    )
    envelope_power: int = Field(6, ge=1, description="power p of the polynomial and two_sided envelopes")
    radial_knots: int = Field(
        0,
        ge=0,
        le=MOST_KNOTS,
        description="number of knots, from 0 to the cutoff, of cubic splines for each pair of elements that the radial "
        "functions are read from; they start as the functions that the other fields say, and are kept in the model "
        "file (models of other codes); 0 = the functions themselves",
    )
    distance_transform: str = Field("none", description="map of the distance that the basis sees")
    radial_network: str = Field(
        "mlp",
        description="radial weights R: linear in the basis, an MLP of it, or none: R is the basis (complete coupling)",
    )
    n_max: int = Field(
        0,
        ge=0,
        le=MOST_FUNCTIONS,
        description="complete coupling: number of radial functions R_n that a radial network makes for each l; 0 = "
        "num_radial",
    )
    pair_num_radial: int = Field(
        0,
        ge=0,
        le=MOST_FUNCTIONS,
        description="complete coupling: number of radial functions of the two-body term, its own, whatever "
        "total_degree; 0: it has those of the other terms",
    )
    pair_envelope: str = Field(
        "polynomial", description="envelope of the two-body term's own radial functions, with envelope_power"
    )
    radial_widths: tuple[int, ...] = Field((64, 64, 64), description="hidden widths of the radial MLP")
    radial_activation: str = Field("silu", description="activation of the radial MLP" + KINKS)
    radial_norm: str = Field(
        "none",
        description="normalisation in the radial MLP: none, or layer: hidden values to zero mean and unit variance "
        "before each activation, and the envelope once more behind the network",
    )
    radial_species: str = Field(
        "none", description="elements the radial weights see: none, that of the sender, or both (pair)"
    )
    radial_bias: bool = Field(
        False,
        description="biases in the radial network; the energy then jumps at the cutoff (for imported models), unless "
        "radial_norm = layer",
    )
    neighbor_norm: str = Field(
        "mean",
        description="λ that sums over neighbours are divided by: their mean number, its square root, 1, "
        "or learned in each layer from the mean number on",
    )
    feature_norm: str = Field(
        "none",
        description="normalisation of the features that a layer's density reads: none, or layer: invariants to zero "
        "mean and unit variance, other irreps by one factor; the energy then has no body order",
    )

    # elements
    element_embedding: str = Field(
        "one_hot",
        description="attributes a(z) of an element: one-hot, or continuous (learned, shared by all layers)",
    )
    embedding_dim: int = Field(
        16, ge=1, le=MOST_CHANNELS, description="length of a(z) where the embedding is continuous"
    )

    # update and readout
    first_self_connection: str = Field(
        "selector",
        description="first layer: none; selector W_z A; or residual, W_z h added to the message",
    )
    self_connection: str = Field("residual", description="the same for all later layers")
    first_layer: dict[str, Any] = Field(
        {},
        description="other fields that differ in the first layer, such as {radial_species: sender}: "
        "radial network, norms and nonlinearity",
    )
    nonlinearity: str = Field(
        "none", description="nonlinearity of the update: none, gate, or norm (activation of norms)"
    )
    activation: str = Field("silu", description="activation of invariants, gates and norms" + KINKS)
    odd_activation: str = Field(
        "tanh", description="activation of pseudoscalars 0o in the gate (an odd function)"
    )
    readout: str = Field("every", description="layers that are read out: the last, or every one")
    readout_function: str = Field(
        "mlp",
        description="how the last layer is read: an MLP of its invariants (linear with readout_width = 0), or "
        "finnis_sinclair: the invariants are densities, and the energy a sum of powers of them",
    )
    readout_width: int = Field(
        16,
        ge=0,
        le=MOST_CHANNELS,
        description="hidden width of the MLP that reads the last layer; 0 makes it linear",
    )
    readout_activation: str = Field("silu", description="activation of that MLP" + KINKS)
    readout_exponents: tuple[float, ...] = Field(
        (0.5,),
        description="finnis_sinclair: the exponent of each density, that is, of each channel 0e; one number serves "
        "all, and 1 is the density itself",
    )

    # outside the network
    energy_reference: str = Field(
        "isolated",
        description="E0 of each element: isolated atoms in the data, given, least squares over the training "
        "set, mean energy per atom, or none; the model gives an isolated atom exactly E0 where shift = none and "
        "first_self_connection is not residual",
    )
    isolated_energies: dict[str, float] = Field(
        {}, description="E0 by element [eV], for energy_reference = given"
    )
    scale: str = Field(
        "rms_force",
        description="factor of the site energies: RMS force component of the training set, standard "
        "deviation of (E - ΣE0)/N, or none (1)",
    )
    shift: str = Field(
        "mean",
        description="constant added to each site energy: mean (E - ΣE0)/N of the training set, or none (0)",
    )
    zbl: bool = Field(False, description="add the Ziegler-Biersack-Littmark repulsion at short range")
    dtype: Literal["float32", "float64"] = Field("float32", description="precision of the network's weights")

    @field_validator(*TABLES)
    @classmethod
    def _known(cls, name: str, info: Any) -> str:
        table = TABLES[info.field_name]
        if ":" in name and info.field_name in OPEN_TABLES:
            choose(table, name, f"model.{info.field_name}")
        elif name not in table:
            raise InputError(
                f"model.{info.field_name} = {name!r} is not a choice.{did_you_mean(name, table)}"
            )
        return name

    @field_validator("hidden_irreps")
    @classmethod
    def _readable(cls, irreps: str) -> str:
        for mul, irrep in Irreps.parse(irreps):
            if mul > MOST_CHANNELS:
                raise InputError(
                    f"model.hidden_irreps = {irreps!r} has {mul} channels of {irrep}; there can be at most "
                    f"{MOST_CHANNELS}."
                )
        return irreps

    @field_validator("elements", "isolated_energies")
    @classmethod
    def _chemical(cls, elements: Any, info: Any) -> Any:
        for symbol in elements:
            if symbol not in atomic_numbers or symbol == "X":
                raise InputError(f"model.{info.field_name}: {symbol!r} is not a chemical symbol.")
        if len(set(elements)) != len(elements):
            raise InputError(f"model.{info.field_name} names an element twice: {', '.join(elements)}.")
        return elements

    @field_validator("radial_widths")
    @classmethod
    def _positive(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if not all(1 <= width <= MOST_CHANNELS for width in widths):
            raise InputError(
                f"model.radial_widths = {list(widths)}: every width must be at least 1 and at most {MOST_CHANNELS}."
            )
        return widths

    @field_validator("first_layer")
    @classmethod
    def _of_a_layer(cls, changes: dict[str, Any]) -> dict[str, Any]:
        for field in changes:
            if field == "self_connection":
                raise InputError("model.first_layer: set first_self_connection instead of self_connection.")
            if field not in FIRST_LAYER_FIELDS:
                raise InputError(
                    f"model.first_layer: {field!r} cannot differ between layers."
                    + did_you_mean(field, FIRST_LAYER_FIELDS)
                )
        return {field: tuple(value) if isinstance(value, list) else value for field, value in changes.items()}

    @field_validator("total_degree", "readout_exponents", mode="before")
    @classmethod
    def _for_all(cls, numbers: Any) -> Any:
        return (numbers,) if isinstance(numbers, int | float) else numbers

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse_inconsistent(self)
        return self

    @property
    def normalises_radial(self) -> bool:
        """Whether the radial network has hidden layers that are normalised."""
        return self.radial_network == "mlp" and self.radial_norm == "layer"

    @property
    def is_read_by_one_number(self) -> bool:
        """Whether energies are linear in the coefficients of complete products: one channel, read by a factor."""
        one = self.channels == 1 and self.readout_function == "mlp" and self.readout_width == 0
        return self.channel_coupling == "complete" and one

    @property
    def is_linear(self) -> bool:
        """Whether energies are linear in all parameters, so that they can be solved for."""
        return (
            self.is_read_by_one_number
            and self.radial_network == "none"
            and not self.trainable_radial
            and self.element_embedding == "one_hot"
            and self.neighbor_norm != "learned"
        )

    @property
    def truncation(self) -> Truncation:
        """Which products complete coupling has."""
        degrees = (self.total_degree * (self.correlation if len(self.total_degree) == 1 else 1))[
            : self.correlation
        ]
        largest_n = self.num_radial if self.radial_network == "none" else self.n_max or self.num_radial
        return Truncation(
            degrees, self.degree_weight, self.l_max, largest_n, self.pair_num_radial, self.products
        )

    def idle(self) -> Iterator[Idle]:
        """Find the fields that change nothing beside the others."""
        return idle_fields(self)

    def of_layer(self, t: int) -> Self:
        """The config of layer t: the first one has its own self-connection and other fields."""
        if t > 0:
            return self
        changes = {"self_connection": self.first_self_connection, "first_layer": {}, **self.first_layer}
        return self.replace(**changes)

    @property
    def irreps(self) -> Irreps:
        """``hidden_irreps``, parsed."""
        return Irreps.parse(self.hidden_irreps)

    @property
    def channels(self) -> int:
        """K, the channels of h⁰ and, where there are products, of the A-basis: those of 0e."""
        return self.irreps.mul("0e")

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], overrides: Collection[str] = (), start: ModelConfig | None = None
    ) -> Self:
        """Build from the ``model:`` section of a run file; ``preset: name`` supplies the other fields.

        Args:
            values: The fields that are given.
            overrides: Those of them that were given after the others, which they may leave without effect.
            start: Supplies what neither a field nor the preset says, in place of the defaults; its
                ``OWN_FIELDS`` come before those of the preset.

        Raises:
            InputError: If the preset is unknown, or a field is unknown, impossible, or given without effect.
        """
        from multiace.model.presets import PRESETS

        values = {str(key): value for key, value in values.items()}
        given = when_given(cls, values, overrides)
        name = values.pop("preset", None)
        if name is not None and (not isinstance(name, str) or name not in PRESETS):
            raise InputError(f"model.preset = {name!r} is not a preset.{did_you_mean(name, PRESETS)}")
        supplied = (start or ModelConfig()).model_dump()
        if name is not None:
            supplied |= PRESETS[name].model_dump(exclude=set(OWN_FIELDS) if start else None)
        if "energy_reference" in values:
            supplied["isolated_energies"] = {}
        config = cls(**{**supplied, **values})
        refuse_idle(config, given, given.get("preset", 0))
        return config
