"""Models that are linear in their coefficients: rows are compressed as they come, then solved, with error bars."""
