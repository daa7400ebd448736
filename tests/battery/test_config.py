"""Battery files, and what is refused in them."""

import pytest

from multiace.battery import BATTERIES, Battery
from multiace.data.download import BOTNET_FOLDERS
from multiace.errors import InputError

FILE = """\
sets:
  MD: {file: test.xyz, domain: in}
curves:
  scan: {file: scan.xyz, coordinate: order, scores: barrier}
dynamics:
  300 K: {file: start.xyz, temperature: 300, time: 1}
dimers: null
"""


@pytest.fixture
def read(tmp_path):
    def write_and_read(content):
        (tmp_path / "mine.yaml").write_text(content)
        return Battery.read(tmp_path / "mine.yaml")

    return write_and_read


def test_a_file_is_read_with_its_name_and_folder(read, tmp_path):
    battery = read(FILE)
    assert battery.name == "mine"
    assert [folder.rstrip("/.") for folder in battery.data] == [str(tmp_path)]
    assert battery.curves["scan"].coordinate == ("order",)
    assert battery.curves["scan"].scores == ("barrier",)
    assert battery.dimers is None
    assert battery.cost is not None
    assert (battery.files("sets"), battery.files("dynamics")) == (["test.xyz"], ["start.xyz"])


def test_folders_of_a_file_are_relative_to_it(read, tmp_path):
    assert read(f"{FILE}data: [a, /b]\n").data == (str(tmp_path / "a"), "/b")


def test_a_file_may_name_itself(read):
    assert read(f"{FILE}name: other\n").name == "other"


@pytest.mark.parametrize("name", BATTERIES)
def test_built_in_batteries_use_the_files_of_their_data_set(name):
    battery = Battery.read(name)
    files = {file for part in ("sets", "curves", "dynamics", "cost") for file in battery.files(part)}
    tests = {file for file in BOTNET_FOLDERS[name][1] if file.startswith("test")}
    assert battery.name == name
    assert files == tests


def test_replicas_have_seeds_of_their_own(read):
    config = read(FILE).dynamics["300 K"]
    assert [config.md(k).seed for k in range(3)] == [0, 1, 2]
    assert config.md(0).max_temperature == 3000
    assert config.md(0).log_interval == 20


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("sets:", "set:", "battery has no field 'set'. Did you mean 'sets'?"),
        ("domain: in", "domain: inside", "battery.sets, MD: set.domain = 'inside' is not a choice."),
        (", domain: in", "", "battery.sets, MD: set.domain is missing"),
        ("file: scan.xyz, ", "", "battery.curves, scan: curve.file is missing"),
        ("coordinate: order", "coordinate: distance 1", "coordinate = 'distance 1' names 1 atoms"),
        ("coordinate: order", "coordinate: []", "coordinate is empty"),
        ("scores: barrier", "scores: height", "curve.scores"),
        (
            "temperature: 300",
            "temperature: 0",
            "battery.dynamics, 300 K: dynamics.temperature = 0 cannot be used",
        ),
        ("time: 1", "equilibration: 1", "dynamics.equilibration has no effect with reference = null"),
        (
            "MD: {file: test.xyz, domain: in}",
            "MD: test.xyz",
            "MD must hold fields, such as file: test.xyz; found",
        ),
        (
            "time: 1",
            "time: 0.5, reference: start.xyz",
            "time = 0.5 ps: nothing is left. Raise time, or lower",
        ),
        ("sets:\n  MD: {file: test.xyz, domain: in}", "sets: [test.xyz]", "battery.sets"),
        ("dimers: null", "dimers: {elements: [C, Xx]}", "dimers.elements: 'Xx' is not a chemical symbol"),
        ("dimers: null", "labels: {energy_unit: Ry}", "'Ry' is not a known unit"),
        ("dimers: null", "dimers: [", "is not valid YAML"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_place(read, old, new, sentence):
    assert old in FILE
    with pytest.raises(InputError) as error:
        read(FILE.replace(old, new))
    assert sentence in str(error.value)
    assert "mine.yaml" in str(error.value)


def test_an_unknown_battery_is_told_with_the_known_ones():
    with pytest.raises(InputError, match=r"'acacs' is not built in, nor a YAML file. Did you mean 'acac'"):
        Battery.read("acacs")
    with pytest.raises(InputError, match=r"cannot read nothing.yaml"):
        Battery.read("nothing.yaml")
