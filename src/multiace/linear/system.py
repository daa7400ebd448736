"""Rows of a design matrix, compressed as they come: memory is p², however many rows there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import blas, lapack

from multiace.errors import InputError, did_you_mean

__all__ = ["FORMS", "System", "checked_rows", "merged"]

BLOCK = 1024  # rows that wait until they are compressed together
PANEL = 64  # columns that LAPACK eliminates together
LARGEST = 1e100  # whose square is still a number

Origin = str | Callable[[int], str]


class System:
    r"""Least squares :math:`\sum_i w_i (y_i - X_i c)^2`, kept as one matrix of p + 1 columns.

    With :math:`A = \sqrt{w}\,[X\; y]`, form ``qr`` keeps the triangle R of A = QR, and ``gram``
    :math:`A^T A`. Both know all that a fit needs. Gram costs a quarter of the time, and loses coefficients
    whose singular values are below 1e-8 of the largest; QR keeps them to 1e-16.

    Rows wait until there are 1,024, so that results depend on the order of the rows (in the last digits),
    never on how they were cut into blocks.

    Args:
        n_columns: Coefficients, p.
        form: ``qr`` or ``gram``.

    Attributes:
        n_rows: Rows of positive weight, without redundant ones.
        log_weights: Σ log w, for the evidence.
        matrix: The upper triangle of R or of AᵀA, without the rows that wait, (p + 1, p + 1).
        buffer: Rows of A, (1024, p + 1); the first ``waiting`` are valid.
    """

    def __init__(self, n_columns: int, form: str = "qr") -> None:
        if n_columns < 1:
            raise InputError(f"a linear system of {n_columns} columns was asked for; it needs at least one.")
        if form not in FORMS:
            raise InputError(f"the form {form!r} of a linear system is unknown.{did_you_mean(form, FORMS)}")
        self.n_columns, self.form = n_columns, form
        self.n_rows, self.log_weights, self.waiting = 0, 0.0, 0
        self.matrix = np.zeros((n_columns + 1, n_columns + 1), order="F")
        self.buffer = np.zeros((BLOCK, n_columns + 1), order="F")

    def add(
        self,
        X: ArrayLike,
        y: ArrayLike,
        weights: ArrayLike = 1.0,
        origin: Origin = "",
        redundant: int = 0,
    ) -> None:
        """Take a block of rows. A block that is refused leaves the system as it was.

        Args:
            X: Rows, (n, p).
            y: Targets, (n,).
            weights: w of each row or of all, ≥ 0: of the *square* of its residual, 1/σ² up to a factor. Rows
                of weight 0 do not count.
            origin: Where the rows are from, for sentences: of all, or a function of the row's number.
            redundant: How many of the rows follow from the others, whatever the coefficients, such as forces whose
                sum is zero: they are no measurements of their own, and do not count in ``n_rows``.

        Raises:
            InputError: If a number is not finite, or a weight is negative.
        """
        X, y, weights = checked_rows(X, y, weights, self.n_columns, origin)
        one_by_one = np.add.accumulate(np.append(self.log_weights, np.log(weights)))
        self.log_weights = float(one_by_one[-1])
        self.n_rows += len(y) - redundant
        if redundant:
            self.log_weights -= redundant * float(np.log(weights).mean())
        self._append(X, y, np.sqrt(weights))

    def _append(self, X: np.ndarray, y: np.ndarray, scale: np.ndarray) -> None:
        while len(y):
            take = min(len(y), BLOCK - self.waiting)
            rows = self.buffer[self.waiting : self.waiting + take]
            rows[:, :-1], rows[:, -1] = X[:take], y[:take]
            rows *= scale[:take, None]
            X, y, scale = X[take:], y[take:], scale[take:]
            self.waiting += take
            if self.waiting == BLOCK:
                self.matrix, self.waiting = FORMS[self.form](self.matrix, self.buffer), 0

    def merge(self, other: System) -> None:
        """Take the rows of another system of the same form and columns, which stays as it is."""
        if (self.n_columns, self.form) != (other.n_columns, other.form):
            raise InputError(
                f"{other.n_columns} columns ({other.form}) cannot be merged with {self.n_columns} ({self.form})."
            )
        combine = merge_triangles if self.form == "qr" else np.add
        self.matrix = np.asfortranarray(combine(self.matrix, other.matrix))
        self.n_rows += other.n_rows
        self.log_weights += other.log_weights
        rows = other.buffer[: other.waiting]
        self._append(rows[:, :-1], rows[:, -1], np.ones(len(rows)))

    def moved(self, c: np.ndarray) -> System:
        """Return the system of the same rows with targets y + Xc, c (p,)."""
        p, moved = self.n_columns, System(self.n_columns, self.form)
        M = self.compressed().copy("F")
        if self.form == "gram":
            Gc = blas.dsymv(1.0, M[:p, :p], c)
            M[p, p] += 2 * M[:p, p] @ c + c @ Gc
            M[:p, p] += Gc
        else:
            M[:p, p] += np.triu(M[:p, :p]) @ c
        moved.matrix, moved.n_rows, moved.log_weights = M, self.n_rows, self.log_weights
        return moved

    def compressed(self) -> np.ndarray:
        """Return R or the upper triangle of AᵀA of all rows, (p + 1, p + 1); not to be written to."""
        if not self.waiting:
            return self.matrix
        return FORMS[self.form](self.matrix.copy("F"), self.buffer[: self.waiting].copy("F"))

    def squared_errors(self, C: np.ndarray) -> np.ndarray:
        """Return Σ w (y - X c)² for each column c of C (p, k), (k,)."""
        A = np.vstack([-C, np.ones((1, C.shape[1]))])
        M = self.compressed()
        if self.form == "qr":
            return np.sum((M @ A) ** 2, axis=0)
        return np.maximum(np.sum(A * blas.dsymm(1.0, M, A), axis=0), 0.0)

    @property
    def norms(self) -> np.ndarray:
        """√(Σ w X²) of each column, (p,); 0 for a function that no row sees."""
        M, p = self.compressed(), self.n_columns
        if self.form == "qr":
            return np.asarray(np.linalg.norm(M[:p, :p], axis=0))
        return np.sqrt(np.diag(M)[:p])

    def total(self) -> System:
        """Return the system of all its rows, of which none wait."""
        if not self.waiting:
            return self
        total = System(self.n_columns, self.form)
        total.matrix, total.n_rows, total.log_weights = self.compressed(), self.n_rows, self.log_weights
        return total


def checked_rows(
    X: ArrayLike, y: ArrayLike, weights: ArrayLike, n_columns: int, origin: Origin
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows, targets and weights in float64, without rows of weight 0, or say what is wrong with which row."""
    X, y = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if X.ndim != 2 or X.shape[1] != n_columns or y.shape != X.shape[:1]:
        raise InputError(
            f"a block of rows has the shape {X.shape} and targets {y.shape}; (n, {n_columns}) and (n,) are needed."
        )
    weights = np.broadcast_to(np.asarray(weights, dtype=np.float64), y.shape)
    wrong = {
        "the target": ~(np.abs(y) < LARGEST),
        "the weight": ~((weights >= 0) & (weights < LARGEST)),
        "a basis function": ~(np.abs(X).max(axis=1, initial=0.0) < LARGEST),
    }
    for what, rows in wrong.items():
        if rows.any():
            raise InputError(sentence(what, int(np.argmax(rows)), X, y, weights, origin))
    if weights.all():
        return X, y, weights
    counted = weights > 0
    return X[counted], y[counted], weights[counted]


def sentence(what: str, row: int, X: np.ndarray, y: np.ndarray, weights: np.ndarray, origin: Origin) -> str:
    """Say which number of which row cannot be used."""
    value, place = {"the target": y, "the weight": weights}.get(what, X)[row], ""
    if what == "a basis function":
        column = int(np.argmin(np.abs(value) < LARGEST))
        value, place = value[column], f" (column {column})"
    where = origin if isinstance(origin, str) else origin(row)
    allowed = "finite and not negative" if what == "the weight" else f"finite and below {LARGEST:g}"
    return (
        f"{where or f'row {row} of a block'}: {what}{place} is {value:g}; "
        f"it must be {allowed}. Correct the structure or leave it out."
    )


def triangulate(R: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the triangle of the QR decomposition of R above rows; both are overwritten."""
    panel = min(PANEL, R.shape[1])
    return np.asarray(lapack.dtpqrt(0, panel, R, rows, overwrite_a=1, overwrite_b=1)[0])


def merge_triangles(R: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the triangle of R above another triangle, in a third of the time of a full one."""
    panel = min(PANEL, R.shape[1])
    return np.asarray(lapack.dtpqrt(len(other), panel, R, other)[0])


def accumulate(gram: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Add rowsᵀ rows to the upper triangle of a Gram matrix, which is overwritten."""
    return np.asarray(blas.dsyrk(1.0, rows, beta=1.0, c=gram, trans=1, overwrite_c=1))


def merged(systems: Sequence[System]) -> System:
    """Return the system of the rows of all of these."""
    first = systems[0]
    total = System(first.n_columns, first.form)
    for system in systems:
        total.merge(system)
    return total


FORMS = {"qr": triangulate, "gram": accumulate}
