"""Fitting: config, loss, schedule, loop, checkpoints, metrics."""
