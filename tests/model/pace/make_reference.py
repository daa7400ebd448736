"""Makes the potentials and numbers of this folder with pacemaker's own evaluator, python-ace 0.4.

    python -c 'from tests.model.test_pace import write_exports; write_exports("exports")'   # with multiace
    python make_reference.py exports Cu-PBE-core-rep.ace                                    # with python-ace

Its licence is an academic one, so that it is no dependency: tests read what this script has written.
"""

import json
import sys
from pathlib import Path

import ase
import ase.build
import numpy as np
from pyace import PyACECalculator
from pyace.basis import ACEBBasisSet
from pyace.multispecies_basisextension import create_multispecies_basis_config

HERE = Path(__file__).parent
DENSITIES = {
    "one": {"npot": "FinnisSinclairShiftedScaled", "fs_parameters": [1, 1], "ndensity": 1},
    "two": {"npot": "FinnisSinclairShiftedScaled", "fs_parameters": [1, 1, 0.7, 0.5], "ndensity": 2},
    "roots": {"npot": "FinnisSinclairShiftedScaled", "fs_parameters": [1.3, 0.5, 0.6, 0.25], "ndensity": 2},
}
RADIAL = {
    "ChebExpCos": {"radparameters": [5.25], "rcut": 4.5, "dcut": 0.3},
    "ChebPow": {"radparameters": [2.5], "rcut": 4.0, "dcut": 0.01},
    "SBessel": {"radparameters": [1.0], "rcut": 5.0, "dcut": 0.01},
}
POTENTIALS = {
    "AlCu-1": (("one", "two"), ("ChebExpCos", "ChebPow", "SBessel"), {}),
    "AlCu-2": (
        ("two", "roots"),
        ("SBessel", "ChebExpCos", "ChebPow"),
        {"core-repulsion": [50.0, 3.0], "inner_cutoff_type": "density"},
    ),
    "AlCu-3": (
        ("roots", "roots"),
        ("ChebPow", "ChebPow", "ChebPow"),
        {"core-repulsion": [20.0, 2.0], "inner_cutoff_type": "distance", "r_in": 1.2, "delta_in": 0.4},
    ),
}
"""Embeddings of Al and Cu; radial functions of AlAl, AlCu, CuCu; what else bonds have."""


def potential(name):
    embeddings, radial, more = POTENTIALS[name]
    bond = {
        "nradmax": 2,
        "lmax": 2,
        "nradbase": 4,
        "r_in": 0.0,
        "delta_in": 0.0,
        "core-repulsion": [0, 0],
        **more,
    }
    bonds = {
        pair: {**bond, "radbase": base, **RADIAL[base]}
        for pair, base in zip(("AlAl", "AlCu", "CuCu"), radial, strict=True)
    }
    config = create_multispecies_basis_config(
        {
            "deltaSplineBins": 0.01,
            "elements": ["Al", "Cu"],
            "embeddings": {
                z: {**DENSITIES[e], "rho_core_cut": 100000, "drho_core_cut": 250}
                for z, e in zip(("Al", "Cu"), embeddings, strict=True)
            },
            "bonds": bonds,
            "functions": {"ALL": {"nradmax_by_orders": [4, 2, 1, 1], "lmax_by_orders": [0, 2, 2, 1]}},
        }
    )
    rng = np.random.default_rng(len(name) + int(name[-1]))
    for block in config.funcspecs_blocks:
        functions = block.funcspecs  # copies
        for function in functions:
            function.coeffs = (rng.normal(size=len(function.coeffs)) / 4 ** len(function.ns)).tolist()
        block.funcspecs = functions
        shape = np.shape(block.radcoefficients)
        if shape:
            of_pair = np.random.default_rng(sum(map(ord, block.block_name)))  # the same for AlCu and CuAl
            block.radcoefficients = of_pair.normal(size=shape).tolist()
    path = HERE / f"{name}.yace"
    ACEBBasisSet(config).to_ACECTildeBasisSet().save_yaml(str(path))
    path.write_text(path.read_text().replace("E0: [0, 0]", "E0: [-1.25, 0.5]"))


def older():
    """A potential of one element in both forms of files."""
    bond = {"nradmax": 2, "lmax": 1, "nradbase": 3, "radbase": "ChebPow", "core-repulsion": [9.0, 3.0]}
    config = create_multispecies_basis_config(
        {
            "deltaSplineBins": 0.01,
            "elements": ["Cu"],
            "embeddings": {"Cu": {**DENSITIES["two"], "rho_core_cut": 100000, "drho_core_cut": 250}},
            "bonds": {"Cu": {**bond, **RADIAL["ChebPow"], "inner_cutoff_type": "density"}},
            "functions": {"ALL": {"nradmax_by_orders": [3, 2, 1], "lmax_by_orders": [0, 1, 1]}},
        }
    )
    (block,) = config.funcspecs_blocks
    functions = block.funcspecs
    for number, function in enumerate(functions):
        function.coeffs = [0.3 * (-1) ** number, 0.1 * number]
    block.funcspecs = functions
    block.radcoefficients = np.random.default_rng(2).normal(size=(2, 2, 3)).round(3).tolist()
    config.funcspecs_blocks = [block]
    basis = ACEBBasisSet(config).to_ACECTildeBasisSet()
    basis.save(str(HERE / "Cu-older.ace"))
    basis.save_yaml(str(HERE / "Cu-older.yace"))


def structures():
    rng = np.random.default_rng(0)
    cluster = ase.Atoms("Al2Cu3", rng.normal(size=(5, 3)) * 1.6)
    pair = ase.Atoms("AlCu", [[0, 0, 0], [0.4, 0.6, 0.5]])
    cell = [[4.1, 0.3, 0], [0, 3.8, 0.2], [0.1, 0, 4.4]]
    crystal = ase.Atoms("Al2Cu2", rng.uniform(size=(4, 3)) @ np.array(cell), cell=cell, pbc=True)
    return [cluster, pair, crystal, ase.Atoms("Cu")]


def structures_of_copper():
    rng = np.random.default_rng(1)
    cluster = ase.Atoms("Cu6", rng.normal(size=(6, 3)) * 2.0)
    crystal = ase.build.bulk("Cu", cubic=True)
    crystal.rattle(0.1, seed=1)
    return [ase.Atoms("Cu2", [[0, 0, 0], [0.8, 0.4, 0.1]]), cluster, crystal]


def reference(path, frames):
    found = []
    for atoms in frames:
        atoms.calc = PyACECalculator(str(path))
        found.append(
            {
                "symbols": str(atoms.symbols),
                "positions": atoms.positions.tolist(),
                "cell": atoms.cell.tolist() if atoms.pbc.any() else None,
                "energy": float(atoms.get_potential_energy()),
                "forces": atoms.get_forces().tolist(),
            }
        )
    return found


if __name__ == "__main__":
    exports, copper = map(Path, sys.argv[1:])
    for name in POTENTIALS:
        potential(name)
    older()
    files = [HERE / f"{name}.yace" for name in POTENTIALS] + sorted(exports.glob("*.yace"))
    numbers = {path.stem: reference(path, structures()) for path in files}
    numbers[copper.stem] = reference(copper, structures_of_copper())
    (HERE / "reference.json").write_text(json.dumps(numbers, indent=1) + "\n")
