"""Commands that fit a model, and say what to label next."""

from __future__ import annotations

import argparse
from pathlib import Path

from multiace.cli.common import advance, check_outputs, console
from multiace.cli.parser import Commands, add_command
from multiace.errors import InputError
from multiace.progress import progress_bar

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Add ``train``, ``fit-linear`` and ``select``."""
    sub = add_command(commands, "train", train, "fit a model as a run file says")
    sub.epilog = "What the fields of a run file mean: multiace explain."
    add_run(sub)
    sub.add_argument(
        "--fork", action="store_true", help="go on with a run although its data or train section have changed"
    )

    sub = add_command(commands, "fit-linear", fit_linear, "solve for a linear model, as a run file says")
    sub.epilog = "train does the same where train.solver is auto; here a model that is not linear is refused."
    add_run(sub)

    sub = add_command(commands, "select", select, "structures of a pool whose labels would tell a fit most")
    sub.add_argument("run", help="run folder of a fit by linear algebra (ace, or last layers)")
    sub.add_argument("pool", metavar="POOL", help="structures without labels, any format of ASE")
    sub.add_argument("--number", type=int, required=True, help="how many to choose")
    sub.add_argument("--output", required=True, help="write them here, in the order of choice (extended XYZ)")


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which run, and where."""
    parser.add_argument("run", help="run file (YAML) with sections model, data, train")
    parser.add_argument("overrides", nargs="*", metavar="section.field=value", help="changes to the run file")
    parser.add_argument(
        "--folder", help="run folder (default: runs/NAME of the run file); a run there goes on"
    )


def fit_linear(arguments: argparse.Namespace) -> None:
    """Solve for a linear model."""
    run_file(arguments, linear=True)


def train(arguments: argparse.Namespace) -> None:
    """Fit a model as a run file says."""
    run_file(arguments, arguments.fork)


def run_file(arguments: argparse.Namespace, fork: bool = False, linear: bool = False) -> None:
    """Do what a run file says; ``linear``: only by linear algebra."""
    from multiace.train.config import RunConfig
    from multiace.train.loop import fit
    from multiace.train.route import DEFAULT_SOLVER

    run = RunConfig.read(arguments.run, arguments.overrides)
    if linear and run.train.solver == "gradient":
        raise InputError(
            "fit-linear solves, and train.solver = gradient does not: remove it, or use multiace train."
        )
    if linear and run.train.solver == "auto":
        run = run.replace(train=run.train.replace(solver=DEFAULT_SOLVER))
    try:
        fit(run, arguments.folder or Path("runs") / Path(arguments.run).stem, fork)
    except KeyboardInterrupt as interrupt:
        if interrupt.args:
            raise
        raise KeyboardInterrupt("; the same command continues the run") from None


def select(arguments: argparse.Namespace) -> None:
    """Choose the structures to label next, and write them."""
    import ase.io

    from multiace.selection import select as select_from

    check_outputs(arguments.output)
    if Path(arguments.output).exists() and Path(arguments.output).samefile(arguments.pool.partition("@")[0]):
        raise InputError(f"--output {arguments.output} is the pool itself; choose another file.")
    with progress_bar(console()) as bar:
        found = select_from(
            *(arguments.run, arguments.pool, arguments.number),
            show=advance(bar, "choosing"),
            reading=advance(bar, "rows of the fit"),
        )
    Path(arguments.output).parent.mkdir(parents=True, exist_ok=True)
    ase.io.write(arguments.output, found.structures, format="extxyz")
    for left_out, why in ((found.repeated, "occur twice"), (found.trained, "are in the training data")):
        if left_out:
            print(f"note: {left_out} structures of the pool {why}, and are left out")
    first, last = found.gains[[0, -1]]
    print(f"information gain: {found.gains.sum():.1f} nats; {first:.1f} of the first, {last:.1f} of the last")
    print(f"structures: {arguments.output}")
