"""Any combination of choices is refused with a sentence, or is a sound model."""

from hypothesis import event, given, settings
from hypothesis import strategies as st

from multiace.errors import InputError
from multiace.model.config import TABLES
from tests.model.design_space import (
    BASE,
    OUTSIDE_THE_NETWORK,
    batch_of,
    crystal,
    molecule,
    random_potential,
)
from tests.rotations import orthogonal

Q = orthogonal(3, -1)

IRREPS = [
    "4x0e",
    "3x0e + 2x1o",
    "2x1o + 3x0e + 1x2e",
    "2x0e + 1x3o",
    "2x0e + 1x0o + 3x1o + 2x1e",
    "3x0e + 2x2o",
]
combinations = st.fixed_dictionaries(
    {
        **{
            field: st.sampled_from(sorted(table))
            for field, table in TABLES.items()
            if field not in OUTSIDE_THE_NETWORK
        },
        "l_max": st.integers(0, 3),
        "hidden_irreps": st.sampled_from(IRREPS),
        "num_layers": st.integers(1, 3),
        "correlation": st.sampled_from([1, 1, 2, 3]),
        "product_elements": st.booleans(),
        "radial_bias": st.booleans(),
        "readout_width": st.sampled_from([0, 3]),
        "zbl": st.booleans(),
    }
)


@settings(max_examples=60)
@given(combinations)
def test_any_combination_is_refused_or_symmetric(fields):
    try:
        config = BASE.replace(**fields)
    except InputError:
        return
    event("a model")
    at, structures = random_potential(config), [molecule(), crystal()]
    for atoms in structures[:2]:
        turned = atoms.copy()
        turned.positions = atoms.positions @ Q.numpy().T
        turned.cell = atoms.cell.array @ Q.numpy().T
        structures.append(turned)
    result = at(batch_of(structures, at), stress=True)
    size = result.forces.abs().max()
    assert (result.forces[9:] - result.forces[:9] @ Q.T).abs().max() <= 1e-9 * size
    scale = result.site_energies.abs().max()
    assert (result.site_energies[9:] - result.site_energies[:9]).abs().max() <= 1e-9 * scale
