"""Radial functions from splines: those they were made of, zero at the cutoff, the kernel as the definition."""

from __future__ import annotations

import pytest
import torch

from multiace import ops
from multiace.basis.radial import PairedEmbedding, RadialEmbedding
from multiace.basis.spline import SplinedEmbedding
from multiace.ops.choice import definitions

CUTOFF = 4.5
RADII = torch.tensor([0.31, 0.76, 0.66])
OPTIONS = {"distance_transform": "agnesi", "covalent_radii": RADII}
PRODUCTS = RadialEmbedding("legendre", 5, CUTOFF, **OPTIONS)
EMBEDDINGS = {
    "one": PRODUCTS,
    "two": PairedEmbedding(PRODUCTS, RadialEmbedding("bessel", 3, CUTOFF, envelope="cosine", **OPTIONS)),
}


def pairs(n: int = 50) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    r = 0.3 + (CUTOFF - 0.3) * torch.rand(n, generator=generator, dtype=torch.float64)
    return r, *(torch.randint(3, (n,), generator=generator) for _ in range(2))


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_splines_are_the_functions_that_they_were_made_of(name):
    r, z_j, z_i = pairs()
    errors = []
    for knots in (451, 901):
        splined = SplinedEmbedding(EMBEDDINGS[name], knots, 3)
        errors.append((splined(r, z_j, z_i) - EMBEDDINGS[name](r, z_j, z_i)).abs().max())
    assert errors[0] < 1e-5
    assert errors[0] / errors[1] > 10  # fourth order


def test_they_vanish_at_and_beyond_the_cutoff():
    splined = SplinedEmbedding(EMBEDDINGS["two"], 101, 3)
    r = torch.tensor([CUTOFF, CUTOFF + 1.0], dtype=torch.float64)
    z = torch.zeros(2, dtype=torch.int64)
    torch.testing.assert_close(splined(r, z, z), torch.zeros(2, 8, dtype=torch.float64), rtol=0, atol=1e-15)


def test_the_kernel_reads_what_the_definition_reads():
    r, z_j, z_i = pairs()
    splined = SplinedEmbedding(EMBEDDINGS["two"], 101, 3)
    found = []
    for context in (definitions, torch.enable_grad):
        with context():
            x = r.clone().requires_grad_()
            value = ops.radial_basis(x, z_j, z_i, splined)
            (slope,) = torch.autograd.grad(value.sin().sum(), x)
            found.append((value, slope))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(found[0][0], splined(r, z_j, z_i))
