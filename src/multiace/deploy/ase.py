"""ASE calculator: energy, site energies, forces, stress; the neighbour list is reused while it holds."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from multiace.deploy.gate import TOLERANCE, Predicted, converted, definition, fragment
from multiace.errors import InputError
from multiace.graph.graph import Graph
from multiace.graph.neighbors import COINCIDENT, at_one_place, build_graph
from multiace.layers.table import RadialTables
from multiace.model.committee import NO_COMMITTEE, NO_GRADES
from multiace.model.potential import Potential, Prediction
from multiace.model.replay import Predictor

__all__ = ["RADIAL", "Calculator", "VerletList"]

RADIAL = ("auto", "network", "table")


class VerletList:
    """Graphs of a moving structure from a neighbour list that is searched only now and then.

    The search goes to cutoff + skin. Until an atom has moved further than skin / 2 no pair can have come
    closer than the cutoff unseen, so that list still holds every edge; the ones beyond the cutoff are
    left out of the graph, which therefore has the edges of a fresh search.

    Args:
        elements: Chemical symbols in species order.
        cutoff: Cutoff radius r_c [Å].
        skin: Extra search radius [Å]; 0 searches anew at every call.
    """

    def __init__(self, elements: Sequence[str], cutoff: float, skin: float) -> None:
        self.elements = elements
        self.cutoff = cutoff
        self.skin = skin
        self.searches = 0
        self._atoms: Atoms | None = None
        self._graph: Graph | None = None

    def graph(self, atoms: Atoms) -> Graph:
        """Return the graph of the structure as it is now."""
        if self._graph is None or not self._still_valid(atoms):
            self._graph = build_graph(atoms, self.elements, self.cutoff + self.skin)
            self._atoms = atoms.copy()
            self.searches += 1
        graph = replace(self._graph, positions=torch.as_tensor(atoms.positions, dtype=torch.float64).clone())
        return edges_within(graph, self.cutoff) if self.skin > 0 else graph

    def _still_valid(self, atoms: Atoms) -> bool:
        listed = self._atoms
        if (
            listed is None
            or len(listed) != len(atoms)
            or not np.array_equal(listed.numbers, atoms.numbers)
            or not np.array_equal(listed.pbc, atoms.pbc)
            or not np.array_equal(listed.cell.array, atoms.cell.array)
        ):
            return False
        moved = np.linalg.norm(atoms.positions - listed.positions, axis=1).max(initial=0.0)
        return bool(moved <= self.skin / 2) and (self.skin > 0 or moved == 0.0)


def edges_within(graph: Graph, cutoff: float) -> Graph:
    """Return the graph with only the edges shorter than the cutoff, in the same order.

    Raises:
        InputError: If two atoms have come to one place.
    """
    lengths = graph.edge_lengths()
    if len(lengths) and lengths.min() < COINCIDENT:
        edge = int(lengths.argmin())
        raise at_one_place(int(graph.senders[edge]), int(graph.receivers[edge]))
    near = lengths < cutoff
    near &= near[graph.reverse]  # equal but for rounding
    number = near.cumsum(0) - 1
    return replace(
        graph,
        senders=graph.senders[near],
        receivers=graph.receivers[near],
        shifts=graph.shifts[near],
        reverse=number[graph.reverse[near]],
    )


class Calculator(AseCalculator):
    """A potential as an ASE calculator.

    =================  ============================================================  ==========
    property           meaning                                                       unit
    =================  ============================================================  ==========
    ``energy``         E, also as ``free_energy``                                    eV
    ``energies``       site energies E_i with their E0; they sum to the energy       eV
    ``forces``         -dE/dr_i                                                      eV/Å
    ``stress``         (1/V) dE/dstrain, Voigt (xx, yy, zz, yz, xz, xy), positive
                       in tension; for structures periodic in all three directions   eV/Å³
    =================  ============================================================  ==========

    Args:
        potential: A model file, a run folder, or a Potential (used as it is; a copy is made if device or
            dtype differ).
        device: Such as ``"cpu"`` or ``"cuda"``; None keeps the potential's.
        dtype: ``"float32"`` or ``"float64"`` to convert the network to; None keeps the potential's.
        skin: Extra radius of the neighbour list [Å]: it is searched again only when an atom has moved
            further than half of this. The results do not depend on it.
        radial: ``network``, ``table`` (radial weights are read from tables of the network, within the
            rounding of float32; ``calculator.tables.error`` says how close), or ``auto``: tables in
            float32 on a CPU, the network in float64, on a GPU, where a table would be too large, or where
            it does not pass the gate.
        cuda_graphs: Whether a GPU captures a prediction once for each size of structure, and replays it.
        uncertainty: Whether ``results`` get ``energy_std`` [eV] and ``forces_std`` [eV/Å, each component], the standard
            deviations of a committee and of the noise of the labels, and ``extrapolation_grade``.
        extrapolation: Whether ``results`` get ``extrapolation_grade``, (n_atoms,); see
            :meth:`multiace.model.committee.Committee.grades`.

    The first structure (of a large one the atoms nearest to the first) is also predicted by the plain
    definitions in float64; see :data:`multiace.deploy.gate.TOLERANCE`.

    Raises:
        InputError: If the file cannot be read, the skin is negative, a structure holds an element
            that the potential does not know, or the numbers are not those of the definitions.

    Warns:
        UserWarning: If tables are given up because they are not close enough.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self,
        potential: str | Path | Potential,
        device: str | None = None,
        dtype: str | None = None,
        skin: float = 0.5,
        radial: str = "auto",
        cuda_graphs: bool = True,
        uncertainty: bool = False,
        extrapolation: bool = False,
    ) -> None:
        super().__init__()
        if radial not in RADIAL:
            raise InputError(f"radial = {radial!r} is not one of {', '.join(RADIAL)}.")
        if not skin >= 0:
            raise InputError(f"the skin of the neighbour list is {skin} Å; it must be zero or larger.")
        if not isinstance(potential, Potential):
            potential = Potential.load(potential, device, dtype)
        elif device is not None or dtype is not None:
            potential = converted(potential, device, dtype)
        if (uncertainty or extrapolation) and potential.committee is None:
            raise InputError(NO_COMMITTEE)
        if extrapolation and potential.committee is not None and potential.committee.largest is None:
            raise InputError(NO_GRADES)
        self.uncertainty, self.extrapolation = uncertainty, extrapolation
        self.potential = potential.eval()
        self.neighbors = VerletList(potential.elements, potential.cutoff, skin)
        self.radial = radial
        pays = potential.config.dtype == "float32" and potential.device.type == "cpu"  # a GPU multiplies fast
        self.tabulates = radial == "table" or (radial == "auto" and pays)
        self.tables: RadialTables | None = None
        self.fixed: RadialTables | None = None  # in their place where networks are evaluated
        self._tabulate()
        self.passed = False
        self.predictor: Predictor | None = None
        if cuda_graphs and self.potential.device.type == "cuda":
            self.predictor = Predictor(self.potential)

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:
        """Return what has changed since the last structure, of what a potential sees; called by ASE.

        Numbers must be equal: this costs a tenth of a comparison with a tolerance, and ASE asks before each property.
        """
        last = self.atoms
        if last is None:
            return list(all_changes)
        pairs = {
            "positions": (last.positions, atoms.positions),
            "numbers": (last.numbers, atoms.numbers),
            "cell": (last.cell.array, atoms.cell.array),
            "pbc": (last.pbc, atoms.pbc),
        }
        return [name for name, (before, now) in pairs.items() if not np.array_equal(before, now)]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute every property of the structure at once; called by ASE."""
        super().calculate(atoms, properties, system_changes)
        structure = self.atoms
        if structure is None:
            raise InputError("the calculator has no structure; call it through atoms.get_potential_energy().")
        periodic = bool(structure.pbc.all())
        if "stress" in properties and not periodic:
            raise PropertyNotImplementedError(
                f"stress needs a structure periodic in all three directions, got pbc = {structure.pbc}."
            )
        self._tabulate()
        if not self.passed:
            self._pass_gate(structure)
        graph = self.neighbors.graph(structure)
        prediction = self._predict(graph, periodic)
        energy = float(prediction.energy)
        results: dict[str, Any] = {
            "energy": energy,
            "free_energy": energy,
            "energies": _numpy(prediction.site_energies),
            "forces": _numpy(prediction.forces),
        }
        if periodic:
            results["stress"] = full_3x3_to_voigt_6_stress(_numpy(prediction.stress)[0])
        self.results = results | self._error_bars(graph.to(self.potential.device))

    def _error_bars(self, graph: Graph) -> dict[str, Any]:
        """Results of the committee, those that are asked for."""
        potential, committee = self.potential, self.potential.committee
        if committee is None or not (self.uncertainty or self.extrapolation):
            return {}
        if not self.uncertainty:
            return {"extrapolation_grade": _numpy(committee.grades(potential, graph))}
        spread = committee.spread(potential, graph)
        found = {"energy_std": float(spread.energy), "forces_std": _numpy(spread.forces)}
        if spread.grades is not None:
            found["extrapolation_grade"] = _numpy(spread.grades)
        return found

    def _predict(self, graph: Graph, stress: bool) -> Prediction:
        if self.predictor is not None:
            return self.predictor(graph, stress=stress, tables=self.tables)
        tables = self.tables or self.fixed
        return self.potential(graph.to(self.potential.device), stress=stress, tables=tables)

    def _pass_gate(self, structure: Atoms) -> None:
        """Compare with the definitions; give up tables that are not close enough, refuse anything else."""
        potential = self.potential
        probe = fragment(structure)
        exact = definition(potential, probe)
        if not np.isfinite(exact.energy):
            return  # says nothing about how it is computed
        graph = build_graph(probe, potential.elements, potential.cutoff)

        def difference() -> float:
            prediction = self._predict(graph, exact.volume > 0)
            return exact.difference(Predicted.of(prediction, exact.volume), len(probe))

        error = difference()
        bound = TOLERANCE["tables" if self.tables is not None else potential.config.dtype]
        if self.tables is not None and not error <= bound:
            sentence = (
                f"with radial tables energies, forces or stress of {probe.get_chemical_formula()} differ by "
                f"{error:.1e} from the networks in float64, more than {bound:.0e}"
            )
            if self.radial == "table":
                raise InputError(f"{sentence}; choose radial = network.")
            warnings.warn(f"{sentence}; the networks are evaluated instead.", stacklevel=4)
            self.tables, self.tabulates = None, False
            error, bound = difference(), TOLERANCE[potential.config.dtype]
        if not error <= bound:
            raise InputError(
                f"in {potential.config.dtype} on {potential.device} energies, forces or stress of "
                f"{probe.get_chemical_formula()} differ by {error:.1e} from the definitions in float64, more than "
                f"{bound:.0e}; use dtype = float64, or MULTIACE_OPS=reference in the environment."
            )
        self.passed = True

    def _tabulate(self) -> RadialTables | None:
        """Return the tables, made anew if weights have changed."""
        network = self.potential.network
        version = network.version()
        if self.fixed is None or self.fixed.version != version:
            self.fixed = network.fixed()
        if self.tabulates and (self.tables is None or self.tables.version != version):
            self.tables, self.passed = network.tabulate(), False
            self.tabulates = self.tables is not None
            if self.radial == "table" and not self.tabulates:
                raise InputError(
                    "there are no radial networks, or their tables would be too large; choose radial = network."
                )
        return self.tables


def _numpy(tensor: Any) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float64).numpy()
