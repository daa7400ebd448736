"""Irreducible representations of O(3), in e3nn's strings: ``"64x0e + 64x1o"``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

__all__ = ["Irrep", "Irreps", "MulIrrep"]


class Irrep(NamedTuple):
    """One irreducible representation: degree l and parity p = ±1.

    Printed ``1o``, ``2e``: e (even) is p = +1, o (odd) is p = -1. A polar vector is ``1o``.
    """

    l: int  # noqa: E741
    p: int

    @classmethod
    def parse(cls, text: str) -> Irrep:
        """Read ``"1o"``. Raises ValueError where the text is anything else."""
        match = re.fullmatch(r"\s*(\d+)\s*([eo])\s*", text)
        if match is None:
            raise ValueError(
                f"irrep {text!r} cannot be read; write a degree and a parity, such as 0e, 1o or 2e"
            )
        return cls(int(match[1]), 1 if match[2] == "e" else -1)

    @property
    def dim(self) -> int:
        """Number of components, 2l + 1."""
        return 2 * self.l + 1

    @property
    def is_scalar(self) -> bool:
        """Whether this is 0e, the invariant."""
        return self == Irrep(0, 1)

    def __mul__(self, other: Irrep) -> Iterator[Irrep]:  # type: ignore[override]
        """Irreps of the product, |l1 - l2| <= l <= l1 + l2."""
        for degree in range(abs(self.l - other.l), self.l + other.l + 1):
            yield Irrep(degree, self.p * other.p)

    def __str__(self) -> str:
        return f"{self.l}{'e' if self.p == 1 else 'o'}"

    def __repr__(self) -> str:
        return str(self)


class MulIrrep(NamedTuple):
    """``mul`` channels of one irrep."""

    mul: int
    irrep: Irrep

    @property
    def dim(self) -> int:
        """Number of values, mul (2l + 1)."""
        return self.mul * self.irrep.dim

    def __str__(self) -> str:
        return f"{self.mul}x{self.irrep}"

    def __repr__(self) -> str:
        return str(self)


class Irreps(tuple[MulIrrep, ...]):
    """A direct sum of irreps, each at most once, in a given order.

    Features of these irreps are flat tensors ``(n, dim)``: one block per irrep, each block
    ``(2l + 1, mul)`` with the channel last. (e3nn keeps ``(mul, 2l + 1)``; convert at import
    and export with :meth:`from_e3nn_order`.)

    >>> irreps = Irreps.parse("8x0e + 4x1o")
    >>> irreps.dim, irreps.mul("1o"), [str(block) for block in irreps]
    (20, 4, ['8x0e', '4x1o'])
    """

    __slots__ = ()

    def __new__(cls, blocks: Iterable[tuple[int, Irrep]] = ()) -> Irreps:
        """Build from (multiplicity, irrep) pairs; those with multiplicity 0 are left out."""
        kept = [MulIrrep(mul, Irrep(*irrep)) for mul, irrep in blocks if mul > 0]
        seen = [irrep for _, irrep in kept]
        if len(set(seen)) != len(seen):
            twice = next(irrep for irrep in seen if seen.count(irrep) > 1)
            raise ValueError(f"irrep {twice} occurs twice in {' + '.join(map(str, kept))}; write it once")
        return super().__new__(cls, kept)

    @classmethod
    def parse(cls, text: str | Irreps) -> Irreps:
        """Read ``"64x0e + 32x1o"``; a missing multiplicity is 1.

        Raises:
            ValueError: If a term cannot be read, or an irrep occurs twice.
        """
        if isinstance(text, Irreps):
            return text
        blocks = []
        for term in text.split("+"):
            match = re.fullmatch(r"\s*(?:(\d+)\s*x\s*)?(\d+\s*[eo])\s*", term)
            if match is None:
                raise ValueError(
                    f"irreps {text!r}: the term {term.strip()!r} cannot be read; "
                    "write for example '64x0e + 64x1o'"
                )
            blocks.append((int(match[1] or 1), Irrep.parse(match[2])))
        return cls(blocks)

    @property
    def dim(self) -> int:
        """Number of values per node, Σ mul (2l + 1)."""
        return sum(block.dim for block in self)

    @property
    def irreps(self) -> list[Irrep]:
        """The irreps, without multiplicities."""
        return [irrep for _, irrep in self]

    @property
    def l_max(self) -> int:
        """Largest degree."""
        return max(irrep.l for irrep in self.irreps)

    def mul(self, irrep: Irrep | str) -> int:
        """Multiplicity of an irrep; 0 where it does not occur."""
        wanted = Irrep.parse(irrep) if isinstance(irrep, str) else irrep
        return next((mul for mul, found in self if found == wanted), 0)

    def slices(self) -> dict[Irrep, slice]:
        """Where each block lies in the flat feature."""
        result, start = {}, 0
        for block in self:
            result[block.irrep] = slice(start, start + block.dim)
            start += block.dim
        return result

    def keep(self, irreps: Iterable[Irrep]) -> Irreps:
        """Only the blocks whose irrep is among ``irreps``, in this order."""
        wanted = set(irreps)
        return Irreps(block for block in self if block.irrep in wanted)

    def __str__(self) -> str:
        return " + ".join(map(str, self))

    def __repr__(self) -> str:
        return str(self)
