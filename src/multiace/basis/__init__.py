"""Fixed mathematics: irreps, coupling, spherical harmonics, radial functions. No learning here."""
