"""The solvers by name, as run files and commands know them."""

from __future__ import annotations

from multiace.linear.ard import ARD
from multiace.linear.base import Solver
from multiace.linear.least_squares import LeastSquares
from multiace.linear.lsqr import LSQR
from multiace.linear.ridge import BayesianRidge, Ridge, TruncatedSVD

__all__ = ["ARD", "LSQR", "SOLVERS", "BayesianRidge", "LeastSquares", "Ridge", "Solver", "TruncatedSVD"]

SOLVERS: dict[str, type[Solver]] = {
    "ard": ARD,
    "bayesian_ridge": BayesianRidge,
    "least_squares": LeastSquares,
    "lsqr": LSQR,
    "ridge": Ridge,
    "truncated_svd": TruncatedSVD,
}
