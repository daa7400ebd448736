"""Commands about the design space and model files."""

from __future__ import annotations

import argparse
from pathlib import Path

from multiace.basis.ace import AceBasis
from multiace.cli.common import advance, check_outputs, console, load
from multiace.cli.parser import Commands, add_command, add_model, add_outside_code
from multiace.config import Config
from multiace.data.config import DataConfig
from multiace.deploy.config import MDConfig, RelaxConfig
from multiace.errors import InputError, did_you_mean
from multiace.progress import progress_bar
from multiace.tables import (
    basis_table,
    config_table,
    error_table,
    facts_table,
    fields_help,
    find_fields,
    presets_table,
    split_table,
    verification_table,
)

__all__ = ["add_commands"]

TOGETHER = 16  # structures that are predicted at once
MOST_TERMS = 24  # of energies that are printed


def add_commands(commands: Commands) -> None:
    """Add ``presets``, ``explain``, ``info``, ``prune``, ``import`` and ``export``."""
    sub = add_command(commands, "presets", presets, "all presets side by side")
    sub.add_argument("name", nargs="?", metavar="PRESET", help="one of them alone")
    sub.add_argument("--small", action="store_true", help="the small sizes")
    sub.add_argument(
        "--basis", action="store_true", help="the functions of a preset of complete coupling (ace)"
    )
    sub.add_argument(
        "--elements",
        default="C",
        help="with --basis: elements of the neighbours, such as C,H,O (default: one)",
    )

    sub = add_command(
        commands,
        "explain",
        explain,
        "what config fields mean, or what the energies of structures are made of",
    )
    sub.usage = "multiace explain [FIELD]\n       multiace explain MODEL STRUCTURES ... [options]"
    sub.add_argument(
        "model",
        nargs="?",
        metavar="FIELD | MODEL",
        help="a section, a field, or section.field (default: everything); before STRUCTURES a model file or run folder",
    )
    sub.add_argument(
        "structures", nargs="*", metavar="STRUCTURES", help="files, any format of ASE, along a path or not"
    )
    sub.add_argument(
        "--by",
        choices=("order", "layer", "edges", "l", "path"),
        help="terms: orders, the numbers of factors of edges (default); readouts of layers; edges of layers; degrees "
        "of their Y; paths (l1, l2 -> L)",
    )
    sub.add_argument("--json", help="write terms of structures and atoms here")
    sub.add_argument("--plot", help="draw the terms along the structures: FILE.svg, .png or .pdf")
    sub.add_argument(
        "--coordinate",
        help="where structures are on the path: an info key, or 'distance 2 8', 'dihedral 0 1 2 3', ... "
        "(default: reaction_coordinate, or their number)",
    )
    sub.add_argument("--device", help="cpu, cuda, ... (default: cpu)")
    add_outside_code(sub)
    sub.set_defaults(dtype="float64")

    sub = add_command(commands, "info", info, "what a model file holds")
    add_model(sub)

    sub = add_command(
        commands, "prune", prune, "leave out functions of linear ACE that matter little: a faster model"
    )
    add_model(sub)
    sub.add_argument(
        "structures",
        nargs="+",
        metavar="STRUCTURES",
        help="files, any format of ASE, on which the predictions may change by no more than the tolerance",
    )
    sub.add_argument(
        "--tolerance",
        type=float,
        default=1.0,
        help="largest root mean square change of forces [meV/Å], and of energies [meV/atom] (default: 1)",
    )
    sub.add_argument("-o", "--out", required=True, help="model file to write")

    sub = commands.add_parser("import", help="carry over the parameters of another code")
    codes = sub.add_subparsers(metavar="CODE", required=True)
    sub = add_command(codes, "botnet", import_model, "parameters of the original BOTNet and NequIP code")
    sub.add_argument("json", help="NAME.json: config, irreps and tables")
    sub.add_argument("npz", help="NAME.npz: parameters")
    sub.add_argument("-o", "--out", required=True, help="model file to write")
    sub = add_command(codes, "pace", import_potential, "a potential of pacemaker, for ML-PACE in LAMMPS")
    sub.add_argument("yace", help="NAME.yace, or NAME.ace of one element")
    sub.add_argument("-o", "--out", required=True, help="model file to write")

    sub = add_command(commands, "export", export, "write an ACE potential as .yace, for ML-PACE in LAMMPS")
    sub.add_argument("model", help="model file (.safetensors) or run folder")
    sub.add_argument("yace", help="NAME.yace, to be written")
    add_outside_code(sub)


def presets(arguments: argparse.Namespace) -> None:
    """Print the presets side by side."""
    from multiace.model.presets import PRESETS

    out, name = console(), arguments.name
    if name is None:
        if arguments.basis:
            raise InputError("--basis shows the functions of one preset: multiace presets ace --basis.")
        small = {key: config for key, config in PRESETS.items() if key.endswith("-small") == arguments.small}
        out.print(presets_table(small, out.width))
        return
    if name not in PRESETS:
        raise InputError(f"{name!r} is no preset.{did_you_mean(name, PRESETS)}")
    config = PRESETS[f"{name}-small" if arguments.small and f"{name}-small" in PRESETS else name]
    if not arguments.basis:
        out.print(config_table(config))
        return
    if config.channel_coupling != "complete":
        raise InputError(
            f"{name} has channel_coupling = {config.channel_coupling}; --basis shows functions of complete coupling, "
            "such as ace has."
        )
    elements = [element for element in arguments.elements.split(",") if element]
    config = config.replace(elements=elements)
    out.print(basis_table(AceBasis(len(elements), config.truncation)))


def explain(arguments: argparse.Namespace) -> None:
    """Print what config fields mean; with structures, what their energies are made of."""
    if arguments.structures:
        explain_energies(arguments)
        return
    options = ("by", "json", "plot", "coordinate", "device")
    given = [f"--{option}" for option in options if getattr(arguments, option) is not None]
    if given:
        raise InputError(
            f"{', '.join(given)} needs a model and structures: multiace explain MODEL STRUCTURES {given[0]} ..."
        )
    from multiace.battery.config import ENTRIES, Battery, CostConfig, DimersConfig
    from multiace.data.config import LabelKeys
    from multiace.model.config import ModelConfig
    from multiace.study.config import Budget, StudyConfig
    from multiace.train.config import TrainConfig

    configs: list[type[Config]] = [ModelConfig, DataConfig, TrainConfig, MDConfig, RelaxConfig]
    if arguments.model is not None:  # they are many, and no sections of a run file
        configs += [StudyConfig, Budget, Battery, *ENTRIES.values(), DimersConfig, CostConfig, LabelKeys]
    sections = {config.section(): config for config in configs}
    try:
        chosen = find_fields(sections, arguments.model)
    except InputError:
        if not Path(arguments.model).exists():
            raise
        raise InputError(
            f"{arguments.model} is no field but a path; for energies give structures too: multiace explain "
            f"{arguments.model} STRUCTURES."
        ) from None
    console().print(fields_help(sections, chosen))


def explain_energies(arguments: argparse.Namespace) -> None:
    """Split energies into terms; print, write and draw them."""
    from multiace.data.read import read_frames
    from multiace.evaluation import training_keys
    from multiace.explanation import explain as split
    from multiace.explanation import shortened
    from multiace.report.scan import along, draw_split

    check_outputs(arguments.json, arguments.plot)
    if arguments.plot and Path(arguments.plot).suffix not in (".svg", ".png", ".pdf"):
        raise InputError(f"--plot {arguments.plot} must end in .svg, .png or .pdf.")
    if arguments.coordinate and not arguments.plot:
        raise InputError("--coordinate is of --plot: add --plot FILE.svg, or leave it out.")
    potential = load(arguments)
    frames = read_frames(arguments.structures, training_keys(potential), strict=False)
    path = along(frames, arguments.coordinate) if arguments.plot else None
    with progress_bar(console()) as bar:
        found = split(potential, frames, arguments.by or "order", advance(bar, "splitting"))
    names, terms = shortened(found.names, found.energies, MOST_TERMS)
    heads = [f"{n} {frame.atoms.get_chemical_formula()}" for n, frame in enumerate(frames)]
    caption = (
        f"eV, {len(frames)} structures; {found.method}; terms sum to the energy within {found.error:.0e} eV"
    )
    console().print(split_table(names, terms, heads, [frame.energy for frame in frames], caption))
    if arguments.json:
        found.write(arguments.json)
        print(f"terms: {arguments.json}")
    if path is not None:
        draw_split(found, path, arguments.plot)
        print(f"figure: {arguments.plot}")


def info(arguments: argparse.Namespace) -> None:
    """Print what a model file holds."""
    potential = load(arguments)
    out = console()
    out.print(facts_table(potential))
    if "metrics" in potential.metadata:
        out.print(error_table(potential.metadata["metrics"]))
    if "verification" in potential.metadata:
        out.print(verification_table(potential.metadata["verification"]))
    out.print(config_table(potential.config))


def prune(arguments: argparse.Namespace) -> None:
    """Leave out functions, print what that changes, and write the model if it may be written."""
    from multiace.data.read import read_structures
    from multiace.graph import Graph
    from multiace.graph.neighbors import build_graph
    from multiace.solve.prune import prune as pruned

    check_outputs(arguments.out)
    potential = load(arguments)
    structures = [atoms for path in arguments.structures for atoms in read_structures(path)]
    graphs = [build_graph(atoms, potential.elements, potential.cutoff) for atoms in structures]
    batches = [Graph.batch(graphs[n : n + TOGETHER]) for n in range(0, len(graphs), TOGETHER)]
    result = pruned(potential, [batch.to(potential.device) for batch in batches], arguments.tolerance / 1000)
    before, after = result.functions
    print(f"{after:,} of {before:,} functions are left, of all central elements")
    print(
        f"change in {len(structures)} structures: energies {1000 * result.energy:.3g} meV/atom, forces "
        f"{1000 * result.forces:.3g} meV/Å, at most {1000 * result.forces_max:.3g} meV/Å"
    )
    if after == before:
        raise InputError(
            f"no function can be left out: predictions would change by more than --tolerance {arguments.tolerance:g}. "
            "Nothing is written; raise it, or use the model as it is."
        )
    if potential.committee is not None:
        print("error bars stay those of the model before: all its functions, and their time")
    facts = {"functions": [before, after], "energy": result.energy, "forces": result.forces}
    result.potential.save(arguments.out, pruned=facts | {"tolerance": arguments.tolerance / 1000})
    print(f"model: {arguments.out}")


def import_model(arguments: argparse.Namespace) -> None:
    """Carry the parameters of another code over into a model file."""
    from multiace.model.import_botnet import import_botnet

    check_outputs(arguments.out)
    import_botnet(arguments.json, arguments.npz).save(arguments.out)
    print(f"model: {arguments.out}")


def import_potential(arguments: argparse.Namespace) -> None:
    """Carry a potential of pacemaker over into a model file."""
    from multiace.model.import_pace import import_pace

    check_outputs(arguments.out)
    import_pace(arguments.yace).save(arguments.out)
    print(f"model: {arguments.out}")


def export(arguments: argparse.Namespace) -> None:
    """Write a model for another program."""
    from multiace.model.export_pace import export_pace
    from multiace.model.potential import Potential

    check_outputs(arguments.yace)
    if not arguments.yace.endswith(".yace"):
        raise InputError(f"{arguments.yace} must end in .yace: that is what can be written.")
    export_pace(Potential.load(arguments.model, outside_code=arguments.outside_code), arguments.yace)
    print(f"potential: {arguments.yace}")
