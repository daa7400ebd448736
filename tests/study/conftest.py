"""Studies of tiny models."""

import pytest
import yaml

from tests.study.running import finish
from tests.train import conftest as train

data = train.data

TINY = {
    "preset": "botnet-small",
    "hidden_irreps": "4x0e + 4x1o",
    "l_max": 1,
    "num_layers": 2,
    "radial_widths": [4],
    "energy_reference": "mean",
    "cutoff": 4.0,
}


@pytest.fixture
def sections(data):
    """A study file's content: two models, two seeds."""
    return {
        "base": {
            "model": TINY,
            "data": {"train": [str(data / "clusters.xyz")], "valid": 4, "test": [str(data / "test.xyz")]},
            "train": {"verify": False, "loggers": ["csv"], "max_epochs": 2},
        },
        "axes": {"model.correlation": [1, 2]},
        "seeds": [1, 2],
    }


@pytest.fixture
def write(tmp_path):
    """Write a study file; return its path."""

    def write(sections, name="own.yaml"):
        path = tmp_path / name
        path.write_text(yaml.safe_dump(sections, sort_keys=False))
        return path

    return write


@pytest.fixture
def here(monkeypatch):
    """Commands do their runs in this process, one after another: starting Python takes longer than they do."""
    monkeypatch.setattr("multiace.study.drive.drive", finish)
