"""Strict, frozen configuration: typed fields, one help line each, errors before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from multiace.errors import InputError, did_you_mean

__all__ = ["Config", "choose", "parse_overrides", "read_yaml"]


class Config(BaseModel):
    """Base of all sections: frozen, no unknown keys, defaults validated, errors in one sentence.

    Each field is declared ``name: type = Field(default, description="meaning [unit]")``; that
    description is the command line's help and the documentation.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, protected_namespaces=()
    )

    def __init__(self, **values: Any) -> None:
        unknown = [key for key in values if key not in type(self).model_fields]
        if unknown:
            raise InputError(
                f"{type(self).section()} has no field {unknown[0]!r}."
                + did_you_mean(unknown[0], type(self).model_fields)
            )
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors()[0]
            cause = first.get("ctx", {}).get("error")
            where = ".".join([type(self).section(), *map(str, first["loc"])])
            if isinstance(cause, InputError):
                raise cause from None
            message = str(cause) if cause is not None else first["msg"]
            raise InputError(f"{where} = {first['input']!r}: {message}.") from None

    @classmethod
    def section(cls) -> str:
        """Name of this section in a run file: ``model`` for ModelConfig."""
        return cls.__name__.removesuffix("Config").lower()

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, validated again."""
        return type(self)(**{**self.model_dump(), **changes})


def choose(table: Mapping[str, Any], name: str, field: str) -> Any:
    """Look a choice up in its axis' table, or import ``package.module:Name`` from outside.

    Args:
        table: Choices by name, such as ``RADIAL_BASES``.
        name: What the config says.
        field: The config field, for the message.

    Raises:
        InputError: If the name is neither in the table nor that of an importable class or function.
    """
    if name in table:
        return table[name]
    if ":" in name:
        module, _, attribute = name.partition(":")
        try:
            found = getattr(import_module(module), attribute)
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            raise InputError(f"{field} = {name!r} cannot be imported: {error}.") from None
        if not callable(found):
            raise InputError(f"{field} = {name!r} is not a class or function, but a {type(found).__name__}.")
        return found
    raise InputError(f"{field} = {name!r} is not a choice.{did_you_mean(name, table)}")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        InputError: If the file is missing, is not YAML, or is not a mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}.") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold sections such as 'model:', found {type(content).__name__}.")
    return content


def parse_overrides(overrides: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Turn ``["train.max_epochs=10"]`` into ``{"train": {"max_epochs": 10}}``; values are YAML.

    Raises:
        InputError: If an item is not of the form section.field=value.
    """
    sections: dict[str, dict[str, Any]] = {}
    for item in overrides:
        key, equals, text = item.partition("=")
        section, dot, field = key.strip().partition(".")
        if not (equals and dot and section and field):
            raise InputError(f"override {item!r} cannot be read; write section.field=value.")
        try:
            sections.setdefault(section, {})[field] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(f"override {item!r}: the value is not valid YAML.") from None
    return sections
