"""Extended XYZ: what is read, beside what is refused (tests/bad_input/data.py)."""

import gzip

import numpy as np
import pytest

from multiace.data.read import read_frames, read_structures
from multiace.errors import InputError
from multiace.evaluation import evaluate
from tests.bad_input.case import COPPER, WATER, spoilt
from tests.potentials import small_potential

FAR = "2\nenergy=-27\nH 0 0 0\nH 50 0 0\n"


@pytest.mark.parametrize(
    "content",
    [
        f"{WATER}\n\n{WATER}\n  \n",
        f"{WATER}{WATER}".rstrip(),
        f"{WATER}{WATER}".replace("\n", "\r\n"),
        f"\ufeff{WATER}{WATER}",
    ],
    ids=["empty lines", "no last line end", "line ends of Windows", "byte order mark"],
)
def test_layout_that_says_nothing_is_read(tmp_path, content):
    (tmp_path / "a.xyz").write_bytes(content.encode())
    frames = read_frames(tmp_path / "a.xyz")
    assert [frame.energy for frame in frames] == [-10.5, -10.5]
    np.testing.assert_array_equal(frames[1].forces, [[0, 0, 0.5], [0, 0.1, -0.2], [0, -0.1, -0.3]])


def test_compressed_files_are_read(tmp_path):
    (tmp_path / "a.xyz.gz").write_bytes(gzip.compress(COPPER.encode()))
    assert read_frames(tmp_path / "a.xyz.gz")[0].atoms.pbc.all()


@pytest.mark.parametrize("label", ["stress", "virial", "REF_stress"])
@pytest.mark.parametrize("marks", ['""', "''", "{}", "[]"])
def test_a_stress_of_six_values_is_in_the_order_of_ase(tmp_path, label, marks):
    (tmp_path / "six.xyz").write_text(
        COPPER.replace("energy", f"{label}={marks[0]}1 2 3 4 5 6{marks[1]} energy")
    )
    (tmp_path / "nine.xyz").write_text(COPPER.replace("energy", f'{label}="1 6 5 6 2 4 5 4 3" energy'))
    six, nine = (read_frames(tmp_path / name)[0].stress for name in ("six.xyz", "nine.xyz"))
    np.testing.assert_array_equal(six, nine)
    assert abs(six[1, 2] / six[0, 0]) == pytest.approx(4)


def test_columns_without_properties_are_comments(tmp_path):
    (tmp_path / "a.xyz").write_text("1\nfrom a notebook\nH 0 0 1.5 charge 0.3\n")
    assert read_structures(tmp_path / "a.xyz")[0].positions.tolist() == [[0, 0, 1.5]]


def test_a_frame_that_is_not_asked_for_may_be_wrong(tmp_path):
    (tmp_path / "a.xyz").write_bytes(spoilt(WATER, ("0.76", "left")))
    assert len(read_structures(f"{tmp_path}/a.xyz@:2")) == 2
    assert len(read_structures(f"{tmp_path}/a.xyz@-1")) == 1
    with pytest.raises(InputError, match=r"a\.xyz frame 2 \(line 11\) cannot be read"):
        read_structures(f"{tmp_path}/a.xyz@1:")


def test_frames_without_neighbours_or_with_a_label_that_is_nan_are_legal(tmp_path):
    (tmp_path / "a.xyz").write_text(FAR + FAR.replace("-27", "nan"))
    metrics = evaluate(small_potential(), tmp_path / "a.xyz").metrics
    assert metrics["energy"]["count"] == 1
