"""The layers of a model as one operation give what its operations give one by one."""

import copy
import gc
import pickle
from concurrent.futures import ThreadPoolExecutor

import ase.build
import pytest
import torch

from multiace.layers.table import RadialTables
from multiace.model import Potential
from multiace.model.presets import PRESETS
from multiace.ops.recorder import Recording
from tests.model.design_space import (
    POINTS,
    STATISTICS,
    assert_close,
    batch_of,
    crystal,
    differentiable,
    graph_of,
    molecule,
    random_potential,
)
from tests.potentials import methanol, small_potential

RECORDED = [
    "base",
    "base/both parities, correlation=2",
    "base/nonlinearity=gate",
    "base/radial_species=sender",
    "base/radial_species=pair",
    "base/element_embedding=continuous",
    "base/readout=last",
    "base/readout_function=finnis_sinclair",
    "base/radial_norm=layer",
    "base/feature_norm=layer",
    "base/norms, both parities, correlation=2",
    "base/complete, densities",
    "base/complete, R of pairs",
    "base/complete, MLP",
    "base/continuous, pair",
    "base/linear, biased",
]
UNRECORDED = ["base/nonlinearity=norm", "base/channel_coupling=full", "base/neighbor_norm=learned"]


pytestmark = pytest.mark.usefixtures("compiled")


def derivatives(at: Potential, intervals: int = 0) -> list[torch.Tensor]:
    """Energies, forces, stress; first derivatives of a loss on all of them; third ones by positions."""
    graph, tables = differentiable(batch_of([crystal(), molecule()], at)), None
    if intervals:
        layers = [function.tabulate(intervals) for function in at.network.radial_functions]
        tables = RadialTables(layers, at.network.elements)
    prediction = at(graph, stress=True, create_graph=True, tables=tables)
    loss = prediction.forces.square().sum() + prediction.energy.sum() + prediction.stress[0].square().sum()
    wanted = [graph.positions, *at.parameters()]
    first = torch.autograd.grad(loss, wanted, create_graph=True, allow_unused=True)
    third = torch.autograd.grad(first[0].square().sum(), wanted, allow_unused=True)
    found = [prediction.energy, prediction.forces, prediction.stress[0], *first, *third]
    return [torch.zeros(1) if value is None else value.detach() for value in found]


@pytest.mark.parametrize("name", RECORDED)
def test_a_program_gives_what_its_operations_give(name):
    at = random_potential(POINTS[name])
    programs, again = derivatives(at), derivatives(at)
    assert at.network.recorder.succeeds
    at.network.recorder.succeeds = False
    for program, repeated, alone in zip(programs, again, derivatives(at), strict=True):
        assert torch.equal(program, repeated)
        if alone.any() and alone.abs().max() > 1e-5:
            assert_close(program, alone, 1e-11)


@pytest.mark.parametrize(
    "name",
    [
        "base",
        "base/radial_species=sender",
        "base/continuous, pair",
        "base/complete, R of pairs",
        "base/norms, both parities, correlation=2",
    ],
)
def test_a_program_that_reads_tables_gives_what_its_operations_give(name):
    """Before and after one that does not; derivatives go through the tables to the weights."""
    at = random_potential(POINTS[name])
    networks, recorder = derivatives(at), at.network.recorder
    read, again = derivatives(at, 256), derivatives(at)
    assert recorder.succeeds
    recorder.succeeds = False
    for exact, program, same, alone in zip(networks, read, again, derivatives(at, 256), strict=True):
        assert torch.equal(exact, same)
        if alone.any() and alone.abs().max() > 1e-5:
            assert_close(program, alone, 1e-10)
            assert not torch.equal(program, exact)


@pytest.mark.parametrize("name", UNRECORDED)
def test_what_cannot_be_recorded_runs_as_it_is(name):
    at = random_potential(POINTS[name])
    assert at(batch_of([crystal(), molecule()], at)).energy.isfinite().all()
    assert not at.network.recorder.succeeds


@pytest.mark.parametrize("tabulated", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        *RECORDED,
        *UNRECORDED,
        "base/zbl=True",
        "base/radial_basis=chebyshev",
        "base/distance_transform=agnesi",
    ],
)
def test_a_prediction_is_that_of_a_training_step(name, tabulated):
    """Energies and forces from one program, and from one for each pass of PyTorch's autograd."""
    at = random_potential(POINTS[name])
    graph = batch_of([crystal(), molecule()], at)
    tables = at.network.tabulate() if tabulated else None
    once, kept = (at(graph, stress=True, tables=tables, create_graph=kept) for kept in (False, True))
    assert {once.forces.requires_grad, once.energy.requires_grad} == {False}
    for field in ("energy", "site_energies", "forces"):
        assert_close(getattr(once, field), getattr(kept, field).detach(), 1e-12)
    assert_close(once.stress[0], kept.stress[0].detach(), 1e-12)


def test_a_program_in_several_threads_keeps_its_numbers():
    """Their runs share neither memory nor results."""
    at = small_potential()
    graph = graph_of(methanol(), at)
    expected = at(graph).forces
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: at(graph).forces, range(60)))
    assert all(torch.equal(forces, expected) for forces in found)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_small_preset_is_recorded(dtype):
    for name in ("ace-small", "nequip-small", "botnet-small", "mace-small", "painn-small"):
        preset = PRESETS[name]
        irreps = " + ".join(f"2x{irrep}" for irrep in preset.irreps.irreps)
        config = preset.replace(
            elements=("H", "C", "O"), hidden_irreps=irreps, radial_widths=(4,), dtype=dtype
        )
        at = Potential(config, STATISTICS)
        at(graph_of(molecule(), at))
        assert at.network.recorder.succeeds, name


@pytest.mark.parametrize(
    "change", [{}, {"correlation": 2}, {"correlation": 2, "product_elements": True}], ids=str
)
def test_weights_are_looked_up_for_each_call(change):
    at = small_potential(**change)
    graph = graph_of(methanol(), at)
    before, recorded = at(graph).energy, at.network.recorder.recorded
    assert recorded is not None
    with torch.no_grad():
        for parameter in at.parameters():
            parameter.mul_(1.5)
    scaled = at(graph).energy
    at.network.layers[0].density.linear.weight = torch.nn.Parameter(
        at.network.layers[0].density.linear.weight / 1.5
    )
    replaced = at(graph).energy
    assert at.network.recorder.recorded is recorded
    assert len({float(energy) for energy in (before, scaled, replaced)}) == 3
    at.network.recorder.succeeds = False
    torch.testing.assert_close(replaced, at(graph).energy, rtol=1e-12, atol=0)


def test_constants_that_change_are_recorded_again():
    at = small_potential(neighbor_norm="mean")
    graph = graph_of(methanol(), at)
    before = at(graph).energy
    with torch.no_grad():
        for layer in at.network.layers:
            layer.density.norm.value.mul_(2.0)
    after = at(graph).energy
    at.network.recorder.succeeds = False
    torch.testing.assert_close(after, at(graph).energy, rtol=1e-12, atol=0)
    assert before != after


def test_a_graph_that_is_kept_gives_the_same_gradients_again():
    at = small_potential()
    graph = differentiable(graph_of(methanol(), at))
    energy = at(graph, forces=False).energy.sum()
    first, second = (
        torch.autograd.grad(energy, [graph.positions, *at.parameters()], retain_graph=True) for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_part_of_the_gradients_is_that_part_of_all():
    at = small_potential()
    graph = graph_of(methanol(), at)
    weights = list(at.parameters())

    def loss():
        prediction = at(graph, create_graph=True)
        return prediction.forces.square().sum() + prediction.energy.sum()

    everything = torch.autograd.grad(loss(), weights)
    for number in (0, len(weights) - 1):
        (one,) = torch.autograd.grad(loss(), [weights[number]])
        torch.testing.assert_close(one, everything[number], rtol=1e-12, atol=1e-14)
    loss().backward()
    for weight, expected in zip(weights, everything, strict=True):
        torch.testing.assert_close(weight.grad, expected, rtol=1e-12, atol=1e-14)


def test_a_loss_on_forces_or_energies_alone_has_its_gradients():
    at = small_potential()
    graph, weights = graph_of(methanol(), at), list(at.parameters())
    found = []
    for succeeds in (True, False):
        at.network.recorder.succeeds = succeeds
        prediction = at(graph, create_graph=True)
        found.append(torch.autograd.grad(prediction.forces.square().sum(), weights, allow_unused=True))
        found.append(torch.autograd.grad(at(graph, create_graph=True).energy.sum(), weights))
    for program, alone in zip(found[0] + found[1], found[2] + found[3], strict=True):
        torch.testing.assert_close(program, alone, rtol=1e-11, atol=1e-13)


def test_a_step_leaves_no_memory_behind():
    at = small_potential()
    graph, weights = graph_of(methanol(), at), list(at.parameters())
    for _ in range(2):
        prediction = at(graph, create_graph=True)
        torch.autograd.grad(prediction.forces.square().sum() + prediction.energy.sum(), weights)
    del prediction
    gc.collect()
    assert not any(type(thing) is Recording for thing in gc.get_objects())


def test_a_copy_of_a_model_has_programs_of_its_own():
    at = small_potential()
    graph = graph_of(methanol(), at)
    energy, twin = at(graph).energy, copy.deepcopy(at)
    with torch.no_grad():
        for parameter in at.parameters():
            parameter.zero_()
    assert torch.equal(twin(graph).energy, energy)
    assert twin.network.recorder.module is twin.network


@pytest.mark.parametrize("species", ["none", "pair"])
def test_a_model_can_be_sent_to_another_process(species):
    """Pickled, as ``spawn`` does; its files are no pickles."""
    at = small_potential(radial_species=species)
    graph = graph_of(methanol(), at)
    energy = at(graph).energy
    assert torch.equal(pickle.loads(pickle.dumps(at))(graph).energy, energy)


def test_threads_may_change_between_calls():
    at = small_potential()
    graph = graph_of(ase.build.molecule("CH3OH"), at)
    forces = at(graph).forces
    torch.set_num_threads(2)
    try:
        torch.testing.assert_close(at(graph).forces, forces, rtol=1e-11, atol=1e-13)
    finally:
        torch.set_num_threads(1)
