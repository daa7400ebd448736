"""Radial bases, envelopes and distance transforms: closed forms, smoothness, limits, and all combinations."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import special
from torch import nn

from multiace.basis.envelope import (
    ENVELOPES,
    polynomial_envelope,
    two_sided_envelope,
    vanishing_orders,
)
from multiace.basis.radial import (
    DISTANCE_TRANSFORMS,
    RADIAL_BASES,
    AgnesiTransform,
    JacobiBasis,
    PairedEmbedding,
    RadialEmbedding,
)
from multiace.errors import InputError

CUTOFF = 5.1
RADII = torch.tensor([0.31, 0.76, 0.66], dtype=torch.float64)  # H, C, O
ALL = list(itertools.product(RADIAL_BASES, ENVELOPES, DISTANCE_TRANSFORMS))
SPECIES = torch.tensor([0, 1, 2, 0]), torch.tensor([1, 1, 0, 0])


def embedding(basis="bessel", envelope="polynomial", transform="none", num_radial=6, **options):
    return RadialEmbedding(
        basis,
        num_radial,
        CUTOFF,
        envelope=envelope,
        distance_transform=transform,
        covalent_radii=RADII,
        **options,
    )


def distances(n=50):
    return torch.linspace(0.05, CUTOFF, n, dtype=torch.float64)


def test_bessel_basis_is_the_published_formula():
    r, n = distances()[:, None], torch.arange(1, 7).double()
    expected = math.sqrt(2 / CUTOFF) * torch.sin(n * math.pi * r / CUTOFF) / r
    torch.testing.assert_close(
        RADIAL_BASES["bessel"](6, CUTOFF, False)(distances()), expected, rtol=0, atol=1e-14
    )


def test_bessel_basis_is_the_spherical_bessel_function_of_order_zero():
    n, r = np.arange(1, 7), distances().numpy()[:, None]
    expected = math.sqrt(2 / CUTOFF) * n * np.pi / CUTOFF * special.spherical_jn(0, n * np.pi * r / CUTOFF)
    ours = RADIAL_BASES["bessel"](6, CUTOFF, False)(distances()).numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-13)


def test_bessel_basis_is_orthonormal_with_weight_r_squared():
    nodes, weights = np.polynomial.legendre.leggauss(60)
    r = torch.from_numpy((nodes + 1) * CUTOFF / 2)
    e = RADIAL_BASES["bessel"](6, CUTOFF, False)(r).numpy()
    gram = (e * (weights * CUTOFF / 2 * r.numpy() ** 2)[:, None]).T @ e
    np.testing.assert_allclose(gram, np.eye(6), atol=1e-12)


def test_bessel_basis_has_its_limit_at_zero():
    limit = math.sqrt(2 / CUTOFF) * torch.arange(1, 7, dtype=torch.float64) * math.pi / CUTOFF
    basis = RADIAL_BASES["bessel"](6, CUTOFF, False)
    for r in (0.0, 1e-7, 1e-6, 1e-5):
        torch.testing.assert_close(basis(torch.tensor([r]).double())[0], limit, rtol=1e-8, atol=0)


@pytest.mark.parametrize(
    ("name", "reference"), [("chebyshev", special.eval_chebyt), ("legendre", special.eval_legendre)]
)
@pytest.mark.parametrize("num_radial", [1, 2, 9])
def test_polynomial_bases_start_at_the_constant(name, reference, num_radial):
    x = 1 - 2 * distances().numpy() / CUTOFF
    expected = np.stack([reference(n, x) for n in range(num_radial)], axis=1)
    ours = RADIAL_BASES[name](num_radial, CUTOFF, False)(distances())
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-13)


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.0), (0.0, 6.0), (4.0, 4.0), (-0.5, -0.5), (2.5, 1.0)])
@pytest.mark.parametrize("num_radial", [1, 2, 9])
def test_jacobi_basis_is_the_polynomial_of_that_name_with_another_norm(num_radial, alpha, beta):
    x = 1 - 2 * distances().numpy() / CUTOFF
    nodes, weights = special.roots_jacobi(20, alpha, beta)
    ours = JacobiBasis(num_radial, CUTOFF, False, alpha, beta)(distances()).numpy()
    for n in range(num_radial):
        norm = (weights * special.eval_jacobi(n, alpha, beta, nodes) ** 2).sum() / weights.sum()
        expected = special.eval_jacobi(n, alpha, beta, x) / norm**0.5
        np.testing.assert_allclose(ours[:, n], expected, rtol=1e-11, atol=1e-11 * abs(expected).max())


WEIGHTS = {
    "legendre": lambda rho: torch.ones_like(rho),
    "chebyshev": lambda rho: (rho * (CUTOFF - rho)) ** -0.5,
    "jacobi": lambda rho: two_sided_envelope(rho, CUTOFF, 2) ** 2,
}


@pytest.mark.parametrize("pair", list(itertools.combinations_with_replacement(range(3), 2)))
@pytest.mark.parametrize("transform", DISTANCE_TRANSFORMS)
@pytest.mark.parametrize("name", WEIGHTS)
def test_polynomials_are_orthogonal_in_the_transformed_distance_of_each_pair(name, transform, pair):
    """Integrals over r = r_c (1 - cos t) / 2, so that no weight is singular at an end."""
    n = 4000
    t = math.pi * (torch.arange(n, dtype=torch.float64) + 0.5) / n
    r = (0.5 * CUTOFF * (1 - t.cos())).requires_grad_()
    module = embedding(name, "two_sided", transform, num_radial=9, envelope_power=2)
    species = (torch.full((n,), pair[0]), torch.full((n,), pair[1]))
    rho = module.transform(r, *species)
    (slope,) = torch.autograd.grad(rho.sum(), r)
    rho = rho.detach()
    P = module.basis(rho)
    gram = torch.einsum("rn,r,rm->nm", P, WEIGHTS[name](rho) * slope * t.sin(), P)
    norms = gram.diagonal()
    torch.testing.assert_close(
        gram / (norms[:, None] * norms).sqrt(), torch.eye(9).double(), rtol=0, atol=2e-6
    )
    if name == "jacobi":
        torch.testing.assert_close(norms, norms[:1].expand(9), rtol=2e-6, atol=0)
        e = module(r.detach(), *species)  # with the envelope the weight is 1
        torch.testing.assert_close(torch.einsum("rn,r,rm->nm", e, slope * t.sin(), e), gram)


def test_gaussians_sit_on_equal_spacings_from_zero_to_the_cutoff():
    values = RADIAL_BASES["gaussian"](6, CUTOFF, False)(torch.linspace(0, CUTOFF, 6, dtype=torch.float64))
    steps = torch.arange(6)[:, None] - torch.arange(6)
    torch.testing.assert_close(values, torch.exp(-0.5 * steps.double() ** 2))


def test_a_paired_embedding_is_both_side_by_side():
    for transform in DISTANCE_TRANSFORMS:
        many = embedding("jacobi", "two_sided", transform, num_radial=3)
        pair = embedding("jacobi", "inverse", transform, num_radial=5)
        both, r = PairedEmbedding(many, pair), torch.tensor([0.5, 1.4, 3.0, 4.9], dtype=torch.float64)
        expected = torch.cat([many(r, *SPECIES), pair(r, *SPECIES)], dim=1)
        assert torch.equal(both(r, *SPECIES), expected)
        assert both.num_radial == 8


@pytest.mark.parametrize("transform", DISTANCE_TRANSFORMS)
@pytest.mark.parametrize("basis", RADIAL_BASES)
def test_functions_with_two_sided_envelope_are_smooth_to_the_third_derivative_at_both_ends(basis, transform):
    """They fall with the fourth power of the distance from an end; with a transform faster at zero."""
    module = embedding(basis, "two_sided", transform, num_radial=3, envelope_power=4)
    h = torch.tensor([1e-3, 2e-3, 3e-3, 4e-3], dtype=torch.float64)
    for r, at_zero in ((h, True), (CUTOFF - h, False)):
        e = module(r, *SPECIES).abs()
        if transform == "none" or not at_zero:
            scaled = e / (h**4)[:, None]
            assert scaled.max() < 1e3 * module(torch.full((4,), 2.0).double(), *SPECIES).abs().max()
        else:
            assert e.max() < 1e-20
    for r in (0.0, CUTOFF):
        at = torch.full((4,), r, dtype=torch.float64, requires_grad=True)
        derivative = module(at, *SPECIES)
        for _ in range(4):
            assert derivative.abs().max() < 1e-9
            (derivative,) = torch.autograd.grad(derivative.sum(), at, create_graph=True)


@pytest.mark.parametrize(
    ("name", "power", "orders"),
    [("polynomial", 2, (0, 3)), ("polynomial", 6, (0, 3)), ("cosine", 6, (0, 2)), ("two_sided", 3, (3, 3))],
)
def test_jacobi_polynomials_are_of_the_ends_of_the_envelope(name, power, orders):
    assert vanishing_orders(ENVELOPES[name], power) == orders
    basis = embedding("jacobi", name, envelope_power=power).basis
    assert (basis.alpha, basis.beta) == (2 * orders[0], 2 * orders[1])


def of_no_power(lengths, cutoff, power):
    x = (lengths / cutoff).clamp(max=1.0)
    return torch.exp(-1 / (1 - x) ** 2)


def test_jacobi_polynomials_need_an_envelope_with_a_power():
    with pytest.raises(InputError, match="vanishes like a power"):
        embedding("jacobi", f"{__name__}:of_no_power")


@pytest.mark.parametrize("cutoff", [1.0, 3.3, 4.7, 5.0, 5.1, 6.123456789, 10.0])
@pytest.mark.parametrize("name", ENVELOPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_envelopes_are_exactly_zero_at_and_beyond_any_cutoff(name, cutoff, dtype):
    r = torch.tensor([cutoff, cutoff + 1e-6, 1.5 * cutoff, 1e6], dtype=dtype)
    assert torch.all(ENVELOPES[name](r, cutoff, 6) == 0)


@pytest.mark.parametrize("pair", list(itertools.product(range(3), repeat=2)))
def test_agnesi_transform_is_the_published_formula_mapped_onto_the_cutoff_interval(pair):
    z = (torch.full((50,), pair[0]), torch.full((50,), pair[1]))
    r0 = 0.5 * (RADII[pair[0]] + RADII[pair[1]]).item()
    a, p, q = 1.0805, 4.5791, 0.9183

    def y(r):
        x = r / r0
        return 1 / (1 + a * x**q / (1 + x ** (q - p)))

    expected = CUTOFF * (1 - y(distances())) / (1 - y(CUTOFF))
    ours = AgnesiTransform(CUTOFF, RADII)(distances(), *z)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)
    assert torch.all(ours.diff() > 0)
    assert ours[-1].item() == pytest.approx(CUTOFF, abs=1e-12)


def test_agnesi_transform_is_smooth_at_zero():
    r = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    derivative = AgnesiTransform(CUTOFF, RADII)(r, *SPECIES)
    for _ in range(4):
        assert torch.all(derivative == 0)
        (derivative,) = torch.autograd.grad(derivative.sum(), r, create_graph=True)


def test_agnesi_transform_needs_radii_and_species():
    for radii in (None, torch.tensor([0.3, 0.0])):
        with pytest.raises(InputError, match="positive covalent radius"):
            RadialEmbedding("bessel", 4, CUTOFF, distance_transform="agnesi", covalent_radii=radii)
    with pytest.raises(ValueError, match="needs the species"):
        embedding(transform="agnesi")(distances())


@pytest.mark.parametrize("transform", DISTANCE_TRANSFORMS)
def test_transforms_keep_zero_and_the_cutoff(transform):
    module = DISTANCE_TRANSFORMS[transform](CUTOFF, RADII)
    ends = torch.tensor([0.0, CUTOFF, 0.0, CUTOFF], dtype=torch.float64)
    torch.testing.assert_close(module(ends, *SPECIES), ends, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("basis", "envelope", "transform"), ALL)
def test_embedding_is_basis_of_transformed_distance_times_envelope_of_distance(basis, envelope, transform):
    r = torch.tensor([0.8, 1.4, 3.0, 4.9], dtype=torch.float64)
    rho = DISTANCE_TRANSFORMS[transform](CUTOFF, RADII)(r, *SPECIES)
    module = embedding(basis, envelope, transform)
    seen = rho if envelope == "two_sided" else r
    expected = module.basis(rho) * ENVELOPES[envelope](seen, CUTOFF, 6)[:, None]
    torch.testing.assert_close(module(r, *SPECIES), expected)


@pytest.mark.parametrize(("basis", "envelope", "transform"), ALL)
def test_embedding_has_right_first_and_second_derivatives(basis, envelope, transform):
    r = torch.tensor([0.8, 1.4, 3.0, 4.9], dtype=torch.float64, requires_grad=True)
    module = embedding(basis, envelope, transform, num_radial=3)
    assert torch.autograd.gradcheck(lambda x: module(x, *SPECIES), r)
    assert torch.autograd.gradgradcheck(lambda x: module(x, *SPECIES), r)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("basis", "envelope", "transform"), ALL)
def test_embedding_and_derivatives_are_finite_at_zero_and_exactly_zero_beyond(
    basis, envelope, transform, dtype
):
    module = embedding(basis, envelope, transform).to(dtype)
    r = torch.tensor([0.0, CUTOFF, CUTOFF + 0.1, 100.0], dtype=torch.float64, requires_grad=True)
    values = module(r, *SPECIES)
    assert torch.all(values[1:] == 0)
    (first,) = torch.autograd.grad(values.sum(), r, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), r)
    assert all(x.isfinite().all() for x in (values, first, second))
    assert torch.all(first[2:] == 0)
    assert abs(first[1]) < 1e-5


@pytest.mark.parametrize(("basis", "envelope", "transform"), ALL)
def test_float32_agrees_with_float64(basis, envelope, transform):
    r = torch.linspace(0.3, CUTOFF, 4 * 25, dtype=torch.float64)
    species = tuple(z.repeat(25) for z in SPECIES)
    module = embedding(basis, envelope, transform)
    exact = module(r, *species)
    # The envelope of a rounded length is wrong by rounding where it is small and polynomials are large.
    of_rounded = torch.maximum(exact.abs().max(), module.basis(module.transform(r, *species)).abs().max())
    for lengths, size in ((r, exact.abs().max()), (r.float(), of_rounded)):
        single = embedding(basis, envelope, transform).to(torch.float32)(lengths, *species)
        assert single.dtype == torch.float32
        assert (single - exact).abs().max() < 3e-6 * size
    assert embedding(basis, envelope, transform)(r.float(), *species).dtype == torch.float64


@pytest.mark.parametrize(("basis", "envelope", "transform"), ALL)
def test_no_edges(basis, envelope, transform):
    none = torch.zeros(0, dtype=torch.int64)
    assert embedding(basis, envelope, transform)(torch.zeros(0).double(), none, none).shape == (0, 6)


@pytest.mark.parametrize(("basis", "names"), [("bessel", ["roots"]), ("gaussian", ["centres", "widths"])])
def test_trainable_bases_receive_gradients_and_fixed_ones_are_not_saved(basis, names):
    module = embedding(basis, trainable=True)
    module(distances()).square().sum().backward()
    assert sorted(module.state_dict()) == [f"basis.{name}" for name in names]
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in module.parameters())
    fixed = embedding(basis)
    assert list(fixed.parameters()) == []
    assert fixed.state_dict() == {}
    torch.testing.assert_close(fixed(distances()), module(distances()).detach())


@pytest.mark.parametrize("basis", ["chebyshev", "jacobi", "legendre"])
def test_polynomial_bases_refuse_training(basis):
    with pytest.raises(InputError, match=f"{basis} radial basis has nothing to train"):
        embedding(basis, trainable=True)


@pytest.mark.parametrize("option", [{"basis": "besel"}, {"envelope": "polynomal"}, {"transform": "agnes"}])
def test_unknown_choice_names_the_nearest(option):
    with pytest.raises(InputError, match="Did you mean"):
        embedding(**option)


@pytest.mark.parametrize(
    ("num_radial", "cutoff", "power"), [(0, 5.0, 6), (8, 0.0, 6), (8, 5.0, 0), (8, math.nan, 6)]
)
def test_numbers_out_of_range_are_refused(num_radial, cutoff, power):
    with pytest.raises(InputError, match="must be positive"):
        RadialEmbedding("bessel", num_radial, cutoff, envelope_power=power)


class PowersBasis(nn.Module):
    """A basis that lives outside the package."""

    def __init__(self, num_radial, cutoff, trainable):
        super().__init__()
        self.num_radial = num_radial

    def forward(self, r):
        return r[:, None] ** torch.arange(self.num_radial)


def test_a_basis_from_outside_is_named_by_module_and_class():
    module = embedding(f"{__name__}:PowersBasis")
    r = distances()
    torch.testing.assert_close(module(r)[:, 2], r**2 * polynomial_envelope(r, CUTOFF, 6))
