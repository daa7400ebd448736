"""Studies with drawn results, made and reported once."""

from __future__ import annotations

import pytest

from multiace.study.report.build import write_study_report
from tests.study.synthetic import write_study


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """A grid with a battery, whose reference point has a name that is no HTML and no LaTeX."""
    return write_study(tmp_path_factory.mktemp("study") / "of <gates>")


@pytest.fixture(scope="session")
def page(store):
    """Its report."""
    return write_study_report(store.folder, tables=store.folder / "tables")
