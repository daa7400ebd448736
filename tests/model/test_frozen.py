"""Model files of earlier versions keep loading and keep their energies and forces: see ``frozen/make.py``."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from safetensors import safe_open

from multiace.deploy.ase import Calculator
from multiace.errors import InputError
from multiace.model import file as model_file
from multiace.model.file import MIGRATIONS, SCHEMA_VERSION, read_model_file
from multiace.model.potential import Potential
from tests.model.frozen.make import CHANNELS

FOLDER = Path(__file__).parent / "frozen"
FROZEN = sorted(FOLDER.glob("schema-*/*.safetensors"))
NAMES = [f"{path.parent.name}-{path.stem}" for path in FROZEN]


@pytest.mark.usefixtures("plain_operations")
@pytest.mark.parametrize("path", FROZEN, ids=NAMES)
def test_a_frozen_model_gives_the_numbers_frozen_with_it(path):
    calculator = Calculator(Potential.load(path, dtype="float64"), skin=0.0, radial="network")
    for frozen in json.loads(path.with_suffix(".json").read_text()).values():
        fields = ("numbers", "positions", "cell", "pbc")
        atoms = Atoms(**{name: frozen[name] for name in fields}, calculator=calculator)
        assert atoms.get_potential_energy() == pytest.approx(frozen["energy"], rel=0, abs=1e-9)
        np.testing.assert_allclose(atoms.get_forces(), frozen["forces"], rtol=0, atol=1e-9)
        assert np.abs(frozen["forces"]).max() > 1e-2
        if frozen["stress"] is not None:
            np.testing.assert_allclose(atoms.get_stress(), frozen["stress"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("path", FROZEN, ids=NAMES)
def test_a_frozen_model_is_of_the_schema_of_its_folder_and_small(path):
    with safe_open(path, framework="pt") as file:
        schema = json.loads(file.metadata()["multiace"])["schema_version"]
    assert path.parent.name == f"schema-{schema}"
    assert path.stat().st_size < 64_000


def test_every_schema_that_loads_is_frozen():
    schemas = {int(path.parent.name.removeprefix("schema-")) for path in FROZEN}
    assert schemas == {SCHEMA_VERSION, *MIGRATIONS}
    for schema in schemas:
        names = {path.stem for path in FROZEN if path.parent.name == f"schema-{schema}"}
        assert names >= set(CHANNELS)


def test_a_file_is_migrated_step_by_step(monkeypatch):
    """As if two versions had come since: one renamed a field of the config, one a tensor."""
    field, tensor = "cutoff", "network.embedding.weight"
    seen = []

    def config(header, tensors):
        seen.append(header["schema_version"])
        values = {{field: "reach"}.get(name, name): value for name, value in header["config"].items()}
        return {**header, "config": values}, tensors

    def weights(header, tensors):
        seen.append(header["schema_version"])
        return header, {name.replace("embedding", "first"): value for name, value in tensors.items()}

    monkeypatch.setattr(model_file, "SCHEMA_VERSION", SCHEMA_VERSION + 2)
    monkeypatch.setattr(model_file, "MIGRATIONS", {SCHEMA_VERSION: config, SCHEMA_VERSION + 1: weights})
    header, tensors = read_model_file(FROZEN[0])
    assert seen == [SCHEMA_VERSION, SCHEMA_VERSION + 1]
    assert header["schema_version"] == SCHEMA_VERSION + 2
    assert header["config"]["reach"] == 3.5
    assert field not in header["config"]
    assert tensor not in tensors
    assert tensor.replace("embedding", "first") in tensors


def test_a_file_without_a_migration_is_refused(monkeypatch):
    monkeypatch.setattr(model_file, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    with pytest.raises(InputError, match=rf"\(schema {SCHEMA_VERSION}\), whose weights this version"):
        read_model_file(FROZEN[0])
