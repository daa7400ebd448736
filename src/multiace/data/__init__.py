"""From files to batches: read structures and labels, split them, build graphs, measure statistics."""
