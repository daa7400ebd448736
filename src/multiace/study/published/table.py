"""A published table: its numbers, the settings of its models, and what is different here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from multiace.config import Config, read_yaml
from multiace.errors import InputError, did_you_mean
from multiace.study.published.printed import Printed

__all__ = ["SIZES", "Loss", "Model", "PublishedTable", "Source", "TrainingSet", "names", "read"]

FOLDER = Path(__file__).parent
SIZES: tuple[Literal["full"], Literal["reduced"]] = ("full", "reduced")
QUANTITIES = ("energy", "forces")

Size = Literal["full", "reduced"]
Fields = dict[str, Any]
"""Fields of a run file, ``section.field``, and their values."""


class Source(Config):
    """Where numbers are from."""

    cite: str = Field(description="authors, title, journal or arXiv number, table")
    deviation: Literal["sample", "population"] | None = Field(
        None,
        description="what its standard deviations are divided by: sample n - 1, population n; null = it has none",
    )
    runs: int | None = Field(None, ge=2, description="number n of runs of each mean; null = not stated")


class TrainingSet(Config):
    """What models are trained and tested on; files are those of ``multiace data get``."""

    atoms: int = Field(ge=1, description="atoms N of a structure, the same in all of them")
    train: tuple[str, ...] = Field(description="training files")
    valid: tuple[str, ...] | int = Field(50, description="validation files, or number of training frames")
    tests: dict[str, str] = Field(description="test file of each row of the table")


class Loss(Config):
    r"""The loss of the original.

    .. math:: w_E\, \overline{\Delta E^2 / N^p} + w_F\, \overline{\Delta F^2}
    """

    energy: float = Field(ge=0, description="w_E")
    forces: float = Field(ge=0, description="w_F")
    power: Literal[0, 1, 2] = Field(
        description="p: 0 for total energies, 1 for squares per atom, 2 for energies per atom"
    )

    def weights(self, atoms: int) -> Fields:
        r"""Return the weights with which our loss is the same, for structures of N atoms.

        Ours has energies per atom, :math:`\Delta E^2 / N^p = N^{2 - p} (\Delta E / N)^2`.
        """
        energy = self.energy * atoms ** (2 - self.power)
        return {"train.energy_weight": energy, "train.forces_weight": self.forces}

    def __str__(self) -> str:
        square = ("mean(ΔE²)", "mean(ΔE²/N)", "mean((ΔE/N)²)")[self.power]
        return f"{self.energy:g} {square} + {self.forces:g} mean(ΔF²)"


class Model(Config):
    """A column of the table, and the run file that stands for it.

    The run file of the full size has what is stated, what is chosen, and the weights of the loss; that of the reduced
    size has other values of some fields.
    """

    column: str = Field(description="what the source calls it")
    source: str = Field(description="name of its source")
    published: dict[str, tuple[str | float, str | float]] = Field(
        description="energy and forces of each row, as printed: 3.1 (0.13), with the standard deviation in brackets"
    )
    parameters: int | None = Field(None, description="number of parameters, where published")
    solved: bool = Field(
        False, description="solved for by linear algebra: what the table says for all models is not for it"
    )
    loss: Loss | None = Field(None, description="loss of the original")
    stated: Fields = Field({}, description="fields that the source states, or its authors' code")
    chosen: Fields = Field({}, description="fields that it does not state, chosen here")
    reduced: Fields = Field({}, description="fields of the reduced size")
    differences: tuple[str, ...] = Field((), description="what no field says")

    def printed(self, row: str, quantity: str) -> Printed | None:
        """A published number; None if there is none."""
        values = self.published.get(row)
        return None if values is None else Printed.parse(str(values[QUANTITIES.index(quantity)]))


class PublishedTable(Config):
    """A published table with everything that is needed to have its numbers again."""

    title: str = Field(description="what is trained on what")
    data: str = Field(description="data set of multiace data get")
    statistic: Literal["rmse", "mae"] = Field(description="errors of the table")
    sources: dict[str, Source] = Field(description="where its numbers are from")
    sets: dict[str, TrainingSet] = Field(
        description="what models are trained on: each set gives a model of its own"
    )
    models: dict[str, Model] = Field(description="columns")
    stated: Fields = Field({}, description="fields of all models, stated by the sources")
    chosen: Fields = Field({}, description="fields of all models that no source states")
    reduced: Fields = Field({}, description="fields of all models in the reduced size")
    seeds: dict[Size, tuple[int, ...]] = Field(description="seeds of the runs in each size")
    differences: tuple[str, ...] = Field((), description="of all models: what no field says")

    @classmethod
    def section(cls) -> str:
        """``table``."""
        return "table"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, model in self.models.items():
            if model.source not in self.sources:
                raise InputError(
                    f"table.models: {name} has no source {model.source!r}.{did_you_mean(model.source, self.sources)}"
                )
            for row in model.published:
                if row not in self.rows:
                    raise InputError(
                        f"table.models: {name} has no row {row!r}.{did_you_mean(row, self.rows)}"
                    )
                for quantity in QUANTITIES:
                    model.printed(row, quantity)  # refuses what is no number
        if set(self.seeds) != set(SIZES):
            raise InputError(f"table.seeds must have both sizes, {' and '.join(SIZES)}.")
        return self

    @property
    def rows(self) -> dict[str, str]:
        """Test file of each row."""
        return {row: file for trained in self.sets.values() for row, file in trained.tests.items()}

    def fields(self, model: str, trained: str, size: str) -> Fields:
        """Return the fields of the run file of a model, without its data."""
        column = self.models[model]
        found = {} if column.solved else {**self.stated, **self.chosen}
        found |= {**column.stated, **column.chosen}
        if column.loss is not None:
            found |= column.loss.weights(self.sets[trained].atoms)
        if size == "reduced":
            found |= {} if column.solved else self.reduced
            found |= column.reduced
        return found

    def is_stated(self, model: str, field: str) -> bool:
        """Whether the value of a field in the full size is the source's own; a loss is, if one of its model's is."""
        column = self.models[model]
        if field in column.stated or field in column.chosen:
            return field in column.stated
        return field in self.stated or (bool(column.loss and column.stated) and field.endswith("_weight"))

    def only(self, models: Sequence[str] | None = None, sets: Sequence[str] | None = None) -> Self:
        """Return the table with these models and training sets alone.

        Raises:
            InputError: If it has no such model or set.
        """
        kept: dict[str, Any] = {}
        for name, chosen in (("models", models), ("sets", sets)):
            there = getattr(self, name)
            for key in chosen or ():
                if key not in there:
                    raise InputError(
                        f"the table has no {name.removesuffix('s')} {key!r}.{did_you_mean(key, there)}"
                    )
            kept[name] = {key: value for key, value in there.items() if chosen is None or key in chosen}
        rows = {row for trained in kept["sets"].values() for row in trained.tests}
        for key, model in kept["models"].items():
            published = {row: values for row, values in model.published.items() if row in rows}
            kept["models"][key] = model.model_copy(update={"published": published})
        return self.model_copy(update=kept)


def names() -> list[str]:
    """Names of the tables."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read(name: str) -> PublishedTable:
    """Read a table.

    Raises:
        InputError: If there is no such table.
    """
    if name not in names():
        raise InputError(f"there is no published table {name!r}.{did_you_mean(name, names())}")
    return PublishedTable.from_dict(read_yaml(FOLDER / f"{name}.yaml"))
