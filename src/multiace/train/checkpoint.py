"""Checkpoints: everything that an exact resume needs, in one safetensors file with a JSON header.

Raw weights, moving average and the optimiser's moments are vectors of the parameters' size (four of them
with Adam and a moving average; AMSGrad adds one). The exponents of floating-point numbers hardly vary, so
the byte that holds them is compressed, losslessly: a checkpoint is then about 3.5 times the parameters.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from multiace.errors import InputError
from multiace.files import atomic, digest

__all__ = ["Checkpoint", "DamagedCheckpointError", "checkpoint_path", "newest_first"]

SCHEMA = 3


class DamagedCheckpointError(Exception):
    """The file is not a whole checkpoint of this program."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run.

    Attributes:
        vectors: Vectors by name, of floats or of bytes.
        state: Plain JSON values.
    """

    vectors: dict[str, Tensor]
    state: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write to ``path``, which afterwards holds either the whole checkpoint or what it held before."""
        arrays: dict[str, np.ndarray] = {}
        for name, vector in self.vectors.items():
            arrays |= pack(name, vector.detach().cpu().numpy())
        dtypes = {name: str(vector.dtype).removeprefix("torch.") for name, vector in self.vectors.items()}
        header = json.dumps({"schema": SCHEMA, "dtypes": dtypes, "state": self.state})
        content = safetensors.numpy.save(arrays, {"multiace": header, "sha256": digest(arrays, header)})
        with atomic(path) as temporary:
            temporary.write_bytes(content)

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read a checkpoint.

        Raises:
            DamagedCheckpointError: If the file is cut, altered, or another program's.
            InputError: If another version wrote it: the order of its weights is not the same.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata()
                arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            content = json.loads(metadata["multiace"])
            schema = content["schema"]
            whole = metadata["sha256"] == digest(arrays, metadata["multiace"])
        except (OSError, SafetensorError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise DamagedCheckpointError(f"{path} is damaged ({error})") from None
        if schema != SCHEMA:
            raise InputError(
                f"{path} was written by another version (checkpoint schema {schema}, here {SCHEMA}); "
                "go on with that version, or train in another folder."
            )
        if not whole:
            raise DamagedCheckpointError(f"{path} is damaged (the checksum does not fit the content)")
        dtypes = content["dtypes"].items()
        vectors = {name: torch.from_numpy(unpack(name, arrays, np.dtype(dtype))) for name, dtype in dtypes}
        return cls(vectors, content["state"])


def pack(name: str, vector: np.ndarray) -> dict[str, np.ndarray]:
    """Split numbers (n,) into their top bytes (sign and exponent), compressed, and the others (n, rest)."""
    little = vector.astype(vector.dtype.newbyteorder("<"), copy=False)
    planes = np.ascontiguousarray(little).view(np.uint8).reshape(len(vector), vector.itemsize)
    top = zlib.compress(planes[:, -1].tobytes(), level=6)
    return {
        f"{name}.exponents": np.frombuffer(top, np.uint8),
        f"{name}.mantissas": np.ascontiguousarray(planes[:, :-1]),
    }


def unpack(name: str, arrays: dict[str, np.ndarray], dtype: np.dtype) -> np.ndarray:
    """Undo :func:`pack`."""
    mantissas = arrays[f"{name}.mantissas"]
    exponents = np.frombuffer(zlib.decompress(arrays[f"{name}.exponents"].tobytes()), np.uint8)
    planes = np.concatenate([mantissas, exponents[:, None]], axis=1)
    return planes.view(dtype.newbyteorder("<")).reshape(-1).astype(dtype)


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return the file of the checkpoint after this optimiser step."""
    return folder / f"step-{step:09d}.safetensors"


def newest_first(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder."""
    return sorted(folder.glob("step-*.safetensors"), reverse=True)
