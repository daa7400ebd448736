"""How the singular values of a large matrix are distributed, from products with random vectors."""

from __future__ import annotations

import numpy as np

__all__ = ["Density"]

PROBES = 8


class Density:
    r"""Stochastic Lanczos quadrature (Ubaru, Chen, Saad, SIAM J. Matrix Anal. Appl. 38, 1075, 2017).

    For random signs z, :math:`E[z^T f(H) z] = \mathrm{tr} f(H)`, and k steps of Lanczos from z give k nodes
    θ and weights of :math:`z^T f(H) z`. Traces over p values are known to about :math:`\sqrt{2 / (8 p)}` of
    p.

    Args:
        p: Size of the symmetric matrix H.

    Attributes:
        q: The vectors to multiply by H next, as orthonormal steps of each probe, (p, 8).
    """

    def __init__(self, p: int) -> None:
        signs = np.random.default_rng(0).integers(0, 2, size=(p, PROBES)) * 2.0 - 1.0
        self.q, self.last = signs / np.sqrt(p), np.zeros((p, PROBES))
        self.alphas: list[np.ndarray] = []
        self.betas: list[np.ndarray] = [np.zeros(PROBES)]

    def step(self, Hq: np.ndarray) -> None:
        """Go on with the product H q, (p, 8)."""
        w = Hq - self.betas[-1] * self.last
        alpha = np.sum(self.q * w, axis=0)
        w -= alpha * self.q
        beta = np.linalg.norm(w, axis=0)
        beta[beta < 1e-14 * np.abs(alpha)] = 0.0  # the space of this probe is exhausted
        self.alphas.append(alpha)
        self.betas.append(beta)
        self.last, self.q = self.q, np.divide(w, beta, out=np.zeros_like(w), where=beta > 0)

    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return θ ≥ 0 and how many of the p eigenvalues each stands for, (8 k,) both."""
        p, k = len(self.q), len(self.alphas)
        θ, counts = [np.zeros(0)], [np.zeros(0)]
        for probe in range(PROBES if k else 0):
            diagonal = np.array(self.alphas)[:, probe]
            beside = np.array(self.betas)[1:k, probe]
            values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
            θ.append(np.maximum(values, 0.0))
            counts.append(p / PROBES * vectors[0] ** 2)
        return np.concatenate(θ), np.concatenate(counts)
