"""The potential around the network: energies, repeatability, model files."""

import json
from dataclasses import fields, replace

import ase
import numpy as np
import pytest
import torch
from ase.build import molecule as ase_molecule
from ase.data import covalent_radii
from safetensors import safe_open
from safetensors.torch import save_file

from multiace.errors import InputError
from multiace.graph import Graph
from multiace.model import ModelConfig, Potential, Statistics, multi_ace, zbl
from multiace.model.config import OPEN_TABLES
from multiace.model.file import SCHEMA_VERSION, read_model_file
from tests.model.design_space import (
    BASE,
    E0,
    POINTS,
    assert_close,
    batch_of,
    crystal,
    graph_of,
    molecule,
    potential,
    random_potential,
)
from tests.potentials import small_potential

every_point = pytest.mark.parametrize("name", POINTS)


def batch(at: Potential) -> Graph:
    return batch_of([molecule(), crystal()], at)


def predict(at: Potential) -> dict[str, torch.Tensor]:
    return vars(at(batch(at), stress=True))


def assert_same_bits(first: dict, second: dict):
    for name, tensor in first.items():
        assert torch.equal(tensor.nan_to_num(), second[name].nan_to_num()), name


@every_point
def test_the_same_input_gives_the_same_bits(name):
    assert_same_bits(predict(potential(name)), predict(potential(name)))


@every_point
def test_a_saved_potential_is_the_same(name, tmp_path):
    at, path = potential(name), tmp_path / "model.safetensors"
    at.save(path)
    loaded = Potential.load(path)
    assert loaded.config == at.config
    assert_same_bits(predict(loaded), predict(at))


@every_point
def test_contributions_sum_to_the_energy(name):
    at, atoms = potential(name), molecule()
    terms = at.contributions(atoms)
    n_readouts = at.config.num_layers if at.config.readout == "every" else 1
    assert terms.shape == (1 + n_readouts,)
    assert terms.sum() == pytest.approx(at(graph_of(atoms, at), forces=False).energy.item(), rel=1e-12)
    if not at.config.zbl:
        assert terms[0] == pytest.approx(4 * E0[0] + E0[1] + E0[2], rel=1e-14)
    assert (abs(terms[1:]) > 1e-9).all()


def test_scale_and_shift_act_on_the_site_energies_of_the_network():
    plain, scaled = (
        Potential(BASE, Statistics(E0, scale, shift, num_neighbors=5.0))
        for scale, shift in ((1.0, 0.0), (2.5, -0.7))
    )
    scaled.network.load_state_dict(plain.network.state_dict())
    graph = batch(plain)
    sites, sites_scaled = (at(graph, forces=False).site_energies for at in (plain, scaled))
    reference = torch.from_numpy(E0)[graph.species]
    assert_close(sites_scaled, reference - 0.7 + 2.5 * (sites - reference), 1e-13)
    assert_close(scaled(graph).forces, 2.5 * plain(graph).forces, 1e-12)


def test_large_reference_energies_leave_forces_and_differences_exact():
    """E0 of all-electron calculations are thousands of eV: energies are summed in float64."""
    single = random_potential(BASE.replace(dtype="float32"))
    heavy = Potential(single.config, Statistics(E0 * 1e5, 1.7, 0.0, 5.0))
    heavy.network.load_state_dict(single.network.state_dict())
    graph = batch(single)
    assert torch.equal(heavy(graph).forces, single(graph).forces)
    shift = torch.from_numpy(E0 * (1e5 - 1))[graph.species]
    torch.testing.assert_close(
        heavy(graph).site_energies - shift, single(graph).site_energies, rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_are_float64_and_detached(dtype):
    at = random_potential(BASE.replace(dtype=dtype))
    graph = batch(at)
    prediction = at(graph, stress=True)
    shapes = {"energy": (2,), "site_energies": (9,), "forces": (9, 3), "stress": (2, 3, 3)}
    for field in fields(prediction):
        tensor = getattr(prediction, field.name)
        assert tensor.shape == shapes[field.name]
        assert tensor.dtype == torch.float64
        assert not tensor.requires_grad
    assert {p.dtype for p in at.parameters()} == {getattr(torch, dtype)}
    assert all(p.grad is None for p in at.parameters())


def test_only_what_is_asked_for_is_computed():
    at = potential("base")
    energy_only = at(batch(at), forces=False)
    assert energy_only.forces is None
    assert energy_only.stress is None
    stress_only = at(batch(at), forces=False, stress=True)
    assert stress_only.forces is None
    assert torch.equal(stress_only.stress[1], at(batch(at), stress=True).stress[1])


def test_forces_are_there_without_gradient_mode():
    at = potential("base")
    with torch.no_grad():
        assert torch.equal(at(batch(at)).forces, at(batch(at)).forces)
        assert not at(batch(at), forces=False).energy.requires_grad
    assert at(batch(at), forces=False).energy.requires_grad  # to train on energies alone


def test_the_graph_is_not_changed():
    at = potential("base")
    graph = batch(at)
    before = {field.name: getattr(graph, field.name) for field in fields(graph)}
    copies = {name: None if value is None else value.clone() for name, value in before.items()}
    at(graph, stress=True)
    for name, value in before.items():
        assert getattr(graph, name) is value
        assert value is None or torch.equal(value, copies[name])


def test_edge_vectors_may_be_given_instead_of_positions():
    at = potential("base")
    graph = batch(at)
    vectors = graph.edge_vectors()
    given = replace(graph, positions=torch.full_like(graph.positions, torch.nan)).with_vectors(vectors)
    assert_same_bits(vars(at(given, stress=True)), vars(at(graph, stress=True)))


def test_vacuum_in_a_direction_is_the_same_as_no_periodicity():
    at, slab = potential("base"), crystal()
    slab.cell[2] = [0.3, -0.2, 30.0]
    free = slab.copy()
    slab.pbc, free.pbc = True, (True, True, False)
    first, second = (at(graph_of(atoms, at), stress=True) for atoms in (slab, free))
    assert_close(second.energy, first.energy, 1e-12)
    assert_close(second.forces, first.forces, 1e-12)
    assert_close(second.stress, first.stress, 1e-12)


def test_a_wire_has_forces_but_no_stress():
    atoms = ase.Atoms(
        "CO", positions=[[0, 0, 0], [1.1, 0.3, 0.2]], cell=[2.5, 0, 0], pbc=(True, False, False)
    )
    prediction = potential("base")(graph_of(atoms, potential("base")), stress=True)
    assert prediction.forces.abs().max() > 1e-3
    assert prediction.stress.isnan().all()


def test_potentials_without_sense_are_refused():
    with pytest.raises(InputError, match=r"a potential needs model\.elements, such as \[H, C, O\]"):
        Potential(ModelConfig(), Statistics(np.zeros(0)))
    with pytest.raises(InputError, match=r"2 isolated-atom energies were given for 3 elements \(H, C, O\)"):
        Potential(BASE, Statistics(np.zeros(2)))


def test_unknown_elements_are_named():
    with pytest.raises(InputError, match="element N of H3N is not among the model's elements H, C, O"):
        potential("base").contributions(ase_molecule("NH3"))


# model files


def write(at: Potential, path, **header_changes):
    """A model file whose header says something else."""
    at.save(path)
    header, tensors = contents(path)
    save_file(tensors, path, metadata={"multiace": json.dumps({**header, **header_changes})})
    return header


def contents(path):
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return json.loads(file.metadata()["multiace"]), tensors


def test_a_model_file_holds_config_units_and_metadata(tmp_path):
    at, path = potential("base"), tmp_path / "model.safetensors"
    at.save(path, valid={"energy_rmse": 0.5}, comment="β")
    header, tensors = contents(path)
    assert ModelConfig(**header["config"]) == at.config
    assert header["schema_version"] == SCHEMA_VERSION
    assert header["units"]["energy"] == "eV"
    assert header["metadata"] == {"valid": {"energy_rmse": 0.5}, "comment": "β"}
    assert Potential.load(path).metadata == header["metadata"]
    assert set(tensors) == set(at.state_dict())
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_bit_that_has_changed_in_a_model_file_is_noticed(tmp_path):
    path = tmp_path / "model.safetensors"
    small_potential().save(path, note="a")
    header, tensors = read_model_file(path)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for place in rng.integers(len(content), size=300):
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            there, numbers = read_model_file(path)
        except InputError:
            refused += 1
        else:  # in the word sha256 itself, or in white space
            assert there == header
            assert_same_bits(numbers, tensors)
    assert refused > 295


def test_a_model_file_is_hardly_larger_than_the_parameters(tmp_path):
    at = Potential(BASE.replace(hidden_irreps="64x0e + 64x1o"), Statistics(E0))
    at.save(tmp_path / "model.safetensors")
    size = sum(p.numel() * p.element_size() for p in at.parameters())
    assert (tmp_path / "model.safetensors").stat().st_size < 1.1 * size


def test_a_potential_can_be_loaded_in_another_precision(tmp_path):
    double, path = potential("base"), tmp_path / "model.safetensors"
    double.save(path)
    single = Potential.load(path, dtype="float32")
    assert single.config.dtype == "float32"
    assert {p.dtype for p in single.parameters()} == {torch.float32}
    assert_close(single(batch(single)).forces, double(batch(double)).forces, 1e-4)
    single.save(path)
    again = Potential.load(path, dtype="float64")
    assert torch.equal(again.network.embedding.weight, single.network.embedding.weight.double())
    assert torch.equal(again.isolated_energies, double.isolated_energies)


def test_loading_leaves_the_random_numbers_alone(tmp_path):
    potential("base").save(tmp_path / "model.safetensors")
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    Potential.load(tmp_path / "model.safetensors")
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("change", [{"zbl": True}, {"distance_transform": "agnesi"}])
def test_covalent_radii_are_those_of_the_file_whatever_the_tables_say_later(tmp_path, monkeypatch, change):
    at, path = random_potential(BASE.replace(**change)), tmp_path / "model.safetensors"
    header = write(at, path)
    for module in (multi_ace, zbl):
        monkeypatch.setattr(module, "covalent_radii", 1.1 * covalent_radii)
    assert_same_bits(predict(Potential.load(path)), predict(at))
    without = {name: tensor for name, tensor in contents(path)[1].items() if "radii" not in name}
    without = {name: tensor for name, tensor in without.items() if "transform" not in name}
    save_file(without, path, {"multiace": json.dumps(header)})
    with pytest.raises(InputError, match=r"do not fit the config in the file: it has no .*(radii|r0)"):
        Potential.load(path)


@pytest.mark.parametrize("where", [*OPEN_TABLES, "first_layer"])
def test_a_model_file_cannot_run_code(tmp_path, monkeypatch, where):
    (tmp_path / "evil.py").write_text("raise SystemExit('executed')")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "model.safetensors"
    header = write(potential("base"), path)
    choice = {"activation": "evil:f"} if where == "first_layer" else "evil:f"
    write(potential("base"), path, config={**header["config"], where: choice})
    with pytest.raises(
        InputError, match=r"asks for code from outside multiace \(.* = evil:f\), which is not run"
    ):
        Potential.load(path)
    with pytest.raises(SystemExit, match="executed"):
        Potential.load(path, outside_code=True)


def test_a_model_with_code_from_outside_is_loaded_where_that_is_wanted(tmp_path):
    at = random_potential(BASE.replace(radial_activation="torch:tanh"))
    at.save(tmp_path / "model.safetensors")
    loaded = Potential.load(tmp_path / "model.safetensors", outside_code=True)
    assert_same_bits(predict(loaded), predict(at))


def test_a_model_cannot_be_written_where_there_is_no_folder(tmp_path):
    with pytest.raises(InputError, match=r"cannot write to .*: No such file or directory"):
        potential("base").save(tmp_path / "nowhere" / "model.safetensors")


def test_forces_in_inference_mode_are_refused():
    at = potential("base")
    with torch.inference_mode(), pytest.raises(InputError, match=r"use torch\.no_grad"):
        at(graph_of(molecule(), at))
