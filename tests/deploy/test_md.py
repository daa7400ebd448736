from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.calculator import all_changes
from ase.constraints import FixAtoms

from multiace.deploy.ase import Calculator, VerletList
from multiace.deploy.config import MDConfig
from multiace.deploy.md import Sample, degrees_of_freedom, energy_drift, read_log, simulate
from multiace.errors import InputError
from tests.deploy.harmonic import Harmonic
from tests.potentials import methanol, small_potential


def springs(n=3, **options):
    atoms = Atoms(f"C{n}", 4.0 * np.arange(3 * n).reshape(n, 3))
    atoms.calc = Harmonic(atoms.positions, **options)
    return atoms


def run(atoms, trajectory=None, log=None, **options):
    return list(simulate(atoms, MDConfig(**options), trajectory, log))


def model_run(dtype="float64", **options):
    atoms = methanol()
    atoms.calc = Calculator(small_potential(dtype=dtype))
    return run(atoms, temperature=200, log_interval=1, **options)


def test_nve_keeps_the_energy_of_a_model_to_second_order_in_the_step():
    coarse = energy_drift(model_run(timestep=0.4, steps=100))
    fine = energy_drift(model_run(timestep=0.2, steps=200))
    assert coarse.fluctuation / fine.fluctuation == pytest.approx(4, rel=0.2)
    assert fine.fluctuation < 1


def test_nve_of_an_oscillator_has_its_period():
    atoms = Atoms("C", calculator=Harmonic(np.zeros((1, 3)), k=5.0))
    atoms.positions[0, 0] = 0.1
    period = 2 * np.pi * np.sqrt(atoms.get_masses()[0] / 5.0) / units.fs
    run(atoms, temperature=0, timestep=period / 1000, steps=1000)
    assert atoms.positions[0] == pytest.approx([0.1, 0, 0], abs=1e-5)


def test_velocities_are_drawn_with_the_temperature_and_the_centre_of_mass_at_rest():
    atoms = springs(4)
    atoms.symbols[:2] = "H"
    first = run(atoms, temperature=321, steps=0)[0]
    assert first.temperature == pytest.approx(321)
    assert atoms.get_momenta().sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-12)
    assert first.kinetic == pytest.approx(0.5 * (3 * 4 - 3) * units.kB * 321)


def test_langevin_samples_positions_and_momenta_of_the_boltzmann_distribution():
    atoms = springs(60, k=5.0)
    spread, kinetic = [], []
    for sample in simulate(
        atoms, MDConfig(ensemble="langevin", timestep=4, friction=0.05, steps=700, log_interval=2)
    ):
        if sample.step > 100:
            spread.append(((atoms.positions - atoms.calc.origin) ** 2).mean())
            kinetic.append(sample.temperature)
    assert np.mean(spread) == pytest.approx(units.kB * 300 / 5.0, rel=0.05)
    assert np.mean(kinetic) == pytest.approx(300, rel=0.05)


def test_the_same_seed_gives_the_same_trajectory_and_another_seed_another():
    options = {"ensemble": "langevin", "steps": 20}
    first, again = run(springs(), seed=1, **options), run(springs(), seed=1, **options)
    assert first == again
    assert run(springs(), seed=2, **options) != first


def test_drift_of_a_line_is_its_slope():
    samples = [Sample(k, 10, 0.1 * k, 0, 0, -5 + 0.002 * 0.1 * k, 300) for k in range(11)]
    drift = energy_drift(samples)
    assert drift.slope == pytest.approx(0.2)  # meV/atom/ps
    assert drift.end_to_end == pytest.approx(0.2)
    assert drift.fluctuation == pytest.approx(0, abs=1e-9)


def test_drift_averages_over_oscillations_that_end_to_end_includes():
    t = np.linspace(0, 10, 2001)
    energies = 0.001 * np.sin(2 * np.pi * 5.025 * t)
    drift = energy_drift(
        [Sample(0, 1, time, 0, 0, energy, 300) for time, energy in zip(t, energies, strict=True)]
    )
    assert abs(drift.slope) < abs(drift.end_to_end) / 5
    assert drift.fluctuation == pytest.approx(1 / np.sqrt(2), rel=0.02)


def test_drift_needs_three_samples():
    with pytest.raises(InputError, match="3 samples"):
        energy_drift([Sample(0, 1, 0.0, 0, 0, 0, 0)] * 2)


@pytest.mark.parametrize("name", ["md.xyz", "md.traj"])
def test_frames_and_log_are_written_at_their_intervals(tmp_path, name):
    samples = run(
        springs(), tmp_path / "new" / name, tmp_path / "md.csv", steps=25, log_interval=5, frame_interval=10
    )
    frames = ase.io.read(tmp_path / "new" / name, ":")
    assert [sample.step for sample in samples] == [0, 5, 10, 15, 20, 25]
    assert len(frames) == 4  # 0, 10, 20 and the last
    assert frames[-1].get_potential_energy() == pytest.approx(samples[-1].potential)
    assert frames[-1].get_kinetic_energy() == pytest.approx(samples[-1].kinetic)
    assert read_log(tmp_path / "md.csv") == samples


def test_an_older_trajectory_is_replaced(tmp_path):
    for _ in range(2):
        run(springs(), tmp_path / "md.xyz", tmp_path / "md.csv", steps=2, frame_interval=1)
    assert len(ase.io.read(tmp_path / "md.xyz", ":")) == 3
    assert len(read_log(tmp_path / "md.csv")) == 2


def test_kept_velocities_continue_a_trajectory(tmp_path):
    whole = springs()
    run(whole, steps=20)
    half = springs()
    run(half, tmp_path / "half.xyz", steps=10)
    rest = ase.io.read(tmp_path / "half.xyz", -1)
    rest.calc = Harmonic(half.calc.origin)
    run(rest, steps=10, velocities="keep")
    np.testing.assert_allclose(rest.positions, whole.positions, atol=1e-6)


def test_velocities_to_keep_must_be_there():
    with pytest.raises(InputError, match="momenta"):
        run(springs(), steps=1, velocities="keep")


def test_equilibration_comes_before_the_trajectory(tmp_path):
    atoms = springs(4)
    samples = run(
        atoms, tmp_path / "md.xyz", tmp_path / "md.csv", equilibration=0.01, steps=20, log_interval=10
    )
    assert [sample.step for sample in samples] == [-20, -10, 0, 10, 20]
    assert [sample.step for sample in read_log(tmp_path / "md.csv")] == [0, 10, 20]
    assert atoms.info == {}
    assert len(ase.io.read(tmp_path / "md.xyz", ":")) == 2


def test_nve_after_equilibration_starts_with_the_centre_of_mass_at_rest():
    atoms = springs(4)
    simulation = simulate(atoms, MDConfig(equilibration=0.05, steps=0, log_interval=100))
    last = list(simulation)[-1]
    assert last.step == 0
    assert atoms.get_momenta().sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-12)


def test_nan_stops_the_trajectory_and_leaves_the_frames_before_it(tmp_path):
    with pytest.raises(InputError, match=r"stopped at step 6 .*not finite"):
        run(springs(breaks_at=7), tmp_path / "md.xyz", steps=50, frame_interval=2)
    frames = ase.io.read(tmp_path / "md.xyz", ":")
    assert len(frames) >= 4
    assert np.isfinite(frames[2].positions).all()


def refused(atoms, tmp_path, match):
    """Expect an error before the first step, which leaves an older trajectory alone."""
    (tmp_path / "md.xyz").write_text("an older one")
    with pytest.raises(InputError, match=match):
        run(atoms, tmp_path / "md.xyz", tmp_path / "md.csv", steps=5)
    assert (tmp_path / "md.xyz").read_text() == "an older one"
    assert not (tmp_path / "md.csv").exists()


def test_a_structure_that_a_model_cannot_take_is_refused_before_the_first_step(tmp_path):
    atoms = methanol()
    atoms.calc = Calculator(small_potential())
    atoms.symbols[2] = "Ni"
    refused(atoms, tmp_path, "element Ni of .* is not among the model's elements")
    atoms.symbols[2] = "H"
    atoms.positions[1] = np.nan
    refused(atoms, tmp_path, r"atom 1 has position \[nan, nan, nan\]; it must be finite")
    atoms.positions[1] = atoms.positions[0]
    refused(atoms, tmp_path, "atoms 0 and 1 are at one place")


class Colliding(Harmonic):
    """Free atoms whose neighbours are listed as those of a model."""

    def __init__(self, positions, skin):
        super().__init__(positions, k=0.0)
        self.neighbors = VerletList(("C",), 2.0, skin)

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)):
        super().calculate(atoms, properties, system_changes)
        self.neighbors.graph(self.atoms)


@pytest.mark.parametrize("skin", [0.0, 0.5, 4.0])  # the list is made at each step, at some, and once
def test_atoms_that_come_to_one_place_stop_the_trajectory_at_that_step(tmp_path, skin):
    atoms = Atoms("C2", [[0, 0, 0], [1, 0, 0]])
    atoms.calc = Colliding(atoms.positions, skin)
    atoms.set_velocities([[0.1 / units.fs, 0, 0], [0, 0, 0]])
    with pytest.raises(
        InputError, match=r"stopped at step 10 \(0\.0100 ps\): atoms 0 and 1 are at one place"
    ):
        run(
            atoms,
            tmp_path / "md.xyz",
            velocities="keep",
            timestep=1,
            steps=20,
            frame_interval=3,
            max_temperature=1e9,
        )
    assert [round(frame.positions[0, 0], 3) for frame in ase.io.read(tmp_path / "md.xyz", ":")] == [
        0,
        0.3,
        0.6,
        0.9,
        1,
    ]


def test_a_trajectory_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        InputError, match=r"cannot write to .*md\.xyz: (Not a directory|File exists); choose a place"
    ):
        run(springs(), tmp_path / "file" / "md.xyz", steps=5)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_trajectory_without_room_keeps_its_frames(tmp_path):
    simulation = simulate(
        springs(), MDConfig(steps=20, log_interval=1), tmp_path / "md.xyz", tmp_path / "md.csv"
    )
    for _ in range(5):
        next(simulation)
    (tmp_path / "md.csv").unlink()
    (tmp_path / "md.csv").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"md\.csv: No space left on device; make room on the disk"):
        next(simulation)
    assert len(ase.io.read(tmp_path / "md.xyz", ":")) == 1


def test_heat_stops_the_trajectory():
    with pytest.raises(InputError, match=r"K is above md.max_temperature = 1000 K"):
        run(springs(), temperature=900, max_temperature=1000, ensemble="langevin", steps=500)


def test_fixed_atoms_stay():
    atoms = springs(4)
    atoms.set_constraint(FixAtoms([1]))
    run(atoms, ensemble="langevin", steps=10)
    moved = np.linalg.norm(atoms.positions - atoms.calc.origin, axis=1)
    assert moved[1] == 0
    assert (np.delete(moved, 1) > 0).all()
    assert degrees_of_freedom(atoms, "langevin") == 9


def test_time_and_steps_contradict_each_other():
    with pytest.raises(InputError, match="one of them"):
        MDConfig(time=1.0, steps=10)
    assert MDConfig(time=1.0, timestep=0.25).n_steps == 4000
    assert MDConfig(steps=10).replace(seed=1).n_steps == 10


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"friction": 0.1}, "friction"),
        ({"velocities": "keep", "temperature": 500}, "temperature"),
        ({"velocities": "keep", "seed": 1}, "seed"),
    ],
)
def test_an_option_without_effect_is_refused(options, field):
    with pytest.raises(InputError, match=rf"md\.{field} has no effect with .*ensemble = nve"):
        MDConfig(**options)
    MDConfig(**options, equilibration=1)
    MDConfig(**options, ensemble="langevin")


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "step,num_atoms,time\nx,y,z\n"])
def test_a_file_that_is_no_log_is_refused(tmp_path, text):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(InputError, match="log"):
        read_log(tmp_path / "log.csv")


def test_the_log_says_which_ensemble_it_is_of(tmp_path):
    run(springs(), log=tmp_path / "a.csv", ensemble="langevin", steps=1)
    assert {sample.ensemble for sample in read_log(tmp_path / "a.csv")} == {"langevin"}
    samples = run(springs(), log=tmp_path / "b.csv", timestep=1, equilibration=0.01, steps=10)
    assert [sample.ensemble for sample in samples] == ["langevin", "nve", "nve"]
    assert {sample.ensemble for sample in read_log(tmp_path / "b.csv")} == {"nve"}
