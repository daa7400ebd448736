"""The product basis: symmetrised products of A, and the message made of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import count

import torch
from torch import Tensor, nn

from multiace import ops
from multiace.basis.coupling import clebsch_gordan
from multiace.basis.irreps import Irrep, Irreps
from multiace.errors import InputError
from multiace.layers.embedding import ElementEmbedding
from multiace.layers.equivariant import Linear
from multiace.ops import ProductPaths

__all__ = ["PRODUCTS", "ChannelwiseProduct", "FullProduct", "IdentityProduct"]

MAX_FULL_WEIGHTS = 50_000_000
MAX_PRODUCT_COMPONENTS = 100_000


class IdentityProduct(nn.Module):
    """ν = 1 without element weights: the message is A itself, exactly (NequIP, BOTNet)."""

    def forward(self, A: Tensor, species: Tensor, elements: ElementEmbedding) -> Tensor:
        """Return A."""
        return A


class ChannelwiseProduct(nn.Module):
    r"""Message of all products of up to ν factors A of the same channel.

    .. math:: m_{i,k,LM} = \sum_{k'} W_{kk'} \frac{1}{\sqrt{n_L}} \sum_{\nu' = 1}^{\nu} \sum_\eta
              W_{k'\eta}(z_i) \sum_{v} C^{LM}_{\eta v} \prod_{\xi=1}^{\nu'} A_{i,k',v_\xi}

    ==================  ============================  ==================================
    symbol              code                          shape
    ==================  ============================  ==================================
    A                   ``A``                         (n_nodes, components, channels)
    W_kη(z)             ``W``                         (n_species or 1, paths, channels)
    n_L                 ``self.paths.n_paths[L]``     ()
    m                   return value                  (n_nodes, irreps_out.dim)
    ==================  ============================  ==================================

    Args:
        irreps_in: Irreps of A, all with the same multiplicity.
        irreps_out: Irreps of m, all of them reachable.
        correlation: ν.
        embedding_dim: Length of the element attributes, or 0 for weights that do not see the element.

    Raises:
        InputError: If there are more than 100,000 components of products.

    Source: MACE (arXiv:2206.07697), eq. 10-11. The basis here is linearly independent; MACE's U matrices
    hold dependent paths as well, so numbers of weights differ.
    """

    def __init__(self, irreps_in: Irreps, irreps_out: Irreps, correlation: int, embedding_dim: int):
        super().__init__()
        self.channels = irreps_in[0].mul
        self.paths = ProductPaths(tuple(irreps_in.irreps), tuple(irreps_out.irreps), correlation)
        n_components = sum(irrep.dim * n_paths for irrep, n_paths in self.paths.n_paths.items())
        if n_components > MAX_PRODUCT_COMPONENTS:
            raise InputError(
                f"correlation = {correlation} with A of {', '.join(map(str, irreps_in.irreps))} makes products of "
                f"{n_components:,} components (at most {MAX_PRODUCT_COMPONENTS:,}). Use a lower correlation or "
                "l_max, or hidden_irreps of parity (-1)^l only."
            )
        self.sees_element = embedding_dim > 0
        self.weights = nn.ParameterDict(
            {
                str(irrep): torch.randn(max(embedding_dim, 1), n_paths, self.channels)
                for irrep, n_paths in self.paths.n_paths.items()
            }
        )
        self.linear = Linear(Irreps((self.channels, irrep) for irrep in irreps_out.irreps), irreps_out)

    def coefficients(self, elements: ElementEmbedding) -> Tensor:
        """Return W of all paths, with their norm, (n_species or 1, paths, channels)."""
        W = torch.cat([W * W.shape[1] ** -0.5 for W in self.weights.values()], dim=1)
        return elements(W) if self.sees_element else W

    def forward(
        self, A: Tensor, species: Tensor, elements: ElementEmbedding, W: Tensor | None = None
    ) -> Tensor:
        """Return m, (n_nodes, irreps_out.dim), with W if it is made already."""
        if W is None:
            W = self.coefficients(elements)
        A = A.unflatten(1, (-1, self.channels))
        m = ops.symmetric_product(A, W, species if self.sees_element else None, self.paths)
        return self.linear(m.flatten(1))


class FullProduct(nn.Module):
    r"""Message of all products of up to ν factors A of any channels, as in linear ACE.

    .. math:: m_{i,k,LM} = \frac{1}{\sqrt{n}} \sum_{\nu' = 1}^{\nu} \sum_{\eta, k_1 \dots k_{\nu'}}
              W_{k,\eta k_1 \dots k_{\nu'}}(z_i)
              \left[ A_{k_1 l_1} \otimes \cdots \otimes A_{k_{\nu'} l_{\nu'}} \right]_{\eta, LM}

    η runs over l_1 <= ... <= l_ν' and all intermediate irreps of the coupling from the left. The number of
    products grows as (channels)^ν. Channels of equal l are not sorted, so that some functions occur in
    several orders: the span is complete, the weights are not unique.

    Args: As of :class:`ChannelwiseProduct`.

    Raises:
        InputError: If one layer would need more than 50 million weights.
    """

    def __init__(self, irreps_in: Irreps, irreps_out: Irreps, correlation: int, embedding_dim: int):
        super().__init__()
        self.irreps_in, self.irreps_out, self.correlation = irreps_in, irreps_out, correlation
        self.n_products = dict.fromkeys(irreps_out.irreps, 0)
        channels = irreps_in[0].mul
        for order, _, _, irrep in self._couplings():
            if irrep in self.n_products:
                self.n_products[irrep] += channels**order
        rows = max(embedding_dim, 1)
        n_weights = rows * sum(mul * self.n_products[irrep] for mul, irrep in irreps_out)
        if n_weights > MAX_FULL_WEIGHTS:
            raise InputError(
                f"channel_coupling = 'full' with {channels} channels and correlation = {correlation} needs "
                f"{n_weights:,} weights in one layer (at most {MAX_FULL_WEIGHTS:,}). Use fewer channels, a "
                "lower correlation or l_max, or channel_coupling = 'channelwise'."
            )
        self.sees_element = embedding_dim > 0
        self.weights = nn.ParameterDict(
            {str(ir): torch.randn(rows, self.n_products[ir], mul) for mul, ir in irreps_out}
        )

    def _couplings(self) -> Iterator[tuple[int, int, int, Irrep]]:
        """Walk over all products: order, index of the left factor (a product), of A, irrep of the result.

        Products are numbered as they come; those of order 1 are the blocks of A themselves.
        """
        number = count()
        level = []  # (number, index of the last factor, irrep) of all products of one order
        for last, irrep in enumerate(self.irreps_in.irreps):
            level.append((next(number), last, irrep))
            yield 1, -1, last, irrep
        for order in range(2, self.correlation + 1):
            longer = []
            # Each factor to come lowers the degree by l_max of A at most.
            highest = self.irreps_out.l_max + (self.correlation - order) * self.irreps_in.l_max
            for left, last, left_irrep in level:
                for right in range(last, len(self.irreps_in)):
                    for irrep in left_irrep * self.irreps_in[right].irrep:
                        if irrep.l > highest or (order == self.correlation and irrep not in self.n_products):
                            continue
                        longer.append((next(number), right, irrep))
                        yield order, left, right, irrep
            level = longer

    def forward(self, A: Tensor, species: Tensor, elements: ElementEmbedding) -> Tensor:
        """Return m, (n_nodes, irreps_out.dim)."""
        factors = [
            A[:, part].unflatten(1, (irrep.dim, -1)) for irrep, part in self.irreps_in.slices().items()
        ]
        irreps: list[Irrep] = []
        products: list[Tensor] = []
        collected: dict[Irrep, list[Tensor]] = {irrep: [] for irrep in self.irreps_out.irreps}
        for order, left, right, irrep in self._couplings():
            if order == 1:
                product = factors[right]
            else:
                l1, l2 = irreps[left].l, self.irreps_in[right].irrep.l
                C = _clebsch_gordan(l1, l2, irrep.l, A.dtype, A.device)
                both = torch.einsum("abc,nbq->nacq", C, factors[right])
                product = torch.einsum("nacq,nak->nckq", both, products[left]).flatten(2)
            irreps.append(irrep)
            products.append(product)  # [n_nodes, 2L + 1, channels^order]
            if irrep in collected:
                collected[irrep].append(product)
        blocks = []
        for irrep, parts in collected.items():
            W = self.weights[str(irrep)]
            B = torch.cat(parts, dim=2)
            products_in, channels_out = Irreps([(B.shape[2], irrep)]), Irreps([(W.shape[2], irrep)])
            matrices = elements(W.flatten(1)) if self.sees_element else W.flatten(1)
            z = species if self.sees_element else None
            blocks.append(ops.linear(B.flatten(1), matrices, z, products_in, channels_out))
        return torch.cat(blocks, dim=1)


@lru_cache(maxsize=1024)
@torch.inference_mode(False)  # what is kept must serve training too
def _clebsch_gordan(l1: int, l2: int, L: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(clebsch_gordan(l1, l2, L), dtype=dtype, device=device)


PRODUCTS = {"channelwise": ChannelwiseProduct, "full": FullProduct}
"""The product of each channel coupling but the complete one."""
