"""From the command line to what is verified, and on which structures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.data import atomic_numbers

from multiace.config import choose
from multiace.data.read import read_structures
from multiace.errors import InputError
from multiace.verify.checks import of_calculator, of_potential
from multiace.verify.structures import KEPT, build, choose_few
from multiace.verify.subject import Subject

__all__ = ["choose_subject", "make_calculator"]


def choose_subject(potential: Any, options: Mapping[str, Any]) -> tuple[Subject, str]:
    """Return the subject, and where its structures come from.

    Args:
        potential: The loaded model, or None for a calculator.
        options: Of the command: ``model``, ``structures``, ``calculator``, ``elements``, ``cutoff``, ``distance``,
            ``temperature``, ``seed``.

    Raises:
        InputError: If there is neither a model nor a calculator, or nothing to verify it on.
    """
    common = {"temperature": options["temperature"], "seed": options["seed"]}
    for name in ("cutoff", "distance", "temperature"):
        if options[name] is not None and not options[name] > 0:
            raise InputError(f"--{name} is {options[name]:g}; it must be above 0.")
    if potential is not None:
        refuse_with_model(options)
        structures, source = of_model(potential, options["model"], options["structures"])
        return of_potential(potential, structures, **common), source
    if not options["calculator"]:
        raise InputError("verify needs a model file or --calculator module:factory; neither was given.")
    files = [
        *filter(None, [options["model"]]),
        *options["structures"],
    ]  # without a model, files are structures
    if files:
        structures, source = from_files(files), ", ".join(files)
    elif options["elements"]:
        structures, source = build(symbols(options["elements"])), "built from --elements"
    else:
        raise InputError("--calculator needs STRUCTURES to be verified on, or --elements to build some.")
    calculator = make_calculator(options["calculator"])
    return of_calculator(calculator, structures, options["cutoff"], options["distance"], **common), source


def make_calculator(name: str) -> Any:
    """Return the ASE calculator that ``module:factory`` makes.

    Raises:
        InputError: If it cannot be imported or made, or is none.
    """
    factory = choose({}, name, "--calculator")
    try:
        calculator = factory()
    except Exception as error:  # code of others, which may raise anything
        raise InputError(f"--calculator {name} cannot be made: {type(error).__name__}: {error}.") from error
    if not hasattr(calculator, "get_potential_energy"):
        raise InputError(
            f"--calculator {name} returned a {type(calculator).__name__}, not an ASE calculator."
        )
    return calculator


def refuse_with_model(options: Mapping[str, Any]) -> None:
    """Refuse what only a calculator needs."""
    given = [name for name in ("elements", "cutoff") if options[name] is not None]
    if given:
        raise InputError(f"--{given[0]} is for --calculator; the model has its own, remove it.")


def of_model(potential: Any, path: str, files: Sequence[str]) -> tuple[list[Atoms], str]:
    """Return structures for a model: those given, those in its run folder, or built ones."""
    if files:
        return from_files(files), ", ".join(files)
    kept = (Path(path) if Path(path).is_dir() else Path(path).parent) / KEPT
    if kept.is_file():
        return from_files([str(kept)]), f"{kept}, from the training set"
    return build(
        potential.elements
    ), "built from the model's elements: give STRUCTURES to verify on real ones"


def from_files(files: Sequence[str]) -> list[Atoms]:
    """Read a few structures of several files.

    Raises:
        InputError: If there are only single atoms.
    """
    structures = choose_few((atoms for name in files for atoms in read_structures(name)), largest=math.inf)
    if not structures:
        raise InputError(f"{', '.join(files)}: only single atoms; give a structure of at least two.")
    return structures


def symbols(text: str) -> list[str]:
    """Read ``Cu,Au``.

    Raises:
        InputError: If one is no chemical symbol.
    """
    found = [symbol.strip() for symbol in text.split(",")]
    for symbol in found:
        if symbol not in atomic_numbers or symbol == "X":
            raise InputError(f"--elements: {symbol!r} is not a chemical symbol; write them as in Cu,Au.")
    return found
