"""Tables of the radial networks in training: which steps read them, and how many knots they have.

Each step tabulates the networks with the weights of the day, and every pair reads its R by interpolation. The loss is
that of the interpolated model, whose gradient goes through the tables to the weights.
"""

from __future__ import annotations

from multiace.graph import Graph
from multiace.layers.table import TOLERANCE, RadialTables, tabulate
from multiace.model.multi_ace import MultiACE
from multiace.train.console import Console
from multiace.train.state import State

__all__ = ["STEPS_BETWEEN_CHECKS", "present_intervals", "tables_for", "tabulates"]

STEPS_BETWEEN_CHECKS = 100
PAYS = 6  # times as many rows of R as knots: measured by benchmarks/radial_tables.py


def tabulates(choice: str, network: MultiACE) -> bool:
    """Whether steps may read tables, where they pay.

    A GPU multiplies fast, and an R that is linear in the basis costs little more than reading it.

    Args:
        choice: ``train.radial``.
        network: The model, on its device.
    """
    deep = any(of_layer.is_deep for of_layer in network.radial_networks)
    return choice == "auto" and deep and network.device.type == "cpu"


def present_intervals(network: MultiACE, state: State, console: Console) -> int:
    """Return how many intervals the tables of the next step have, 0 if the networks are evaluated.

    Every ``STEPS_BETWEEN_CHECKS`` steps the error of the tables is measured in float64. Their knots remain while they
    are enough; else there are more, and where none are enough the networks are evaluated until the next check.

    Args:
        network: With the weights of the day.
        state: Keeps the number of intervals and the error.
        console: Is told what changes.
    """
    if state.step % STEPS_BETWEEN_CHECKS:
        return state.radial_intervals
    before = state.radial_intervals
    found = tabulate(network.radial_functions, TOLERANCE, least=before)
    if found is None:
        state.radial_intervals, state.radial_error = 0, None
        what = f"of the networks, as no table is within {TOLERANCE:.0e} of them"
    else:
        (table, *_), error = found
        state.radial_intervals, state.radial_error = table.values.shape[1] - 1, error
        what = f"from tables of {state.radial_intervals} intervals, within {error:.1e} of the networks"
    if state.radial_intervals != before or state.step == 0:
        console.print(f"radial weights from step {state.step + 1} on: {what}")
    return state.radial_intervals


def tables_for(network: MultiACE, graph: Graph, intervals: int) -> RadialTables | None:
    """Return tables that are differentiable with respect to the weights; None where evaluating the networks is cheaper.

    Knots that are nearer than all pairs are left out.

    Args:
        network: The model.
        graph: The batch.
        intervals: Of each table; 0 = no tables.
    """
    if intervals == 0 or graph.n_edges == 0:
        return None
    functions, lengths = network.radial_functions, graph.edge_lengths()
    nearest = int(lengths.min() * intervals / network.config.cutoff)
    unread = max(nearest - 1, 0)  # one more is kept for the rounding of float32
    n_pairs = graph.n_edges // 2
    rows = sum(graph.n_edges if f.network.per_edge else n_pairs for f in functions)
    knots = sum(function.n_tables for function in functions) * (intervals + 1 - unread)
    if rows < PAYS * knots:
        return None
    return RadialTables([function.tabulate(intervals, unread) for function in functions], network.elements)
