"""Error bars against errors whose distribution is known."""

from __future__ import annotations

import numpy as np
import pytest

from multiace.basis.ace import AceBasis
from multiace.calibration import calibration
from multiace.cli import main
from multiace.model import PRESETS


def test_right_error_bars_are_calibrated_and_wrong_ones_are_not() -> None:
    random = np.random.default_rng(0)
    deviations = random.uniform(0.1, 2.0, size=20_000)
    errors = random.normal(size=20_000) * deviations
    right, narrow = calibration(errors, deviations), calibration(errors, deviations / 2)
    assert right["within_1"] == pytest.approx(0.683, abs=0.01)
    assert right["within_2"] == pytest.approx(0.954, abs=0.01)
    assert right["miscalibration_area"] < 0.01
    assert narrow["within_2"] == right["within_1"]
    assert narrow["miscalibration_area"] > 0.1
    assert narrow["nll"] > right["nll"]
    assert right["expected"] == pytest.approx(np.linspace(0, 1, 101))
    np.testing.assert_allclose(right["observed"], right["expected"], atol=0.015)
    assert (right["observed"][0], right["observed"][-1]) == (0, 1)
    assert (np.diff(right["observed"]) >= 0).all()
    assert narrow["observed"][68] == pytest.approx(0.38, abs=0.02)  # half of what is right
    errors[::2] = np.nan
    assert calibration(errors, deviations)["labels"] == 10_000
    assert calibration(errors * np.nan, deviations) == {"labels": 0}


def test_functions_of_a_preset_are_counted(capsys: pytest.CaptureFixture) -> None:
    assert main(["presets", "ace", "--small", "--basis", "--elements", "C,H"]) == 0
    config = PRESETS["ace-small"]
    assert f"{AceBasis(2, config.truncation).n_functions:,} functions" in " ".join(
        capsys.readouterr().out.split()
    )
    for wrong, sentence in (
        (["acee"], "Did you mean 'ace'"),
        (["mace", "--basis"], "channel_coupling = channelwise"),
    ):
        assert main(["presets", *wrong]) == 2
        assert sentence in capsys.readouterr().err
