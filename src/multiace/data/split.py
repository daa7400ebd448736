"""The data section of a run, read: training, validation and test frames, isolated atoms, and the split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from multiace.data.config import DataConfig
from multiace.data.read import Frame, read_frames
from multiace.errors import InputError, did_you_mean

__all__ = ["RunData", "Split", "read_data"]


@dataclass(frozen=True)
class Split:
    """Which of ``frames`` structures train and which validate; counted from 0 without isolated atoms."""

    frames: int
    train: tuple[int, ...]
    valid: tuple[int, ...]

    @classmethod
    def random(cls, frames: int, valid: float | int, seed: int) -> Split:
        """Draw a fraction (float) or a number (int) of the frames for validation, at least one.

        Raises:
            InputError: If nothing would be left to train on.
        """
        count = valid if isinstance(valid, int) else max(1, round(valid * frames))
        if count >= frames:
            raise InputError(
                f"data.valid = {valid} takes {count} of {frames} training structures; "
                "leave at least one to train on."
            )
        order = torch.randperm(frames, generator=torch.Generator().manual_seed(seed)).tolist()
        return cls(frames, train=tuple(sorted(order[count:])), valid=tuple(sorted(order[:count])))

    def save(self, path: str | Path) -> None:
        """Write as JSON."""
        Path(path).write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Split:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: If the file is missing, or is not the JSON of a split.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            split = cls(int(content["frames"]), tuple(content["train"]), tuple(content["valid"]))
            indices = {*split.train, *split.valid}
            known = bool(split.train) and indices <= set(range(split.frames))
            known = known and len(indices) == len(split.train) + len(split.valid)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}.") from None
        except (ValueError, KeyError, TypeError):
            known = False
        if not known:
            raise InputError(f"{path} is not a split that multiace saved; give data.valid another value.")
        return split


@dataclass(frozen=True)
class RunData:
    """What a run reads; ``split`` is None where validation has files of its own, ``test`` is by file name."""

    train: list[Frame]
    valid: list[Frame]
    test: dict[str, list[Frame]]
    isolated: list[Frame]
    split: Split | None


def read_data(config: DataConfig) -> RunData:
    """Read all files of the data section, take isolated atoms out, and split.

    Isolated atoms are taken out of training and validation files (they give E0, and there is nothing to
    train on in them); test files are kept whole.

    Raises:
        InputError: See :func:`read_frames` and :class:`Split`; and if a config type that has a weight
            occurs in no training file.
    """
    frames = weigh(read_frames(config.train, config), config)
    found = {frame.config_type for frame in frames}
    for config_type in config.config_type_weights:
        if config_type not in found:
            raise InputError(
                f"data.config_type_weights names {config_type!r}, which no training structure has."
                + did_you_mean(config_type, found)
            )
    isolated = [frame for frame in frames if frame.is_isolated]
    frames = [frame for frame in frames if not frame.is_isolated]
    if not frames:
        raise InputError(
            f"data.train ({', '.join(config.train)}) has only isolated atoms; add a file of structures."
        )
    split = None
    if isinstance(config.valid, tuple) and not _is_split(config.valid):
        own = weigh(read_frames(config.valid, config, strict=False), config)
        isolated += [frame for frame in own if frame.is_isolated]
        train, valid = frames, [frame for frame in own if not frame.is_isolated]
        if not valid:
            raise InputError(
                f"data.valid ({', '.join(config.valid)}) has only isolated atoms; add structures."
            )
    else:
        split = _find_split(config, len(frames))
        train = [frames[index] for index in split.train]
        valid = [frames[index] for index in split.valid]
    test = {path: read_frames(path, config, strict=False) for path in config.test}
    return RunData(train, valid, test, isolated, split)


def weigh(frames: Sequence[Frame], config: DataConfig) -> list[Frame]:
    """Multiply the weights of the frames by those of their config types."""
    weights = config.config_type_weights
    return [replace(frame, weight=frame.weight * weights.get(frame.config_type, 1.0)) for frame in frames]


def _is_split(files: tuple[str, ...]) -> bool:
    return len(files) == 1 and Path(files[0]).name.endswith("split.json")


def _find_split(config: DataConfig, frames: int) -> Split:
    if not isinstance(config.valid, tuple):
        return Split.random(frames, config.valid, config.seed)
    split = Split.load(config.valid[0])
    if split.frames != frames:
        raise InputError(
            f"{config.valid[0]} splits {split.frames} structures, but data.train has {frames}; "
            "give the files of that run, in the same order."
        )
    return split
