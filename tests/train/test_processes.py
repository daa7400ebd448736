import json
import os
import subprocess
import sys

import pytest
import torch

from multiace.errors import InputError
from multiace.model.potential import Potential
from multiace.train.loop import fit

PROGRAM = "import sys; from multiace.train.loop import fit; fit(sys.argv[1], sys.argv[2])"


def torchrun(processes, tmp_path, config, folder):
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "run.yaml").write_text(config.to_yaml())
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    arguments = [tmp_path / "program.py", tmp_path / "run.yaml", folder]
    return subprocess.run(
        [*launch, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_two_processes_learn_what_one_learns(run, tmp_path):
    options = {"max_epochs": 3, "batch_size": 11}  # of 12 frames: shares of 6 and 5, then of 1 and 0
    model = {"dtype": "float64"}
    alone = fit(run(model=model, **options), tmp_path / "one")
    config = run(model=model, strategy="ddp", devices=2, **options)
    result = torchrun(2, tmp_path, config, tmp_path / "two")
    assert result.returncode == 0, result.stderr[-3000:]
    together = Potential.load(tmp_path / "two" / "model.safetensors")
    for one, two in zip(alone.parameters(), together.parameters(), strict=True):
        assert (one - two).abs().max() < 1e-8
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("one", "two")]
    for name, errors in summaries[0]["errors"].items():
        assert summaries[1]["errors"][name]["forces"]["count"] == errors["forces"]["count"]


def test_number_of_processes_must_be_the_configured_one(run, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"torchrun started 2 .* train\.num_nodes = 1"):
        fit(run(), tmp_path / "run")
    assert not (tmp_path / "run").exists()
