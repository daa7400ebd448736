"""Fits by linear algebra: rows of models that are linear in some of their parameters, and their solution."""
