"""The end of a run: its best model is tested, verified, and written with where it is from."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_fabric import Fabric

from multiace.model.config import outside_choices
from multiace.model.potential import Potential
from multiace.train.config import RunConfig
from multiace.train.learner import Learner
from multiace.train.loss import Loss
from multiace.train.prepare import warn
from multiace.train.validate import validate
from multiace.verify.checks import of_potential, verify
from multiace.verify.structures import KEPT, build, choose_few, keep

if TYPE_CHECKING:
    from multiace.train.linear_fit import LinearFit

__all__ = ["finish", "reload"]


def finish(
    learner: Learner | LinearFit,
    ended: str,
    found: dict[str, Any] | None = None,
    tested: dict[str, Any] | None = None,
) -> Potential:
    """Test the best model on every set, and write it with its errors and its provenance.

    Args:
        learner: The run.
        ended: What ended it.
        found: More to be kept in the model's file and in the summary.
        tested: Errors that are known already, by name.
    """
    run, data, state = learner.run, learner.data, learner.state
    place, fabric, console = learner.place, learner.fabric, learner.console
    fabric.barrier()
    best = reload(place.best, run, fabric)
    loss = Loss(run.train.stage(state.stage))
    errors = (tested or {}) | {
        name: validate(best, dataset, loss, run.train, fabric, name=f"the test on {name}")[1]
        for name, dataset in {"train": data.train, "valid": data.valid, **data.test}.items()
    }
    if place.main:
        console.errors(errors)
        verified = verification(learner, best) if run.train.verify else {}
        best.save(place.model, metrics=errors, provenance=provenance(learner), **verified, **(found or {}))
        parameters = sum(parameter.numel() for parameter in best.parameters())
        summary = {**asdict(state), **(found or {}), "parameters": parameters, "errors": errors}
        for name in ("schedule", "run", "statistics", "totals"):
            del summary[name]
        summary["warnings"] = [found.sentence for found in data.check.of("warning")]
        warn(console, data.check)
        place.write_json(place.summary, summary)
        epochs = state.epoch > 0
        console.print(f"end after epoch {state.epoch}: {ended}" if epochs else f"end: {ended}")
        console.print(f"{f'best epoch {state.best_epoch}; ' * epochs}model: {place.model}")
    fabric.barrier()
    return reload(place.model, run, fabric)


def verification(learner: Learner | LinearFit, best: Potential) -> dict[str, Any]:
    """Verify the final model on a few structures of the training set, which stay in the run folder.

    Returns:
        What the model file keeps of that.
    """
    structures = choose_few(frame.atoms for frame in learner.data.train.frames)
    subject = of_potential(best, structures or build(best.elements))
    keep(structures, learner.place.path / KEPT)
    report = verify(subject, "training set" if structures else "built", quick=True)
    learner.console.print(f"verification: {report}")
    return {"verification": report.to_dict()}


def provenance(learner: Learner | LinearFit) -> dict[str, Any]:
    """Return what made this model: versions, data, config; files by name, without their folders."""
    packages = ("multiace", "torch", "numpy", "ase", "vesin")
    run, state = learner.run.to_dict(), learner.state
    for key in ("train", "valid", "test"):
        if isinstance(run["data"][key], list):
            run["data"][key] = [Path(name).name for name in run["data"][key]]
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "data_sha256": {
            Path(name).name: checksum for name, checksum in learner.data.sources.checksums.items()
        },
        "run": run,
        "epoch": state.best_epoch,
        "seconds": state.seconds,
        "core_seconds": state.core_seconds,
        "forks": state.forks,
    }


def reload(path: Path, run: RunConfig, fabric: Fabric) -> Potential:
    """Load a model of this run; code from outside that its config names may run if the run names any."""
    outside = bool(outside_choices(run.model.model_dump()))
    return Potential.load(path, device=fabric.device, outside_code=outside)
