"""Scores of curves whose values are known."""

from pathlib import Path

import ase.io
import numpy as np
import pytest

from multiace.battery.config import CurveConfig
from multiace.battery.curves import (
    barriers,
    dissociation_error,
    divided,
    extrema,
    roughness,
    scores,
    spurious_extrema,
    zero,
)
from multiace.data.read import Frame
from multiace.errors import InputError
from tests.battery.calculators import DEPTH, dimer, morse, well

R = np.linspace(0.8, 6.0, 261)
DATA = Path(__file__).parents[2] / "examples" / "data"


def double_well(x, height):
    return height * (x**2 - 1) ** 2


@pytest.mark.parametrize("waves", [1, 2, 5])
def test_all_extrema_of_waves_are_found(waves):
    x = np.linspace(0, waves, 200 * waves + 1)
    minima, maxima = extrema(np.sin(2 * np.pi * x), 1e-3)
    assert x[minima] == pytest.approx(np.arange(waves) + 0.75)
    assert x[maxima] == pytest.approx(np.arange(waves) + 0.25)


def test_ends_of_a_curve_are_no_extrema():
    assert sum(map(len, extrema(np.array([0.0, 1.0, 2.0]), 0.0))) == 0
    assert sum(map(len, extrema(np.array([1.0, 1.0, 1.0]), 0.0))) == 0


def test_noise_below_the_tolerance_is_no_extremum():
    noise = 1e-4 * np.random.default_rng(0).uniform(-1, 1, len(R))
    assert spurious_extrema(morse(R), morse(R) + noise, 1e-3) == 0
    assert spurious_extrema(morse(R), morse(R) + noise, 0.0) > 10


@pytest.mark.parametrize("places", [(), (3.0,), (2.5, 3.5), (2.5, 3.5, 4.5)])
def test_planted_minima_are_counted_exactly(places):
    """Each has a maximum before it."""
    planted = morse(R) + sum(well(R, place, 0.5) for place in places)
    assert spurious_extrema(morse(R), planted, 1e-3) == 2 * len(places)


def test_a_missing_minimum_is_not_a_spurious_one():
    assert spurious_extrema(morse(R) + well(R, 3.0, 0.5), morse(R), 1e-3) == 0


def test_barriers_are_heights_above_the_lower_minimum():
    x = np.linspace(-1, 1, 41)
    assert barriers(double_well(x, 0.3), double_well(x, 0.4) + 7, 1e-3) == pytest.approx((0.3, 0.4))
    tilted = double_well(x, 0.3) - 0.05 * x
    found = barriers(tilted, tilted, 1e-3)
    assert found == pytest.approx((tilted.max() - tilted[-1],) * 2)


def test_the_highest_point_is_that_of_each_curve():
    x = np.linspace(-1, 1, 41)
    shifted = double_well(x - 0.2, 0.3)
    height = 0.3 - double_well(-1.2, 0.3)
    assert barriers(double_well(x, 0.3), shifted, 1e-3) == pytest.approx((0.3, height))


@pytest.mark.parametrize("ends", [(-1.5, 1), (-1, 1.6), (-1.5, 1.6)])
def test_walls_at_the_ends_are_no_barriers(ends):
    x = np.arange(*ends, 0.05)
    assert double_well(x, 0.3).max() > 0.29
    assert barriers(double_well(x, 0.3), double_well(x, 0.4), 1e-3) == pytest.approx((0.3, 0.4))


def test_the_barrier_of_the_proton_transfer_of_malonaldehyde_is_that_of_its_transition_state():
    """Its ends lie above the transition state."""
    frames = ase.io.read(DATA / "malonaldehyde" / "scan_proton_transfer.xyz", ":")
    E = np.array([atoms.get_potential_energy() for atoms in frames])
    assert E[[0, -1]].min() - E.min() > 0.06
    assert barriers(E, E, 1e-3) == pytest.approx((0.0308, 0.0308), abs=1e-4)


def test_a_barrier_at_the_end_counts():
    x = np.linspace(-1, 0, 21)
    assert barriers(double_well(x, 0.3), double_well(x, 0.2), 1e-3) == pytest.approx((0.3, 0.2))


def test_a_curve_that_only_falls_has_no_barrier():
    x = np.linspace(0, 1, 21)
    assert barriers(double_well(x, 0.3), double_well(x, 0.4), 1e-3) is None
    assert "barrier_error" not in scores(x, -x, -x, CurveConfig(file="x.xyz", scores="barrier"), {})


def test_a_well_has_no_barrier():
    x = np.linspace(-1, 1, 21)
    assert barriers(x**2, 2 * x**2, 1e-3) is None
    assert barriers((x + 0.5) ** 2, x**2, 1e-3) is None


def test_dissociation_error_of_morse_potentials_is_the_difference_of_their_depths():
    error = dissociation_error(morse(R), morse(R, DEPTH + 0.2) + 3)
    assert error == pytest.approx(0.2, abs=1e-4)


def test_roughness_of_a_parabola_is_its_second_derivative_on_any_grid():
    rng = np.random.default_rng(1)
    for x in (np.linspace(0, 1, 11), np.sort(rng.uniform(0, 5, 30))):
        assert roughness(x, 3.0 * x**2 - x + 7) == pytest.approx(6.0)
        assert roughness(x, 2.0 * x + 1) == pytest.approx(0.0, abs=1e-6)


def test_roughness_sees_noise_that_the_rmse_does_not():
    noise = 1e-3 * np.random.default_rng(2).normal(size=len(R))
    smooth = np.full(len(R), 1e-3)
    quiet, rough = (
        scores(R, morse(R), morse(R) + error, CurveConfig(file="x.xyz"), {}) for error in (smooth, noise)
    )
    assert quiet["rmse"] == pytest.approx(rough["rmse"], rel=0.1)
    assert rough["roughness"] > 1000 * quiet["roughness"]


def test_scores_are_in_milli_units_and_only_those_that_apply():
    config = CurveConfig(file="x.xyz", scores=("dissociation",))
    found = scores(R, morse(R), morse(R) + 0.002, config, {"forces": {"rmse": 12.0}})
    assert found["rmse"] == pytest.approx(2.0)
    assert found["forces_rmse"] == 12.0
    assert found["dissociation_error"] == pytest.approx(0.0, abs=1e-6)
    assert set(found) == {"rmse", "forces_rmse", "dissociation_error", "spurious_extrema", "roughness"}
    assert "roughness" not in scores(R[:2], R[:2], R[:2], CurveConfig(file="x.xyz"), {})


@pytest.mark.parametrize(("where", "values"), [("minimum", 5.0), ("first", 4.0), ("absolute", 0.0)])
def test_the_zero_of_both_curves_is_at_one_structure(where, values):
    reference, predicted = np.array([2.0, 1.0, 3.0]), np.array([4.0, 5.0, 3.0])
    assert zero(predicted, reference, where) == values


def frames(*of):
    return [Frame(dimer(1.0, symbols, **info), config_type=kind) for symbols, kind, info in of]


def test_curves_of_a_file_are_told_apart_by_the_shortest_label():
    one = frames(("CO", "default", {}), ("CO", "default", {}))
    kinds = frames(("H2", "HH", {}), ("CO", "CO", {}), ("H2", "HH", {}))
    both = frames(("H2", "a", {}), ("H2", "b", {}), ("CO", "a", {}))
    assert [(label, len(several)) for label, several in divided(one, None)] == [("", 2)]
    assert [(label, len(several)) for label, several in divided(kinds, None)] == [(" HH", 2), (" CO", 1)]
    assert [label for label, _ in divided(both, None)] == [" a H2", " b H2", " a CO"]


def test_curves_of_a_file_can_be_told_apart_by_an_info_key():
    scan = frames(*(("CO", "default", {"angles": [beta, 7.0]}) for beta in (120.0, 150.0, 120.0)))
    assert [(label, len(several)) for label, several in divided(scan, "angles[0]")] == [
        (" 120", 2),
        (" 150", 1),
    ]
    with pytest.raises(InputError, match=r"has no 'beta' \(keys found: angles\); set group to one of them"):
        list(divided(scan, "beta"))
