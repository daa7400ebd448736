"""The page that walks from ACE to MACE, NequIP and BOTNet: each step is a model, each named place a preset."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml

from multiace.model import PRESETS, ModelConfig
from multiace.model.idle import idle_fields
from multiace.model.potential import Potential
from tests.model.design_space import ELEMENTS, STATISTICS, graph_of, molecule

PAGE = Path(__file__).parents[2] / "docs/path.md"
OUTSIDE = {"energy_reference", "isolated_energies", "scale", "shift", "dtype", "elements"}


def steps() -> list[dict]:
    """The keys in the first column of the tables, row by row."""
    rows = re.findall(r"^\| \**(`.*?`)\** \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [
        {key: value for text in re.findall(r"`(.*?)`", row) for key, value in yaml.safe_load(text).items()}
        for row in rows
    ]


def configs() -> list[tuple[dict, ModelConfig]]:
    found: list[tuple[dict, ModelConfig]] = []
    for step in steps():
        config = found[-1][1].replace(**step) if "preset" not in step else PRESETS[step["preset"]]
        found.append((step, config if not found or "preset" not in step else found[-1][1]))
    return found


def acting(config: ModelConfig) -> dict:
    """The fields of the network that have an effect."""
    idle = {idle.field for idle in idle_fields(config)}
    return {name: value for name, value in config.model_dump().items() if name not in OUTSIDE | idle}


def test_the_named_places_are_presets():
    named = [(step["preset"], config) for step, config in configs() if "preset" in step]
    assert [name for name, _ in named] == [
        "ace-small",
        "ace-tensor-reduced-small",
        "mace-small",
        "nequip-small",
        "botnet-small",
    ]
    for name, config in named:
        assert acting(config) == acting(PRESETS[name])


def test_every_step_is_one_key_that_has_an_effect():
    path = configs()
    assert all(len(step) == 1 for step, _ in path)
    for (_, before), (step, config) in pairwise(path):
        if "preset" not in step:
            assert acting(config) != acting(before), step


@pytest.mark.parametrize("number", range(len(steps())), ids=lambda n: str(steps()[n]))
def test_every_step_is_built_and_gives_forces(number):
    _, config = configs()[number]
    torch.manual_seed(number)
    at = Potential(config.replace(elements=ELEMENTS, dtype="float64"), STATISTICS)
    prediction = at(graph_of(molecule(), at))
    assert prediction.forces.abs().max() > 1e-3
    assert prediction.forces.sum(dim=0).abs().max() < 1e-9 * prediction.forces.abs().max()
