"""Fixed mathematics: irreps, coupling coefficients, spherical harmonics, radial functions. No learning here."""
