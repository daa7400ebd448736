"""How the fields of a config are told to a user: values, types, limits, and what is wrong with a value."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from multiace.errors import brief, did_you_mean

__all__ = ["explain", "plain", "takes_numbers_only", "type_name"]

NAMES = {
    float: "number",
    int: "integer",
    bool: "true or false",
    str: "text",
    type(None): "null",
    Any: "anything",
}
LIMITS = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}"}


def plain(value: Any) -> str:
    """Write a config value as a run file would."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_defaults=True)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {plain(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(plain, value)) + "]"
    return str(value)


def type_name(annotation: Any, limits: Sequence[Any] = ()) -> str:
    """Write a type as a user would say it: choices by name, ``X | None`` as "X or null", limits in brackets."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        return type_name(arguments[0], limits)
    if origin is Literal:
        return ", ".join(map(plain, arguments))
    if origin in (types.UnionType, typing.Union):
        return " or ".join(type_name(argument, limits) for argument in arguments)
    if origin is tuple:
        return f"list of {type_name(arguments[0])}"
    if origin is dict:
        return f"{{{type_name(arguments[0])}: {type_name(arguments[1])}}}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"fields of {annotation.__name__.removesuffix('Config').lower()}"
    name = NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))
    bounds = [
        words.format(getattr(x, key)) for key, words in LIMITS.items() for x in limits if hasattr(x, key)
    ]
    return f"{name} ({', '.join(bounds)})" if bounds and annotation in (int, float) else name


def takes_numbers_only(annotation: Any) -> bool:
    """Whether values are numbers, lists or mappings of numbers: true and false, to Python 1 and 0, are none."""
    arguments = get_args(annotation)
    if arguments:
        values = arguments[1:] if get_origin(annotation) is dict else arguments
        return any(map(takes_numbers_only, values)) and bool not in values
    return annotation in (int, float)


def explain(error: ErrorDetails, section: str, fields: Mapping[str, FieldInfo]) -> str:
    """Say what pydantic found wrong with a field: what was received, what is allowed, and what to do.

    Args:
        error: One error of a ``ValidationError``.
        section: Name of the section, or empty.
        fields: Its fields.
    """
    name, *keys = error["loc"]
    field, where, received = fields[str(name)], f"{section}.{name}".removeprefix("."), error["input"]
    if error["type"] == "missing":
        return f"{where} is missing; give it: {field.description}."
    annotation = field.annotation
    default = "" if field.is_required() or not field.default or keys else f"; default {plain(field.default)}"
    for key in keys:
        if get_origin(annotation) not in (tuple, dict):
            break  # pydantic names the member of a union that it tried
        arguments = get_args(annotation)
        annotation = arguments[0] if get_origin(annotation) is tuple or keys[-1] == "[key]" else arguments[1]
        where = f"a key of {where}" if keys[-1] == "[key]" else f"{where}.{key}"
    shown = brief(repr(received) if isinstance(received, str) else plain(received), 200)
    cause = error.get("ctx", {}).get("error")
    if cause is not None:
        return f"{where} = {shown}: {cause}."
    if get_origin(annotation) is Literal:
        return f"{where} = {shown} is not a choice.{did_you_mean(received, get_args(annotation))}"
    allowed = type_name(annotation, field.metadata)
    hint = ""
    if annotation is str and isinstance(received, bool):
        hint = " Put it in quotes: YAML takes yes, no, on and off for true and false."
    elif get_origin(annotation) is tuple and type(received) is get_args(annotation)[0]:
        hint = f" Write [{plain(received)}]."
    finite = "finite " if error["type"] == "finite_number" else ""
    return f"{where} = {shown} cannot be used. Allowed: {finite}{allowed}{default}.{hint}"
