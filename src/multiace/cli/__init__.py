"""The command line: every command reads its files, calls the library once, and prints what came out."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from multiace.cli import data, dynamics, evaluation, models, reports, reproduce, studies, training
from multiace.cli.parser import Parser
from multiace.errors import InputError, Interrupted

__all__ = ["main"]


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
    """Read the command line; overrides and files may also follow options, which argparse alone does not see."""
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    overrides = [item for item in rest if "=" in item and not item.startswith("-")]
    if "overrides" in arguments and overrides == rest:
        arguments.overrides += rest
    elif "files" in arguments and not any(item.startswith("-") for item in rest):
        arguments.files += rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return arguments


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = Parser(
        prog="multiace", description="Machine-learning interatomic potentials as one design space."
    )
    parser.add_argument("--version", action="version", version=f"multiace {version('multiace')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for topic in (training, evaluation, studies, reproduce, dynamics, reports, models, data):
        topic.add_commands(commands)
    return parser


def complain(sentence: str) -> int:
    """Print one sentence on stderr and return the exit status of a user error."""
    print(f"multiace: {sentence}", file=sys.stderr)
    return 2


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning as one line, without the source code that Python shows."""
    print(f"multiace: warning: {message}", file=sys.stderr)
