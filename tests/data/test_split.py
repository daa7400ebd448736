"""The data section read: training, validation and test frames, isolated atoms."""

import ase.io
import pytest
from ase import Atoms

from multiace.data.config import DataConfig
from multiace.data.split import read_data
from multiace.errors import InputError


def write(path, number, config_type="md", start=0.0):
    """Dimers that are told apart by their energy."""
    structures = [Atoms("H2", [[0, 0, 0], [0, 0, 1]]) for _ in range(number)]
    for index, atoms in enumerate(structures):
        atoms.info.update(energy=start + index, config_type=config_type)
    ase.io.write(path, structures, format="extxyz")
    return str(path)


@pytest.fixture
def train(tmp_path):
    return write(tmp_path / "train.xyz", 20)


@pytest.fixture
def isolated(tmp_path):
    path = tmp_path / "isolated.xyz"
    ase.io.write(path, Atoms("H", info={"energy": -13.6, "config_type": "isolated_atom"}), format="extxyz")
    return str(path)


def energies(frames):
    return [frame.energy for frame in frames]


@pytest.mark.parametrize(("valid", "count"), [(0.1, 2), (0.26, 5), (0.001, 1), (7, 7), (19, 19)])
def test_a_part_of_the_training_frames_validates(train, valid, count):
    data = read_data(DataConfig(train=train, valid=valid))
    assert len(data.valid) == count
    assert sorted(energies(data.train) + energies(data.valid)) == list(range(20))
    assert energies(data.valid) == list(data.split.valid)
    assert energies(data.train) == list(data.split.train)


def test_the_seed_fixes_the_split(train):
    splits = [read_data(DataConfig(train=train, valid=5, seed=seed)).split for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


def test_a_saved_split_is_used_again(train, tmp_path):
    first = read_data(DataConfig(train=train, valid=5, seed=4))
    first.split.save(tmp_path / "split.json")
    again = read_data(DataConfig(train=train, valid=str(tmp_path / "split.json")))
    assert again.split == first.split
    assert energies(again.valid) == energies(first.valid)


def test_validation_files_are_not_split(train, tmp_path):
    data = read_data(DataConfig(train=train, valid=write(tmp_path / "valid.xyz", 3, start=50)))
    assert data.split is None
    assert (len(data.train), energies(data.valid)) == (20, [50, 51, 52])


def test_isolated_atoms_do_not_train_or_validate(train, isolated):
    data = read_data(DataConfig(train=[isolated, train], valid=5, test=[isolated]))
    assert energies(data.isolated) == [-13.6]
    assert (len(data.train), len(data.valid), data.split.frames) == (15, 5, 20)
    assert energies(data.test[isolated]) == [-13.6]


def test_weights_of_config_types_multiply_those_of_frames(train, tmp_path):
    other = write(tmp_path / "other.xyz", 2, config_type="scan")
    config = DataConfig(train=[train, other], valid=other, config_type_weights={"scan": 3.0})
    data = read_data(config)
    assert [frame.weight for frame in data.train] == 20 * [1.0] + 2 * [3.0]
    assert [frame.weight for frame in data.valid] == [3.0, 3.0]


def test_what_cannot_be_split_is_refused(train, isolated, tmp_path):
    for fields, message in [
        ({"train": f"{train}@:1"}, "takes 1 of 1 training structures"),
        ({"train": train, "valid": isolated}, "has only isolated atoms"),
        ({"train": train, "valid": str(tmp_path / "no_split.json")}, "cannot read"),
    ]:
        with pytest.raises(InputError, match=message):
            read_data(DataConfig(**fields))
