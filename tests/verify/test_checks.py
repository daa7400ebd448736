"""A sound calculator passes; each planted defect fails its own check and no other."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from multiace.errors import InputError
from multiace.verify import dynamics
from multiace.verify.checks import CHECKS, SLOW, of_calculator, verify
from tests.verify import defects
from tests.verify.defects import CUTOFF, Pair, structures


def report(calculator, atoms=None, cutoff=CUTOFF, **options):
    return verify(of_calculator(calculator, atoms or structures(), cutoff), "here", quick=True, **options)


def failures(*arguments, **options):
    return {finding.check: finding.note for finding in report(*arguments, **options).failed}


def test_a_sound_calculator_passes_every_check_that_is_not_about_models():
    found = {finding.check: finding.status for finding in report(Pair()).findings}
    of_models = ("batch", "float32", "kernels", "radial tables", "gpu")
    assert {name for name, status in found.items() if status == "pass"} == {*CHECKS} - {*SLOW, *of_models}
    assert all(found[name] == "not applicable" for name in of_models)


@pytest.mark.parametrize(
    ("defect", "check"),
    [
        (defects.NonConservative, "forces"),
        (defects.BrokenRotation, "rotation"),
        (defects.Handed, "reflection"),
        (defects.OrderDependent, "permutation"),
        (defects.OneCell, "periodic images"),
        (defects.FixedOrigin, "translation"),
        (defects.StepAtCutoff, "energy at cutoff"),
        (defects.KinkAtCutoff, "force at cutoff"),
        (defects.CurvatureAtCutoff, "curvature at cutoff"),
        (defects.Float32, "noise"),
        (defects.Leaking, "history"),
        (defects.Hole, "dimers"),
        (defects.NonExtensive, "extensivity"),
        (defects.SeesFar, "locality"),
        (defects.WrongSign, "stress"),
        (defects.ChargedAtom, "isolated atoms"),
    ],
)
def test_a_planted_defect_fails_its_check_and_no_other(defect, check):
    assert list(failures(defect())) == [check]


def test_the_report_says_where_the_hole_is():
    assert failures(defects.Hole())["dimers"] == "Cu-Cu: lower at 0.90 Å than at 1.12 Å; 1 of 1 pairs"


def test_a_trajectory_that_drifts_or_explodes_fails(monkeypatch):
    monkeypatch.setattr(dynamics, "STEPS", 200)

    def failed(calculator):
        return verify(of_calculator(calculator, structures()[:1]), "", only=SLOW).failed

    assert failed(Pair()) == []
    assert [finding.check for finding in failed(defects.Shaken())] == ["constant energy"]
    assert ["was stopped" in finding.note for finding in failed(defects.Exploding())] == [True, True]


def test_effective_medium_theory_passes_all_but_its_truncation():
    """Its densities end at a Fermi function that is 1e-4, not 0."""
    gold = bulk("Au", cubic=True)
    gold.symbols[0] = "Cu"
    gold.rattle(0.03, seed=1)
    assert set(failures(EMT(), [gold], cutoff=None)) == {"energy at cutoff", "force at cutoff"}


def test_lennard_jones_passes_all_but_the_smoothness_it_does_not_have():
    argon = bulk("Ar", a=5.3, cubic=True)
    argon.rattle(0.05, seed=1)
    parameters = {"sigma": 3.4, "epsilon": 0.0104, "rc": 6.0, "ro": 4.5}
    subject = of_calculator(LennardJones(smooth=True, **parameters), [argon])
    smooth = verify(subject, "", only=[name for name in CHECKS if name not in SLOW])
    assert [finding.check for finding in smooth.failed] == []
    assert subject.cutoffs == {("Ar", "Ar"): pytest.approx(6.0, abs=1e-5)}
    parameters.pop("ro")
    assert "force at cutoff" in failures(LennardJones(**parameters), [argon], cutoff=None)


def test_a_check_that_raises_fails_with_the_error():
    copper = [Atoms("CuH", positions=[[0, 0, 0], [1.5, 0, 0]])]
    found = verify(of_calculator(LennardJones(rc=np.nan), copper), "", only=["rotation", "dimers"])
    assert [finding.status for finding in found.findings] == ["fail", "fail"]
    assert (
        verify(of_calculator(defects.Broken(), copper), "", only=["forces"]).failed[0].note
        == "KeyError: 'Cu'"
    )


def test_a_report_is_json_with_figures_that_are_not_finite_left_out():
    found = report(defects.NotFinite(), only=["translation", "gpu"]).to_dict()
    checks = json.loads(json.dumps(found, allow_nan=False))["checks"]
    assert checks["translation"]["status"] == "fail"
    assert checks["translation"]["figure"] is None
    assert checks["gpu"]["bound"] is None
    assert not found["passed"]


def test_an_unknown_check_is_refused():
    with pytest.raises(InputError, match="there is no check 'rotations'"):
        report(Pair(), only=["rotations"])
