"""The model file: read with nothing executed, checked, and brought to the present schema."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.overrides import TorchFunctionMode

from multiace.errors import InputError, brief
from multiace.files import digest

__all__ = ["MIGRATIONS", "SCHEMA_VERSION", "NoMoreThan", "check_fit", "checksum", "read_model_file"]

SCHEMA_VERSION = 2
"""Version of the model file; 2 has all matrices of a layer in one tensor."""

Content = tuple[dict[str, Any], dict[str, Tensor]]
"""Header and tensors of a model file."""

MIGRATIONS: dict[int, Callable[[dict[str, Any], dict[str, Tensor]], Content]] = {}
"""What makes header and tensors of the next schema from those of this one, by schema number.

Empty: schema 2 is the first that was released. Files of schema 1 are of preliminary versions alone, and lie
nowhere that a test could hold a migration to.
"""

HEADER = {"schema_version": int, "config": dict, "metadata": dict}
"""What every header has, and of which type."""

DTYPES = (torch.float32, torch.float64, torch.int64, torch.bool)
"""Types that tensors of a file may have; integers are of code from outside."""

SIGNATURES = {b"\x80": "a pickle", b"PK": "an archive, as torch.save writes", b"\x89HDF": "an HDF5 file"}
"""How files of other programs begin. None of them is opened any further."""


def read_model_file(path: str | os.PathLike) -> Content:
    """Read header and tensors of a model file, or of the final model of a run folder.

    Raises:
        InputError: If the file is missing, damaged, not a multiace model, newer than this version, or older
            than its migrations.
    """
    path = model_path(Path(path))
    refuse_others(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            header = json.loads(metadata.get("multiace", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise InputError(f"cannot read a model from {path}: {error.strerror or error}.") from None
    except (SafetensorError, ValueError, AttributeError, RecursionError):  # ... a type that torch has not
        raise InputError(
            f"cannot read a model from {path}: it is not a multiace model file, or it is damaged; copy it "
            "again, or train it again."
        ) from None
    if not isinstance(header, dict) or not all(type(header.get(key)) is HEADER[key] for key in HEADER):
        raise InputError(
            f"{path} is a safetensors file, but not a multiace model; give one that multiace wrote."
        )
    if header["schema_version"] <= SCHEMA_VERSION:
        check_types(tensors, path)
        check_sum(metadata, tensors, path)
    header, tensors = migrate(header, tensors, path)
    check_metadata(header["metadata"], path)
    check_numbers(header["config"], tensors, path)
    return header, tensors


def model_path(path: Path) -> Path:
    """Return the file itself: in a run folder, the final model.

    Raises:
        InputError: If there is none.
    """
    hint = "check the path"
    if path.is_dir():
        folder, path = path, path / "model.safetensors"
        if (folder / "config.yaml").is_file() and not path.is_file():
            best = folder / "checkpoints" / "best.safetensors"
            raise InputError(
                f"{folder} has no model.safetensors yet: this run is not complete; continue it with the same "
                f"command{f'; best so far: {best}' if best.is_file() else ''}."
            )
        below = sorted(
            str(one.parent) for depth in ("*", "*/*") for one in folder.glob(f"{depth}/{path.name}")
        )
        if below:
            hint = f"choose a run in that folder: {', '.join(below[:3])}{', ...' if below[3:] else ''}"
    if not path.is_file():
        raise InputError(f"cannot read a model from {path}: there is no such file; {hint}.")
    return path


def refuse_others(path: Path) -> None:
    """Say what a file is that another program wrote, from its first bytes."""
    try:
        with path.open("rb") as file:
            first = file.read(9)
    except OSError as error:
        raise InputError(f"cannot read a model from {path}: {error.strerror}.") from None
    safetensors = len(first) < 9 or first.endswith(b"{")  # the length of a header comes first, as any byte
    for signature, kind in SIGNATURES.items():
        if first.startswith(signature) and not safetensors:
            raise InputError(
                f"cannot read a model from {path}: it is {kind}, which multiace does not open as it may run code; "
                "give a .safetensors file that multiace wrote."
            )


def checksum(header: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of all that a model file holds: the text of its header, and its tensors."""
    return digest({name: tensor.numpy() for name, tensor in tensors.items()}, header)


def check_sum(metadata: Mapping[str, str], tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse a file whose content is not what was written; the first ones of schema 2 have no checksum."""
    written = metadata.get("sha256")
    if written is not None and written != checksum(metadata["multiace"], tensors):
        raise InputError(
            f"{path} is damaged: its checksum does not fit its content; copy it again, or train it again."
        )


def migrate(header: dict[str, Any], tensors: dict[str, Tensor], path: Path) -> Content:
    """Bring a file to the present schema, one step after another.

    Raises:
        InputError: If the file is newer than this version, or older than its migrations.
    """
    while (schema := header["schema_version"]) != SCHEMA_VERSION:
        if schema > SCHEMA_VERSION:
            raise InputError(
                f"{path} was written by multiace {header.get('multiace')} (schema {schema}); this version reads up "
                f"to schema {SCHEMA_VERSION}. Install a newer multiace."
            )
        if schema not in MIGRATIONS:
            raise InputError(
                f"{path} was written by a preliminary multiace (schema {schema}), whose weights this version "
                f"(schema {SCHEMA_VERSION}) cannot read; train it again, or read it with that one."
            )
        header, tensors = MIGRATIONS[schema](header, tensors)
        header = {**header, "schema_version": schema + 1}
    return header, tensors


def check_metadata(metadata: Mapping[str, Any], path: Path) -> None:
    """Refuse metrics and provenance that are not as multiace writes them."""
    sets: Any = metadata.get("metrics", {})
    parts = [sets, *(sets.values() if isinstance(sets, dict) else ())]
    part: Any = metadata
    for name in ("provenance", "run", "data"):
        part = part.get(name, {}) if isinstance(part, dict) else part
        parts.append(part)
    if not all(isinstance(part, dict) for part in parts):
        raise InputError(f"{path}: the metrics or the provenance in its header are damaged; copy it again.")


def check_types(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse numbers of an unknown type."""
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise InputError(
                f"{path}: {name} is {kind}, but weights are float32 or float64; give the file that multiace wrote."
            )


def check_numbers(config: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse numbers that are not finite, and anything but one E0 for each element."""
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise InputError(
                f"{path}: {name} has values that are not finite: the file is damaged, or its training failed; "
                "copy it again, or train it again."
            )
    elements, E0 = config.get("elements"), tensors.get("isolated_energies")
    if not isinstance(elements, list) or E0 is None or E0.shape != (len(elements),):
        raise InputError(
            f"{path}: isolated_energies do not fit the elements {brief(elements)}; the file is damaged, copy it again."
        )


def check_fit(needed: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are not those of the model that the config describes.

    Raises:
        InputError: Names the first tensor that is missing, too many, or of another shape.
    """
    for name in [*needed, *tensors]:
        if name not in tensors:
            what = f"it has no {name}"
        elif name not in needed:
            what = f"it has {name}, which the config does not ask for"
        elif needed[name].shape != tensors[name].shape:
            there, here = list(tensors[name].shape), list(needed[name].shape)
            what = f"{name} has shape {there}, the config asks for {here}"
        else:
            continue
        raise InputError(
            f"the weights do not fit the config in the file: {what}; it is damaged, copy it again."
        )


class NoMoreThan(TorchFunctionMode):
    """Forbids to draw more random weights at once than a file has, so that a damaged config takes no memory.

    Args:
        tensors: Of the file.

    Raises:
        InputError: If there are more.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.most = sum(tensor.numel() for tensor in tensors.values())

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run the function, unless it is ``randn`` of too large a size."""
        if function is torch.randn:
            wanted = math.prod(args[0] if args and not isinstance(args[0], int) else args)
            if wanted > self.most:
                raise InputError(
                    "the weights do not fit the config in the file: that asks for a tensor of "
                    f"{wanted} numbers, the file has {self.most}; it is damaged, copy it again."
                )
        return function(*args, **(kwargs or {}))
