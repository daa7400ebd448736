"""Parsers of commands, and the options that several commands have."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias

from multiace.config import Config

__all__ = [
    "Commands",
    "Parser",
    "add_command",
    "add_fields",
    "add_model",
    "add_outside_code",
    "as_options",
    "read_fields",
]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class Parser(argparse.ArgumentParser):
    """argparse with one sentence for an error, and no abbreviated options."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Exit with status 2 after one sentence."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help.\n")


def add_command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int | None], text: str
) -> argparse.ArgumentParser:
    """Add a command; what ``run`` returns is its exit status."""
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=run)
    return parser


def add_model(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """Add the model and how it is run."""
    parser.add_argument("model", nargs=nargs, help="model file (.safetensors) or run folder")
    parser.add_argument("--device", help="cpu, cuda, ... (default: cpu)")
    parser.add_argument(
        "--dtype", choices=("float32", "float64"), help="convert the network (default: as trained)"
    )
    add_outside_code(parser)


def add_outside_code(parser: argparse.ArgumentParser) -> None:
    """Add the permission to run code that a model's config names."""
    text = "import the package.module:Name that the model's config asks for; runs that code"
    parser.add_argument("--outside-code", action="store_true", help=text)


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


def read_fields(arguments: argparse.Namespace, config: type[Config]) -> dict[str, Any]:
    """Return the fields of a config that were given as options."""
    given = {name: getattr(arguments, name) for name in config.model_fields}
    return {name: value for name, value in given.items() if value is not None}


def as_options(sentence: str, config: type[Config]) -> str:
    """Return a sentence with the options of a command in the place of fields of a run file."""
    for name in config.model_fields:
        sentence = re.sub(rf"\bdata\.{name}\b", f"--{name.replace('_', '-')}", sentence)
    return sentence
