"""What each layer adds to the energy along the proton transfer of malonaldehyde.

BOTNet's updates are linear, so that the readout after layer t has body order t + 1: the sum below is an
expansion in body order, learned and not fixed by hand.
"""

from pathlib import Path

import ase.io
import numpy as np

from multiace import RunConfig, fit

HERE = Path(__file__).parent

# Trains the model of example 3, or takes it from its run folder.
potential = fit(RunConfig.read(HERE / "3_fit.yaml", ["train.learning_rate=0.02"]), "runs/examples/3_fit")

scan = ase.io.read(HERE / "data/malonaldehyde/scan_proton_transfer.xyz", ":")
terms = np.array([potential.contributions(atoms) for atoms in scan])  # [n_frames, 1 + n_readouts]
reference = np.array([atoms.get_potential_energy() for atoms in scan])

names = ["E0 + shift", *(f"layer {t + 1}" for t in range(terms.shape[1] - 1))]
print("r(O1-H) - r(O2-H)" + "".join(f"{name:>13s}" for name in [*names, "sum", "reference"]) + "   [eV]")
zero = terms.sum(axis=1).mean(), reference.mean()
for atoms, row, energy in zip(scan, terms, reference, strict=True):
    columns = [*(row - terms.mean(axis=0)), row.sum() - zero[0], energy - zero[1]]
    print(f"{atoms.info['reaction_coordinate']:15.2f} Å " + "".join(f"{value:13.4f}" for value in columns))
print("each column without its mean over the scan")
