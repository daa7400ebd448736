"""The readers of data, run files and model files on anything: a result or one sentence, soon, and no code is run."""

import json
import warnings
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from multiace.data.dataset import Dataset
from multiace.data.read import read_frames
from multiace.errors import InputError
from multiace.evaluation import training_keys
from multiace.model.config import ModelConfig
from multiace.model.potential import Potential
from multiace.tables import config_table, error_table, model_facts
from multiace.train.config import RunConfig, inherited
from tests.bad_input.case import COPPER, RUN, WATER

fuzz = settings(max_examples=80, deadline=10_000, suppress_health_check=[HealthCheck.function_scoped_fixture])
FROZEN = Path(__file__).parent / "model/frozen/schema-2"


def attempt(read, *arguments):
    """Return what ``read`` returns; None where it refuses in one sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read(*arguments)
    except InputError as error:
        sentence = str(error)
    assert len(sentence.splitlines()) == 1
    return None


@pytest.fixture(autouse=True)
def no_imports(monkeypatch):
    """Code that a file names is not imported."""

    def imported(name):
        raise AssertionError(f"{name} was imported")

    monkeypatch.setattr("multiace.config.import_module", imported)


@st.composite
def edited(draw, texts, words):
    """Bytes of one of these texts, some of whose words are others, in a file that may be cut or have bytes changed."""
    parts = draw(st.sampled_from(texts)).split(" ")
    word = st.sampled_from(words.split("|")) | st.text(LETTERS, max_size=5)
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(parts) - 1))
        parts[place : place + draw(st.integers(0, 2))] = draw(st.lists(word, max_size=2))
    content = bytearray(" ".join(parts).encode())
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(content)))
        content[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(content[: draw(st.sampled_from((None, None, len(content) // 2)))])


LETTERS = (
    "aHX019e+-.:=[]{}\"'\\/ \n\r\t\x00\x1b\u2028äÅ漢"  # all of Unicode takes Hypothesis ten seconds to list
)
FRAME_WORDS = """nan|inf|-1|0|3|1e308|99999999999999999999|T|F|Qq|X|H|Cu|\n|\n3\n|0\n|energy=1|energy="1 2"|forces:R:3
|Properties=|Properties=species:S:1:pos:R:3|Properties=Z:I:1:pos:R:3|:L:1|:R:999|:move_mask:L:3|:momenta:R:3|:magmoms:R:1
|Lattice="1 0 0 0 1 0 0 0 1"|Lattice="9 0 0 0 9 0 0 0 1e-9"|Lattice=|pbc="T F T"|stress="1 0 0 0 1 0 0 0 1"|virial=
|weight=0|weight=x|config_type=|d="_JSON [[[1]]]"|uid=|free_energy=1|'|"|[|}|=|\\|#|VEC1"""


@fuzz
@given(content=st.binary(max_size=60) | edited([WATER, COPPER, WATER + COPPER], FRAME_WORDS))
def test_any_bytes_are_frames_or_one_sentence(content, tmp_path):
    (tmp_path / "a.xyz").write_bytes(content)
    frames = attempt(read_frames, tmp_path / "a.xyz")
    if frames is not None:
        attempt(Dataset, frames, ("H", "O", "Cu"), 3.0)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-2, 12)
    | st.floats()
    | st.text(LETTERS, max_size=6)
    # names of choices, and irreps
    | st.sampled_from(
        ["8x0e", "4x0e + 4x1o", "2x0e+1x0o+1x6e", "gate", "none", "full", "legendre", "isolated", "mace"]
    ),
    lambda values: (
        st.lists(values, max_size=3) | st.dictionaries(st.text(LETTERS, max_size=4), values, max_size=3)
    ),
    max_leaves=5,
)
SECTIONS = {name: list(field.annotation.model_fields) for name, field in RunConfig.model_fields.items()}
YAML_WORDS = """model:|data:|train:|{}|[|]|,|-|?|:|&a|*a|<<:|!!timestamp|!!python/name:os.system|!!set|!!binary
|2001-99-99|0x1F|12:30:45|.nan|1e999|null|yes|\n|\n\n|\t|cutoff:|elements:|first_layer:|valid:|preset:|loggers:|start_from:"""


@st.composite
def run_files(draw):
    """A run file in which some fields have any value."""
    run = yaml.safe_load(RUN)
    for _ in range(draw(st.integers(1, 3))):
        section = draw(st.sampled_from(sorted(SECTIONS)))
        run[section][draw(st.sampled_from([*SECTIONS[section], "preset"]))] = draw(VALUES)
    return yaml.safe_dump(run).encode()


@fuzz
@given(content=run_files() | edited([RUN], YAML_WORDS) | st.binary(max_size=40))
def test_any_bytes_are_a_run_or_one_sentence(content, tmp_path):
    (tmp_path / "run.yaml").write_bytes(content)
    attempt(RunConfig.read, tmp_path / "run.yaml")


DTYPES = st.sampled_from([torch.float32, torch.float64, torch.int64, torch.bool, torch.bfloat16, torch.uint8])
CODE = st.sampled_from(["os:system", ":", "multiace.cli:main"])


@st.composite
def model_files(draw):
    """A model file with other values in its header, other tensors, or other bytes."""
    model = draw(st.sampled_from(sorted(FROZEN.glob("*.safetensors")))).read_bytes()
    size = int.from_bytes(model[:8], "little")
    header = json.loads(json.loads(model[8 : 8 + size])["__metadata__"]["multiace"])
    tensors = load(model)
    for _ in range(draw(st.integers(0, 3))):
        match draw(st.sampled_from(["config", "metadata", "header", "tensor", "missing"])):
            case "config":
                header["config"][draw(st.sampled_from(list(ModelConfig.model_fields)))] = draw(VALUES | CODE)
            case "metadata":
                header["metadata"][draw(st.sampled_from(["metrics", "provenance"]))] = draw(VALUES)
            case "header":
                header["units"] = header["multiace"] = draw(VALUES)
            case "tensor":
                shape = draw(st.lists(st.integers(0, 4), max_size=3))
                tensors[draw(st.sampled_from(sorted(tensors)))] = torch.zeros(shape, dtype=draw(DTYPES))
            case "missing":
                del tensors[draw(st.sampled_from(sorted(tensors)))]
    content = bytearray(save(tensors, {"multiace": json.dumps(header)}))
    for _ in range(draw(st.integers(0, 2))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.sampled_from((None, None, None, 4, len(content) - 1)))])


@fuzz
@given(content=model_files() | st.binary(max_size=40))
def test_any_bytes_are_a_model_or_one_sentence(content, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    attempt(inherited, str(path), {})
    potential = attempt(Potential.load, path)
    if potential is not None:
        model_facts(potential)
        config_table(potential.config)
        error_table(potential.metadata.get("metrics", {}))
        attempt(training_keys, potential)
