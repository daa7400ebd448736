"""One HTML file about a run: errors, parity, learning curves, a scan, dynamics, and what the model is."""
