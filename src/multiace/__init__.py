"""multiace: machine-learning interatomic potentials as one design space."""
