"""Models that are linear in their coefficients: rows are compressed as they come, then solved, with error bars."""

SOLVER_NAMES = ("ard", "bayesian_ridge", "least_squares", "lsqr", "ridge", "truncated_svd")
"""Names of the solvers, for run files, which do without scipy; what they are: ``multiace.linear.solvers.SOLVERS``."""
