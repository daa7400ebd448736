"""Irreps: e3nn's strings, sizes and slices."""

import pytest
from e3nn import o3

from multiace.basis.irreps import Irrep, Irreps


@pytest.mark.parametrize("text", ["0e", "1o", "2e", "11o"])
def test_irrep_prints_what_it_reads(text):
    assert str(Irrep.parse(text)) == text
    assert Irrep.parse(f"  {text} ") == Irrep.parse(text)


@pytest.mark.parametrize("text", ["", "1", "o1", "1x", "-1o", "1.5o", "1oo"])
def test_unreadable_irrep_is_refused_and_quoted(text):
    with pytest.raises(ValueError, match="cannot be read") as error:
        Irrep.parse(text)
    assert repr(text) in str(error.value)


@pytest.mark.parametrize(("left", "right"), [("0e", "1o"), ("1o", "1o"), ("2e", "1e"), ("3o", "2o")])
def test_product_of_irreps_is_that_of_e3nn(left, right):
    ours = [str(irrep) for irrep in Irrep.parse(left) * Irrep.parse(right)]
    assert ours == [str(irrep) for irrep in o3.Irrep(left) * o3.Irrep(right)]


def test_only_0e_is_scalar():
    assert Irrep.parse("0e").is_scalar
    assert not any(Irrep.parse(text).is_scalar for text in ("0o", "1o", "1e"))


@pytest.mark.parametrize("text", ["64x0e + 64x1o", "8x0e+4x1o+2x1e+1x2e", "0o", "3x2e"])
def test_irreps_agree_with_e3nn_in_size_and_slices(text):
    ours, theirs = Irreps.parse(text), o3.Irreps(text)
    assert ours.dim == theirs.dim
    assert ours.l_max == theirs.lmax
    assert list(ours.slices().values()) == theirs.slices()
    assert [(mul, str(irrep)) for mul, irrep in ours] == [(mul, str(irrep)) for mul, irrep in theirs]


def test_irreps_print_what_they_read():
    assert str(Irreps.parse("8x0e+ 1o +2 x 2e")) == "8x0e + 1x1o + 2x2e"
    assert Irreps.parse(str(Irreps.parse("8x0e + 1o"))) == Irreps.parse("8x0e + 1o")


def test_order_of_blocks_is_kept():
    assert [str(irrep) for irrep in Irreps.parse("1o + 0e").irreps] == ["1o", "0e"]


def test_multiplicity_of_an_absent_irrep_is_zero():
    irreps = Irreps.parse("8x0e + 4x1o")
    assert (irreps.mul("1o"), irreps.mul(Irrep(1, -1)), irreps.mul("1e")) == (4, 4, 0)


def test_blocks_with_multiplicity_zero_are_left_out():
    assert Irreps([(0, Irrep(0, 1)), (2, Irrep(1, -1))]) == Irreps.parse("2x1o")


def test_keep_selects_and_does_not_reorder():
    irreps = Irreps.parse("8x0e + 4x1o + 2x2e")
    assert irreps.keep([Irrep(2, 1), Irrep(0, 1), Irrep(5, 1)]) == Irreps.parse("8x0e + 2x2e")


def test_an_irrep_written_twice_is_refused():
    with pytest.raises(ValueError, match="1o occurs twice"):
        Irreps.parse("2x1o + 0e + 3x1o")


@pytest.mark.parametrize("text", ["", "8x", "x0e", "0e + ", "8*0e", "0e, 1o"])
def test_unreadable_irreps_are_refused(text):
    with pytest.raises(ValueError, match="cannot be read"):
        Irreps.parse(text)
