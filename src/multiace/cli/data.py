"""Commands about data."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from multiace.cli.common import console
from multiace.cli.parser import Commands, add_command, add_fields, read_fields
from multiace.data.config import DataConfig, LabelKeys
from multiace.errors import InputError
from multiace.progress import progress_bar
from multiace.tables import check_tables

if TYPE_CHECKING:
    from multiace.data.expectations import Expectations

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Add ``data check`` and ``data get``."""
    actions = commands.add_parser("data", help="check data; public data sets").add_subparsers(
        metavar="ACTION", required=True
    )
    sub = add_command(actions, "check", check, "what is wrong, or odd, in labelled structures")
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

    sub = add_command(actions, "get", get, "download a data set, or copy it from $MULTIACE_DATA")
    sub.add_argument("name", help="acac, ethanol, 3bpa or rmd17")
    sub.add_argument("--folder", help="where to put it, in a folder of its name (default: data)")


def positive(text: str) -> float:
    """Read a number above zero, for argparse."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not allowed; it must be a number above 0")
    return value


def check(arguments: argparse.Namespace) -> int:
    """Print what is found in labelled structures; status 1 where that would stop a training."""
    from multiace.data.check import check_files

    config, expected = what_to_check(arguments)
    with progress_bar(console(), count=False) as bar:
        task = bar.add_task("reading", total=None, state="")
        found = check_files(
            config,
            expected,
            lambda file, frame: bar.update(task, state=f"{Path(file).name} frame {frame:,}"),
            processes=min(2, os.cpu_count() or 1),
        )
        bar.update(task, total=1, completed=1, state="")
    console().print(check_tables(found))
    if arguments.json:
        found.save(arguments.json)
        print(f"findings: {arguments.json}")
    return 1 if found.of("error") else 0


def what_to_check(arguments: argparse.Namespace) -> tuple[DataConfig, Expectations]:
    """Return the files and what is expected of them: of a run file (with overrides), or of the options."""
    from multiace.data.expectations import Expectations

    first, *rest = arguments.files
    given = read_fields(arguments, LabelKeys)
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


def get(arguments: argparse.Namespace) -> None:
    """Download a public data set."""
    from multiace.data.download import download

    for path in download(arguments.name, arguments.folder):
        print(path)
