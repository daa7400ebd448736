"""How far predicted error bars can be trusted: against the errors that were made."""

from __future__ import annotations

from math import log, pi
from typing import Any

import numpy as np
from scipy.special import erf

__all__ = ["calibration"]

LEVELS = np.linspace(0.0, 1.0, 101)


def calibration(errors: np.ndarray, deviations: np.ndarray) -> dict[str, Any]:
    r"""Compare errors Δ with predicted standard deviations σ, for normal errors.

    Args:
        errors: Δ, any shape; NaN where there is no label.
        deviations: σ > 0, same shape.

    Returns:
        ``within_1`` and ``within_2``: fractions of \|Δ\| < σ and < 2σ, 0.683 and 0.954 where σ is right; ``nll``: mean
        negative log-likelihood, ½ ln 2πσ² + ½ (Δ/σ)²; ``miscalibration_area``: mean difference between a probability p
        and the fraction of errors inside the central interval of that probability, 0 at best, 0.5 at most;
        ``expected`` and ``observed``: the calibration curve, these probabilities from 0 to 1 in steps of 0.01, and
        these fractions; ``labels``: how many.
    """
    known = np.isfinite(errors)
    if not known.any():
        return {"labels": 0}
    errors, deviations = np.abs(errors[known]), deviations[known]
    z = errors / deviations
    inside = np.searchsorted(np.sort(erf(z / 2**0.5)), LEVELS, side="right") / len(z)
    return {
        "within_1": float(np.mean(z < 1)),
        "within_2": float(np.mean(z < 2)),
        "nll": float(np.mean(0.5 * log(2 * pi) + np.log(deviations) + 0.5 * z**2)),
        "miscalibration_area": float(np.trapezoid(np.abs(inside - LEVELS), LEVELS)),
        "expected": LEVELS.round(2).tolist(),
        "observed": inside.tolist(),
        "labels": int(known.sum()),
    }
