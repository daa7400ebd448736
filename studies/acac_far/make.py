"""Make test sets far from the 300 K data of AcAc: GFN2-xTB geometries, PBE+D3(BJ)/def2-SVP energies and forces.

The level of theory is that of the AcAc data (ORCA), here with PySCF; ``--check FILE`` labels some frames of theirs
again and prints by how much the two differ.

    OMP_NUM_THREADS=1 python make.py TRAIN_300K.xyz --jobs 2

A run that was stopped goes on where it was. Needs pyscf, tblite, dftd3 and ase. Units: Å, eV, eV/Å.
"""

import argparse
import multiprocessing
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixInternals
from ase.io import read
from ase.md.langevin import Langevin
from ase.optimize import BFGS
from dftd3.interface import DispersionModel, RationalDampingParam
from tblite.ase import TBLite

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "examples" / "data"))

from make_malonaldehyde import bare_frame, label, write_whole  # noqa: E402

# Atoms as the AcAc data order them: O=C-C=C-O-H, and the two methyl groups.
KETO, CARBON, MIDDLE, ENOL_CARBON, ENOL, PROTON = 5, 0, 1, 2, 3, 11

TRAJECTORIES = {"md_600K": (600, 30, 1), "md_1200K": (1200, 20, 2)}  # temperature [K], frames, seed
TIME_STEP, FRICTION = 0.5 * units.fs, 0.01 / units.fs
EQUILIBRATION_STEPS, STEPS_PER_FRAME = 10_000, 200  # 5 ps, 100 fs

DIHEDRALS = np.arange(0.0, 181.0, 10.0)  # O=C-C=C [degrees]
TRANSFERS = np.linspace(-0.8, 0.8, 17)  # r(O-H) of the enol less that of the keto oxygen [Å]
FMAX = 0.02  # eV/Å
OFFSET = 0.0019  # eV: mean of these energies less those of the AcAc data (--check; s.d. 0.0001)


def relaxed(atoms: Atoms) -> Atoms:
    """Relax with GFN2-xTB."""
    atoms.calc = TBLite(method="GFN2-xTB", accuracy=0.1, verbosity=0)
    BFGS(atoms, logfile=None).run(fmax=FMAX, steps=500)
    return atoms


def trajectory(start: Atoms, name: str) -> list[Atoms]:
    """Frames of Langevin dynamics from the relaxed molecule."""
    temperature, number, seed = TRAJECTORIES[name]
    atoms, rng = relaxed(start.copy()), np.random.default_rng(seed)
    dynamics = Langevin(atoms, TIME_STEP, temperature_K=temperature, friction=FRICTION, fixcm=False, rng=rng)
    dynamics.run(EQUILIBRATION_STEPS)
    frames = []
    for _ in range(number):
        dynamics.run(STEPS_PER_FRAME)
        frames.append(bare_frame(atoms, config_type=name))
    return frames


def scan(start: Atoms, name: str) -> list[Atoms]:
    """Frames along a coordinate, all else relaxed, each from the one before."""
    atoms, frames = relaxed(start.copy()), []
    for value in DIHEDRALS if name == "dihedral" else TRANSFERS:
        atoms.set_constraint()
        if name == "dihedral":
            side = [KETO, CARBON, *methyl(atoms)]  # turns with the keto group
            atoms.set_dihedral(KETO, CARBON, MIDDLE, ENOL_CARBON, value, indices=side)
            fixed = FixInternals(dihedrals_deg=[[value, [KETO, CARBON, MIDDLE, ENOL_CARBON]]], epsilon=1e-6)
        else:
            combination = [value, [[ENOL, PROTON, 1.0], [KETO, PROTON, -1.0]]]
            fixed = FixInternals(bondcombos=[combination], epsilon=1e-8)
        atoms.set_constraint(fixed)
        atoms.set_positions(atoms.positions)  # the constraint moves the atoms to the value
        relaxed(atoms)
        frame = bare_frame(atoms, config_type=name)
        frame.info["reaction_coordinate"] = round(float(value), 6)
        frames.append(frame)
    return frames


def methyl(atoms: Atoms) -> list[int]:
    """The methyl group beside the keto oxygen: its carbon and what is bound to it."""
    near = [
        i for i in range(len(atoms)) if 0 < atoms.get_distance(CARBON, i) < 1.8 and i not in (KETO, MIDDLE)
    ]
    return near + [i for i in range(len(atoms)) if 0 < atoms.get_distance(near[0], i) < 1.3]


SETS = {"dihedral": scan, "proton_transfer": scan, "md_600K": trajectory, "md_1200K": trajectory}


def label_with_dispersion(atoms: Atoms) -> None:
    """Attach PBE+D3(BJ)/def2-SVP energy and forces."""
    label(atoms)
    model = DispersionModel(atoms.numbers, atoms.positions / units.Bohr)
    found = model.get_dispersion(RationalDampingParam(method="pbe"), grad=True)
    energy = atoms.get_potential_energy() + float(found["energy"]) * units.Hartree - OFFSET
    forces = atoms.get_forces() - found["gradient"] * units.Hartree / units.Bohr
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)


def task(job: tuple[str, int], work: Path) -> str:
    """Label a frame and write it at once."""
    (name, index), started = job, time.perf_counter()
    atoms = read(work / f"{name}.xyz", index=index)
    label_with_dispersion(atoms)
    write_whole(work / name / f"{index:04d}.xyz", [atoms])
    return f"{name} {index}: {time.perf_counter() - started:.0f} s"


def check(path: str, number: int) -> None:
    """Label frames of a file again, and print the differences."""
    differences = []
    for theirs in read(path, ":")[:: max(len(read(path, ":")) // number, 1)][:number]:
        ours = theirs.copy()
        label_with_dispersion(ours)
        differences.append(ours.get_potential_energy() - theirs.get_potential_energy())
        forces = ours.get_forces() - theirs.get_forces()
        print(
            f"energy {1000 * differences[-1]:.2f} meV, forces {1000 * np.sqrt(np.mean(forces**2)):.2f} meV/Å (RMS)",
            flush=True,
        )
    print(
        f"energy: mean {1000 * np.mean(differences):.2f}, s.d. {1000 * np.std(differences, ddof=1):.2f} meV"
    )


def main() -> None:
    """Read the command line, sample, label and collect."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("start", help="file whose first frame is the molecule: train_300K.xyz of AcAc")
    parser.add_argument("--check", type=int, metavar="N", help="only label N frames of the file again")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--work", type=Path, default=Path("acac_far_work"), help="kept between runs")
    arguments = parser.parse_args()
    if arguments.check:
        check(arguments.start, arguments.check)
        return
    start = bare_frame(read(arguments.start, 0), config_type="start")
    for name, sample in SETS.items():
        if not (arguments.work / f"{name}.xyz").exists():
            write_whole(arguments.work / f"{name}.xyz", sample(start, name))
            print(f"sampled {name}", flush=True)
    numbers = {name: len(read(arguments.work / f"{name}.xyz", ":")) for name in SETS}
    jobs = [(name, n) for name in SETS for n in range(numbers[name])]
    jobs = [(name, n) for name, n in jobs if not (arguments.work / name / f"{n:04d}.xyz").exists()]
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        for report in pool.imap_unordered(partial(task, work=arguments.work), jobs):
            print(report, flush=True)
    for name in SETS:
        labelled = [read(path) for path in sorted((arguments.work / name).glob("*.xyz"))]
        write_whole(HERE / f"{name}.xyz", labelled)


if __name__ == "__main__":
    main()
