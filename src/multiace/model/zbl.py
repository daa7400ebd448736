"""Ziegler-Biersack-Littmark repulsion of bare nuclei at short range."""

from __future__ import annotations

import torch
from ase.data import atomic_numbers, covalent_radii
from torch import Tensor, nn

from multiace.basis.envelope import polynomial_envelope
from multiace.graph import Graph

__all__ = ["ZBL"]

COULOMB = 14.399645478425668
"""e²/(4πε₀) [eV Å]."""

SCREENING = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))
"""Universal screening function, φ(x) = Σ c exp(-d x)."""


class ZBL(nn.Module):
    r"""Screened Coulomb repulsion, switched off at the sum of the covalent radii.

    .. math:: E_{ij} = \frac{e^2}{4\pi\epsilon_0} \frac{Z_i Z_j}{r}\,
              \varphi\!\left(\frac{r}{a}\right) f_c(r), \qquad
              a = \frac{0.46850\,\text{Å}}{Z_i^{0.23} + Z_j^{0.23}}

    f_c is the polynomial envelope with p = 6 and cutoff r_i + r_j, the sum of covalent radii, where most
    bonded pairs are: it acts on compressed pairs only. The network learns the rest of the energy. The radii
    are ASE's, and kept with the weights.

    Args:
        elements: Chemical symbols in the order of the species index.
        cutoff: Cutoff of the graph [Å]; pairs beyond it do not exist.

    Source: Ziegler, Biersack, Littmark (1985); LAMMPS ``pair_style zbl``. As in MACE's ``ZBLBasis``, whose
    exponent 0.300 and length 0.4543 can be trained; here the universal ones stand.
    """

    numbers: Tensor
    radii: Tensor

    def __init__(self, elements: tuple[str, ...], cutoff: float):
        super().__init__()
        Z = [atomic_numbers[symbol] for symbol in elements]
        self.cutoff = cutoff
        self.register_buffer("numbers", torch.tensor(Z, dtype=torch.float64), persistent=False)
        self.register_buffer("radii", torch.from_numpy(covalent_radii[Z].copy()))

    def forward(self, graph: Graph) -> Tensor:
        """Return the energy of each atom [eV], (n_nodes,) float64: half of every pair's."""
        r = graph.edge_lengths()
        zi, zj = graph.species[graph.receivers], graph.species[graph.senders]
        Zi, Zj = self.numbers[zi], self.numbers[zj]
        x = r * (Zi**0.23 + Zj**0.23) / 0.46850
        screening = sum(c * torch.exp(-d * x) for c, d in SCREENING)
        reach = (self.radii[zi] + self.radii[zj]).clamp(max=self.cutoff)
        energy = 0.5 * COULOMB * Zi * Zj / r * screening * polynomial_envelope(r / reach, 1.0, 6)
        return r.new_zeros(graph.n_nodes).index_add(0, graph.receivers, energy)
