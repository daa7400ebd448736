"""Make the malonaldehyde data set: GFN2-xTB geometries labelled with PBE/def2-SVP energies and forces.

Three stages; each skips what is already there, so that a run which was stopped goes on where it was:

1. sample   Langevin MD (300 K and 600 K) and a proton-transfer path, with GFN2-xTB   -> WORK/frames/*.xyz
2. label    PBE/def2-SVP energy and forces of every frame and of the isolated atoms   -> WORK/labels/*/*.xyz
3. collect  one extended XYZ file per set, from what is labelled so far               -> OUTPUT/*.xyz

    OMP_NUM_THREADS=1 python make_malonaldehyde.py --jobs 4

Needs pyscf, tblite and ase; see README.md beside this file for the versions used and for the cost.
Units: Å, eV, eV/Å.
"""

import argparse
import multiprocessing
import time
from functools import partial
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixInternals
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.optimize import BFGS
from pyscf import dft, gto
from tblite.ase import TBLite

# Planar enol form O1-C1-C2-C3-O2, proton halfway: a C2v guess of the transition state of proton transfer.
SYMBOLS = "O2C3H4"
POSITIONS = [
    [-1.18, 1.22, 0.0],  # O1
    [1.18, 1.22, 0.0],  # O2
    [-1.20, -0.06, 0.0],  # C1
    [0.0, -0.75, 0.0],  # C2
    [1.20, -0.06, 0.0],  # C3
    [0.0, 1.45, 0.0],  # the proton
    [-2.17, -0.58, 0.0],  # H on C1
    [0.0, -1.83, 0.0],  # H on C2
    [2.17, -0.58, 0.0],  # H on C3
]
O1, O2, PROTON = 0, 1, 5
MIRROR = [1, 0, 4, 3, 2, 5, 8, 7, 6]  # atom i sits where atom MIRROR[i] was after x -> -x

# Molecular dynamics. Set name: (config_type, temperature in K, number of frames, seed).
TRAJECTORIES = {
    "train_300K": ("md_300K", 300, 150, 1),
    "test_300K": ("md_300K", 300, 50, 2),
    "test_600K": ("md_600K", 600, 50, 3),
}
TIME_STEP = 0.5 * units.fs
FRICTION = 0.01 / units.fs
EQUILIBRATION_STEPS = 10_000  # 5 ps
STEPS_PER_FRAME = 200  # 100 fs

# Proton-transfer path: d = r(O1-H) - r(O2-H), in Å.
SCAN = "scan_proton_transfer"
SCAN_COORDINATES = np.linspace(0.0, 0.8, 11)  # the other half is the mirror image
SCAN_FMAX = 0.005  # eV/Å

# Labels. The SCF converges first on a coarse grid, from PySCF's own starting guess, then on the final one.
FUNCTIONAL = "pbe"
BASIS = "def2-svp"
SCF_STAGES = [(0, 1e-5), (3, 1e-9)]  # (grid level, energy tolerance in hartree)
ISOLATED = "isolated_atoms"
UNPAIRED_ELECTRONS = {"H": 1, "C": 2, "O": 2}

SET_NAMES = [ISOLATED, SCAN, *TRAJECTORIES]


# ---- 1. sample ---------------------------------------------------------------------------------------------


def xtb_molecule(coordinate: float = 0.0) -> Atoms:
    """The guess geometry with a GFN2-xTB calculator, the proton moved along x to d ≈ `coordinate`."""
    atoms = Atoms(SYMBOLS, POSITIONS)
    atoms.positions[PROTON, 0] += 0.5 * coordinate
    atoms.calc = TBLite(method="GFN2-xTB", accuracy=0.1, verbosity=0)
    return atoms


def sample_trajectory(name: str) -> list[Atoms]:
    """Frames of one Langevin trajectory, centred; it starts at rest from the relaxed molecule."""
    config_type, temperature, n_frames, seed = TRAJECTORIES[name]
    atoms = xtb_molecule(coordinate=0.7)
    BFGS(atoms, logfile=None).run(fmax=0.01)
    dynamics = Langevin(
        atoms,
        TIME_STEP,
        temperature_K=temperature,
        friction=FRICTION,
        fixcm=False,
        rng=np.random.default_rng(seed),
    )
    dynamics.run(EQUILIBRATION_STEPS)
    frames = []
    for _ in range(n_frames):
        dynamics.run(STEPS_PER_FRAME)
        frames.append(bare_frame(atoms, config_type=config_type))
    return frames


def sample_scan() -> list[Atoms]:
    """The path d = -0.8 ... 0.8 Å: at each d >= 0 all else is relaxed; d < 0 are the mirror images."""
    atoms = xtb_molecule()
    half = []
    for target in SCAN_COORDINATES:
        atoms.set_constraint()
        difference = [target, [[O1, PROTON, 1.0], [O2, PROTON, -1.0]]]
        atoms.set_constraint(FixInternals(bondcombos=[difference], epsilon=1e-8))
        atoms.set_positions(atoms.positions)  # the constraint moves the atoms to the target
        BFGS(atoms, logfile=None).run(fmax=SCAN_FMAX, steps=500)
        half.append(bare_frame(atoms, config_type=SCAN))

    mirrored = []
    for frame in reversed(half[1:]):
        image = frame.copy()
        image.positions = frame.positions[MIRROR] * [-1.0, 1.0, 1.0]
        mirrored.append(image)
    frames = mirrored + half
    for frame in frames:
        coordinate = frame.get_distance(O1, PROTON) - frame.get_distance(O2, PROTON)
        frame.info["reaction_coordinate"] = round(float(coordinate), 6) + 0.0
    return frames


def isolated_atoms() -> list[Atoms]:
    """One atom of each element, at the origin."""
    return [bare_frame(Atoms(symbol), config_type="isolated_atom") for symbol in UNPAIRED_ELECTRONS]


def bare_frame(atoms: Atoms, config_type: str) -> Atoms:
    """A centred copy without velocities, constraints or calculator."""
    positions = atoms.positions - atoms.positions.mean(axis=0)
    return Atoms(atoms.symbols, positions, info={"config_type": config_type})


def sample(name: str, work: Path) -> None:
    """Write the frames of one set, unlabelled, unless they are there."""
    path = work / "frames" / f"{name}.xyz"
    if path.exists():
        return
    start = time.perf_counter()
    if name == ISOLATED:
        frames = isolated_atoms()
    elif name == SCAN:
        frames = sample_scan()
    else:
        frames = sample_trajectory(name)
    write_whole(path, frames)
    print(f"sampled {name}: {len(frames)} frames, {time.perf_counter() - start:.0f} s", flush=True)


# ---- 2. label ----------------------------------------------------------------------------------------------


def label(atoms: Atoms) -> None:
    """Attach the PBE/def2-SVP energy and, for molecules, the forces.

    Density fitting; spin-polarised where electrons are unpaired. The gradient includes the response of the
    integration grid: without it the forces are up to about 4 meV/Å away from the derivative of the energy.

    Raises:
        RuntimeError: the SCF did not converge.
    """
    spin = UNPAIRED_ELECTRONS[atoms.symbols[0]] if len(atoms) == 1 else 0
    molecule = gto.M(
        atom=list(zip(atoms.get_chemical_symbols(), atoms.positions, strict=True)),
        basis=BASIS,
        spin=spin,
        verbose=0,
    )
    mean_field = dft.KS(molecule, xc=FUNCTIONAL).density_fit()
    mean_field.with_df.build()  # keeps the three-centre integrals in memory
    density = None
    for level, tolerance in SCF_STAGES:
        mean_field.grids = dft.Grids(molecule)
        mean_field.grids.level = level
        mean_field.conv_tol = tolerance
        mean_field.kernel(density)
        density = mean_field.make_rdm1()
    if not mean_field.converged:
        raise RuntimeError(
            f"SCF not converged for {atoms.symbols} ({atoms.info}) after {mean_field.cycles} cycles."
        )

    results = {"energy": float(mean_field.e_tot) * units.Hartree}
    if len(atoms) > 1:
        gradient = mean_field.nuc_grad_method()
        gradient.grid_response = True
        results["forces"] = -gradient.kernel() * units.Hartree / units.Bohr
    atoms.calc = SinglePointCalculator(atoms, **results)


def label_path(work: Path, name: str, index: int) -> Path:
    """Where the labelled frame `index` of set `name` is kept."""
    return work / "labels" / name / f"{index:04d}.xyz"


def label_task(task: tuple[str, int], work: Path) -> str:
    """Label one frame and write it at once; a frame whose SCF fails is reported and left out."""
    name, index = task
    start = time.perf_counter()
    atoms = read(work / "frames" / f"{name}.xyz", index=index)
    try:
        label(atoms)
    except RuntimeError as error:
        return f"{name} {index}: left out. {error}"
    write_whole(label_path(work, name, index), [atoms])
    return f"{name} {index}: {time.perf_counter() - start:.1f} s"


def open_tasks(work: Path) -> list[tuple[str, int]]:
    """Frames without labels: atoms and scan first, then the trajectories side by side at an even pace."""
    keyed = []
    for name in SET_NAMES:
        n_frames = len(read(work / "frames" / f"{name}.xyz", index=":"))
        for index in range(n_frames):
            pace = (index + 0.5) / n_frames if name in TRAJECTORIES else 0.0
            if not label_path(work, name, index).exists():
                keyed.append((pace, SET_NAMES.index(name), index))
    return [(SET_NAMES[number], index) for _, number, index in sorted(keyed)]


# ---- 3. collect --------------------------------------------------------------------------------------------


def collect(work: Path, output: Path) -> None:
    """Write each set's labelled frames, in their order in time (or along the path), to one file."""
    for name in SET_NAMES:
        frames = [read(path) for path in sorted((work / "labels" / name).glob("*.xyz"))]
        if frames:
            write_whole(output / f"{name}.xyz", frames)
            print(f"{output / name}.xyz: {len(frames)} frames", flush=True)


def write_whole(path: Path, frames: list[Atoms]) -> None:
    """Write extended XYZ (8 decimals) so that a reader never finds half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_suffix(".part")
    write(partial_path, frames, format="extxyz")
    partial_path.replace(path)


def main() -> None:
    """Read the command line and run the three stages."""
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes, one frame each (default: 1)")
    parser.add_argument("--work", type=Path, default=Path("malonaldehyde_work"), help="kept between runs")
    parser.add_argument(
        "--output", type=Path, default=here / "malonaldehyde", help="folder of the finished files"
    )
    parser.add_argument(
        "--collect-only", action="store_true", help="write the files from what is labelled so far"
    )
    arguments = parser.parse_args()

    if not arguments.collect_only:
        with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
            pool.map(partial(sample, work=arguments.work), SET_NAMES, chunksize=1)
            tasks = open_tasks(arguments.work)
            reports = pool.imap_unordered(partial(label_task, work=arguments.work), tasks)
            for count, report in enumerate(reports, start=1):
                print(f"[{count}/{len(tasks)}] {report}", flush=True)
    collect(arguments.work, arguments.output)


if __name__ == "__main__":
    main()
