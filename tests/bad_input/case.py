"""What a case of bad input is, and the good files that it spoils."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from safetensors.torch import load, save

WATER = """\
3
Properties=species:S:1:pos:R:3:forces:R:3 energy=-10.5 pbc="F F F"
O 0.0  0.00  0.12 0.0  0.0  0.5
H 0.0  0.76 -0.48 0.0  0.1 -0.2
H 0.0 -0.76 -0.48 0.0 -0.1 -0.3
"""

COPPER = """\
2
Lattice="3.6 0 0 0 3.6 0 0 0 3.6" Properties=species:S:1:pos:R:3:forces:R:3 energy=-7.5
Cu 0.0 0.0 0.0 0.1 0.0 0.0
Cu 1.8 1.8 0.1 -0.1 0.0 0.0
"""

RUN = """\
model: {preset: botnet-small, hidden_irreps: 4x0e + 4x1o, l_max: 1, num_layers: 2, radial_widths: [8],
        energy_reference: mean, scale: none}
data: {train: train.xyz, valid: 1}
train: {max_epochs: 1, loggers: [csv]}
"""


class Case(NamedTuple):
    """A command, what the sentence has to say, and files that are made for it."""

    name: str
    command: str
    says: tuple[str, ...]
    files: dict[str, bytes]


def spoilt(good: str, *changes: tuple[str, str], frame: int = 2) -> bytes:
    """Four frames, of which one has these replacements."""
    bad = good
    for old, new in changes:
        assert old in bad
        bad = bad.replace(old, new, 1)
    return "".join(bad if number == frame else good for number in range(4)).encode()


def respelt(
    model: bytes,
    header: Callable[[dict[str, Any]], Any] = lambda header: header,
    tensors: Callable[[dict[str, Any]], dict[str, Any]] = lambda tensors: tensors,
) -> bytes:
    """A model file with another header or other tensors."""
    size = int.from_bytes(model[:8], "little")
    content = json.loads(json.loads(model[8 : 8 + size])["__metadata__"]["multiace"])
    return save(tensors(load(model)), {"multiace": json.dumps(header(content))})
