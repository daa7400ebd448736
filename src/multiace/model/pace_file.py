"""Potentials of pacemaker as their files say them (``.yace``, YAML; older ``.ace``): read, checked, not yet a model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase.data import atomic_numbers

from multiace.errors import InputError, brief

__all__ = ["Bond", "Embedding", "Function", "PaceFile"]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Plain YAML, with lists as keys (``[0, 1]: ...``) made tuples."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping whose keys can be looked up."""
        self.flatten_mapping(node)
        pairs = [(self.construct_object(key, deep=True), value) for key, value in node.value]
        return {
            tuple(key) if isinstance(key, list) else key: self.construct_object(value, deep=True)
            for key, value in pairs
        }


_Loader.add_constructor(
    yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, lambda loader, node: loader.construct_mapping(node)
)


@dataclass(frozen=True)
class Embedding:
    """Σ_p w_p F(ρ_p; m_p) of a central element.

    Attributes:
        name: Which function F is, ``npoti``.
        weights: w, (ndensity,) [eV].
        exponents: m, (ndensity,).
        core_cutoff: Core energy [eV] beyond which the embedding is switched off.
    """

    name: str
    weights: tuple[float, ...]
    exponents: tuple[float, ...]
    core_cutoff: float


@dataclass(frozen=True)
class Bond:
    """Radial functions of a pair of elements; lengths in Å.

    Attributes:
        basis: Which functions g_k are, ``radbasename``.
        parameter: λ, what they depend on.
        n_base: Number of g_k.
        cutoff: r_c.
        width: d_c, over which ``ChebExpCos`` is cut off.
        coefficients: c of R_nl = Σ_k c_nlk g_k, (n, l, k).
        core: p [eV Å] and λ [1/Å²] of the core repulsion p exp(-λ r²)/r.
        inner: Inner cutoff and its width; 0 for none.
        inner_kind: What is switched there: ``distance``, radial functions and core repulsion; ``density``, only the
            embedding, by the core repulsion.
    """

    basis: str
    parameter: float
    n_base: int
    cutoff: float
    width: float
    coefficients: np.ndarray
    core: tuple[float, float]
    inner: tuple[float, float]
    inner_kind: str


@dataclass(frozen=True)
class Function:
    r"""A function of the basis, :math:`\sum_m \tilde c_{pm} \mathrm{Re} \prod_\xi A_{v_\xi m_\xi}`.

    Attributes:
        factors: (element of the neighbour, n from 1, l) of each factor.
        ms: m of each factor, (n_combinations, rank).
        coefficients: c̃, (n_combinations, ndensity).
    """

    factors: tuple[tuple[int, int, int], ...]
    ms: np.ndarray
    coefficients: np.ndarray


@dataclass(frozen=True)
class PaceFile:
    """What a ``.yace`` file holds.

    Attributes:
        elements: Chemical symbols.
        isolated_energies: E0 of each [eV].
        spacing: Distance between the knots of radial splines [Å], ``deltaSplineBins``.
        embeddings: Of each central element.
        bonds: By (central element, element of the neighbour).
        functions: Of each central element.
    """

    elements: tuple[str, ...]
    isolated_energies: tuple[float, ...]
    spacing: float
    embeddings: tuple[Embedding, ...]
    bonds: dict[tuple[int, int], Bond]
    functions: tuple[tuple[Function, ...], ...]

    @classmethod
    def read(cls, path: str | PathLike) -> PaceFile:
        """Read a file; nothing in it is executed.

        Raises:
            InputError: If it cannot be read, or something is missing, has another shape than the rest asks for, or is
                not a number.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
            content = _of_older(text) if OLDER in text else yaml.load(text, Loader=_Loader)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}; check the path.") from None
        except (yaml.YAMLError, ValueError, LookupError, RecursionError) as error:
            raise InputError(f"{path} is no .yace file: {brief(error)}") from None
        if not isinstance(content, dict) or "functions" not in content:
            raise InputError(f"{path} is no .yace file: it has no 'functions'.")
        try:
            return cls._of(content)
        except KeyError as error:
            raise InputError(f"{path} has no {error.args[0]!r} where a .yace file has one.") from None
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            raise InputError(f"{path} is no .yace file that can be read: {brief(error)}") from None

    @classmethod
    def _of(cls, content: dict[str, Any]) -> PaceFile:
        elements = tuple(map(str, content["elements"]))
        for symbol in elements:
            if symbol not in atomic_numbers or symbol == "X":
                raise ValueError(f"{symbol!r} is not a chemical symbol")
        n = range(len(elements))
        functions = tuple(tuple(map(_function, content["functions"].get(z, ()))) for z in n)
        energies = tuple(map(float, content["E0"]))
        if len(energies) != len(elements):
            raise ValueError(f"there are {len(energies)} E0 for {len(elements)} elements")
        return cls(
            elements,
            energies,
            float(content["deltaSplineBins"]),
            tuple(_embedding(content["embeddings"][z]) for z in n),
            {(i, j): _bond(content["bonds"][i, j]) for i in n for j in n},
            functions,
        )


OLDER = "ctilde_basis_func:"
"""Begins each function of an ``.ace`` file."""


def _of_older(text: str) -> dict[str, Any]:
    """Return an ``.ace`` file, of one element, as ``.yace`` has it."""

    def after(name: str) -> list[str]:
        """What stands in the line behind a name."""
        found = re.search(rf"^{name}\s*[=:](.*)$", text, flags=re.MULTILINE)
        if found is None:
            raise LookupError(f"it has no line {name}")
        return found[1].split()

    if int(after("nelements")[0]) != 1:
        raise ValueError(
            "an .ace file of several elements; make it .yace with pacemaker: ACECTildeBasisSet.save_yaml"
        )
    head, *functions = text.split(OLDER)
    shape = int(after("nradbase")[0]), int(after("nradmax")[0]), int(after("lmax")[0]) + 1
    series = re.search(r"^crad=(.*?)^\w", head, flags=re.MULTILINE | re.DOTALL)
    if series is None:
        raise LookupError("it has no radial coefficients, crad")
    prehc, lambdahc = map(float, after("core repulsion parameters"))
    core_cutoff, core_width = map(float, after("core energy-cutoff parameters"))
    parameters = list(map(float, after(r"\d+ FS parameters")))
    bond = {
        "nradmax": shape[1],
        "lmax": shape[2] - 1,
        "nradbasemax": shape[0],
        "radbasename": after("radbasename")[0],
        "radparameters": list(map(float, after("radparameter"))),
        "radcoefficients": np.array(series[1].split(), dtype=float).reshape(shape).transpose(1, 2, 0),
        "prehc": prehc,
        "lambdahc": lambdahc,
        "rcut": float(after("cutoff")[0]),
        "dcut": float(after("dcut")[0]),
    }
    embedding = {
        "ndensity": len(parameters) // 2,
        "FS_parameters": parameters,
        "npoti": after("embedding-function")[0],
        "rho_core_cutoff": core_cutoff,
        "drho_core_cutoff": core_width,
    }
    return {
        "elements": after("elements"),
        "E0": after("E0"),
        "deltaSplineBins": after("deltaSplineBins")[0],
        "embeddings": {0: embedding},
        "bonds": {(0, 0): bond},
        "functions": {0: [_older_function(function) for function in functions]},
    }


def _older_function(text: str) -> dict[str, Any]:
    """Return one function of an ``.ace`` file as ``.yace`` has it."""
    head, *rows = text.split("<")
    listed = {name: numbers.split() for name, numbers in re.findall(r"(\w+)=\s*\(([^)]*)\)", head)}
    rank, ndensity = (int(number) for number in re.findall(r"(?:rank|ndens)=(\d+)", head))
    combinations = [row.partition(">:") for row in rows]
    return {
        "rank": rank,
        "ndensity": ndensity,
        "num_ms_combs": len(combinations),
        "mus": listed["mu"],
        "ns": listed["n"],
        "ls": listed["l"],
        "ms_combs": [int(m) for ms, _, _ in combinations for m in ms.split()],
        "ctildes": [float(c) for _, _, values in combinations for c in values.splitlines()[0].split()],
    }


def _embedding(values: dict[str, Any]) -> Embedding:
    pairs = np.array(values["FS_parameters"], dtype=float).reshape(values["ndensity"], 2)
    weights, exponents = (tuple(column) for column in pairs.T.tolist())
    return Embedding(str(values["npoti"]), weights, exponents, float(values["rho_core_cutoff"]))


def _bond(values: dict[str, Any]) -> Bond:
    shape = values["nradmax"], values["lmax"] + 1, values["nradbasemax"]
    coefficients = np.array(values["radcoefficients"], dtype=float).reshape(shape)
    return Bond(
        basis=str(values["radbasename"]),
        parameter=float(values["radparameters"][0]),
        n_base=int(values["nradbasemax"]),
        cutoff=float(values["rcut"]),
        width=float(values["dcut"]),
        coefficients=coefficients,
        core=(float(values["prehc"]), float(values["lambdahc"])),
        inner=(float(values.get("rcut_in", 0)), float(values.get("dcut_in", 0))),
        inner_kind=str(values.get("inner_cutoff_type", "density")),
    )


def _function(values: dict[str, Any]) -> Function:
    rank, n = values["rank"], values["num_ms_combs"]
    factors = tuple(
        (int(z), int(n), int(degree))
        for z, n, degree in zip(values["mus"], values["ns"], values["ls"], strict=True)
    )
    if len(factors) != rank:
        raise ValueError(f"a function of rank {rank} has {len(factors)} factors")
    ms = np.array(values["ms_combs"], dtype=int).reshape(n, rank)
    coefficients = np.array(values["ctildes"], dtype=float).reshape(n, values["ndensity"])
    if not np.isfinite(coefficients).all():
        raise ValueError("a coefficient is not a finite number")
    return Function(factors, ms, coefficients)
