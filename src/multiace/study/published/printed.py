"""Numbers as papers print them, and whether ours differ."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from multiace.errors import InputError

if TYPE_CHECKING:
    from multiace.study.published.table import Source

__all__ = ["Difference", "Printed", "difference"]

NUMBER = r"\d+(?:\.(\d+))?"
PRINTED = re.compile(rf"({NUMBER})(?: \(({NUMBER})\))?")


@dataclass(frozen=True)
class Printed:
    """A number of a table, ``3.1 (0.13)``.

    Attributes:
        text: As printed.
        mean: Its value.
        decimals: How many of them the mean has.
        deviation: Standard deviation, by the convention of its source; None if there is none.
        deviation_decimals: How many decimals that has.
    """

    text: str
    mean: float
    decimals: int
    deviation: float | None
    deviation_decimals: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a number.

        Raises:
            InputError: If it is none.
        """
        found = PRINTED.fullmatch(text)
        if found is None:
            raise InputError(f"{text!r} is no published number; write 3.1, or 3.1 (0.13).")
        mean, decimals, deviation, more = found.groups()
        return cls(
            text,
            float(mean),
            len(decimals or ""),
            None if deviation is None else float(deviation),
            len(more or ""),
        )

    def sample_deviation(self, source: Source) -> float | None:
        r"""Return the standard deviation of the sample, :math:`s = \sigma \sqrt{n / (n - 1)}` where σ is printed."""
        if self.deviation is None or source.deviation != "population" or source.runs is None:
            return self.deviation
        return self.deviation * (source.runs / (source.runs - 1)) ** 0.5

    def shown(self, source: Source) -> str:
        """The number with the standard deviation of the sample, in the decimals that are printed."""
        mean, deviation = self.text.partition(" ")[0], self.sample_deviation(source)
        return mean if deviation is None else f"{mean} ± {deviation:.{self.deviation_decimals}f}"


@dataclass(frozen=True)
class Difference:
    """Ours less theirs.

    Attributes:
        value: Of the means.
        low: Lower end of its interval; None if one of both has no spread that is known.
        high: Upper end.
    """

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def statement(self) -> str:
        """What the interval allows to say; empty if it contains 0, or there is none."""
        if self.low is None or self.high is None:
            return ""
        return "higher" if self.low > 0 else "lower" if self.high < 0 else ""


def difference(ours: Sequence[float], theirs: Printed, source: Source) -> Difference:
    r"""Return the difference of two means, with its 95 % interval by Welch.

    .. math:: \bar x - \bar y \pm \Bigl( t_\nu \sqrt{u + v} + r \Bigr), \qquad u = s_x^2 / n_x, \quad v = s_y^2 / n_y,
              \quad \nu = \frac{(u + v)^2}{u^2 / (n_x - 1) + v^2 / (n_y - 1)}

    Rounding is taken into account: r is half a unit of the last decimal of what is printed, and s_y the largest
    standard deviation that is rounded to what is printed, so that "0.89 (0.0)" is not taken for exact.

    Args:
        ours: Of each run.
        theirs: As printed.
        source: Says the number of runs, and the convention of the standard deviation.
    """
    from multiace.study.statistics import welch  # takes scipy

    n, m = len(ours), source.runs
    mean = sum(ours) / n
    value = mean - theirs.mean
    if n < 2 or m is None or theirs.deviation is None:
        return Difference(value)
    largest = theirs.deviation + 0.5 * 10.0**-theirs.deviation_decimals
    scale = m / (m - 1) if source.deviation == "population" else 1.0
    u, v = sum((x - mean) ** 2 for x in ours) / (n - 1) / n, scale * largest**2 / m
    half = welch((u, n), (v, m)) + 0.5 * 10.0**-theirs.decimals
    return Difference(value, value - half, value + half)
