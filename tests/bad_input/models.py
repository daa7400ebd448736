"""Model files that cannot be used. A case makes its file of a good one."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from io import BytesIO
from typing import Any, NamedTuple

import torch
from safetensors.torch import save

from tests.bad_input.case import respelt

INFO = "info bad.safetensors"
WEIGHTS = "network.embedding.weight"


class ModelCase(NamedTuple):
    """A :class:`Case` whose file ``make`` derives from the bytes of a good model."""

    name: str
    make: Callable[[bytes], bytes]
    says: tuple[str, ...]
    command: str = INFO


def content(name: str, make: Callable[[bytes], bytes], *says: str, command: str = INFO) -> ModelCase:
    return ModelCase(name, make, ("bad.safetensors", *says), command)


def header(name: str, change: Callable[[dict[str, Any]], Any], *says: str, command: str = INFO) -> ModelCase:
    """The header says something else."""
    return content(name, lambda model: respelt(model, header=change), *says, command=command)


def config(name: str, *says: str, **fields: Any) -> ModelCase:
    return header(name, lambda h: {**h, "config": {**h["config"], **fields}}, *says)


def metadata(name: str, value: dict[str, Any]) -> ModelCase:
    return header(name, lambda h: {**h, "metadata": value}, "the metrics or the provenance", "are damaged")


def tensors(name: str, change: Callable[[dict[str, Any]], Any], *says: str) -> ModelCase:
    return content(name, lambda model: respelt(model, tensors=change), *says)


class Trap:
    """Unpickled, it makes a folder."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.mkdir, ("executed",)


def archive(model: bytes) -> bytes:
    """What torch.save writes: a pickle in a zip file."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("archive/data.pkl", pickle.dumps(Trap()))
    return file.getvalue()


def without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


DAMAGED = "it is not a multiace model file, or it is damaged"
OTHERS = "is a safetensors file, but not a multiace model"
FIT = "the weights do not fit the config in the file"
NEVER_OPENED = "which multiace does not open as it may run code"

CASES = [
    content("empty", lambda model: b"", DAMAGED),
    content("text", lambda model: b"hello, this is no model\n", DAMAGED),
    content("cut in the length", lambda model: model[:5], DAMAGED),
    content("cut in the header", lambda model: model[:500], DAMAGED),
    content("cut in the weights", lambda model: model[:-1], DAMAGED),
    content("longer", lambda model: model + b"\0", DAMAGED),
    content("header of absurd size", lambda model: b"\xff" * 7 + b"\x0f" + model[8:], DAMAGED),
    content("header of an exabyte", lambda model: (2**60).to_bytes(8, "little") + model[8:], DAMAGED),
    content("header that is no JSON", lambda model: model[:9] + b"\xff" + model[10:], DAMAGED),
    *(
        content(f"pickle {protocol}", lambda _, p=protocol: pickle.dumps(Trap(), p), "a pickle", NEVER_OPENED)
        for protocol in (2, 4)
    ),
    content("torch archive", archive, "an archive, as torch.save writes", NEVER_OPENED),
    content("hdf5", lambda model: b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file"),
    content("other program", lambda model: save({"weight": torch.zeros(2)}, {"format": "pt"}), OTHERS),
    content("no metadata", lambda model: save({"weight": torch.zeros(2)}), OTHERS),
    content("header without end", lambda model: save({}, {"multiace": "[" * 100_000}), DAMAGED),
    content("number without end", lambda model: save({}, {"multiace": "9" * 10_000}), DAMAGED),
    header("list for a header", lambda h: [h], OTHERS),
    header("no schema", lambda h: {**h, "schema_version": None}, OTHERS),
    header("schema of truth", lambda h: {**h, "schema_version": True}, OTHERS),
    header("no config", lambda h: {**h, "config": None}, OTHERS),
    header(
        "newer schema",
        lambda h: {**h, "schema_version": 99, "multiace": "9.0"},
        "was written by multiace 9.0 (schema 99)",
        "Install a newer multiace",
    ),
    header(
        "preliminary schema",
        lambda h: {**h, "schema_version": 1},
        "was written by a preliminary multiace (schema 1)",
        "train it again",
    ),
    config("unknown field", "model has no field 'colour'", colour="red"),
    config("impossible value", "model.cutoff = -1 cannot be used", cutoff=-1),
    config("unknown choice", "model.radial_basis = 'bessell' is not a choice", radial_basis="bessell"),
    config("code", "asks for code from outside multiace (radial_basis = os:mkdir)", radial_basis="os:mkdir"),
    config("code in a layer", "asks for code from", first_layer={"radial_activation": "os:mkdir"}),
    config("no elements", "isolated_energies do not fit the elements []", elements=[]),
    config("other elements", "isolated_energies do not fit the elements ['H']", elements=["H"]),
    config("more channels", FIT, "has shape [3, 4], the config asks for [3, 5]", hidden_irreps="5x0e"),
    config("more layers", FIT, "it has no network.layers.1.", num_layers=3),
    config("absurd channels", FIT, "a tensor of 30000 numbers", hidden_irreps="10000x0e"),
    config("absurd widths", FIT, "a tensor of 200080000 numbers", radial_widths=[10000, 10000, 10000]),
    tensors("a tensor is missing", without(WEIGHTS), FIT, f"it has no {WEIGHTS}"),
    tensors("no E0", without("isolated_energies"), "isolated_energies do not fit the elements"),
    tensors("a tensor too many", lambda t: {**t, "weight": torch.zeros(2)}, FIT, "it has weight, which"),
    tensors(
        "wrong shape", lambda t: {**t, WEIGHTS: t[WEIGHTS].T.contiguous()}, FIT, f"{WEIGHTS} has shape [4, 3]"
    ),
    tensors("scale is a list", lambda t: {**t, "scale": torch.ones(2).double()}, FIT, "scale has shape [2]"),
    tensors("weights nan", lambda t: {**t, WEIGHTS: t[WEIGHTS] * torch.nan}, WEIGHTS, "not finite"),
    tensors("E0 inf", lambda t: {**t, "shift": t["shift"] / 0}, "shift has values that are not finite"),
    tensors("half precision", lambda t: {**t, WEIGHTS: t[WEIGHTS].half()}, WEIGHTS, "is float16"),
    metadata("metrics", {"metrics": [1]}),
    metadata("metrics of a set", {"metrics": {"test": 1}}),
    metadata("provenance", {"provenance": "here"}),
    metadata("run", {"provenance": {"run": {"data": [1]}}}),
    content("evaluated", lambda model: model[:500], DAMAGED, command="evaluate bad.safetensors train.xyz"),
    content("md", lambda model: model[:500], DAMAGED, command="md bad.safetensors water.xyz"),
    content("relaxed", lambda model: model[:500], DAMAGED, command="relax bad.safetensors water.xyz"),
    content(
        "started from",
        lambda model: model[:500],
        DAMAGED,
        command="train run.yaml train.start_from=bad.safetensors",
    ),
    header(
        "started from another version",
        lambda h: {**h, "config": {"colour": "red", "elements": ["H", "C", "O"]}},
        "train.start_from = ",
        "model has no field 'colour'",
        command="train run.yaml train.start_from=bad.safetensors",
    ),
]
