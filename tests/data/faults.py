"""Good data, and faults that are planted into them."""

from __future__ import annotations

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT

from multiace.data.finding import KINDS

KCAL = units.mol / units.kcal
CORNERS = np.array([[0, 0, 0], [2.5, 0, 0], [1.2, 2.2, 0], [1.2, 0.8, 2.1], [3.6, 2.1, 0.3]])


def labelled(atoms: Atoms, stress: bool = False) -> Atoms:
    """The structure with labels of effective-medium theory, under keys that ASE leaves where they are."""
    atoms.calc = EMT()
    atoms.info["REF_energy"] = atoms.get_potential_energy()
    atoms.arrays["REF_forces"] = atoms.get_forces()
    if stress:
        atoms.info["REF_stress"] = atoms.get_stress(voigt=False)
    atoms.calc = None
    return atoms


def clusters(count: int, seed: int) -> list[Atoms]:
    rng = np.random.default_rng(seed)
    return [
        labelled(
            Atoms(
                symbols,
                CORNERS[: len(Atoms(symbols))] + rng.normal(scale=0.08, size=(len(Atoms(symbols)), 3)),
            )
        )
        for symbols in [("Cu4", "Cu3Al", "Cu2Al3")[k % 3] for k in range(count)]
    ]


def crystals(count: int, seed: int) -> list[Atoms]:
    rng = np.random.default_rng(seed)
    frames = []
    for k in range(count):
        atoms = bulk("Cu", cubic=True)
        atoms.symbols[0] = ("Cu", "Al")[k % 2]
        atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(scale=0.02, size=(3, 3))), scale_atoms=True)
        atoms.rattle(0.05, rng=rng)
        frames.append(labelled(atoms, stress=True))
    return frames


def atom(symbol: str, **info: object) -> Atoms:
    frame = labelled(Atoms(symbol))
    frame.info |= {"config_type": "isolated_atom", **info}
    return frame


class Files(dict):
    """The frames of each file, which a fault changes, and the settings of the check."""

    def __init__(self, frames: dict) -> None:
        super().__init__(frames)
        self.data: dict = {}
        self.expected: dict = {}

    @property
    def train(self) -> list[Atoms]:
        return self["train"]


def of_all(files: Files, change) -> None:
    for frames in files.values():
        for frame in frames:
            change(frame)


def scaled(files: Files, **factors: float) -> None:
    """Multiply labels of all frames."""

    def change(frame):
        for label, factor in factors.items():
            key = f"REF_{label}"
            for store in (frame.info, frame.arrays):
                if key in store:
                    store[key] = store[key] * factor

    of_all(files, change)


def along_a_line(frame: Atoms, i: int, j: int) -> None:
    """Forces between two atoms only, which neither move nor turn the whole."""
    F = frame.arrays["REF_forces"]
    F[:] = 0
    F[i] = 0.1 * (frame.positions[i] - frame.positions[j])
    F[j] = -F[i]


# --- the faults: each changes the files, and returns the severity it must be found with -------------------

FAULTS = {}


def fault(
    code: str, severity: str | None = None, says: str = "", file: str = "train", frame: int | None = None
):
    """Register a fault under the code that it must be found with."""

    def register(plant):
        FAULTS[plant.__name__] = code, severity or KINDS[code].severity, says, file, frame, plant
        return plant

    return register


@fault("file-unreadable", says="does not exist", file="test")
def file_is_missing(files):
    files["test"] = None


@fault("file-unreadable", says="does not exist")
def training_file_is_missing(files):
    files["train"] = None
    del files["valid"], files["test"]


@fault("file-unreadable", file="test")
def file_is_empty(files):
    files["test"] = b""


@fault("file-unreadable", file="test")
def file_is_cut(files):
    files["test"] = b"4\nProperties=species:S:1:pos:R:3 REF_energy=1\nCu 0 0 0\nCu 2 0 0\n"


@fault("file-unreadable", file="test")
def file_is_something_else(files):
    files["test"] = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


@fault("position-not-finite", frame=7)
def position_is_nan(files):
    files.train[7].positions[1, 2] = np.nan


@fault("element-unknown", says="atom 0", frame=7)
def element_is_a_dummy(files):
    files.train[7].numbers[0] = 0


@fault("atoms-coincide", says="at one place", frame=7)
def two_atoms_are_at_one_place(files):
    files.train[7].positions[1] = files.train[7].positions[0]
    along_a_line(files.train[7], 2, 3)


@fault("cell-without-volume", frame=30)
def cell_is_flat(files):
    files.train[30].cell[2] = files.train[30].cell[1]


@fault("cell-without-volume", frame=7)
def cluster_is_periodic_without_a_cell(files):
    files.train[7].pbc = True


@fault("extent-unsearchable", frame=30)
def a_crystal_has_countless_images(files):
    files.train[30].cell = np.diag([1e-3, 1e-3, 1e-3])


@fault("label-unusable", says="infinite", frame=7)
def energy_is_infinite(files):
    files.train[7].info["REF_energy"] = np.inf


@fault("label-unusable", says="infinite", frame=7)
def force_is_infinite(files):
    files.train[7].arrays["REF_forces"][0, 0] = np.inf


@fault("label-unusable", says="not numeric", frame=7)
def energy_is_a_word(files):
    files.train[7].info["REF_energy"] = "failed"


@fault("label-unusable", says="3 values", frame=7)
def energy_has_several_values(files):
    files.train[7].info["REF_energy"] = np.array([1.0, 2.0, 3.0])


@fault("label-unusable", says="forces have shape", frame=7)
def forces_have_two_columns(files):
    files.train[7].arrays["REF_forces"] = files.train[7].arrays["REF_forces"][:, :2]


@fault("label-unusable", says="not symmetric", frame=30)
def stress_is_not_symmetric(files):
    files.train[30].info["REF_stress"] = np.arange(9.0).reshape(3, 3)


@fault("label-unusable", says="the stress has shape", frame=30)
def stress_has_five_values(files):
    files.train[30].info["REF_stress"] = np.arange(5.0)


@fault("label-unusable", says="weight", frame=7)
def weight_is_negative(files):
    files.train[7].info["weight"] = -1.0


@fault("label-unusable", says="no periodic cell", frame=7)
def named_stress_of_a_cluster(files):
    files.data = {"stress_key": "REF_stress"}
    files.train[7].info["REF_stress"] = np.eye(3) * 0.01


@fault("key-missing", says="no structure of .*'Q'.*REF_energy.*data.virial_key")
def named_key_is_nowhere(files):
    files.data = {"virial_key": "Q"}


@fault("target-without-labels", says="Set data.forces_key")
def run_has_a_target_without_labels(files):
    files.expected = {"weights": {"energy": 1.0, "forces": 1.0}, "reference": "isolated"}
    for frame in files.train:
        del frame.arrays["REF_forces"]


@fault("no-labels", says="Is it 'dft_forces'")
def forces_are_under_another_name(files):
    for frame in files.train:
        frame.arrays["dft_forces"] = frame.arrays.pop("REF_forces")


@fault("no-labels", file="valid", says="validation frames has an energy")
def validation_has_no_energies(files):
    for frame in files["valid"]:
        del frame.info["REF_energy"]


@fault(
    "no-labels", "error", says=r"an energy label \(keys found: dft_energy, dft_forces\). Is it 'dft_energy'"
)
def all_labels_are_under_another_name(files):
    for frame in files.train[2:]:
        frame.info = {"dft_energy": frame.info["REF_energy"]}
        frame.arrays["dft_forces"] = frame.arrays.pop("REF_forces")


@fault("only-isolated-atoms", file="valid")
def validation_has_only_isolated_atoms(files):
    files["valid"] = [atom("Cu")]


@fault("element-not-trained", file="test", says="structures with Au")
def test_has_an_element_that_is_not_trained(files):
    gold = bulk("Au", cubic=True)
    gold.rattle(0.05, seed=1)
    files["test"] += [labelled(gold, stress=True)]
    files["test"][-1].info["REF_energy"] -= 2.0
    files.expected = {"elements": ["Pt"]}


@fault("element-only-isolated", says="Au occurs")
def element_is_alone(files):
    files.train.append(atom("Au"))


@fault("isolated-atoms-missing", "error", says="for Al")
def run_lacks_an_isolated_atom(files):
    del files.train[1]
    files.expected = {"reference": "isolated"}


@fault("isolated-atoms-missing", "warning", says="for Cu")
def isolated_atom_is_missing_without_a_run(files):
    del files.train[0]


@fault("isolated-energies-differ", frame=50)
def isolated_atom_has_two_energies(files):
    files.train.append(atom("Cu", REF_energy=3.0))


@fault("isolated-energies-differ", "warning", file="test", frame=6)
def isolated_atom_of_the_test_has_another_energy(files):
    files["test"].append(atom("Cu", REF_energy=3.0))


@fault("given-energies-differ", says="gives Cu 3.4 eV")
def given_energy_is_another(files):
    files.expected = {"reference": "given", "isolated_energies": {"Cu": 3.4, "Al": 3.5}}
    files.train[1].info["REF_energy"] = 3.5


@fault("energies-unlike-isolated", says="Al is -200")
def one_isolated_atom_is_of_another_method(files):
    files.train[1].info["REF_energy"] = -200.0
    for name in files:  # a tenth of an atom of it in a structure: the mean over atoms tells nothing
        files[name] = [frame for frame in files[name] if str(frame.symbols) != "Cu2Al3"]
    del files.train[30:]


@fault("energies-unlike-isolated", says="do not come from the same method")
def isolated_atoms_are_of_another_method(files):
    files.train[0].info["REF_energy"] = files.train[1].info["REF_energy"] = -400.0


@fault("isolated-atom-without-energy", frame=50)
def isolated_atom_has_no_energy(files):
    files.train.append(atom("Cu"))
    del files.train[-1].info["REF_energy"]


@fault(
    "isolated-atom-without-energy", file="test", says="no energy under 'REF_energy' .keys found: .*dft_energy"
)
def isolated_atom_has_its_energy_under_another_key(files):
    files.data = {"energy_key": "REF_energy"}
    files["test"] = [atom("Cu", dft_energy=3.0)]
    del files["test"][0].info["REF_energy"]
    files["test"] += crystals(2, 5)


@fault("isolated-atom-not-alone", says="4 atoms", frame=8)
def cluster_is_called_isolated(files):
    files.train[8].info["config_type"] = "isolated_atom"


@fault("isolated-atom-not-alone", says="images of itself at 4 Å", frame=50)
def isolated_atom_is_in_a_small_box(files):
    files.train.append(atom("Cu"))
    files.train[-1].set_cell([4.0, 9.0, 9.0])
    files.train[-1].pbc = True


@fault("compositions-dependent", "warning", says="determine 1 of 2")
def compositions_do_not_determine_e0(files):
    files.train[:] = [frame for frame in files.train[:26] if str(frame.symbols) == "Cu3Al"]
    del files["valid"], files["test"]
    files.expected = {"reference": "least_squares"}


@fault("two-labels", says="'energy' and 'REF_energy', which differ", frame=7)
def energy_is_there_twice(files):
    files.train[7].info["energy"] = files.train[7].info["REF_energy"] + 0.01


@fault("energies-equal")
def energies_are_placeholders(files):
    for frame in files.train[2:]:
        frame.info["REF_energy"] = 0.0


@fault("forces-zero", file="test")
def forces_are_placeholders(files):
    for frame in files["test"]:
        frame.arrays["REF_forces"] *= 0


@fault("forces-zero", frame=8, says="Set them to NaN.*3 frames")
def forces_of_some_are_placeholders(files):
    for k in (8, 9, 11):
        files.train[k].arrays["REF_forces"] *= 0


@fault("energy-outlier", frame=7)
def energy_is_not_converged(files):
    files.train[7].info["REF_energy"] += 40.0


@fault("force-outlier", frame=30)
def forces_are_not_converged(files):
    files.train[30].arrays["REF_forces"][:2] = [[60.0, 0, 0], [-60.0, 0, 0]]


@fault("net-force", frame=30)
def a_force_is_missing_in_the_sum(files):
    files.train[30].arrays["REF_forces"][0] += [1.0, 0, 0]


@fault("net-torque", frame=7)
def atoms_are_in_another_order_than_forces(files):
    files.train[7].arrays["REF_forces"] = np.roll(files.train[7].arrays["REF_forces"], 1, axis=1)


@fault("stress-unused", frame=7)
def cluster_has_a_stress(files):
    files.train[7].info["REF_stress"] = np.eye(3) * 0.01


@fault("close-pair", frame=7, says="Cu 0 and Cu 1 are 1.000 Å apart")
def two_atoms_are_too_close(files):
    files.train[7].positions[1] = files.train[7].positions[0] + [1.0, 0, 0]
    along_a_line(files.train[7], 2, 3)


@fault("atoms-alone", frame=7)
def an_atom_is_far_away(files):
    files.train[7].positions[0] -= [20.0, 0, 0]
    along_a_line(files.train[7], 2, 3)


@fault("atoms-alone", says="cutoff of 1.5 Å")
def cutoff_is_shorter_than_a_bond(files):
    files.expected = {"cutoff": 1.5}
    del files["valid"], files["test"]


@fault("box-filled", frame=30)
def crystal_is_not_periodic(files):
    files.train[30].pbc = False
    del files.train[30].info["REF_stress"]
    along_a_line(files.train[30], 2, 3)


@fault("box-not-periodic", frame=7, says="box of 50 x 50 x 50")
def box_is_only_a_box(files):
    files.train[7].set_cell([50.0, 50.0, 50.0])


@fault("duplicates", frame=10)
def structure_is_there_twice(files):
    files.train[10] = files.train[7].copy()
    files.train[10].positions += 1.0


def turned(atoms: Atoms, axis: tuple[float, float, float] = (1, 2, 3)) -> Atoms:
    """The structure in another place and orientation, with its labels."""
    copy = atoms.copy()
    copy.arrays["turning"] = copy.arrays["REF_forces"]
    copy.rotate(73, axis, rotate_cell=True)
    forces = Atoms(positions=copy.arrays.pop("turning"))
    forces.rotate(73, axis)
    copy.arrays["REF_forces"] = forces.positions
    copy.positions += [3.0, -1.0, 0.7]
    if copy.pbc.any():
        copy.wrap()
    if "REF_stress" in copy.info:
        x = Atoms(positions=np.eye(3))
        x.rotate(73, axis)
        copy.info["REF_stress"] = x.positions.T @ copy.info["REF_stress"] @ x.positions
    return copy


@fault("duplicates", frame=10, says="frame 7, up to rotation and translation: it counts twice")
def cluster_is_there_twice_turned(files):
    files.train[10] = turned(files.train[7])


@fault("duplicates", frame=34)
def crystal_is_there_twice_turned_and_wrapped(files):
    files.train[34] = turned(files.train[30])


@fault("sets-overlap", file="test", frame=2)
def crystal_is_tested_turned(files):
    files["test"][2] = turned(files.train[30])


@fault("duplicates-differ", frame=10, says="up to rotation and translation, but its energy is")
def cluster_is_there_turned_with_another_energy(files):
    files.train[10] = turned(files.train[7])
    files.train[10].info["REF_energy"] += 0.01


@fault("duplicates-differ", frame=10)
def structure_is_there_with_two_energies(files):
    files.train[10] = files.train[7].copy()
    files.train[10].info["REF_energy"] += 0.01


@fault("sets-overlap", file="valid", frame=2, says="errors on it are no test")
def structure_is_trained_and_validated(files):
    files["valid"][2] = files.train[7].copy()


@fault("sets-overlap", file="test", frame=2)
def structure_is_trained_and_tested(files):
    files["test"][2] = files.train[30].copy()


@fault("labels-missing", says="47 of 48 structures have forces")
def one_structure_has_no_forces(files):
    files.train[7].arrays["REF_forces"] *= np.nan


@fault("forces-partial", frame=7)
def one_atom_has_no_force(files):
    files.train[7].arrays["REF_forces"][0] = np.nan


@fault("weight-zero", frame=7)
def weight_is_zero(files):
    files.train[7].info["weight"] = 0.0


@fault("length-unit", says="look like bohr")
def positions_are_in_bohr(files):
    of_all(files, lambda frame: frame.set_cell(frame.cell / units.Bohr, scale_atoms=False))
    of_all(files, lambda frame: frame.set_positions(frame.positions / units.Bohr))


@fault("length-unit", says="look like nm")
def positions_are_in_nm(files):
    of_all(files, lambda frame: frame.set_cell(frame.cell / 10))
    of_all(files, lambda frame: frame.set_positions(frame.positions / 10))


@fault("energy-unit", says="Hartree.*data.forces_unit=Hartree/Bohr")
def energies_and_forces_are_atomic_units(files):
    scaled(files, energy=1 / units.Hartree, forces=units.Bohr / units.Hartree)


@fault("energy-unit", says="look like Hartree")
def energies_are_in_hartree(files):
    scaled(files, energy=1 / units.Hartree)


@fault("energy-unit", says="look like Hartree.*gain 0.081 eV each, which is no bond")
def few_energies_and_forces_are_atomic_units(files):
    scaled(files, energy=1 / units.Hartree, forces=units.Bohr / units.Hartree)
    del files.train[6:], files["valid"], files["test"]


@fault("energy-unit", says="look like kcal/mol")
def energies_are_in_kcal(files):
    scaled(files, energy=KCAL)


@fault("forces-unit", says="look like Hartree/Bohr")
def forces_are_in_hartree_per_bohr(files):
    scaled(files, forces=units.Bohr / units.Hartree)


@fault("forces-unit", says="look like kcal/mol/A")
def forces_are_in_kcal(files):
    scaled(files, forces=KCAL)


@fault("forces-sign")
def forces_are_gradients(files):
    scaled(files, forces=-1.0)


@fault("forces-unlike-energies", says="no ratio of usual units")
def forces_are_of_something_else(files):
    scaled(files, forces=10.0)


@fault("stress-sign", says="data.stress_sign=compression")
def stress_is_positive_in_compression(files):
    scaled(files, stress=-1.0)


@fault("stress-unit", says="look like GPa")
def stress_is_in_gpa(files):
    scaled(files, stress=1 / units.GPa)


@fault("stress-unit", says="look like kbar")
def stress_is_in_kbar(files):
    scaled(files, stress=10 / units.GPa)


@fault("stress-sign", says="data.virial_sign=tension")
def virial_has_the_sign_of_the_stress(files):
    def change(frame):
        if "REF_stress" in frame.info:
            frame.info["virial"] = frame.info.pop("REF_stress") * frame.get_volume()

    of_all(files, change)
