"""Where the reference data sets are; tests that ask for them skip without them."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def reference_data():
    folder = Path(os.environ.get("MULTIACE_DATA") or Path(__file__).parents[2] / "../shared/data")
    if not folder.exists():
        pytest.skip(f"no data sets in {folder}; set MULTIACE_DATA")
    return folder
