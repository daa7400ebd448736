"""Commands that move atoms."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from multiace.cli.common import check_outputs, console, load
from multiace.cli.parser import Commands, add_command, add_fields, add_model, read_fields
from multiace.deploy.config import MDConfig, RelaxConfig
from multiace.errors import InputError
from multiace.progress import progress_bar
from multiace.tables import change_table

if TYPE_CHECKING:
    from ase import Atoms

    from multiace.deploy.md import Sample

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Add ``md`` and ``relax``."""
    sub = add_command(commands, "md", md, "molecular dynamics")
    add_model(sub)
    add_structure(sub)
    sub.add_argument("--trajectory", default="md.xyz", help="frames: extended XYZ or .traj (default: md.xyz)")
    sub.add_argument("--log", help="energies and temperature (CSV; default: the trajectory's name, .csv)")
    add_fields(sub, MDConfig)

    sub = add_command(commands, "relax", relax_structure, "relax a structure, optionally with its cell")
    add_model(sub)
    add_structure(sub)
    sub.add_argument("--out", default="relaxed.xyz", help="relaxed structure (default: relaxed.xyz)")
    add_fields(sub, RelaxConfig)


def add_structure(parser: argparse.ArgumentParser) -> None:
    """Add the structure and how the calculator runs on it."""
    text = "structure file, any format of ASE; name.xyz@3 takes one structure of several"
    parser.add_argument("structure", help=text)
    parser.add_argument(
        "--skin", type=float, default=0.5, help="skin of the neighbour list [Å] (default: 0.5)"
    )
    parser.add_argument(
        "--radial",
        default="auto",
        metavar="CHOICE",
        help="network, or table: radial weights from tables of the network (default: auto, tables in float32)",
    )


def md(arguments: argparse.Namespace) -> None:
    """Run molecular dynamics, and measure the energy drift where the energy should be constant."""
    from multiace.deploy.md import simulate

    config = MDConfig(**read_fields(arguments, MDConfig))
    check_outputs(arguments.trajectory, arguments.log)
    atoms = structure_with_calculator(arguments, config.max_grade is not None)
    log = arguments.log or Path(arguments.trajectory).with_suffix(".csv")
    total = config.n_equilibration + config.n_steps
    samples = []
    with progress_bar(console()) as bar:
        task = bar.add_task(config.ensemble.upper(), total=total, state="")
        try:
            for sample in simulate(atoms, config, arguments.trajectory, log):
                state = f"{sample.time:.3f} ps  {sample.temperature:5.0f} K  E {sample.total:.4f} eV"
                bar.update(task, completed=sample.step + config.n_equilibration, state=state)
                if sample.step >= 0:
                    samples.append(sample)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"; the trajectory so far is in {arguments.trajectory}") from None
        seconds = bar.tasks[task].elapsed or 0.0
    print(
        f"{total} steps of {config.timestep} fs in {seconds:.1f} s "
        f"({1000 * seconds / max(total, 1):.2f} ms/step)"
    )
    for line in averages(samples, config, atoms):
        print(line)
    print(f"trajectory: {arguments.trajectory}\nlog: {log}")


def averages(samples: Sequence[Sample], config: MDConfig, atoms: Atoms) -> Iterator[str]:
    """Say the mean temperature, whether it is what was meant, and the drift of an energy that is conserved."""
    from multiace.deploy.md import degrees_of_freedom, energy_drift

    mean = sum(sample.temperature for sample in samples) / len(samples)
    yield f"mean temperature: {mean:.1f} K"
    if config.ensemble != "nve":
        return
    drawn = config.temperature if config.velocities == "draw" else 0.0
    free = max(degrees_of_freedom(atoms, config.ensemble), 1)
    canonical = free**-0.5 if config.equilibration else 0.0  # σ of the mean temperature, relative
    if abs(mean - drawn) > max(0.2, 3 * canonical) * drawn > 0:
        yield (
            f"note: velocities were drawn at {drawn:g} K on a structure that is not equilibrated; use "
            f"--equilibration {max(1.0, 2 * config.equilibration):g} or --ensemble langevin"
        )
    if len(samples) > 2:
        yield f"energy drift: {energy_drift(samples)}"


def relax_structure(arguments: argparse.Namespace) -> int:
    """Relax a structure and write it."""
    import ase.io

    from multiace.deploy.relax import relax

    config = RelaxConfig(**read_fields(arguments, RelaxConfig))
    check_outputs(arguments.out)
    check_format(arguments.out)
    atoms = structure_with_calculator(arguments)
    with progress_bar(console()) as bar:
        task = bar.add_task(config.optimizer.upper(), total=config.max_steps, state="")
        states = []
        for state in relax(atoms, config):
            states.append(state)
            bar.update(
                task, completed=state.step, state=f"E {state.energy:.6f} eV  fmax {state.fmax:.4f} eV/Å"
            )
        bar.update(task, total=state.step)
    Path(arguments.out).parent.mkdir(parents=True, exist_ok=True)
    ase.io.write(arguments.out, atoms)
    if state.converged:
        print(f"converged after {state.step} steps")
    else:
        print(f"not converged after {state.step} steps; raise --max-steps, or try --optimizer fire")
    console().print(change_table(state.changes(states[0])))
    print(f"structure: {arguments.out}")
    return 0 if state.converged else 1


def structure_with_calculator(arguments: argparse.Namespace, extrapolation: bool = False) -> Atoms:
    """Read the one structure of the command line and attach the model to it.

    Args:
        arguments: Of the command line.
        extrapolation: Whether the calculator is to give extrapolation grades.

    Raises:
        InputError: If the file holds several structures and none was chosen.
    """
    from multiace.data.read import read_structures
    from multiace.deploy.ase import Calculator

    structures = read_structures(arguments.structure)
    if len(structures) > 1:
        raise InputError(
            f"{arguments.structure} holds {len(structures)} structures; choose one, such as "
            f"{arguments.structure}@0 for the first or {arguments.structure}@-1 for the last."
        )
    atoms = structures[0]
    calculator = Calculator(
        load(arguments), skin=arguments.skin, radial=arguments.radial, extrapolation=extrapolation
    )
    atoms.calc = calculator
    try:
        atoms.get_potential_energy()
    except InputError as refusal:
        raise InputError(f"{arguments.structure}: {refusal}") from None
    potential = calculator.potential
    print(
        f"{atoms.get_chemical_formula()}: {len(atoms)} atoms; {potential.config.dtype} on {potential.device}"
    )
    if calculator.tables is not None:
        error = calculator.tables.error
        print(f"radial weights: from tables, within {error:.1e} of the networks (--radial network: exactly)")
    if potential.zbl is None:
        print(
            "note: without model.zbl nothing keeps atoms apart at distances the training data does not have"
        )
    return atoms


def check_format(path: str) -> None:
    """Refuse a name from which ASE cannot tell how to write a structure."""
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats

    try:
        known = filetype(path, read=False) in ioformats and ioformats[filetype(path, read=False)].can_write
    except UnknownFileTypeError:
        known = False
    if not known:
        raise InputError(f"{path} is of no format that ASE writes; give it a name such as relaxed.xyz.")
