"""Models of multiace: a random one is sound, and defects of how it is computed are seen."""

import numpy as np
import pytest
import torch
from ase import Atoms

from multiace.basis.angular import SphericalHarmonics
from multiace.data.read import read_structures
from multiace.model.multi_ace import MultiACE
from multiace.ops import cpu
from multiace.ops.compiler import CompilerError
from multiace.verify.checks import CHECKS, of_potential, verify
from multiace.verify.structures import build, choose_few, keep
from tests.potentials import crystal, methanol, small_potential


def failures(potential, **options):
    report = verify(of_potential(potential, [methanol(), crystal()]), "here", quick=True, **options)
    return {finding.check: finding for finding in report.failed}


def compiles():
    try:
        cpu.check_compiler()
    except CompilerError:
        return False
    return True


needs_compiler = pytest.mark.skipif(not compiles(), reason="no C++ compiler")


def test_a_random_model_with_repulsion_passes_everything(plain_operations):
    assert not failures(small_potential(zbl=True))


def test_a_random_model_without_repulsion_has_holes_and_nothing_else(plain_operations):
    found = failures(small_potential())
    assert list(found) == ["dimers"]
    assert "lower at 0." in found["dimers"].note


def test_isolated_atoms_of_a_model_with_a_shift_are_shown_and_not_judged(plain_operations):
    found = verify(of_potential(small_potential(), [methanol()]), "", only=["isolated atoms"]).findings[0]
    assert found.status == "figure"
    assert found.outcome.figure == pytest.approx(0.2)
    assert "model.shift = mean" in found.note
    exact = verify(of_potential(small_potential(shift="none"), [methanol()]), "", only=["isolated atoms"])
    assert exact.findings[0].status == "figure"  # the fixture's shift is -0.2 whatever the config says


def test_fields_that_make_the_energy_less_smooth_are_seen(plain_operations):
    names = ["energy at cutoff", "force at cutoff", "curvature at cutoff"]
    cosine = small_potential(scale=30.0, radial_basis="gaussian", envelope="cosine")
    assert list(failures(cosine, only=names)) == ["curvature at cutoff"]
    biased = small_potential(radial_bias=True)
    for name, parameter in biased.named_parameters():
        if "bias" in name:
            torch.nn.init.constant_(parameter, 1.0)
    assert "energy at cutoff" in failures(biased, only=names)


def test_a_batch_that_leaks_fails_that_check_only(monkeypatch, plain_operations):
    right = MultiACE.with_gradient

    def leaking(self, graph, tables=None):
        leak = 1e-3 * (graph.n_graphs == 3 and graph.n_nodes > 10)
        energies, g = right(self, graph, tables)
        return energies + leak, g

    monkeypatch.setattr(MultiACE, "with_gradient", leaking)
    assert list(failures(small_potential(zbl=True))) == ["batch"]


def test_tables_that_are_too_coarse_fail_that_check_only(monkeypatch, plain_operations):
    tabulate = MultiACE.tabulate
    monkeypatch.setattr("multiace.layers.table.INTERVALS", (4,))
    monkeypatch.setattr(MultiACE, "tabulate", lambda self: tabulate(self, tolerance=1.0))
    assert list(failures(small_potential(zbl=True))) == ["radial tables"]


@needs_compiler
def test_wrong_kernels_fail_and_the_calculator_refuses_them(monkeypatch):
    right = cpu.spherical_harmonics
    monkeypatch.setattr(cpu, "spherical_harmonics", lambda vectors, l_max: 1.001 * right(vectors, l_max))
    found = failures(small_potential(zbl=True))
    assert set(found) == {"kernels", "history"}
    assert "differ by" in found["history"].note


def test_definitions_that_do_not_turn_fail_the_rotation(monkeypatch, plain_operations):
    forward = SphericalHarmonics.forward

    def squashed(self, vectors, lengths):
        return forward(self, vectors * vectors.new_tensor([1.0, 1.0, 1.02]), lengths)

    monkeypatch.setattr(SphericalHarmonics, "forward", squashed)
    found = failures(small_potential(scale=30.0), only=["rotation", "translation"])
    assert list(found) == ["rotation"]


def test_built_structures_have_every_element_and_touch():
    molecule, periodic = build(("H", "C", "O"))
    assert set(molecule.symbols) == set(periodic.symbols) == {"H", "C", "O"}
    assert periodic.pbc.all()
    assert not molecule.pbc.any()
    for atoms in (molecule, periodic):
        distances = atoms.get_all_distances(mic=True) + 9 * np.eye(len(atoms))
        assert 0.3 < distances.min() < 2.0
    assert len(build(("Cu",))[0]) == 6


def test_few_structures_are_chosen_that_have_everything_between_them():
    large, alone = Atoms("H101", positions=np.random.default_rng(0).normal(size=(101, 3))), Atoms("H")
    copper = Atoms("Cu2", positions=[[0, 0, 0], [2.5, 0, 0]])
    chosen = choose_few([large, alone, methanol(), methanol(), copper, crystal()])
    assert [len(atoms) for atoms in chosen] == [6, 8, 2]
    assert choose_few([large, alone]) == []


def test_kept_structures_come_back_without_what_else_they_carried(tmp_path):
    labelled = crystal()
    labelled.info["secret"], labelled.arrays["forces"] = 1.0, labelled.positions.copy()
    keep([methanol(), labelled], tmp_path / "kept.xyz")
    for before, after in zip([methanol(), crystal()], read_structures(tmp_path / "kept.xyz"), strict=True):
        np.testing.assert_allclose(before.positions, after.positions, atol=1e-7)
        assert (before.cell.tolist(), before.pbc.tolist()) == (after.cell.tolist(), after.pbc.tolist())
        assert list(before.symbols) == list(after.symbols)
    assert not {"secret", "forces"} & {*after.info, *after.arrays}
    keep([], tmp_path / "kept.xyz")
    assert not (tmp_path / "kept.xyz").exists()


def test_every_check_has_a_first_line_that_says_what_it_measures():
    assert all((check.__doc__ or "").strip() for check in CHECKS.values())


def test_a_model_with_holes_and_without_zbl_is_told_of_it():
    (found,) = verify(of_potential(small_potential(), [methanol()]), "", only=["dimers"]).findings
    assert found.status == "fail"
    assert found.note.endswith("pairs; model.zbl: true keeps atoms apart")
    (found,) = verify(of_potential(small_potential(zbl=True), [methanol()]), "", only=["dimers"]).findings
    assert "zbl" not in found.note
