"""Using a potential: ASE calculator, molecular dynamics, relaxation."""
