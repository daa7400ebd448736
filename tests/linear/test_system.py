"""Compressed rows: what is kept, what is refused, and a stop in between."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multiace.errors import InputError
from multiace.linear.folds import Folds
from multiace.linear.least_squares import LeastSquares
from multiace.linear.store import load, save
from multiace.linear.system import BLOCK, System, merged

P = 5
FORMS = pytest.mark.parametrize("form", ["qr", "gram"])
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(2 * BLOCK + 300, P)) * np.geomspace(1, 1e3, P)
Y = RANDOM.normal(size=len(X))
W = RANDOM.uniform(0.1, 3.0, len(X))


def fill(system, start: int = 0, stop: int = len(X)) -> System:
    system.add(X[start:stop], Y[start:stop], W[start:stop])
    return system


def content(system: System) -> bytes:
    return system.compressed().tobytes() + np.float64(system.log_weights).tobytes()


@FORMS
@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, len(X)), max_size=6))
def test_blocks_of_any_size_give_the_same_bits(form, cuts):
    cut = System(P, form)
    edges = [0, *sorted(cuts), len(X)]
    for start, stop in itertools.pairwise(edges):
        fill(cut, start, stop)
    assert content(cut) == content(fill(System(P, form)))


@FORMS
def test_what_is_kept_are_the_products_of_all_rows(form):
    system = fill(System(P, form))
    A = np.column_stack([X, Y]) * np.sqrt(W)[:, None]
    M = system.compressed()
    gram = M.T @ M if form == "qr" else np.triu(M) + np.triu(M, 1).T
    np.testing.assert_allclose(gram, A.T @ A, rtol=1e-10, atol=1e-8)
    np.testing.assert_allclose(system.norms, np.linalg.norm(A[:, :P], axis=0), rtol=1e-12)
    assert system.n_rows == len(X)
    np.testing.assert_allclose(system.log_weights, np.log(W).sum())
    C = RANDOM.normal(size=(P, 3))
    errors = [np.sum(W * (Y - X @ c) ** 2) for c in C.T]
    np.testing.assert_allclose(system.squared_errors(C), errors, rtol=1e-10)


@FORMS
def test_order_and_parts_of_rows_do_not_matter(form):
    order = RANDOM.permutation(len(X))
    shuffled = System(P, form)
    shuffled.add(X[order], Y[order], W[order])
    parts = [fill(System(P, form), a, b) for a, b in ((0, 40), (40, 1500), (1500, len(X)))]
    before = [content(part) for part in parts]
    expected = LeastSquares().fit(fill(System(P, form))).coef_
    for system in (shuffled, merged(parts)):
        np.testing.assert_allclose(LeastSquares().fit(system).coef_, expected, rtol=1e-8)
        assert system.n_rows == len(X)
    assert [content(part) for part in parts] == before


def test_qr_solves_what_gram_matrices_lose():
    t = np.linspace(0, 1, 200)
    V, c = np.vander(t, 12, increasing=True), np.ones(12)
    fits = {}
    for form in ("qr", "gram"):
        system = System(12, form)
        system.add(V, V @ c)
        try:
            fits[form] = np.abs(LeastSquares().fit(system).coef_ - c).max()
        except InputError:
            fits[form] = np.inf
    assert fits["qr"] < 1e-6 < fits["gram"]


@FORMS
@pytest.mark.parametrize("stop", [0, 700, BLOCK, BLOCK + 1])
def test_a_stopped_assembly_goes_on_to_the_same_bits(tmp_path, form, stop):
    path = tmp_path / "rows.safetensors"
    save(path, fill(System(P, form), 0, stop), {"next_frame": stop, "basis": "abc"})
    system, state = load(path)
    assert state == {"next_frame": stop, "basis": "abc"}
    assert content(fill(system, stop)) == content(fill(System(P, form)))


def test_parts_are_saved_as_parts(tmp_path):
    path = tmp_path / "rows.safetensors"
    folds = Folds(P, 3)
    folds.add(X[:900], Y[:900], np.arange(900) // 10)
    save(path, folds, {})
    again, _ = load(path)
    for one in (folds, again):
        one.add(X[900:], Y[900:], 7)
    assert [content(s) for s in folds.systems] == [content(s) for s in again.systems]
    assert [s.n_rows for s in again.systems] == [300, 300 + len(X) - 900, 300]


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "rows.safetensors"
    save(path, fill(System(P)), {})
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[-9] ^= 1
    for content_ in (good[:-8], good[:30], b"", bytes(flipped)):
        path.write_bytes(content_)
        with pytest.raises(InputError, match=re.escape(str(path)) + r".*delete it, and they are made again"):
            load(path)
    with pytest.raises(InputError, match="absent"):
        load(tmp_path / "absent.safetensors")


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("X", np.nan, r"frame 17 of train.xyz: a basis function \(column 3\) is nan"),
        ("X", -np.inf, r"frame 17 of train.xyz: a basis function \(column 3\) is -inf"),
        ("X", 1e120, r"a basis function \(column 3\) is 1e\+120; it must be finite and below 1e\+100"),
        ("y", np.inf, "frame 17 of train.xyz: the target is inf"),
        ("w", np.nan, "frame 17 of train.xyz: the weight is nan"),
        ("w", -1.0, "the weight is -1; it must be finite and not negative"),
    ],
)
def test_numbers_that_cannot_be_used_are_named_and_nothing_is_taken(place, value, sentence):
    system = fill(System(P), 0, 100)
    before = content(system)
    rows = {"X": X[:8].copy(), "y": Y[:8].copy(), "w": W[:8].copy()}
    rows[place][(5, 3) if place == "X" else 5] = value
    with pytest.raises(InputError, match=sentence):
        system.add(rows["X"], rows["y"], rows["w"], lambda row: f"frame {12 + row} of train.xyz")
    folds = Folds(P, 2)
    with pytest.raises(InputError, match=sentence):
        folds.add(rows["X"], rows["y"], np.arange(8), rows["w"], lambda row: f"frame {12 + row} of train.xyz")
    assert content(system) == before


def test_rows_of_weight_0_do_not_count():
    system = fill(System(P), 0, 50)
    before = content(system)
    system.add(X[:3], Y[:3], 0.0)
    assert system.n_rows == 50
    assert content(system) == before


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: System(0), "a linear system of 0 columns"),
        (lambda: System(3, "lu"), "the form 'lu'"),
        (lambda: System(3).add(X, Y), r"shape \(2348, 5\)"),
        (lambda: Folds(3, 1), "cross-validation with 1 parts"),
        (lambda: list(fill_one_group().splits()), "in 3 parts found rows in 1 of them"),
        (lambda: merged([System(3), System(4)]), "cannot be merged"),
    ],
)
def test_wrong_use_is_a_sentence(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()


def fill_one_group() -> Folds:
    folds = Folds(P, 3)
    folds.add(X[:10], Y[:10], 4)
    return folds


def test_redundant_rows_do_not_count() -> None:
    """A row that is there twice, each with half of the weight, is one row."""
    random = np.random.default_rng(0)
    X, y = random.normal(size=(12, 4)), random.normal(size=12)
    once, twice = System(4), System(4)
    once.add(X, y, 2.0)
    twice.add(np.vstack([X, X]), np.append(y, y), 1.0, redundant=12)
    assert once.n_rows == twice.n_rows == 12
    np.testing.assert_allclose(np.abs(once.compressed()), np.abs(twice.compressed()), atol=1e-12)


@FORMS
def test_moved_targets_are_those_of_rows_that_are_added_so(form):
    random = np.random.default_rng(0)
    X, y, c = random.normal(size=(1500, 7)), random.normal(size=1500), random.normal(size=7)
    weights = random.uniform(0.5, 2.0, size=1500)
    before, expected = System(7, form), System(7, form)
    before.add(X, y, weights)
    expected.add(X, y + X @ c, weights)
    found = before.moved(c)
    C = random.normal(size=(7, 3))
    np.testing.assert_allclose(found.squared_errors(C), expected.squared_errors(C), rtol=1e-10)
    assert (found.n_rows, found.log_weights) == (expected.n_rows, expected.log_weights)
    np.testing.assert_allclose(before.squared_errors(C - c[:, None]), expected.squared_errors(C), rtol=1e-10)
