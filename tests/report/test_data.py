from pathlib import Path

from multiace.data.check import check_frames
from multiace.data.expectations import Expectations
from multiace.data.read import read_frames
from multiace.report.data import data_section

MOLECULE = Path(__file__).parents[2] / "examples/data/malonaldehyde"


def test_the_report_shows_files_findings_and_histograms_of_the_data(tmp_path):
    sets = [
        ("train", read_frames([MOLECULE / "isolated_atoms.xyz", MOLECULE / "train_300K.xyz"])),
        ("test", read_frames(MOLECULE / "test_300K.xyz")),
    ]
    check_frames(sets, Expectations()).save(tmp_path / "data_check.json")
    section = data_section(tmp_path / "data_check.json")
    assert section.title == "Data"
    for text in ("train_300K.xyz", "test_300K.xyz", "compositions-dependent", "data:image/svg+xml"):
        assert text in section.body


def test_a_set_without_labels_has_a_histogram_of_distances(tmp_path):
    frames = read_frames(MOLECULE / "test_300K.xyz")
    for frame in frames:
        frame.atoms.calc = None
    bare = [type(frame)(frame.atoms, source=frame.source) for frame in frames]
    check = check_frames([("test", bare)], Expectations())
    check.save(tmp_path / "data_check.json")
    assert list(check.histograms["test"]) == ["distance"]
    assert "data:image/svg+xml" in data_section(tmp_path / "data_check.json").body
