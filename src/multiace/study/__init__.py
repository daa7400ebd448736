"""Ablation studies: which design choices matter, with intervals; imported only by ``cli``."""
