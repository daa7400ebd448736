import pytest
import torch

from multiace.errors import InputError
from multiace.train import checkpoint
from multiace.train.checkpoint import (
    Checkpoint,
    DamagedCheckpointError,
    checkpoint_path,
    newest_first,
)


def vectors():
    generator = torch.Generator().manual_seed(0)
    weights = 0.1 * torch.randn(20_000, generator=generator)
    return {"weights": weights, "average": weights + 1e-4, "m": weights * 1e-3, "v": weights.square() * 1e-6}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_bit_comes_back(tmp_path, dtype):
    special = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, 1e-42, 3.0, torch.nan], dtype=dtype)
    state = {"epoch": 3, "loss": 0.1 + 0.2, "best": float("inf"), "names": ["a"]}
    random = {name: vector.to(dtype) for name, vector in vectors().items()}
    Checkpoint({"special": special, **random}, state).save(tmp_path / "c.safetensors")
    loaded = Checkpoint.load(tmp_path / "c.safetensors")
    assert loaded.state == state
    integers = {torch.float32: torch.int32, torch.float64: torch.int64}[dtype]
    assert torch.equal(loaded.vectors["special"].view(integers), special.view(integers))
    assert all(torch.equal(loaded.vectors[name], vector) for name, vector in random.items())


def test_adam_with_moving_average_takes_less_than_four_times_the_parameters(tmp_path):
    Checkpoint(vectors(), {}).save(tmp_path / "c.safetensors")
    assert (tmp_path / "c.safetensors").stat().st_size < 3.7 * 20_000 * 4


@pytest.mark.parametrize("damage", ["cut", "empty", "bit", "text"])
def test_damage_is_noticed(tmp_path, damage):
    path = tmp_path / "c.safetensors"
    Checkpoint(vectors(), {"epoch": 1}).save(path)
    content = bytearray(path.read_bytes())
    if damage == "bit":
        content[len(content) // 2] ^= 1
    path.write_bytes(
        {"cut": content[:-100], "empty": b"", "bit": content, "text": b"not a checkpoint"}[damage]
    )
    with pytest.raises(DamagedCheckpointError):
        Checkpoint.load(path)


def test_no_bit_of_the_header_can_change_unnoticed(tmp_path):
    path = tmp_path / "c.safetensors"
    Checkpoint({"weights": torch.arange(8.0)}, {"epoch": 1}).save(path)
    content = path.read_bytes()
    schema = content.index(b"schema") + len('schema\\": ')
    for place in range(8 + int.from_bytes(content[:8], "little")):
        if place != schema:  # refused too, as that of another version
            path.write_bytes(
                content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]
            )
            with pytest.raises(DamagedCheckpointError):
                Checkpoint.load(path)


def test_newest_comes_first(tmp_path):
    for step in (9, 100, 20):
        Checkpoint({}, {}).save(checkpoint_path(tmp_path, step))
    assert newest_first(tmp_path) == [checkpoint_path(tmp_path, step) for step in (100, 20, 9)]


def test_checkpoints_of_another_version_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SCHEMA", 1)
    Checkpoint({"weights": torch.zeros(3)}, {}).save(tmp_path / "c.safetensors")
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"checkpoint schema 1, here \d.*train in another folder"):
        Checkpoint.load(tmp_path / "c.safetensors")
