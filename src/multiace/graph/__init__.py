"""What the model sees: graphs and neighbour lists. No learning here."""

from multiace.graph.graph import Graph

__all__ = ["Graph"]
