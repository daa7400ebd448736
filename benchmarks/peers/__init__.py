"""One script for each code that is measured; each runs in its own environment and process."""

ANSWER = "answer: "
"""Begins the lines that are answers; codes print other lines while they are imported."""
