"""The design space of a fit, ``TrainConfig``, and the whole run file, ``RunConfig``."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import yaml
from pydantic import Field, field_validator, model_validator

from multiace.config import Config, Idle, choose, parse_overrides, read_yaml
from multiace.data.config import DataConfig
from multiace.errors import InputError, did_you_mean
from multiace.linear import SOLVER_NAMES
from multiace.model.config import ModelConfig, outside_choices
from multiace.model.file import read_model_file
from multiace.train.log import LOGGERS
from multiace.train.loss import LOSSES, TARGETS
from multiace.train.optimizer import OPTIMIZERS
from multiace.train.schedule import SCHEDULES

__all__ = ["RunConfig", "TrainConfig"]

DEFAULT_BATCH_SIZE = 5
DEFAULT_EPOCHS = 500


class TrainConfig(Config):
    r"""How the parameters are fitted.

    The loss of a step sums over the targets T that have labels,

    .. math:: L = \sum_T w_T \, \frac{1}{n_T} \sum_{i=1}^{n_T} g_i \, \ell(\Delta_i),

    with the weight g of the frame and the error Δ in the target's unit: energy [eV/atom], forces [eV/Å, each
    component], stress [eV/Å³, each component]; w_T is therefore in the inverse unit squared (or the inverse
    unit, for the MAE).

    *Progress* runs from 0 to 1: the largest of epoch / max_epochs, step / max_steps and minutes / max_minutes.
    """

    added: ClassVar[tuple[str, ...]] = ("max_steps", "max_core_minutes")

    solver: str = Field(
        "auto",
        description="how parameters are found: gradient; or, where energies are linear in all of them "
        "(channel_coupling = complete), or for the last layers of a trained model (start_from), by linear algebra: "
        f"{', '.join(SOLVER_NAMES)}; auto: bayesian_ridge where energies are linear in all, else gradient",
    )
    keep_weights: bool = Field(
        False,
        description="solvers, with start_from: keep the weights of that model and give it error bars (last-layer "
        "Laplace approximation); else its last layers are solved for, with a prior centred at its weights",
    )
    smoothness: float = Field(
        0.5,
        ge=0,
        description="solvers: the penalty on a coefficient grows with this power of the roughness of its function, "
        "1 + Σ (n - 1 + degree_weight l)²",
    )
    max_columns: int = Field(
        6000,
        ge=10,
        description="solvers: most coefficients that are solved for; a larger basis is reduced to the directions that "
        "rows of a sample of the structures span",
    )
    folds: int | None = Field(
        None,
        ge=2,
        description="solvers: cross-validation in so many parts of the training frames (frame n is in part n modulo "
        "folds), each predicted by a fit to the others; null = none",
    )
    start_from: str | None = Field(
        None,
        description="model file or run folder whose weights training starts from, with its elements, E0, scale "
        "and shift; null = random weights",
    )
    max_epochs: int | None = Field(
        None,
        ge=1,
        description="passes over the training set; 500 unless another bound is given; of several bounds, "
        "schedules and stages follow the one that is nearest",
    )
    max_steps: int | None = Field(
        None,
        ge=1,
        description="steps of the optimiser; the epoch in which the last of them falls ends with it, and is validated",
    )
    max_minutes: float | None = Field(
        None,
        gt=0,
        description="wall-clock budget [min]; the run is then no longer reproducible bit for bit",
    )
    max_core_minutes: float | None = Field(
        None,
        gt=0,
        description="budget of processor cores, all threads and processes together [min]: that of max_minutes on a "
        "machine that others share",
    )
    batch_size: int | None = Field(
        None, ge=1, description="frames per step, all processes together; 5 unless max_edges is given"
    )
    max_edges: int | None = Field(
        None, ge=1, description="edges per step, all processes together, instead of batch_size"
    )

    optimizer: str = Field("adam", description=f"one of {', '.join(OPTIMIZERS)}")
    learning_rate: float = Field(0.01, gt=0, description="peak learning rate")
    weight_decay: float = Field(0.0, ge=0, description="decay of matrices, not of biases")
    schedule: str = Field("cosine", description=f"learning rate against progress: {', '.join(SCHEDULES)}")
    warmup_epochs: float = Field(0.0, ge=0, description="epochs over which the rate first grows from zero")
    plateau_patience: int = Field(50, ge=1, description="plateau: epochs without a better validation loss")
    plateau_factor: float = Field(0.8, gt=0, lt=1, description="plateau: the rate is then multiplied by this")
    min_learning_rate: float = Field(1e-6, ge=0, description="no schedule goes below this rate")
    ema_decay: float = Field(0.99, ge=0, lt=1, description="moving average of the weights per step; 0 = none")
    clip_norm: float | None = Field(10.0, gt=0, description="largest norm of the gradient; null = any")

    energy_weight: float = Field(10.0, ge=0, description="w of the energy per atom [1/(eV/atom)²]")
    forces_weight: float = Field(1.0, ge=0, description="w of the force components [1/(eV/Å)²]")
    stress_weight: float = Field(
        0.0,
        ge=0,
        description="w of the stress components [1/(eV/Å³)²]; 100 to 1000 where there are stress labels, "
        "which are some 0.01 to 0.05 eV/Å³ against forces of 1 eV/Å",
    )
    energy_loss: str = Field("mse", description=f"ℓ of the energy: {', '.join(LOSSES)}")
    forces_loss: str = Field("mse", description=f"ℓ of the forces: {', '.join(LOSSES)}")
    stress_loss: str = Field("mse", description=f"ℓ of the stress: {', '.join(LOSSES)}")
    huber_delta: float = Field(
        0.01, gt=0, description="huber: error above which ℓ is linear [eV/atom, eV/Å, eV/Å³]"
    )

    second_stage_start: float | None = Field(
        None, gt=0, lt=1, description="progress at which the second stage starts; null = one stage"
    )
    second_stage_energy_weight: float | None = Field(
        None, ge=0, description="energy_weight of the second stage; null = unchanged"
    )
    second_stage_forces_weight: float | None = Field(
        None, ge=0, description="forces_weight of the second stage; null = unchanged"
    )
    second_stage_stress_weight: float | None = Field(
        None, ge=0, description="stress_weight of the second stage; null = unchanged"
    )
    second_stage_learning_rate: float | None = Field(
        None, gt=0, description="learning_rate of the second stage; null = unchanged"
    )
    early_stopping: int | None = Field(
        None, ge=1, description="stop after this many epochs without a better validation loss; null = never"
    )
    divergence_limit: float | None = Field(
        1000.0,
        gt=1,
        description="a loss above this many times that of the first epoch (of its stage) has exploded; null = only "
        "what is not a number",
    )
    divergence_retries: int = Field(
        0,
        ge=0,
        description="how often a loss that explodes or is not a number sends training back to the last checkpoint, "
        "each time with half of the learning rate; 0 = training stops",
    )

    seed: int = Field(0, ge=0, lt=2**31, description="fixes initial weights and the order of frames")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda if there is one")
    devices: int = Field(1, ge=1, description="processes per node, each with a device of its own")
    num_nodes: int = Field(1, ge=1, description="nodes of a multi-node launch (torchrun)")
    strategy: Literal["auto", "ddp"] = Field("auto", description="ddp for several processes")
    threads: int | None = Field(None, ge=1, description="CPU threads of each process; null = torch's choice")
    radial: Literal["network", "auto"] = Field(
        "network",
        description="auto: on a CPU, steps with several times more pairs of atoms than tables have knots read the "
        "radial weights from tables of the networks, made anew in each step; network: none does",
    )
    cuda_graphs: bool = Field(
        True,
        description="on one GPU, capture a step once for each size of batch (padded) as a CUDA graph, and replay it",
    )
    loggers: tuple[str, ...] = Field(
        ("csv", "tensorboard"), description=f"where the learning curves go: {', '.join(LOGGERS)}"
    )
    checkpoint_every: int = Field(1, ge=1, description="epochs between checkpoints")
    verify: bool = Field(
        True,
        description="check the physics of the final model (multiace verify --quick, seconds), and keep what was "
        "found in its file, and a few structures of the training set in the run folder",
    )

    @model_validator(mode="before")
    @classmethod
    def _bounds(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("batch_size") is not None and values.get("max_edges") is not None:
            raise InputError("train has both batch_size and max_edges; give one of them.")
        if values.get("batch_size") is None and values.get("max_edges") is None:
            values = {**values, "batch_size": DEFAULT_BATCH_SIZE}
        if all(values.get(name) is None for name in BOUNDS):
            values = {**values, "max_epochs": DEFAULT_EPOCHS}
        return values

    @field_validator("solver")
    @classmethod
    def _known_solver(cls, name: str) -> str:
        choose(dict.fromkeys(("auto", "gradient", *SOLVER_NAMES)), name, "train.solver")
        return name

    @field_validator("optimizer")
    @classmethod
    def _known_optimizer(cls, name: str) -> str:
        choose(OPTIMIZERS, name, "train.optimizer")
        return name

    @field_validator("schedule")
    @classmethod
    def _known_schedule(cls, name: str) -> str:
        choose(SCHEDULES, name, "train.schedule")
        return name

    @field_validator("energy_loss", "forces_loss", "stress_loss")
    @classmethod
    def _known_loss(cls, name: str) -> str:
        choose(LOSSES, name, "train loss")
        return name

    @field_validator("loggers")
    @classmethod
    def _known_loggers(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            choose(LOGGERS, name, "train.loggers")
        return names

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.energy_weight == self.forces_weight == self.stress_weight == 0:
            raise InputError(
                "train: energy_weight, forces_weight and stress_weight are all 0; nothing would be learned."
            )
        if self.second_stage_start is None:
            for name in type(self).model_fields:
                if name.startswith("second_stage_") and getattr(self, name) is not None:
                    raise InputError(f"train.{name} is given without train.second_stage_start.")
        if self.devices * self.num_nodes > 1 and self.strategy == "auto":
            raise InputError("train.devices or train.num_nodes is above 1; set train.strategy = ddp as well.")
        if self.min_learning_rate > self.learning_rate:
            raise InputError(
                f"train.min_learning_rate = {self.min_learning_rate} is above train.learning_rate = "
                f"{self.learning_rate}; lower it."
            )
        return self

    def idle(self) -> Iterator[Idle]:
        """Find the fields that change nothing beside the others."""
        for field in ("plateau_patience", "plateau_factor"):
            yield from self.idle_beside(
                field, "schedule = plateau", schedule=("constant", "cosine", "one_cycle")
            )
        yield from self.idle_beside("keep_weights", "start_from", start_from=(None,))
        for name in ("max_columns", "folds"):
            yield from self.idle_beside(name, "another solver", solver=("gradient",))
        yield from self.idle_beside("smoothness", "another solver", solver=("gradient", "least_squares"))
        yield from self.idle_beside("min_learning_rate", "another schedule", schedule=("constant",))
        squares = {f"{target}_loss": ("mse", "mae") for target in TARGETS}
        yield from self.idle_beside("huber_delta", "one of them to huber", **squares)
        yield from self.idle_beside("cuda_graphs", "device to cuda", device=("cpu",))
        yield from self.idle_beside("max_core_minutes", "device to cpu", device=("cuda",))
        yield from self.idle_beside("radial", "device to cpu", device=("cuda",))
        for target in TARGETS:
            weights = {f"{target}_weight": (0,), f"second_stage_{target}_weight": (None, 0)}
            yield from self.idle_beside(f"{target}_loss", f"{target}_weight above 0", **weights)

    def stage(self, number: int) -> TrainConfig:
        """Return the config with the weights and rate of stage 0 or 1 in their plain fields."""
        if number == 0:
            return self
        given = {name: getattr(self, f"second_stage_{name}") for name in STAGED}
        return self.model_copy(update={name: value for name, value in given.items() if value is not None})


BOUNDS = ("max_steps", "max_minutes", "max_core_minutes", "max_epochs")
"""Fields that say how long a run is; the last has a default where the others are not given."""

FILES = {"data": ("train", "valid", "test"), "train": ("start_from",)}
"""Fields that name files, by section."""

STAGED = ("energy_weight", "forces_weight", "stress_weight", "learning_rate")


class RunConfig(Config):
    """A run file: what to build, from which data, and how to fit it."""

    model: ModelConfig = Field(default=ModelConfig(), description="the design space of the model")
    data: DataConfig = Field(description="files, keys, units")
    train: TrainConfig = Field(default=TrainConfig(), description="how to fit")

    @classmethod
    def from_dict(cls, sections: Mapping[str, Any], overrides: Collection[str] = ()) -> RunConfig:
        """Build from plain values; a ``preset`` in the model section is expanded.

        Args:
            sections: The fields of each section.
            overrides: ``section.field`` of those that were given after the others, which they may leave without
                effect.

        Raises:
            InputError: If a section or a field is unknown, missing or impossible, or a field is given without
                effect.
        """
        for name in sections:
            if name not in cls.model_fields:
                raise InputError(f"a run file has no section {name!r}.{did_you_mean(name, cls.model_fields)}")
        values = {name: {} if section is None else section for name, section in sections.items()}
        for name, section in values.items():
            if not isinstance(section, dict):
                raise InputError(f"section {name!r} must hold fields, found {section!r}.")
            values[name] = {str(key): value for key, value in section.items()}
        if "data" not in values:
            raise InputError("the run file has no section 'data'; add data: {train: FILE, valid: FILE}.")

        def later(section: str) -> list[str]:
            return [name.partition(".")[2] for name in overrides if name.startswith(f"{section}.")]

        train = TrainConfig.from_dict(values.get("train", {}), later("train"))
        model = values.get("model", {})
        start = None if train.start_from is None else inherited(train.start_from, model)
        return cls(
            model=ModelConfig.from_dict(model, later("model"), start),
            data=DataConfig.from_dict(values["data"], later("data")),
            train=train,
        )

    @classmethod
    def read(cls, path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
        """Read a run file and apply ``section.field=value`` overrides.

        Paths in the file are relative to the file's folder, paths in overrides to the working directory.

        Raises:
            InputError: If the file cannot be read, or a field is unknown, impossible, or given twice or without
                effect.
        """
        sections = read_yaml(path)
        sections = {
            section: absolute_paths(section, fields, Path(path).parent)
            if isinstance(fields, dict)
            else fields
            for section, fields in sections.items()
        }
        changes = parse_overrides(overrides)
        for section, fields in changes.items():
            there = sections.get(section) or {}
            if isinstance(there, dict):
                sections[section] = {**there, **absolute_paths(section, fields, Path())}
        given = [f"{section}.{field}" for section, fields in changes.items() for field in fields]
        try:
            return cls.from_dict(sections, given)
        except InputError as error:
            raise InputError(f"{path}{' with overrides' if overrides else ''}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """Return every field as plain JSON values."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return the resolved run file: every field with its value."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)


def absolute_paths(section: str, fields: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make the file names in a plain section absolute, taking them relative to ``folder``."""

    def absolute(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [absolute(item) for item in value]
        return os.path.abspath(folder / value) if isinstance(value, str) else value

    return {key: absolute(value) if key in FILES.get(section, ()) else value for key, value in fields.items()}


def inherited(path: str, given: Mapping[str, Any]) -> ModelConfig:
    """Return what a run takes over from the config of the model it starts from, E0 as numbers.

    Args:
        path: Model file or run folder.
        given: The model section of the run; code from outside runs if it is named here, too.

    Raises:
        InputError: If the model cannot be read, or its config names code that the run does not.
    """
    header, tensors = read_model_file(path)
    named = outside_choices(given)
    unnamed = [choice for choice in outside_choices(header["config"]) if choice not in named]
    if unnamed:
        raise InputError(
            f"train.start_from = {path} asks for code from outside multiace ({', '.join(unnamed)}), which is not "
            "run. If you trust it, say the same in the model section."
        )
    try:
        config = ModelConfig().replace(**header["config"])
    except InputError as error:
        raise InputError(f"train.start_from = {path}: {error}") from None
    E0 = dict(zip(config.elements, tensors["isolated_energies"].tolist(), strict=True))
    return config.replace(energy_reference="given", isolated_energies=E0)
