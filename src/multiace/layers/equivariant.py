"""Equivariant building blocks: linear maps over channels, gates, activations of norms, normalisation.

Features are flat, ``(n_nodes, irreps.dim)``: one block ``(2l + 1, mul)`` per irrep, the channel last.
Weights start unit normal; the factor 1/√(fan-in) stands in the forward pass, so that one learning rate
serves all of them (as in e3nn). The matrices of all irreps lie in one tensor, ``weight``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from multiace import ops
from multiace.basis.irreps import Irrep, Irreps
from multiace.layers.activations import Activation
from multiace.layers.embedding import ElementEmbedding
from multiace.ops.paths import gate_irreps, linear_blocks, n_norm_weights, n_weights

__all__ = ["ElementLinear", "Gate", "LayerNorm", "Linear", "NormActivation"]


def _block(x: Tensor, irreps: Irreps, irrep: Irrep) -> Tensor:
    """Block of one irrep, (n_nodes, 2l + 1, mul)."""
    return x[:, irreps.slices()[irrep]].unflatten(1, (irrep.dim, irreps.mul(irrep)))


class Linear(nn.Module):
    r"""Mix the channels of equal irreps, :math:`y_{lm,k'} = \sum_k x_{lm,k} W^l_{kk'} / \sqrt{K_l}`.

    Irreps of the output that the input lacks are zero; those of the input that the output lacks are dropped.

    Args:
        irreps_in: Irreps of x.
        irreps_out: Irreps of y.

    Same as e3nn's ``Linear`` without biases.
    """

    def __init__(self, irreps_in: Irreps, irreps_out: Irreps):
        super().__init__()
        self.irreps_in, self.irreps_out = irreps_in, irreps_out
        self.weight = nn.Parameter(torch.randn(1, n_weights(irreps_in, irreps_out)))

    def matrices(self) -> dict[Irrep, Tensor]:
        """W^l of each irrep, (channels in, channels out): views of ``weight``."""
        return {irrep: W[0] for irrep, W in _matrices(self).items()}

    def forward(self, x: Tensor) -> Tensor:
        """Map (n_nodes, irreps_in.dim) to (n_nodes, irreps_out.dim)."""
        return ops.linear(x, self.weight, None, self.irreps_in, self.irreps_out)


class ElementLinear(nn.Module):
    r"""Linear map that depends on the element: the selector W_z A and the residual W_z h.

    .. math:: y_{i,lm,k'} = \sum_k x_{i,lm,k} W^l_{kk'}(z_i) / \sqrt{K_l},
              \qquad W(z) = \sum_d a_d(z) W_d

    Args:
        irreps_in: Irreps of x.
        irreps_out: Irreps of y; irreps that x lacks are zero.
        embedding_dim: Length of the element attributes a(z).

    Same as e3nn's ``FullyConnectedTensorProduct`` with one-hot elements, without its 1/√n_elements.
    """

    def __init__(self, irreps_in: Irreps, irreps_out: Irreps, embedding_dim: int):
        super().__init__()
        self.irreps_in, self.irreps_out = irreps_in, irreps_out
        self.weight = nn.Parameter(torch.randn(embedding_dim, n_weights(irreps_in, irreps_out)))

    def matrices(self) -> dict[Irrep, Tensor]:
        """W^l of each irrep, (embedding_dim, channels in, channels out): views of ``weight``."""
        return _matrices(self)

    def forward(self, x: Tensor, species: Tensor, elements: ElementEmbedding) -> Tensor:
        """Map (n_nodes, irreps_in.dim) to (n_nodes, irreps_out.dim).

        Args:
            x: Features.
            species: z, (n_nodes,).
            elements: a(z) of every element.
        """
        return ops.linear(x, elements(self.weight), species, self.irreps_in, self.irreps_out)


def _matrices(module: Linear | ElementLinear) -> dict[Irrep, Tensor]:
    return {
        b.irrep: module.weight[:, b.weights].unflatten(1, (b.mul_in, b.mul_out))
        for b in linear_blocks(module.irreps_in, module.irreps_out)
    }


class Gate(nn.Module):
    r"""NequIP's gate: scalars through activations, every other irrep times an activated scalar.

    .. math:: s_e \to f(s_e), \quad s_o \to g(s_o), \quad x_{lm,k} \to f(s_{lk})\, x_{lm,k}

    The input needs one more 0e channel for each gated channel; see :func:`multiace.ops.paths.gate_irreps`.

    Args:
        irreps_out: Irreps of the result.
        activation: f, of invariants and gates.
        odd_activation: g, of pseudoscalars; an odd function.

    Source: Weiler et al. (arXiv:1807.02547); NequIP (arXiv:2101.03164). Same as ``e3nn.nn.Gate``.
    """

    def __init__(self, irreps_out: Irreps, activation: str, odd_activation: str):
        super().__init__()
        self.irreps_in, self.irreps_out = gate_irreps(irreps_out), irreps_out
        self.activation = Activation(activation)
        self.odd_activation = Activation(odd_activation, odd=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n_nodes, irreps_in.dim) to (n_nodes, irreps_out.dim)."""
        return ops.gate(x, self.irreps_out, self.activation, self.odd_activation)


class NormActivation(nn.Module):
    r"""Scale each channel by an activation of its norm, :math:`x_{lk} \to f(|x_{lk}| + b_{lk})\, x_{lk}`.

    Invariants (0e) go through f itself. The norm is :math:`\sqrt{|x|^2/(2l+1) + \epsilon^2}`, smooth at zero.

    Args:
        irreps: Irreps of the features.
        activation: f.

    Source: tensor field networks (arXiv:1802.08219). Differs from ``e3nn.nn.NormActivation``, which divides
    by the norm: there the result has a cusp at zero.
    """

    def __init__(self, irreps: Irreps, activation: str):
        super().__init__()
        self.irreps_in = self.irreps_out = irreps
        self.activation = Activation(activation)
        self.biases = nn.ParameterDict(
            {str(irrep): torch.zeros(mul) for mul, irrep in irreps if not irrep.is_scalar}
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (n_nodes, irreps.dim) to the same shape."""
        blocks = []
        for block in self.irreps_in:
            part = _block(x, self.irreps_in, block.irrep)
            if block.irrep.is_scalar:
                part = self.activation(part)
            else:
                norm = (part.square().mean(dim=1, keepdim=True) + 1e-4).sqrt()
                part = part * self.activation(norm + self.biases[str(block.irrep)])
            blocks.append(part.flatten(1))
        return torch.cat(blocks, dim=1)


class LayerNorm(nn.Module):
    r"""Layer normalisation of features: invariants to zero mean and unit variance, all other irreps by one factor.

    .. math:: s_k \to a_k \frac{s_k - \bar s}{\sqrt{\overline{(s - \bar s)^2} + \epsilon}} + b_k, \qquad
              x_{lm,k} \to a_{lk} \frac{x_{lm,k}}{\sqrt{\sigma^2 + \epsilon}}, \qquad
              \sigma^2 = \Bigl\langle \overline{x_{lm,k}^2} \Bigr\rangle_l

    Bars are means over channels and components, the bracket is that over all irreps but 0e. Gains a start at 1, biases
    b at 0. With ε = 10⁻⁴ derivatives are finite where features vanish.

    Args:
        irreps: Irreps of the features.

    Source: the separable layer normalisation of EquiformerV2 (arXiv:2306.12059, section 4.3). Differs: irreps may have
    both parities and any number of channels each; ε is ten times as large.
    """

    def __init__(self, irreps: Irreps):
        super().__init__()
        self.irreps = irreps
        self.weight = nn.Parameter(torch.ones(1, n_norm_weights(irreps)))
        with torch.no_grad():
            self.weight[:, -irreps.mul("0e") :] = 0.0  # there are always invariants

    def forward(self, h: Tensor) -> Tensor:
        """Map (n_nodes, irreps.dim) to the same shape."""
        return ops.layer_norm(h, self.weight, self.irreps)
