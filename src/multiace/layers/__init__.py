"""One file per symbol of the equation: embedding, density, product, update, readout."""
