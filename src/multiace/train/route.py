"""Which way a run is fitted, by gradients or by linear algebra, and what has no effect on either."""

from __future__ import annotations

from multiace.errors import InputError
from multiace.train.config import BOUNDS, STAGED, RunConfig, TrainConfig

__all__ = ["DEFAULT_SOLVER", "GRADIENT_FIELDS", "by_gradients", "is_solved"]

DEFAULT_SOLVER = "bayesian_ridge"
GRADIENT_FIELDS = (
    *BOUNDS,
    *("max_edges", "batch_size", "optimizer", "learning_rate", "weight_decay", "schedule"),
    *("warmup_epochs", "plateau_patience", "plateau_factor", "min_learning_rate", "ema_decay", "clip_norm"),
    *("energy_loss", "forces_loss", "stress_loss", "huber_delta", "early_stopping"),
    *("second_stage_start", *(f"second_stage_{field}" for field in STAGED)),
    *(
        "divergence_limit",
        "divergence_retries",
        "radial",
        "checkpoint_every",
        "devices",
        "num_nodes",
        "strategy",
    ),
)
"""Fields of the train section that a solution has no use for; one whose default another one takes away follows it."""
WITHOUT_COMMITTEE = ("least_squares", "truncated_svd", "lsqr")
"""Solvers whose posterior says nothing of directions that no data have seen."""


def by_gradients(run: RunConfig) -> bool:
    """Whether a run goes down the gradient of a loss, and not to a solver."""
    return run.train.solver == "gradient" or (run.train.solver == "auto" and not run.model.is_linear)


def is_solved(run: RunConfig) -> bool:
    """Whether a run is fitted by a solver.

    Raises:
        InputError: If a solver is asked for and the model is neither linear nor trained, or a field is set that has no
            effect on this route.
    """
    train, solver, linear = run.train, run.train.solver, run.model.is_linear
    if by_gradients(run):
        if train.keep_weights:
            raise InputError(
                "train.keep_weights has no effect where weights are trained by gradients: set train.solver = "
                f"{DEFAULT_SOLVER}, or remove it."
            )
        if train.folds:
            raise InputError(
                f"train.folds = {train.folds} needs a model that is solved for, as preset: ace; remove it."
            )
        return False
    if train.folds and train.keep_weights:
        raise InputError(
            f"train.folds = {train.folds} has nothing to test where train.keep_weights leaves weights as they are: "
            "remove one of them."
        )
    if not linear and train.start_from is None:
        raise InputError(
            f"train.solver = {solver} needs a model whose energies are linear in all parameters (channel_coupling = "
            "complete, hidden_irreps = 1x0e, readout_function = mlp, readout_width = 0, radial_network = none, "
            "trainable_radial = false, element_embedding = one_hot), or a trained one, whose last layers it solves "
            "for: set train.start_from = MODEL, train.solver = gradient, or model.preset = ace."
        )
    defaults = TrainConfig()
    for field in GRADIENT_FIELDS:
        if getattr(train, field) != getattr(defaults, field):
            raise InputError(
                f"train.{field} has no effect where the model is solved for (train.solver = {solver}): remove it, or "
                "set train.solver = gradient."
            )
    if not run.model.is_read_by_one_number and train.smoothness != defaults.smoothness:
        raise InputError(
            "train.smoothness has no effect on last layers, whose features are all alike to the prior: remove it."
        )
    if train.keep_weights and solver in WITHOUT_COMMITTEE:
        raise InputError(
            f"train.keep_weights leaves nothing to do for train.solver = {solver}, which has no error bars: set it to "
            f"{DEFAULT_SOLVER}, ridge or ard."
        )
    return True
