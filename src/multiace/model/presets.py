"""Published models, and a recommended one, side by side: each is a value of the config.

The architectures are the published ones; where a paper varies a number (channels, cutoff), its 3BPA setting
is taken. A ``-small`` preset is the same kind of model with fewer channels, layers and irreps, which trains in
minutes on two CPU cores.
"""

from __future__ import annotations

from multiace.model.config import ModelConfig

__all__ = ["PRESETS"]

BOTNET = ModelConfig(
    cutoff=4.0,
    l_max=3,
    hidden_irreps="80x0o + 80x0e + 80x1o + 80x1e + 80x2o + 80x2e + 80x3o + 80x3e",
    num_layers=5,
)
"""Batatia et al. (arXiv:2205.06643); the authors' 3BPA command: 5 layers, 80 channels, both parities."""

NEQUIP = ModelConfig(
    cutoff=5.0,
    l_max=3,
    hidden_irreps="64x0e + 64x0o + 64x1e + 64x1o + 64x2e + 64x2o + 64x3e + 64x3o",
    num_layers=5,
    envelope_power=2,
    neighbor_norm="sqrt",
    first_self_connection="residual",
    nonlinearity="gate",
    readout="last",
)
"""NequIP (arXiv:2101.03164), 3BPA settings of Musaelian et al. (Nat. Commun. 14, 579): 64 even and odd, p = 2."""

MACE = ModelConfig(
    cutoff=5.0,
    l_max=3,
    hidden_irreps="256x0e + 256x1o + 256x2e",
    num_layers=2,
    correlation=3,
    product_elements=True,
    envelope_power=5,
    radial_widths=(64, 64, 64),
)
"""MACE (arXiv:2206.07697), L = 2, 3BPA: 2 layers, ν = 3, 256 channels."""

RECOMMENDED = ModelConfig(
    cutoff=5.0,
    l_max=3,
    hidden_irreps="40x0e + 40x1o + 40x2e",
    num_layers=2,
    correlation=2,
    product_elements=True,
    num_radial=5,
    radial_widths=(32, 32),
    readout_width=0,
)
"""From a search on AcAc for up to two core hours (docs/ablations.md): 2 layers, ν = 2."""

ACE = ModelConfig(
    cutoff=5.0,
    l_max=6,
    hidden_irreps="1x0e",
    num_layers=1,
    correlation=4,
    product_elements=True,
    channel_coupling="complete",
    total_degree=(12.0, 11.0, 9.0, 8.0),
    degree_weight=0.4,
    radial_basis="legendre",
    num_radial=9,
    pair_num_radial=12,
    pair_envelope="inverse",
    envelope="polynomial",
    envelope_power=2,
    distance_transform="agnesi_wide",
    radial_network="none",
    neighbor_norm="none",
    first_self_connection="none",
    readout_width=0,
    scale="none",
    shift="none",
    dtype="float64",
)
"""Linear ACE (Drautz, PRB 99, 014104): all products of up to four factors, solved for by linear algebra."""

ACE_SMALL = ACE.replace(
    l_max=3,
    correlation=3,
    num_radial=8,
    total_degree=(9.0, 9.0, 7.0),
    degree_weight=0.5,
)

ACE_TENSOR_REDUCED = ModelConfig(
    cutoff=5.0,
    l_max=3,
    hidden_irreps="32x0e",
    num_layers=1,
    correlation=3,
    product_elements=True,
    radial_basis="legendre",
    num_radial=8,
    envelope="polynomial",
    envelope_power=2,
    distance_transform="agnesi",
    radial_network="linear",
    radial_species="pair",
    neighbor_norm="sqrt",
    first_self_connection="none",
    readout_width=0,
    shift="none",
)
"""Linear in the products of one density, tensor-reduced to 32 channels (Darby et al., arXiv:2210.01705)."""

SCHNET = ModelConfig(
    cutoff=5.0,
    l_max=0,
    hidden_irreps="64x0e",
    num_layers=6,
    radial_basis="gaussian",
    num_radial=25,
    envelope="cosine",
    radial_widths=(64,),
    radial_activation="shifted_softplus",
    neighbor_norm="sqrt",
    first_self_connection="residual",
    nonlinearity="gate",
    activation="shifted_softplus",
    readout="last",
    readout_width=32,
    readout_activation="shifted_softplus",
)
"""Invariant features alone (SchNet, arXiv:1706.08566): 6 interactions, Gaussians, shifted softplus."""

PAINN = SCHNET.replace(
    l_max=1,
    hidden_irreps="128x0e + 128x1o",
    num_layers=3,
    radial_basis="bessel",
    num_radial=20,
    radial_network="linear",
    activation="silu",
    readout_width=64,
    readout_activation="silu",
)
"""Invariants and vectors (after PaiNN, arXiv:2102.03150): 3 interactions, linear filters, cosine cutoff, SiLU."""

# With three layers no other parity reaches the energy: 1e and 2o first occur in the second, 0o in the third.
BOTNET_SMALL = BOTNET.replace(cutoff=5.0, l_max=2, hidden_irreps="32x0e + 32x1o + 32x2e", num_layers=3)
NEQUIP_SMALL = NEQUIP.replace(l_max=2, hidden_irreps="16x0e + 16x1o + 16x2e", num_layers=3)

# Two densities and the embedding of pacemaker (Bochkarev et al., Phys. Rev. Materials 6, 013804): ρ1 + F(ρ2; 1/2).
EMBEDDING_CHANGE = {
    "hidden_irreps": "2x0e",
    "readout_function": "finnis_sinclair",
    "readout_exponents": (1.0, 0.5),
}
ELEMENTS_CHANGE = {"radial_network": "linear", "radial_species": "sender"}
E0_CHANGE = {"scale": "none", "shift": "none"}
LINEAR_CHANGE = {"nonlinearity": "none"}

PRESETS: dict[str, ModelConfig] = {
    "recommended": RECOMMENDED,
    "ace": ACE,
    "ace-fs": ACE.replace(**EMBEDDING_CHANGE),
    "ace-tensor-reduced": ACE_TENSOR_REDUCED,
    "nequip": NEQUIP,
    "nequip-linear": NEQUIP.replace(**LINEAR_CHANGE),
    "botnet": BOTNET,
    "botnet-elements": BOTNET.replace(**ELEMENTS_CHANGE),
    "botnet-e0": BOTNET.replace(**E0_CHANGE),
    "mace": MACE,
    "schnet": SCHNET,
    "painn": PAINN,
    "recommended-small": RECOMMENDED.replace(l_max=2, hidden_irreps="16x0e + 16x1o"),
    "ace-small": ACE_SMALL,
    "ace-fs-small": ACE_SMALL.replace(**EMBEDDING_CHANGE),
    "ace-tensor-reduced-small": ACE_TENSOR_REDUCED.replace(hidden_irreps="16x0e", num_radial=6),
    "nequip-small": NEQUIP_SMALL,
    "nequip-linear-small": NEQUIP_SMALL.replace(**LINEAR_CHANGE),
    "botnet-small": BOTNET_SMALL,
    "botnet-elements-small": BOTNET_SMALL.replace(**ELEMENTS_CHANGE),
    "botnet-e0-small": BOTNET_SMALL.replace(**E0_CHANGE),
    "mace-small": MACE.replace(l_max=2, hidden_irreps="32x0e + 32x1o"),
    "schnet-small": SCHNET.replace(hidden_irreps="32x0e", num_layers=3),
    "painn-small": PAINN.replace(hidden_irreps="32x0e + 32x1o"),
}
"""Every preset by name."""
