"""A run that goes on under another config: what is different, and whether that is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from multiace.config import choose
from multiace.errors import InputError
from multiace.train.config import RunConfig, TrainConfig
from multiace.train.schedule import SCHEDULES

__all__ = ["Changes", "allow", "another_loss", "differences"]

Changes = dict[str, tuple[Any, Any]]
"""``section.field``, or a data file, with what it was and what it is."""

LENGTHS = ("train.max_epochs", "train.max_minutes", "train.max_core_minutes")
"""Fields whose larger values make a run longer and nothing else."""

LOSS = {
    f"train.{stage}{target}_{what}"
    for stage in ("", "second_stage_")
    for target in ("energy", "forces", "stress")
    for what in ("weight", "loss")
} | {"train.huber_delta"}


def differences(there: Mapping[str, Any], run: RunConfig) -> Changes:
    """Return the fields of a run that are not those of an earlier one; a field it did not know had its default."""
    changes: Changes = {}
    for section, fields in run.to_dict().items():
        known = there.get(section) or {}
        for name, now in fields.items():
            default = type(getattr(run, section)).model_fields[name].get_default(call_default_factory=True)
            before = known.get(name, plain(default))
            if before != now:
                changes[f"{section}.{name}"] = before, now
    return changes


def plain(default: Any) -> Any:
    """Return a default as the YAML of a run has it."""
    return list(default) if isinstance(default, tuple) else default


def allow(changes: Changes, run: RunConfig, place: Path, fork: bool) -> bool:
    """Return whether a run goes on beyond its end: it is to be longer, or is forked.

    Raises:
        InputError: If there are changes that are not allowed; names them.
    """
    longer = bool(changes) and all(map(is_longer, changes, changes.values()))
    reason = why_fixed(run.train) if longer else ""
    if not changes or (longer and not reason):
        return longer
    listed = "; ".join(f"{name} = {before!r}, now it is {now!r}" for name, (before, now) in changes.items())
    if not fork:
        raise InputError(
            f"{place} holds a run with {listed}; {reason}set {'it' if len(changes) == 1 else 'them'} back to resume, "
            "say --fork to go on from its last checkpoint under what is new, or choose another folder"
            f"{f' with train.start_from = {place}' if reason else ''}."
        )
    model = [name for name in changes if name.startswith("model.")]
    if model:
        raise InputError(
            f"{place} holds a run with {listed}; --fork keeps the model, of which {', '.join(model)} would make "
            "another one: choose another folder."
        )
    return True


def another_loss(changes: Iterable[str]) -> bool:
    """Whether losses from here on do not compare with those before: other data, other weights."""
    return any(not name.startswith(("train.", "data.test")) or name in LOSS for name in changes)


def is_longer(name: str, change: tuple[Any, Any]) -> bool:
    """Whether a change of a field makes a run longer and nothing else.

    More steps do not: they would belong to an epoch that has ended with the last one.
    """
    before, now = change
    if name in LENGTHS and before is not None:
        return now is None or now > before
    return False


def why_fixed(config: TrainConfig) -> str:
    """Return why the epochs of a run depend on its length; empty if they do not."""
    if choose(SCHEDULES, config.schedule, "train.schedule").follows_progress:
        return f"schedule = {config.schedule} spreads the learning rate over the whole length: "
    if config.second_stage_start is not None:
        return "second_stage_start is a share of the whole length: "
    return ""
