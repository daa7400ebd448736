"""Physics of a trained model, or of any ASE calculator, as a table of checks: `multiace verify`."""
