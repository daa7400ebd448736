"""The command line: every command reads its files, calls the library once, and prints what came out."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console
from rich.progress import Progress

from multiace.config import Config
from multiace.data.config import DataConfig, LabelKeys
from multiace.deploy.config import MDConfig, RelaxConfig
from multiace.errors import InputError, Interrupted
from multiace.progress import progress_bar
from multiace.tables import (
    change_table,
    check_tables,
    config_table,
    error_table,
    facts_table,
    fields_help,
    find_fields,
    presets_table,
    verification_table,
)

if TYPE_CHECKING:
    from ase import Atoms

    from multiace.data.check import Expectations
    from multiace.model.potential import Potential

__all__ = ["main"]

OUTSIDE_HELP = "import the package.module:Name that the model's config asks for; runs that code"
MODEL_HELP = "model file (.safetensors) or run folder"
STRUCTURE_HELP = "structure file, any format of ASE; name.xyz@3 takes one structure of several"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status; docs/faults.md lists them."""
    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        try:
            arguments = parse(argv)
            return arguments.command(arguments) or 0
        except InputError as error:
            return complain(str(error))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            return complain(f"{where}{error.strerror or error}.")
        except KeyboardInterrupt as interrupt:
            print(f"multiace: interrupted{interrupt}.", file=sys.stderr)
            return interrupt.status if isinstance(interrupt, Interrupted) else 130


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; overrides may also follow options, which argparse alone does not see."""
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    overrides = [item for item in rest if "=" in item and not item.startswith("-")]
    if "overrides" in arguments and overrides == rest:
        arguments.overrides += rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return arguments


def complain(sentence: str) -> int:
    """Print one sentence on stderr and return the exit status of a user error."""
    print(f"multiace: {sentence}", file=sys.stderr)
    return 2


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning as one line, without the source code that Python shows."""
    print(f"multiace: warning: {message}", file=sys.stderr)


# --- commands -------------------------------------------------------------------------------------------


def train(arguments: argparse.Namespace) -> None:
    """Fit a model as a run file says."""
    from multiace.train.config import RunConfig
    from multiace.train.loop import fit

    run = RunConfig.read(arguments.run, arguments.overrides)
    try:
        fit(run, arguments.folder or Path("runs") / Path(arguments.run).stem, arguments.fork)
    except KeyboardInterrupt as interrupt:
        if interrupt.args:
            raise
        raise KeyboardInterrupt("; the same command continues the run") from None


def evaluate(arguments: argparse.Namespace) -> None:
    """Print the errors on labelled structures; write predictions and metrics."""
    from multiace.evaluation import evaluate as evaluate_file
    from multiace.evaluation import write_metrics, write_predictions

    check_outputs(arguments.out, arguments.json)
    potential = load(arguments)
    given = any(getattr(arguments, name) is not None for name in LabelKeys.model_fields)
    keys = read_fields(arguments, LabelKeys) if given else None
    names = [Path(file).stem for file in arguments.files]
    evaluations = []
    with progress_bar(console()) as bar:
        for name, file in zip(names, arguments.files, strict=True):
            evaluations.append(
                evaluate_file(
                    potential,
                    file,
                    name=name if names.count(name) == 1 else file,
                    keys=keys,
                    max_edges=arguments.max_edges,
                    advance=advance(bar, name),
                )
            )
    console().print(error_table({evaluation.name: evaluation.metrics for evaluation in evaluations}))
    if arguments.out:
        write_predictions(evaluations, arguments.out)
        print(f"predictions: {arguments.out}")
    if arguments.json:
        write_metrics(evaluations, arguments.json)
        print(f"metrics: {arguments.json}")


def md(arguments: argparse.Namespace) -> None:
    """Run molecular dynamics, and measure the energy drift where the energy should be constant."""
    from multiace.deploy.md import degrees_of_freedom, energy_drift, simulate

    config = read_fields(arguments, MDConfig)
    check_outputs(arguments.trajectory, arguments.log)
    atoms = structure_with_calculator(arguments)
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
    mean = sum(sample.temperature for sample in samples) / len(samples)
    print(
        f"{total} steps of {config.timestep} fs in {seconds:.1f} s "
        f"({1000 * seconds / max(total, 1):.2f} ms/step)"
    )
    print(f"mean temperature: {mean:.1f} K")
    drawn = config.temperature if config.velocities == "draw" else 0.0
    free = max(degrees_of_freedom(atoms, config.ensemble), 1)
    canonical = free**-0.5 if config.equilibration else 0.0  # σ of the mean temperature, relative
    if config.ensemble == "nve" and abs(mean - drawn) > max(0.2, 3 * canonical) * drawn > 0:
        print(
            f"note: velocities were drawn at {drawn:g} K on a structure that is not equilibrated; use "
            f"--equilibration {max(1.0, 2 * config.equilibration):g} or --ensemble langevin"
        )
    if config.ensemble == "nve" and len(samples) > 2:
        print(f"energy drift: {energy_drift(samples)}")
    print(f"trajectory: {arguments.trajectory}\nlog: {log}")


def relax_structure(arguments: argparse.Namespace) -> int:
    """Relax a structure and write it."""
    import ase.io

    from multiace.deploy.relax import relax

    config = read_fields(arguments, RelaxConfig)
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


def verify(arguments: argparse.Namespace) -> int:
    """Check the physics of a model or of any ASE calculator."""
    import json

    from multiace.verify.checks import verify as run_checks
    from multiace.verify.choose import choose_subject

    potential = None if arguments.calculator or not arguments.model else load(arguments)
    subject, source = choose_subject(potential, vars(arguments))
    with progress_bar(console()) as bar:
        report = run_checks(
            subject, source, arguments.quick, arguments.check or (), advance(bar, "verifying")
        )
    content = report.to_dict()
    console().print(verification_table(content))
    print(report)
    if arguments.json:
        Path(arguments.json).write_text(
            json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        print(f"report: {arguments.json}")
    return 1 if report.failed else 0


def presets(arguments: argparse.Namespace) -> None:
    """Print the presets side by side."""
    from multiace.model.presets import PRESETS

    small = {name: config for name, config in PRESETS.items() if name.endswith("-small") == arguments.small}
    out = console()
    out.print(presets_table(small, out.width))


def explain(arguments: argparse.Namespace) -> None:
    """Print what config fields mean."""
    from multiace.model.config import ModelConfig
    from multiace.train.config import TrainConfig

    configs: list[type[Config]] = [ModelConfig, DataConfig, TrainConfig, MDConfig, RelaxConfig]
    sections = {config.section(): config for config in configs}
    console().print(fields_help(sections, find_fields(sections, arguments.field)))


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


def import_model(arguments: argparse.Namespace) -> None:
    """Carry the parameters of another code over into a model file."""
    from multiace.model.import_botnet import import_botnet

    check_outputs(arguments.out)
    import_botnet(arguments.json, arguments.npz).save(arguments.out)
    print(f"model: {arguments.out}")


def data_get(arguments: argparse.Namespace) -> None:
    """Download a public data set."""
    from multiace.data.download import download

    for path in download(arguments.name, arguments.folder):
        print(path)


def data_check(arguments: argparse.Namespace) -> int:
    """Print what is found in labelled structures; status 1 where that would stop a training."""
    from multiace.data.check import check_files

    config, expected = what_to_check(arguments)
    with progress_bar(console(), count=False) as bar:
        task = bar.add_task("reading", total=None, state="")
        check = check_files(
            config,
            expected,
            lambda file, frame: bar.update(task, state=f"{Path(file).name} frame {frame:,}"),
            processes=min(2, os.cpu_count() or 1),
        )
        bar.update(task, total=1, completed=1, state="")
    console().print(check_tables(check))
    if arguments.json:
        check.save(arguments.json)
        print(f"findings: {arguments.json}")
    return 1 if check.of("error") else 0


def what_to_check(arguments: argparse.Namespace) -> tuple[DataConfig, Expectations]:
    """Return the files and what is expected of them: of a run file (with overrides), or of the options."""
    from multiace.data.check import Expectations

    first, *rest = arguments.files
    given = {name: getattr(arguments, name) for name in LabelKeys.model_fields}
    given = {name: value for name, value in given.items() if value is not None}
    if Path(first).suffix in (".yaml", ".yml"):
        from multiace.train.config import RunConfig
        from multiace.train.prepare import expectations

        options = {**given, "valid": arguments.valid, "test": arguments.test, "cutoff": arguments.cutoff}
        if any(options.values()):
            named = next(name for name, value in options.items() if value).replace("_", "-")
            raise InputError(
                f"{first} says what is checked; leave --{named} out, or give section.field=value."
            )
        run = RunConfig.read(first, rest)
        return run.data, expectations(run)
    valid = {"valid": arguments.valid} if arguments.valid else {}
    config = DataConfig(train=arguments.files, test=arguments.test or (), **valid, **given)
    return config, Expectations(keys=config, cutoff=arguments.cutoff or 5.0)


def report(arguments: argparse.Namespace) -> None:
    """Write the HTML report of a run."""
    from multiace.report.build import write_report

    check_outputs(arguments.out)
    path = write_report(
        arguments.folder,
        tests=arguments.test,
        scan=arguments.scan,
        coordinate=arguments.coordinate,
        dynamics=arguments.md,
        path=arguments.out,
        outside_code=arguments.outside_code,
    )
    print(f"report: {path}")


# --- what several commands need -------------------------------------------------------------------------


def advance(bar: Progress, description: str) -> Callable[[int, int], None]:
    """Add a task to the bar; return the function that says how many of how many are done."""
    task = bar.add_task(description, total=None, state="")
    return lambda done, total: bar.update(task, completed=done, total=total)


def console() -> Console:
    """Return the console that tables and bars go to."""
    return Console(highlight=False)


def load(arguments: argparse.Namespace) -> Potential:
    """Load the model of the command line."""
    from multiace.model.potential import Potential

    potential = Potential.load(arguments.model, dtype=arguments.dtype, outside_code=arguments.outside_code)
    try:
        return potential.to(arguments.device or "cpu")
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {arguments.device!r} cannot be used: {str(error).splitlines()[0]}."
        ) from None


def structure_with_calculator(arguments: argparse.Namespace) -> Atoms:
    """Read the one structure of the command line and attach the model to it.

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
    calculator = Calculator(load(arguments), skin=arguments.skin, radial=arguments.radial)
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


def check_outputs(*paths: str | None) -> None:
    """Refuse, before anything is computed, files that cannot be written for where they are."""
    for path in filter(None, paths):
        if Path(path).is_dir():
            raise InputError(f"{path} is a folder; give the name of a file in it.")
        above = next(folder for folder in Path(path).absolute().parents if folder.exists())
        if not (above.is_dir() and os.access(above, os.W_OK)):
            raise InputError(
                f"{path} cannot be written: {above} is no folder to write to; choose another place."
            )


def check_format(path: str) -> None:
    """Refuse a name from which ASE cannot tell how to write a structure."""
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats

    try:
        known = filetype(path, read=False) in ioformats and ioformats[filetype(path, read=False)].can_write
    except UnknownFileTypeError:
        known = False
    if not known:
        raise InputError(f"{path} is of no format that ASE writes; give it a name such as relaxed.xyz.")


def add_fields(parser: argparse.ArgumentParser, config: type[Config]) -> None:
    """Give the parser one option per field of a config, with the field's own help."""
    group = parser.add_argument_group(f"{config.section()} options")
    for name, field in config.model_fields.items():
        default = "" if field.default is None else f" (default: {field.default})"
        text = f"{field.description}{default}".replace("%", "%%")
        option = f"--{name.replace('_', '-')}"
        if field.annotation is bool:
            group.add_argument(option, dest=name, action="store_true", default=None, help=text)
        else:
            group.add_argument(option, dest=name, metavar=name.split("_")[-1].upper(), help=text)


def read_fields(arguments: argparse.Namespace, config: type[Any]) -> Any:
    """Build the config from the options that were given."""
    given = {name: getattr(arguments, name) for name in config.model_fields}
    return config(**{name: value for name, value in given.items() if value is not None})


class Parser(argparse.ArgumentParser):
    """argparse with one sentence for an error, and no abbreviated options."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Exit with status 2 after one sentence."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help.\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = Parser(
        prog="multiace", description="Machine-learning interatomic potentials as one design space."
    )
    parser.add_argument("--version", action="version", version=f"multiace {version('multiace')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)

    def add(name: str, function: Any, text: str, parent: Any = commands) -> argparse.ArgumentParser:
        sub = parent.add_parser(name, help=text, description=text)
        sub.set_defaults(command=function)
        return sub

    sub = add("train", train, "fit a model as a run file says")
    sub.epilog = "What the fields of a run file mean: multiace explain."
    sub.add_argument("run", help="run file (YAML) with sections model, data, train")
    sub.add_argument("overrides", nargs="*", metavar="section.field=value", help="changes to the run file")
    sub.add_argument("--folder", help="run folder (default: runs/NAME of the run file); a run there goes on")
    sub.add_argument(
        "--fork", action="store_true", help="go on with a run although its data or train section have changed"
    )

    sub = add("evaluate", evaluate, "errors of a model on labelled structures")
    add_model(sub)
    sub.add_argument("files", nargs="+", metavar="FILE", help="labelled structures, any format of ASE")
    sub.add_argument("--out", help="write reference and predicted values here (extended XYZ)")
    sub.add_argument("--json", help="write the errors here")
    sub.add_argument("--max-edges", type=int, default=50_000, help="edges predicted at once (default: 50000)")
    add_fields(sub, LabelKeys)

    sub = add("md", md, "molecular dynamics")
    add_model(sub)
    add_structure(sub)
    sub.add_argument("--trajectory", default="md.xyz", help="frames: extended XYZ or .traj (default: md.xyz)")
    sub.add_argument("--log", help="energies and temperature (CSV; default: the trajectory's name, .csv)")
    add_fields(sub, MDConfig)

    sub = add("relax", relax_structure, "relax a structure, optionally with its cell")
    add_model(sub)
    add_structure(sub)
    sub.add_argument("--out", default="relaxed.xyz", help="relaxed structure (default: relaxed.xyz)")
    add_fields(sub, RelaxConfig)

    sub = add("verify", verify, "physics of a trained model, or of any ASE calculator: a table of checks")
    sub.usage = "multiace verify (MODEL | --calculator MODULE:FACTORY) [STRUCTURES ...] [options]"
    add_model(sub, nargs="?")
    sub.add_argument(
        "structures",
        nargs="*",
        metavar="STRUCTURES",
        help="files, any format of ASE (default: those in the model file, from its training set; else built)",
    )
    sub.add_argument(
        "--calculator", metavar="MODULE:FACTORY", help="verify what this function returns; runs its code"
    )
    sub.add_argument("--elements", help="calculator without STRUCTURES: build some of these, such as Cu,Au")
    sub.add_argument("--cutoff", type=float, help="calculator: cutoff of a pair [Å] (default: searched for)")
    sub.add_argument(
        "--distance",
        type=float,
        default=20.0,
        help="calculator: where atoms have no effect [Å] (default: 20)",
    )
    sub.add_argument(
        "--temperature", type=float, default=1000.0, help="of the hot dynamics [K] (default: 1000)"
    )
    sub.add_argument("--seed", type=int, default=0, help="of all random numbers (default: 0)")
    sub.add_argument("--quick", action="store_true", help="leave out molecular dynamics")
    sub.add_argument("--check", action="append", metavar="NAME", help="only this check; may be repeated")
    sub.add_argument("--json", help="write the report here")

    sub = add("report", report, "one HTML file about a run: errors, parity, curves, scan, dynamics")
    sub.add_argument("folder", help="run folder")
    sub.add_argument("--test", nargs="+", metavar="FILE", help="test sets (default: data.test of the run)")
    sub.add_argument("--scan", help="labelled structures along a path")
    sub.add_argument("--coordinate", default="reaction_coordinate", help="info key of the path coordinate")
    sub.add_argument("--md", help="log of multiace md (CSV)")
    sub.add_argument("--out", help="report file (default: report.html in the run folder)")
    sub.add_argument("--outside-code", action="store_true", help=OUTSIDE_HELP)

    sub = add("presets", presets, "all presets side by side")
    sub.add_argument("--small", action="store_true", help="the small sizes")

    sub = add("explain", explain, "what config fields mean")
    sub.add_argument("field", nargs="?", help="a section, a field, or section.field (default: everything)")

    sub = add("info", info, "what a model file holds")
    add_model(sub)

    importers = commands.add_parser(
        "import", help="carry over the parameters of another code"
    ).add_subparsers(metavar="CODE", required=True, parser_class=Parser)
    sub = add("botnet", import_model, "parameters of the original BOTNet and NequIP code", importers)
    sub.add_argument("json", help="NAME.json: config, irreps and tables")
    sub.add_argument("npz", help="NAME.npz: parameters")
    sub.add_argument("-o", "--out", required=True, help="model file to write")

    data = commands.add_parser("data", help="check data; public data sets").add_subparsers(
        metavar="ACTION", required=True, parser_class=Parser
    )
    sub = add("check", data_check, "what is wrong, or odd, in labelled structures", data)
    sub.epilog = "Exit status 1 where an error would stop a training."
    files_help = "labelled structures to train on, or a run file (YAML) with section.field=value"
    sub.add_argument("files", nargs="+", metavar="FILE", help=files_help)
    sub.add_argument("--valid", nargs="+", metavar="FILE", help="validation files")
    sub.add_argument("--test", nargs="+", metavar="FILE", help="test files")
    sub.add_argument(
        "--cutoff", type=positive, help="cutoff of neighbours [Å] (default: 5, or the run file's)"
    )
    sub.add_argument("--json", help="write facts, findings and histograms here")
    add_fields(sub, LabelKeys)

    sub = add("get", data_get, "download a data set, or copy it from $MULTIACE_DATA", data)
    sub.add_argument("name", help="acac, ethanol, 3bpa or rmd17")
    sub.add_argument("--folder", help="where to put it, in a folder of its name (default: data)")
    return parser


def positive(text: str) -> float:
    """Read a number above zero, for argparse."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not allowed; it must be a number above 0")
    return value


def add_model(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """Add the model and how it is run."""
    parser.add_argument("model", nargs=nargs, help=MODEL_HELP)
    parser.add_argument("--device", help="cpu, cuda, ... (default: cpu)")
    parser.add_argument(
        "--dtype", choices=("float32", "float64"), help="convert the network (default: as trained)"
    )
    parser.add_argument("--outside-code", action="store_true", help=OUTSIDE_HELP)


def add_structure(parser: argparse.ArgumentParser) -> None:
    """Add the structure and the neighbour list's skin."""
    parser.add_argument("structure", help=STRUCTURE_HELP)
    parser.add_argument(
        "--skin", type=float, default=0.5, help="skin of the neighbour list [Å] (default: 0.5)"
    )
    parser.add_argument(
        "--radial",
        default="auto",
        metavar="CHOICE",
        help="network, or table: radial weights from tables of the network (default: auto, tables in float32)",
    )
