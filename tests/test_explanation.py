"""Terms of the energies of structures, by frame and by atom."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from multiace.errors import InputError
from multiace.explanation import explain, shortened
from multiace.report.figures import image
from multiace.report.scan import along, draw_split, split_figure
from tests.potentials import crystal, methanol, small_potential

pytestmark = pytest.mark.usefixtures("plain_operations")


def stretched(number: int) -> list[Atoms]:
    """A path, in no order."""
    path = []
    for n in np.random.default_rng(1).permutation(number):
        atoms = methanol()
        atoms.positions[2, 0] -= 0.05 * n
        atoms.info["distance"] = 0.05 * float(n)
        path.append(atoms)
    return path


def test_terms_of_structures_without_labels_sum_to_their_energies():
    potential, structures = small_potential(), [methanol(), crystal(), Atoms("O")]
    found = explain(potential, structures)
    expected = [potential.contributions(atoms).sum() for atoms in structures]
    np.testing.assert_allclose(found.energies.sum(axis=1), expected, rtol=1e-10)
    assert [part.shape for part in found.atoms] == [(len(atoms), len(found.names)) for atoms in structures]
    for atoms, energies in zip(found.atoms, found.energies, strict=True):
        np.testing.assert_allclose(atoms.sum(axis=0), energies, atol=1e-10)
    assert all(frame.energy is None for frame in found.frames)


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch):
    potential, structures = small_potential(), stretched(4)
    whole = explain(potential, structures, "l")
    monkeypatch.setattr("multiace.explanation.MOST_EDGES", 1)
    done = []
    single = explain(potential, structures, "l", lambda *counts: done.append(counts))
    np.testing.assert_allclose(single.energies, whole.energies, rtol=0, atol=1e-9)
    assert done == [(n, 4) for n in (1, 2, 3, 4)]


def test_an_unknown_split_is_refused():
    with pytest.raises(InputError, match=r"by 'layers'.*Did you mean 'layer'"):
        explain(small_potential(), [methanol()], "layers")


def test_small_terms_become_others():
    terms = np.array([[1.0, 0.1, -3.0, 0.2, 0.5], [1.0, 0.1, 2.0, 0.3, 0.6]])
    names, kept = shortened("abcde", terms, 4)
    assert names == ["a", "c", "e", "2 others"]
    np.testing.assert_allclose(kept[:, -1], [0.3, 0.4])
    np.testing.assert_allclose(kept.sum(axis=1), terms.sum(axis=1))
    assert shortened("abcde", terms, 5)[0] == list("abcde")


def test_a_path_is_drawn_in_the_order_of_its_coordinate(tmp_path):
    structures = stretched(5)
    found = explain(small_potential(), structures)
    path = along(found.frames, "distance")
    assert path.label == "distance"
    np.testing.assert_allclose(path.coordinate[path.order], 0.05 * np.arange(5))
    draw_split(found, path, tmp_path / "path.svg")
    energies = found.energies[path.order]
    figure = split_figure(
        *(path.coordinate[path.order], energies.sum(axis=1), np.full(5, np.nan)),
        *(found.names, energies - energies[0], path.label),
    )
    whole, parts = figure.axes
    assert [text.get_text() for text in whole.get_legend().get_texts()] == ["model"]
    drawn = [text.get_text() for text in parts.get_legend().get_texts()]
    assert "E0" not in drawn  # constant
    assert drawn == ["order 1", "remainder"]
    curves = [line.get_ydata() for line in parts.get_lines()[1:]]
    np.testing.assert_allclose(np.sum(curves, axis=0), whole.get_lines()[0].get_ydata(), atol=1e-9)
    assert "[eV]" in parts.get_ylabel()
    assert image(figure, "terms").startswith("<img")


def test_structures_without_coordinate_are_numbered():
    structures = stretched(3)
    path = along(explain(small_potential(), structures, "layer").frames)
    assert path.label == "structure"
    assert path.coordinate.tolist() == [0, 1, 2]
    for n, atoms in enumerate(structures):
        atoms.info["reaction_coordinate"] = -n
    path = along(explain(small_potential(), structures, "layer").frames)
    assert path.label == "reaction coordinate"
    assert path.order.tolist() == [2, 1, 0]


def test_structures_of_several_compositions_are_no_path():
    frames = explain(small_potential(), [methanol(), crystal()], "layer").frames
    with pytest.raises(InputError, match="of one composition; 2 of C2H4O2, CH4O"):
        along(frames)
