"""How a potential of multiace is computed: batches, precision, kernels, tables and devices, against the definitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from ase import Atoms

from multiace.deploy.gate import TOLERANCE, Predicted, converted
from multiace.graph.graph import Graph
from multiace.graph.neighbors import build_graph
from multiace.model.potential import Potential, Prediction
from multiace.model.replay import Predictor
from multiace.ops import cpu
from multiace.ops.choice import definitions
from multiace.ops.compiler import CompilerError
from multiace.verify.subject import NotApplicableError, Outcome, Subject
from multiace.verify.symmetry import UNIT

__all__ = ["batch", "float32", "gpu", "kernels", "predictions", "radial_tables"]

BATCH = 500  # atoms


def batch(subject: Subject) -> Outcome:
    """A structure alone, and in batches with others in two orders."""
    potential = potential_of(subject)
    several = [*subject.structures, *subject.structures[:1]]
    alone = predictions(potential, several, together=False)
    forwards, backwards = predictions(potential, several), predictions(potential, several[::-1])[::-1]
    figures = [
        one.difference(other, len(atoms))
        for atoms, one, *others in zip(several, alone, forwards, backwards, strict=True)
        for other in others
    ]
    return Outcome(float(np.max(figures)), TOLERANCE[potential.config.dtype], UNIT, potential.config.dtype)


def float32(subject: Subject) -> Outcome:
    """The network in float32 against float64, both as defined (MULTIACE_OPS=reference)."""
    potential = converted(potential_of(subject), "cpu", "float32")
    with definitions():
        return gate(subject, potential, potential)


def kernels(subject: Subject) -> Outcome:
    """The compiled kernels in the model's precision, against the definitions in float64."""
    potential = potential_of(subject)
    if potential.device.type != "cpu":
        raise NotApplicableError(f"the model is on {potential.device}")
    try:
        cpu.check_compiler()
    except CompilerError as error:
        raise NotApplicableError(str(error)) from None
    return gate(subject, potential, potential)


def radial_tables(subject: Subject) -> Outcome:
    """The radial tables that inference reads in float32, against the networks in float64."""
    potential = converted(potential_of(subject), "cpu", "float32")
    tables = potential.network.tabulate()
    if tables is None:
        raise NotApplicableError("they would be too large; the network is evaluated")
    with definitions():
        read = partial(potential, tables=tables)
        return gate(subject, potential, read, TOLERANCE["tables"])


def gpu(subject: Subject) -> Outcome:
    """The GPU, as the calculator uses it, against the definitions in float64 on the CPU."""
    if not torch.cuda.is_available():
        raise NotApplicableError("no GPU")
    potential = converted(potential_of(subject), "cuda", None)
    return gate(subject, potential, Predictor(potential))


def gate(
    subject: Subject, potential: Potential, predict: Callable[..., Prediction], bound: float | None = None
) -> Outcome:
    """Compare with the definitions, which the subject's own predictions are."""
    figures = []
    for atoms, exact in zip(subject.structures, subject.predicted, strict=True):
        graph = build_graph(atoms, potential.elements, potential.cutoff)
        prediction = predict(graph, stress=exact.volume > 0)
        figures.append(exact.difference(Predicted.of(prediction, exact.volume), len(atoms)))
    dtype = potential.config.dtype
    return Outcome(float(np.max(figures)), bound or TOLERANCE[dtype], UNIT, dtype)


def predictions(potential: Potential, structures: Sequence[Atoms], together: bool = True) -> list[Predicted]:
    """Predict structures in batches of some 500 atoms, or one by one."""
    batches: list[list[Atoms]] = [[]]
    for atoms in structures:
        if batches[-1] and (not together or sum(map(len, batches[-1])) + len(atoms) > BATCH):
            batches.append([])
        batches[-1].append(atoms)
    return [predicted for batch in batches for predicted in of_batch(potential, batch)]


def of_batch(potential: Potential, structures: Sequence[Atoms]) -> list[Predicted]:
    """Predict structures in one batch; stress where periodic in three directions."""
    graphs = [build_graph(atoms, potential.elements, potential.cutoff) for atoms in structures]
    periodic = [bool(atoms.pbc.all()) for atoms in structures]
    whole = potential(Graph.batch(graphs).to(potential.device), stress=any(periodic))
    sizes = [len(atoms) for atoms in structures]
    assert whole.forces is not None
    forces, sites = whole.forces.split(sizes), whole.site_energies.split(sizes)
    return [
        Predicted.of(
            Prediction(
                whole.energy[k], sites[k], forces[k], whole.stress[k : k + 1] if periodic[k] else None
            ),
            atoms.get_volume() if periodic[k] else 0.0,
        )
        for k, atoms in enumerate(structures)
    ]


def potential_of(subject: Subject) -> Potential:
    """Return the potential of multiace that is verified.

    Raises:
        NotApplicableError: If it is another calculator.
    """
    if subject.potential is None:
        raise NotApplicableError("for models of multiace")
    return subject.potential
