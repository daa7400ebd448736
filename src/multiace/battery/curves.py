r"""Curves: how far the energy along a coordinate is from the reference, and whether it has the same shape.

With places x₁ < x₂ < ... < x_n, reference energies E_k and predictions Ê_k, both aligned, and Δ_k = Ê_k - E_k.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.signal import find_peaks

from multiace.battery.config import CurveConfig
from multiace.battery.coordinates import info_value, places
from multiace.battery.job import Job
from multiace.data.read import Frame, found_keys
from multiace.errors import InputError, brief

__all__ = [
    "barriers",
    "curves",
    "dissociation_error",
    "extrema",
    "roughness",
    "spurious_extrema",
]


def curves(job: Job) -> dict[str, Any]:
    """Reference, prediction and scores along each curve."""

    def measure(name: str, config: CurveConfig, path: str) -> dict[str, Any]:
        results = {}
        for label, frames in divided(job.frames(path), config.group):
            with job.skipping(f"{name}{label}"):
                results[f"{name}{label}"] = curve(job, config, frames)
        return results

    return job.each("curves", measure)


def curve(job: Job, config: CurveConfig, frames: Sequence[Frame]) -> dict[str, Any]:
    """Measure one curve.

    Raises:
        InputError: If a structure has no energy or no place, or two have the same place.
    """
    coordinate_name, x = places(frames, config.coordinate)
    order = np.argsort(x, kind="stable")
    x, frames = x[order], [frames[k] for k in order]
    check(x, frames, coordinate_name)
    energies, errors = job.subject.measure(frames)
    labels = np.array([frame.energy for frame in frames], dtype=float)
    reference, predicted = (E - zero(E, labels, config.zero) for E in (labels, energies))
    return {
        "domain": config.domain,
        "coordinate": x.tolist(),
        "coordinate_name": coordinate_name,
        "reference": reference.tolist(),
        "predicted": predicted.tolist(),
        "scores": scores(x, reference, predicted, config, errors),
    }


def scores(
    x: np.ndarray, E: np.ndarray, predicted: np.ndarray, config: CurveConfig, errors: dict[str, Any]
) -> dict[str, float | int]:
    """Return the scores that apply; energies in meV, forces in meV/Å, roughness in meV per coordinate squared."""
    found: dict[str, float | int] = {"rmse": 1e3 * float(np.sqrt(np.mean((predicted - E) ** 2)))}
    if "forces" in errors:
        found["forces_rmse"] = errors["forces"]["rmse"]
    if "barrier" in config.scores and (heights := barriers(E, predicted, config.tolerance / 1e3)):
        barrier, of_prediction = heights
        found |= {"barrier": 1e3 * barrier, "barrier_error": 1e3 * (of_prediction - barrier)}
    if "dissociation" in config.scores:
        found["dissociation_error"] = 1e3 * dissociation_error(E, predicted)
    found["spurious_extrema"] = spurious_extrema(E, predicted, config.tolerance / 1e3)
    if len(x) > 2:
        found["roughness"] = 1e3 * roughness(x, predicted - E)
    return found


def divided(frames: Sequence[Frame], group: str | None) -> Iterator[tuple[str, list[Frame]]]:
    """Yield the curves of a file: what to add to its name, nothing if there is one alone, and its structures.

    Without an info key, composition and config type tell curves apart; their label is the shortest that does.

    Raises:
        InputError: If a structure has nothing under the info key.
    """
    parts: dict[tuple[str, ...], list[Frame]] = {}
    for frame in frames:
        kinds = (frame.config_type, frame.atoms.get_chemical_formula())
        key: tuple[str, ...] = kinds if group is None else (group_of(frame, group),)
        parts.setdefault(key, []).append(frame)
    short = len({first for first, *_ in parts}) == len(parts)
    for key, several in parts.items():
        label = key[0] if short else " ".join(key)
        yield (f" {label}" if len(parts) > 1 else ""), several


def group_of(frame: Frame, key: str) -> str:
    """Write what a structure has under an info key.

    Raises:
        InputError: If it has nothing there.
    """
    value = info_value(frame, key)
    if value is None:
        keys = ", ".join(found_keys([frame.atoms])) or "none"
        raise InputError(
            f"{frame.source} has no {key!r} (keys found: {keys}); set group to one of them, or to null."
        )
    return f"{value:g}" if isinstance(value, int | float | np.number) else brief(value, 40)


def check(x: np.ndarray, frames: Sequence[Frame], coordinate: str) -> None:
    """Refuse sorted structures that make no curve.

    Raises:
        InputError: If there are fewer than two, one has no energy or place, or two are at one place.
    """
    if len(frames) < 2:
        raise InputError(f"{frames[0].source}: a curve needs at least two structures, and this is one alone.")
    for frame, place in zip(frames, x, strict=True):
        if frame.energy is None or not np.isfinite(place):
            what = "no energy" if frame.energy is None else f"no finite {coordinate}"
            raise InputError(f"{frame.source} has {what}, which every structure of a curve needs.")
    same = np.flatnonzero(np.diff(x) == 0)
    if len(same):
        one, other = (frames[same[0] + k].source for k in (0, 1))
        raise InputError(
            f"{one} and {other} are both at {coordinate} = {x[same[0]]:g}; choose a coordinate that tells them apart, "
            "or order, or a group."
        )


def zero(E: np.ndarray, reference: np.ndarray, where: str) -> float:
    """Return the energy of a curve that becomes 0 [eV]: at the lowest structure of the reference, the first, or 0."""
    if where == "absolute":
        return 0.0
    return float(E[int(np.argmin(reference)) if where == "minimum" else 0])


def extrema(E: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of inner minima and maxima whose prominence is at least the tolerance.

    The prominence of a maximum: go down on both sides until the curve is higher than the maximum, or ends; the
    lowest points met there are two, and it is the height above the higher one. Of a minimum, the same upside down.
    """
    return find_peaks(-E, prominence=tolerance)[0], find_peaks(E, prominence=tolerance)[0]


def spurious_extrema(E: np.ndarray, predicted: np.ndarray, tolerance: float) -> int:
    """Return how many extrema the prediction has beyond those of the reference, 0 if it has fewer."""
    number, expected = (sum(map(len, extrema(values, tolerance))) for values in (predicted, E))
    return max(0, number - expected)


def barriers(E: np.ndarray, predicted: np.ndarray, tolerance: float) -> tuple[float, float] | None:
    r"""Return the barriers of reference and prediction, :math:`\max_{l \le k \le r} E_k - E_m`, or None without one.

    l and r are the lowest points of the reference on both sides of its highest inner maximum, as far as the curve stays
    below that, and m is the lower of them; both curves are measured between the same points. Without such a maximum
    they are the ends of the scan, if the first one is its lowest point: other wells have no barrier.
    """
    tops, found = find_peaks(E, prominence=tolerance)
    if len(tops):
        highest = int(np.argmax(E[tops]))
        left, right = (int(found[f"{side}_bases"][highest]) for side in ("left", "right"))
    else:
        left, right = 0, len(E) - 1
        if E.argmin() != left:
            return None
    m = left if E[left] <= E[right] else right
    barrier, of_prediction = (float(values[left : right + 1].max() - values[m]) for values in (E, predicted))
    return (barrier, of_prediction) if barrier > tolerance else None


def dissociation_error(E: np.ndarray, predicted: np.ndarray) -> float:
    r"""Return :math:`\hat D - D`, :math:`D = E_n - E_m` of the last point above m, the lowest of the reference."""
    m = int(np.argmin(E))
    return float((predicted[-1] - predicted[m]) - (E[-1] - E[m]))


def roughness(x: np.ndarray, error: np.ndarray) -> float:
    r"""Return the root mean square second difference of the error over the inner points.

    .. math:: \Delta''_k = \frac{2}{h_k + h_{k-1}}
              \left( \frac{\Delta_{k+1} - \Delta_k}{h_k} - \frac{\Delta_k - \Delta_{k-1}}{h_{k-1}} \right),
              \quad h_k = x_{k+1} - x_k

    On any grid this is exact for parabolas.

    Args:
        x: Ascending, (n,), n > 2.
        error: Δ, (n,).
    """
    h = np.diff(x)
    second = 2 * np.diff(np.diff(error) / h) / (h[1:] + h[:-1])
    return float(np.sqrt(np.mean(second**2)))
