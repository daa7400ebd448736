"""Whatever a user gives that cannot be used: one sentence, exit status 2, and nothing is written."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from multiace.cli import main
from tests.bad_input import commands, configs, data, models
from tests.bad_input.case import COPPER, RUN, WATER, Case, spoilt
from tests.bad_input.models import ModelCase
from tests.potentials import small_potential

MODEL = "model.safetensors"
CASES = [*data.CASES, *configs.CASES, *models.CASES, *commands.CASES]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A folder with a model, data and a run file; every case leaves it as it was."""
    folder = tmp_path_factory.mktemp("good")
    small_potential(num_layers=1, hidden_irreps="4x0e").save(folder / MODEL)
    (folder / "train.xyz").write_bytes(spoilt(WATER))
    (folder / "water.xyz").write_text(WATER)
    (folder / "copper.xyz").write_text(COPPER)
    (folder / "runs").mkdir()
    (folder / "run.yaml").write_text(RUN)
    return folder


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def made(case: Case | ModelCase, folder: Path) -> set[str]:
    """Write the files of a case."""
    files = (
        case.files
        if isinstance(case, Case)
        else {"bad.safetensors": case.make((folder / MODEL).read_bytes())}
    )
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return set(files)


@pytest.mark.filterwarnings("default::UserWarning")
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_bad_input_is_one_sentence_and_leaves_nothing_behind(case: Case, good, monkeypatch, capsys):
    monkeypatch.chdir(good)
    files = made(case, good)
    before = contents(good)
    try:
        status = main(shlex.split(case.command))
    except SystemExit as stop:
        status = stop.code
    finally:
        after = contents(good)
        for name in set(after) - set(before) | files:
            (good / name).unlink(missing_ok=True)
    out, err = capsys.readouterr()
    print(case.name, "|", err)
    assert status == 2
    (sentence,) = [line for line in err.splitlines() if not line.startswith("multiace: warning: ")]
    assert sentence.startswith("multiace")
    assert sentence.endswith((".", "?"))
    assert [words for words in case.says if words not in sentence] == []
    assert "Traceback" not in out + err
    assert after == before
