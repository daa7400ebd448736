"""Strict, frozen configuration: typed fields, one help line each, errors before anything runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from pydantic_core import PydanticKnownError

from multiace.errors import InputError, brief, did_you_mean
from multiace.fields import explain, plain, takes_numbers_only

__all__ = ["Config", "Idle", "choose", "parse_overrides", "read_yaml", "refuse_idle"]


class Idle(NamedTuple):
    """A field without effect, the fields that make it so, and what to tell the user."""

    field: str
    because: tuple[str, ...]
    sentence: str


class Config(BaseModel):
    """Base of all sections: frozen, no unknown keys, defaults validated, errors in one sentence.

    Each field is declared ``name: type = Field(default, description="meaning [unit]")``; that
    description is the command line's help and the documentation. A field that is given must have an effect;
    those of a whole config, which gives every field, need not.

    Raises:
        InputError: If a field is unknown, impossible, or given without effect.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, protected_namespaces=()
    )

    added: ClassVar[tuple[str, ...]] = ()
    """Fields that earlier versions have not: a whole config of theirs gives all but these."""

    def __init__(self, **values: Any) -> None:
        self._validate(values)
        if not self.is_whole(values):
            refuse_idle(self, dict.fromkeys(values, 1))

    def _validate(self, values: Mapping[str, Any]) -> None:
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
            if isinstance(cause, InputError):
                raise cause from None
            raise InputError(explain(first, type(self).section(), type(self).model_fields)) from None

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: Any) -> Any:
        annotation = cls.model_fields[info.field_name].annotation
        listed = isinstance(value, list | tuple)
        parts = value.values() if isinstance(value, dict) else value if listed else [value]
        if any(isinstance(part, bool) for part in parts) and takes_numbers_only(annotation):
            raise PydanticKnownError("int_type")
        return value

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], overrides: Collection[str] = ()) -> Self:
        """Build from a section of a run file.

        Args:
            values: The fields that are given.
            overrides: Those of them that were given after the others, which they may leave without effect.

        Raises:
            InputError: If a field is unknown, impossible, or given without effect.
        """
        config = cls.__new__(cls)
        config._validate(values)
        refuse_idle(config, when_given(cls, values, overrides))
        return config

    def idle(self) -> Iterator[Idle]:
        """Find the fields that change nothing beside the others."""
        return iter(())

    def idle_beside(self, field: str, instead: str, **others: tuple[Any, ...]) -> Iterator[Idle]:
        """Find ``field`` idle where all ``others`` have one of these values; with ``instead`` it acts."""
        if all(getattr(self, other) in values for other, values in others.items()):
            found = [f"{other} = {plain(getattr(self, other))}" for other in others]
            yield Idle(
                field,
                tuple(others),
                f"{self.section()}.{field} has no effect with {listed(found)}: remove it, or set {instead}.",
            )

    @classmethod
    def is_whole(cls, values: Mapping[str, Any]) -> bool:
        """Whether every field is given."""
        return set(values) >= set(cls.model_fields) - set(cls.added)

    @classmethod
    def section(cls) -> str:
        """Name of this section in a run file: ``model`` for ModelConfig."""
        return cls.__name__.removesuffix("Config").lower()

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, validated again."""
        return type(self)(**{**self.model_dump(), **changes})


def refuse_idle(config: Config, given: Mapping[str, int], others: int = 0) -> None:
    """Refuse a field that was given without effect.

    A field that was given later, in an override, may leave idle what was given before it: an ablation changes
    one field of a run file.

    Args:
        config: The section.
        given: The fields that were given, and when: 1 in the run file, 2 in an override.
        others: When the other fields got their values: that of ``preset``, or 0.

    Raises:
        InputError: If such a field has no effect.
    """
    for idle in config.idle():
        if given.get(idle.field, -1) >= max(given.get(field, others) for field in idle.because):
            raise InputError(idle.sentence)


def when_given(cls: type[Config], values: Mapping[str, Any], overrides: Collection[str]) -> dict[str, int]:
    """Return 1 for the fields of a run file and 2 for overrides; all of a resolved run file is inherited."""
    return {name: 1 + (name in overrides) for name in (overrides if cls.is_whole(values) else values)}


def listed(items: Sequence[str]) -> str:
    """Return "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


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
            missing = isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]
            hint = " Put its folder into PYTHONPATH (this folder: PYTHONPATH=.)." if missing else ""
            raise InputError(f"{field} = {name!r} cannot be imported: {error}.{hint}") from None
        if not callable(found):
            raise InputError(f"{field} = {name!r} is not a class or function, but a {type(found).__name__}.")
        return found
    if not table:
        raise InputError(f"{field} = {name!r} cannot be used; write package.module:name.")
    raise InputError(f"{field} = {name!r} is not a choice.{did_you_mean(name, table)}")


MOST_VALUES = 10_000
"""Values in a run file; a few lines of references can stand for billions."""


MOST_BYTES = 1_000_000
"""Size of a run file; reading data for one would take minutes."""


class Loader(yaml.SafeLoader):
    """Safe YAML in which a key occurs once."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Read a mapping.

        Raises:
            InputError: If a key occurs twice.
        """
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            line = key.start_mark.line + 1
            if key.value in lines:
                raise InputError(
                    f"{self.name}, line {line}: {key.value!r} is given twice, first in line {lines[key.value]}. "
                    "Remove one of them."
                )
            lines[key.value] = line
        return node

    @classmethod
    def parse(cls, text: str, name: str) -> Any:
        """Return the content of a YAML text; ``name`` is what errors call it.

        Raises:
            InputError: If it is not valid, a key occurs twice, or references blow it up.
        """
        try:
            loader = cls(text)
            loader.name = name
            node = loader.get_single_node()
            refuse_large(node, name)
            return None if node is None else loader.construct_document(node)
        except InputError:
            raise
        except Exception as error:  # PyYAML's constructors raise whatever goes wrong in them
            raise InputError(f"{name} is not valid YAML: {brief(error, 300)}; mend it.") from None


def refuse_large(node: yaml.Node | None, name: str) -> None:
    """Refuse values that are too many, or endless, once every reference stands for what it refers to.

    Raises:
        InputError: If it is so.
    """
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = MOST_VALUES + 1  # for a value that contains itself
            values = node.value if isinstance(node, yaml.CollectionNode) else ()
            parts = chain.from_iterable(values) if isinstance(node, yaml.MappingNode) else values
            sizes[id(node)] = 1 + sum(map(size, parts))
        return sizes[id(node)]

    if node is not None and size(node) > MOST_VALUES:
        raise InputError(
            f"{name} has more than {MOST_VALUES} values, or one within itself; write it plainly."
        )


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        InputError: If the file is missing, is not YAML, has a key twice, or is not a mapping.
    """
    try:
        if Path(path).stat().st_size > MOST_BYTES:
            raise InputError(
                f"{path} is no run file: it has more than {MOST_BYTES} bytes. Give the YAML file."
            )
        content = Loader.parse(Path(path).read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}; check the path.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read {path}: {error}; save it as UTF-8 text.") from None
    if not isinstance(content, dict):
        found = (
            "a list"
            if isinstance(content, list)
            else "nothing"
            if content is None
            else f"only {content!r:.40}"
        )
        raise InputError(f"{path} must hold sections such as 'model:' and 'data:', but has {found}.")
    return content


def parse_overrides(overrides: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Turn ``["train.max_epochs=10"]`` into ``{"train": {"max_epochs": 10}}``; values are YAML.

    Raises:
        InputError: If an item is not of the form section.field=value, or a field is given twice.
    """
    sections: dict[str, dict[str, Any]] = {}
    seen: dict[str, str] = {}
    for item in overrides:
        key, equals, text = item.partition("=")
        section, dot, field = key.strip().partition(".")
        if not (equals and dot and section and field):
            raise InputError(
                f"override {item!r} cannot be read; write section.field=value, such as train.max_epochs=10."
            )
        before = seen.setdefault(f"{section}.{field}", item)
        if before is not item:
            raise InputError(f"overrides {before!r} and {item!r} give the same field; remove one of them.")
        sections.setdefault(section, {})[field] = Loader.parse(text, f"override {brief(item)!r}")
    return sections
