"""How numbers are written for people: digits, signs, and a mean with its standard deviation."""

from __future__ import annotations

import math
from collections.abc import Iterable

from multiace.study.statistics import Interval

__all__ = ["HUGE", "MINUS", "decimals", "number", "plus_minus"]

MINUS = "\N{MINUS SIGN}"
HUGE = 1e8
"""From here on numbers that are not counted are written with a power of ten."""


def number(value: float | None, signed: bool = False, decimals: int | None = None) -> str:
    """Write a number with its decimals, or four digits, three if it is signed; one that is counted with all.

    From :data:`HUGE` on with three digits and a power of ten: models that extrapolate may predict anything.

    Empty if it is none.
    """
    if value is None or not math.isfinite(value):
        return ""
    sign = "+" if signed and value else ""
    if abs(value) >= HUGE and not isinstance(value, int):
        text = f"{value:{sign}.3g}"
    elif isinstance(value, int) or (decimals is None and abs(value) >= 1000):
        text = f"{value:{sign},.0f}"
    elif decimals is not None:
        text = f"{value:{sign},.{decimals}f}"
    else:
        text = f"{value:{sign}#.{3 if signed else 4}g}".rstrip(".") if value else "0"
    return text.replace("-", MINUS)


def decimals(sizes: Iterable[float], digits: int = 2) -> int | None:
    """Return how many decimals numbers of a column share: with them the smallest has so many digits.

    But the largest has at most one digit more. None if no number is above zero.
    """
    found = [digits - 1 - math.floor(math.log10(size)) for size in sizes if math.isfinite(size) and size > 0]
    return max(min(max(found), min(found) + 1), 0) if found else None


def plus_minus(found: Interval | None, digits: int | None = None) -> str:
    """A mean with its standard deviation, which has so many decimals, or two digits."""
    if found is None:
        return ""
    digits = decimals([found.deviation]) if digits is None else digits
    mean = number(found.mean, decimals=digits)
    return mean if found.n < 2 else f"{mean} ± {number(found.deviation, decimals=digits)}"
