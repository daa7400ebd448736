"""Models of the original BOTNet code, carried over: the same energies, forces and contributions."""

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from multiace.cli import main
from multiace.errors import InputError
from multiace.graph.neighbors import build_graph
from multiace.model.import_botnet import import_botnet
from multiace.model.potential import Potential
from tests.model.botnet_original import BLOCKS, GATES, Original

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference" / "botnet"

MODELS = [
    scale_shift + nonlinear + readouts
    for scale_shift in ("", "ScaleShift")
    for nonlinear in ("", "NonLinear")
    for readouts in ("BodyOrderedModel", "SingleReadoutModel")
]


HYPER = {
    "model": "NonLinearBodyOrderedModel",
    "interaction": "AgnosticResidualNonlinearInteractionBlock",
    "interaction_first": None,
    "atomic_numbers": [8, 1, 6],
    "atomic_energies": [-3.0, -0.5, 1.25],
    "r_max": 4.0,
    "num_bessel": 4,
    "num_polynomial_cutoff": 6,
    "max_ell": 2,
    # Four layers, since features of parity (-1)^(l+1), and with them the signs of half of the Clebsch-Gordan
    # coefficients, are made in the second, used in the third, and reach the energy in the fourth.
    "num_interactions": 4,
    "hidden_irreps": "3x0e+2x1o+2x1e+2x0o+2x2e",
    "avg_num_neighbors": 3.7,
    "MLP_irreps": "5x0e",
    "gate": "silu",
    "atomic_inter_scale": 0.83,
    "atomic_inter_shift": -0.21,
}


def cluster(hyper, seed=0):
    """Six atoms at random places, each element at least once if there are that many, and one atom far away."""
    rng = np.random.default_rng(seed)
    grid = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 1, 1], [99, 0, 0]])
    positions = 0.35 * hyper["r_max"] * (grid + rng.uniform(-0.2, 0.2, grid.shape))
    numbers = hyper["atomic_numbers"]
    return Atoms([numbers[i % len(numbers)] for i in range(len(grid))], positions)


def write(hyper, arrays, folder):
    """Paths of the two files that hold a model."""
    json_path, npz_path = folder / "model.json", folder / "model.npz"
    json_path.write_text(json.dumps(hyper))
    np.savez(npz_path, **arrays)
    return json_path, npz_path


def check_same(potential, prediction, atoms):
    """Hold a potential against the original's prediction."""
    result = potential(build_graph(atoms, potential.elements, potential.cutoff))
    terms = prediction.contributions
    largest = np.abs(prediction.forces).max()
    assert largest > 1e-12
    assert np.abs(terms[1:]).min() > 1e-12
    rounding = 4e-15 * abs(terms).max()
    assert abs(result.energy.item() - prediction.energy) < 1e-9 * abs(prediction.energy - terms[0]) + rounding
    np.testing.assert_allclose(
        result.forces.numpy(), prediction.forces, rtol=0, atol=1e-9 * min(largest, 1.0)
    )
    np.testing.assert_allclose(potential.contributions(atoms), terms, rtol=1e-9, atol=0)


def check_carried_over(folder, atoms=None, seed=0, **changes):
    """Build an original with these hyper-parameters, import it, and compare the two."""
    hyper = {**HYPER, **changes}
    original = Original(hyper, seed)
    potential = import_botnet(*write(hyper, original.arrays(), folder))
    atoms = atoms or cluster(hyper, seed)
    check_same(potential, original.predict(atoms), atoms)
    return potential


# --- against the numbers that the original's code gave --------------------------------------------------------


def references():
    return sorted(REFERENCE.glob("*.json")) or [
        pytest.param(None, marks=pytest.mark.skip(reason=f"no reference numbers in {REFERENCE}"))
    ]


@pytest.mark.parametrize("json_path", references(), ids=lambda path: path.stem if path else "absent")
@pytest.mark.parametrize("side", ["rebuilt original", "imported"])
def test_numbers_of_the_authors_code_are_reproduced(json_path, side):
    hyper, reference = json.loads(json_path.read_text()), np.load(json_path.with_suffix(".npz"))
    potential = import_botnet(json_path, json_path.with_suffix(".npz"))
    original = Original(hyper)
    original.load({name: reference[name] for name in reference.files if name.startswith("param/")})
    E0 = dict(zip(hyper["atomic_numbers"], hyper["atomic_energies"], strict=True))
    for frame, numbers in enumerate(reference["numbers"]):
        atoms = Atoms(numbers, reference["positions"][frame])
        if side == "imported":
            result = potential(build_graph(atoms, potential.elements, potential.cutoff))
            energy, forces = result.energy.item(), result.forces.numpy()
            contributions = potential.contributions(atoms)
        else:
            energy, forces, contributions = original.predict(atoms)
        expected, E0_sum = reference["energy"][frame], sum(E0[number] for number in numbers)
        # The totals are thousands of eV: their last digits are 2e-12 eV.
        assert abs(energy - expected) < 1e-9 * abs(expected - E0_sum) + 4e-12
        np.testing.assert_allclose(forces, reference["forces"][frame], rtol=0, atol=1e-12)
        if "contributions" in reference:
            np.testing.assert_allclose(
                contributions, reference["contributions"][frame], rtol=1e-9, atol=4e-12
            )


# --- against the rebuilt original -----------------------------------------------------------------------------


@pytest.mark.parametrize("first", [None, *BLOCKS])
@pytest.mark.parametrize("later", BLOCKS)
def test_every_pair_of_blocks_is_carried_over(tmp_path, later, first):
    check_carried_over(tmp_path, interaction=later, interaction_first=first)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("num_interactions", [1, 2, 3])
def test_every_model_class_is_carried_over_at_every_depth(tmp_path, model, num_interactions):
    check_carried_over(tmp_path, model=model, num_interactions=num_interactions, hidden_irreps="3x0e+2x1o")


@pytest.mark.parametrize("model", [model for model in MODELS if "NonLinearBody" not in model])
def test_other_models_do_not_use_interaction_first(tmp_path, model):
    first = "NequIPInteractionBlock"
    hyper = {**HYPER, "model": model}
    arrays = Original(hyper).arrays()
    alone = import_botnet(*write(hyper, arrays, tmp_path))
    both = import_botnet(*write({**hyper, "interaction_first": first}, arrays, tmp_path))
    assert both.config == alone.config


@pytest.mark.parametrize("interaction", ["SimpleInteractionBlock", "NequIPInteractionBlock"])
@pytest.mark.parametrize(
    ("hidden_irreps", "max_ell"),
    [
        ("4x0e", 0),
        ("4x0e", 3),
        ("3x0e+2x0o", 1),  # 0o is never reached
        ("3x0e+2x1o", 0),  # nor 1o
        ("0e+1o", 1),
        ("2x2e+3x1o+4x0e", 2),
        ("3x3o+2x1o+4x2e+5x0e", 3),
        ("5x0e+3x1o+2x2e+4x0o+2x1e+3x2o", 3),
        ("2x2o+3x1e+1x0o+2x2e+4x1o+5x0e", 2),
        ("3x1e+4x0e+2x2o", 2),  # only 0e is ever reached
        ("2x4e+3x0e+2x2e", 2),  # 4e only from the second layer on
        ("2x4e+1x4o+2x3o+2x3e+2x2e+2x1o+2x1e+3x0e+0o", 4),
        ("6e+6o+5o+5e+4e+4o+3o+3e+1o+1e+0e", 6),
    ],
)
def test_irreps_of_any_order_and_multiplicity_are_carried_over(tmp_path, interaction, hidden_irreps, max_ell):
    check_carried_over(
        tmp_path,
        interaction=interaction,
        hidden_irreps=hidden_irreps,
        max_ell=max_ell,
        model="SingleReadoutModel",
    )


@pytest.mark.parametrize("interaction", BLOCKS)
@pytest.mark.parametrize("numbers", [[7], [8, 1], [17, 1, 8, 6, 3]])
def test_elements_in_any_number_and_order_are_carried_over(tmp_path, interaction, numbers):
    energies = [-1.0 - 0.3 * number for number in numbers]
    check_carried_over(
        tmp_path,
        interaction=interaction,
        num_interactions=2,
        atomic_numbers=numbers,
        atomic_energies=energies,
    )


@pytest.mark.parametrize("interaction", ["NonlinearInteractionBlock", "ElementDependentInteractionBlock"])
@pytest.mark.parametrize(("r_max", "num_bessel", "p"), [(2.5, 1, 2), (6.0, 11, 5), (5.25, 8, 9)])
def test_cutoff_and_radial_basis_are_carried_over(tmp_path, interaction, r_max, num_bessel, p):
    check_carried_over(
        tmp_path,
        interaction=interaction,
        num_interactions=2,
        r_max=r_max,
        num_bessel=num_bessel,
        num_polynomial_cutoff=p,
    )


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("MLP_irreps", ["16x0e", "0e"])
@pytest.mark.parametrize("model", ["NonLinearBodyOrderedModel", "ScaleShiftNonLinearSingleReadoutModel"])
def test_every_activation_and_width_of_the_last_readout_is_carried_over(tmp_path, model, gate, MLP_irreps):
    check_carried_over(tmp_path, model=model, gate=gate, MLP_irreps=MLP_irreps, hidden_irreps="3x0e+2x1o")


def test_periodic_structures_agree(tmp_path):
    cell = [[3.0, 0.2, 0.0], [-0.4, 2.8, 0.3], [0.1, 0.5, 3.3]]
    atoms = Atoms(
        "OH", scaled_positions=[[0.1, 0.2, 0.3], [0.4, 1.6, 0.5]], cell=cell, pbc=[True, True, False]
    )
    check_carried_over(tmp_path, atoms, interaction="NequIPInteractionBlock", num_interactions=2)


@pytest.mark.parametrize("seed", range(12))
def test_random_models_are_carried_over(tmp_path, seed):
    check_carried_over(tmp_path, seed=seed, **random_changes(random.Random(seed)))


def random_changes(draw):
    """Hyper-parameters from the whole space."""
    irreps = [f"{degree}{parity}" for degree in range(5) for parity in "eo"]
    hidden = {"0e", *draw.sample(irreps, draw.randint(0, 5))}
    numbers = draw.sample(range(1, 119), draw.randint(1, 5))
    return {
        "model": draw.choice(MODELS),
        "interaction": draw.choice(list(BLOCKS)),
        "interaction_first": draw.choice([None, *BLOCKS]),
        "atomic_numbers": numbers,
        "atomic_energies": [draw.uniform(-5, 5) for _ in numbers],
        "r_max": draw.uniform(1.0, 8.0),
        "num_bessel": draw.randint(1, 10),
        "num_polynomial_cutoff": draw.randint(2, 10),
        "max_ell": draw.randint(0, 4),
        "num_interactions": draw.randint(1, 5),
        "hidden_irreps": "+".join(
            f"{draw.randint(1, 4)}x{irrep}" for irrep in draw.sample(sorted(hidden), len(hidden))
        ),
        "avg_num_neighbors": draw.uniform(0.5, 10.0),
        "MLP_irreps": f"{draw.randint(1, 20)}x0e",
        "gate": draw.choice(list(GATES)),
    }


# --- what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r_max": None}, r"model\.json: r_max is missing; give it: cutoff radius \[Å\]"),
        ({"hidden_irreps": None}, "hidden_irreps is missing; give it: features"),
        ({"r_max": "five"}, "r_max = 'five' cannot be used. Allowed: number [(]above 0[)]"),
        ({"r_max": -5.0}, "r_max = -5.0 cannot be used"),
        ({"r_max": float("nan")}, "r_max = nan cannot be used. Allowed: finite number"),
        (
            {"num_interactions": 0},
            "num_interactions = 0 cannot be used. Allowed: integer [(]at least 1, at most 8[)]",
        ),
        ({"num_interactions": 9}, "num_interactions = 9 cannot be used"),
        ({"max_ell": 7}, "max_ell = 7 cannot be used"),
        ({"num_bessel": 0}, "num_bessel = 0 cannot be used"),
        ({"avg_num_neighbors": 0}, "avg_num_neighbors = 0 cannot be used"),
        ({"model": "BodyOrderdModel"}, "'BodyOrderdModel' is unknown. Did you mean 'BodyOrderedModel'"),
        ({"interaction": "NequipInteractionBlock"}, "Did you mean 'NequIPInteractionBlock'"),
        ({"interaction_first": "Fourier"}, "interaction 'Fourier' is unknown"),
        ({"atomic_numbers": [8, 1, 119]}, "atomic_numbers = .* elements"),
        ({"atomic_numbers": [8, 1, -6]}, "atomic_numbers = .* elements"),
        ({"atomic_numbers": [8, 1, 1]}, "names an element twice"),
        ({"atomic_energies": [-3.0, "x", 1.0]}, r"atomic_energies\.1 = 'x' cannot be used. Allowed: number"),
        ({"num_interactions": True}, "num_interactions = true cannot be used"),
        ({"atomic_energies": [-3.0, -0.5]}, "2 atomic_energies are given for 3 atomic_numbers"),
        ({"hidden_irreps": "3x0e+2y1o"}, "'2y1o' cannot be read"),
        ({"hidden_irreps": "3x0e+2x1o+3x0e"}, "irrep 0e occurs twice"),
        ({"hidden_irreps": "3x0e+0x1o"}, "hidden_irreps = .* multiplicity of 0"),
        ({"hidden_irreps": "3x1o"}, "hidden_irreps = .* no 0e"),
        ({"hidden_irreps": "3x0e+1x7o"}, "hidden_irreps = .* degrees above 6"),
        ({"MLP_irreps": "8x0e+8x0o"}, "MLP_irreps = '8x0e[+]8x0o' cannot be carried over"),
        ({"MLP_irreps": "sixteen"}, "MLP_irreps = 'sixteen' cannot be carried over"),
        ({"MLP_irreps": "0x0e"}, "MLP_irreps = '0x0e' cannot be carried over"),
        ({"MLP_irreps": None}, "needs MLP_irreps"),
        ({"gate": "selu"}, "gate = 'selu' is unknown. Did you mean 'silu'"),
        ({"model": "ScaleShiftBodyOrderedModel", "atomic_inter_shift": None}, "needs atomic_inter_shift"),
    ],
)
def test_hyperparameters_that_cannot_be_carried_over_are_refused_with_one_sentence(
    tmp_path, changes, message
):
    arrays = Original(HYPER).arrays()
    hyper = {key: value for key, value in {**HYPER, **changes}.items() if value is not None}
    with pytest.raises(InputError, match=message) as error:
        import_botnet(*write(hyper, arrays, tmp_path))
    assert_one_sentence(error)


def test_a_model_with_an_mlp_needs_its_activation_named(tmp_path):
    hyper = {key: value for key, value in HYPER.items() if key != "gate"}
    with pytest.raises(InputError, match="needs gate"):
        import_botnet(*write(hyper, Original(HYPER).arrays(), tmp_path))


def assert_one_sentence(error):
    text = str(error.value)
    assert "\n" not in text
    assert re.search(r"[^.?][.?]$", text)


@pytest.mark.parametrize(
    "changes",
    [
        {"interaction": "AgnosticNonlinearInteractionBlock"},
        {"interaction": "AgnosticNoScNonlinearInteractionBlock"},
        {"interaction": "ElementDependentInteractionBlock"},
        {"interaction": "SimpleInteractionBlock"},
        {"interaction": "NonlinearInteractionBlock"},
        {"interaction": "NequIPInteractionBlock"},
        {"model": "BodyOrderedModel"},
        {"model": "SingleReadoutModel"},
        {"model": "NonLinearSingleReadoutModel"},
        {"num_interactions": 3},
        {"num_interactions": 5},
        {"num_bessel": 5},
        {"max_ell": 1},
        {"max_ell": 3},
        {"hidden_irreps": "4x0e+2x1o+2x1e+2x0o+2x2e"},
        {"hidden_irreps": "3x0e+2x1o+2x1e+2x0o"},
        {"MLP_irreps": "6x0e"},
        {"atomic_numbers": [8, 1], "atomic_energies": [0.0, 0.0]},
    ],
    ids=str,
)
def test_parameters_of_another_model_are_refused(tmp_path, changes):
    arrays = Original(HYPER).arrays()
    with pytest.raises(InputError, match=r"has no parameter|has shape|do not ask for") as error:
        import_botnet(*write({**HYPER, **changes}, arrays, tmp_path))
    assert "model.npz" in str(error.value)
    assert_one_sentence(error)


def test_every_parameter_is_needed_and_no_other_is_allowed(tmp_path):
    for interaction in BLOCKS:
        hyper = {**HYPER, "model": "NonLinearSingleReadoutModel", "interaction": interaction}
        hyper |= {"num_interactions": 1, "hidden_irreps": "2x0e+2x1o"}
        arrays = Original(hyper).arrays()
        for name in arrays:
            less = {key: value for key, value in arrays.items() if key != name}
            with pytest.raises(InputError, match=f"no parameter '{name.removeprefix('param/')}'"):
                import_botnet(*write(hyper, less, tmp_path))
            wrong = {**arrays, name: arrays[name][..., :-1]}
            with pytest.raises(InputError, match=f"{name.removeprefix('param/')} has shape"):
                import_botnet(*write(hyper, wrong, tmp_path))
        with pytest.raises(InputError, match=r"do not ask for, such as 'interactions\.7"):
            import_botnet(
                *write(hyper, {**arrays, "param/interactions.7.linear.weight": np.ones(3)}, tmp_path)
            )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.arange(9), "int64.* floating-point"),
        (np.full(9, np.nan), "must hold finite"),
        (np.full(9, 1j), "complex128"),
        (np.array(["a"] * 9), "floating-point"),
        (np.array([{}] * 9), "not an intact .npz file of numbers"),
    ],
)
def test_parameters_that_are_not_finite_real_numbers_are_refused(tmp_path, value, message):
    arrays = {**Original(HYPER).arrays(), "param/node_embedding.linear.weight": value}
    with pytest.raises(InputError, match=message) as error:
        import_botnet(*write(HYPER, arrays, tmp_path))
    assert_one_sentence(error)


def test_single_precision_parameters_are_read(tmp_path):
    original = Original(HYPER)
    arrays = {name: value.astype(np.float32) for name, value in original.arrays().items()}
    original.load(arrays)
    atoms = cluster(HYPER)
    check_same(import_botnet(*write(HYPER, arrays, tmp_path)), original.predict(atoms), atoms)


def test_damaged_files_are_refused_with_one_sentence(tmp_path):
    json_path, npz_path = write(HYPER, Original(HYPER).arrays(), tmp_path)
    json_bytes, npz_bytes = json_path.read_bytes(), npz_path.read_bytes()

    def refused(path, damaged, message):
        original = path.read_bytes()
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=message) as error:
            import_botnet(json_path, npz_path)
        assert path.name in str(error.value)
        assert_one_sentence(error)
        path.write_bytes(original)

    for damaged in (b"", b"{", json_bytes[:-20], b"\xff\xfe", npz_bytes):
        refused(json_path, damaged, "is not valid JSON")
    refused(json_path, b"[1, 2]", "JSON object of hyper-parameters")
    for damaged in (b"", npz_bytes[: len(npz_bytes) // 2], npz_bytes[:-1], json_bytes, npz_bytes[100:]):
        refused(npz_path, damaged, "not an intact .npz file")
    flipped = bytearray(npz_bytes)
    flipped[len(flipped) // 2] ^= 0xFF
    refused(npz_path, bytes(flipped), "not an intact .npz file")
    np.save(tmp_path / "one.npy", np.ones(3))
    refused(npz_path, (tmp_path / "one.npy").read_bytes(), "not an intact .npz file")
    npz_path.unlink()
    with pytest.raises(InputError, match=r"model.npz.*No such file"):
        import_botnet(json_path, npz_path)
    with pytest.raises(InputError, match=r"gone.json.*No such file"):
        import_botnet(tmp_path / "gone.json", npz_path)


# --- the model file -------------------------------------------------------------------------------------------


def test_an_imported_model_is_saved_and_loaded_unchanged(tmp_path):
    hyper = {
        **HYPER,
        "model": "ScaleShiftNonLinearBodyOrderedModel",
        "interaction_first": "NonlinearInteractionBlock",
    }
    hyper["interaction"] = "NequIPInteractionBlock"
    original, atoms = Original(hyper), cluster(hyper)
    import_botnet(*write(hyper, original.arrays(), tmp_path)).save(tmp_path / "model.safetensors")
    loaded = Potential.load(tmp_path / "model.safetensors")
    check_same(loaded, original.predict(atoms), atoms)
    assert loaded.metadata["imported_from"] == "gncs/botnet, ScaleShiftNonLinearBodyOrderedModel"


def test_the_command_line_imports_a_model(tmp_path, capsys):
    original, atoms = Original(HYPER), cluster(HYPER)
    json_path, npz_path = write(HYPER, original.arrays(), tmp_path)
    out = tmp_path / "model.safetensors"
    assert main(["import", "botnet", str(json_path), str(npz_path), "-o", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    check_same(Potential.load(out), original.predict(atoms), atoms)


def test_the_command_line_refuses_a_damaged_model_with_status_2(tmp_path, capsys):
    json_path, npz_path = write({**HYPER, "gate": "selu"}, Original(HYPER).arrays(), tmp_path)
    out = tmp_path / "model.safetensors"
    assert main(["import", "botnet", str(json_path), str(npz_path), "-o", str(out)]) == 2
    assert "selu" in capsys.readouterr().err
    assert not out.exists()
