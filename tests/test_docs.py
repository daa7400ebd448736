"""What README, docs and examples say is true: their code, commands, run files, field names and paths."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import sys
from pathlib import Path

import ase.io
import pytest
import yaml

import multiace
from multiace.battery import Battery
from multiace.battery.config import CostConfig, CurveConfig, DimersConfig, DynamicsConfig, SetConfig
from multiace.cli import build_parser, main
from multiace.data.config import DataConfig
from multiace.deploy.config import MDConfig, RelaxConfig
from multiace.model.config import ModelConfig
from multiace.model.import_botnet import BLOCKS, MODELS, Hyperparameters, import_botnet
from multiace.model.presets import PRESETS
from multiace.study.config import StudyConfig
from multiace.study.plan import plan
from multiace.train.config import RunConfig, TrainConfig

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
MOLECULE = ROOT / "examples/data/malonaldehyde"
SMALL = [
    "model.hidden_irreps=4x0e + 4x1o",
    "model.num_layers=2",
    "model.l_max=1",
    "train.max_epochs=1",
    "train.batch_size=4",
    "train.loggers=[csv]",
]
SECTIONS = {
    "model": ModelConfig,
    "data": DataConfig,
    "train": TrainConfig,
    "md": MDConfig,
    "relax": RelaxConfig,
    "study": StudyConfig,
    **{
        part.section(): part
        for part in (Battery, SetConfig, CurveConfig, DimersConfig, DynamicsConfig, CostConfig)
    },
}
PART = r"^\{\{ *([\w-]+) *([\w./-]*) *\}\}$"
NOT_RUN = ("train", "data", "import", "--help")
LONG = {"--time": "--steps", "--equilibration": None}  # options of md that would take long


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of one language."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """Lines of console blocks that begin with a dollar sign."""
    return [
        line[2:] for block in blocks(page, "console") for line in block.splitlines() if line.startswith("$ ")
    ]


def arguments(command: str) -> list[str]:
    """Arguments of a multiace command, with a short trajectory where it asks for a long one."""
    words = shlex.split(command)[1:]
    if words[0] == "md":
        for option, short in LONG.items():
            if option in words:
                place = words.index(option)
                words[place : place + 2] = [short, "4"] if short else []
    return words


def name(path: Path) -> str:
    return path.name


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder as the pages assume it: data files, a run file, and a finished run."""
    folder = tmp_path_factory.mktemp("docs")
    frames = ase.io.read(MOLECULE / "train_300K.xyz", ":12")
    ase.io.write(folder / "train.xyz", frames)
    ase.io.write(folder / "test.xyz", ase.io.read(MOLECULE / "test_300K.xyz", ":4"))
    ase.io.write(folder / "start.xyz", ase.io.read(MOLECULE / "test_300K.xyz", 0))
    shutil.copy(MOLECULE / "scan_proton_transfer.xyz", folder / "scan.xyz")
    shutil.copy(MOLECULE / "isolated_atoms.xyz", folder / "isolated.xyz")
    (folder / "mine.yaml").write_text(blocks(ROOT / "docs/battery.md", "yaml")[0])
    run = blocks(ROOT / "README.md", "yaml")[0]
    (folder / "full.yaml").write_text(run)
    multiace.fit(RunConfig.read(folder / "full.yaml", SMALL), folder / "runs/first")
    small = yaml.safe_load((folder / "runs/first/config.yaml").read_text())
    for section in ("train", "test"):
        small["data"][section] = [Path(path).name for path in small["data"][section]]
    (folder / "run.yaml").write_text(yaml.safe_dump(small))
    shutil.copytree(folder / "runs/first", folder / "runs/run")
    return folder


@pytest.fixture
def folder(trained, tmp_path, monkeypatch):
    """A copy of that folder as the working directory; examples can be imported."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name)
def test_python_blocks_run(page, folder):
    namespace: dict = {}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "console")], ids=name)
def test_commands_run(page, folder, capsys):
    for command in commands(page):
        if not command.startswith("multiace "):
            continue
        build_parser().parse_args(shlex.split(command)[1:])
        if shlex.split(command)[1] in NOT_RUN:
            continue
        if command.startswith("multiace report") and "--md" in command:
            main(["md", "runs/first", "start.xyz", "--steps", "40"])
        status = main(arguments(command))
        judging = command.startswith(("multiace relax", "multiace verify"))
        assert status in ((0, 1) if judging else (0,)), f"{command}\n{capsys.readouterr().err}"


def test_train_command_of_the_readme_runs(folder, capsys):
    command = next(line for line in commands(ROOT / "README.md") if line.startswith("multiace train"))
    assert main([*shlex.split(command)[1:], "--folder", "runs/new"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("model.safetensors")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    text = page.read_text(encoding="utf-8")
    lines = [line[5:].split() for line in commands(page) if line.startswith("make ")]
    named = {word for line in lines for word in line} | set(re.findall(r"`make (\w+)`", text))
    assert named <= targets


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "yaml")], ids=name)
def test_run_files_are_valid(page, folder):
    for number, block in enumerate(blocks(page, "yaml")):
        path = folder / f"{number}.yaml"
        path.write_text(block)
        content = yaml.safe_load(block)
        if "axes" in content:
            assert len(plan(StudyConfig.read(path)).points) > 1
        elif "curves" in content:
            assert Battery.read(path).curves
        else:
            RunConfig.read(path)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_fields_that_are_named_exist(page):
    text = page.read_text(encoding="utf-8")
    others = {"xyz", "py", "safetensors", "yaml", "csv", "json", "md", "npz", "log", "preset"}
    for section, field in re.findall(r"(?<![\w./])(model|data|train|md|relax)\.([a-z]\w*)\b", text):
        assert field in {*SECTIONS[section].model_fields, *others}, f"{section}.{field}"
    everything = {field for config in SECTIONS.values() for field in config.model_fields} | {"preset"}
    for field, _ in re.findall(r"`([a-z]\w+): ([^`]*)`", text):
        assert field in everything, field


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_paths_and_names_exist(page):
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:src|docs|examples|tests|benchmarks)/[\w./-]*)`", text):
        assert (ROOT / path).exists(), path
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (page.parent / target).exists(), target
    for dotted in re.findall(r"`(multiace(?:\.\w+)+)`|^::: (\S+)$", text, flags=re.MULTILINE):
        module, _, attribute = "".join(dotted).rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), dotted


def test_readme_names_all_presets_and_public_names():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for preset in PRESETS:
        assert f"`{preset.removesuffix('-small')}`" in text, preset
    for public in multiace.__all__:
        assert public.startswith("__") or f"`{public}`" in text, public
    for example in (ROOT / "examples").glob("[0-9]*.py"):
        assert f"`examples/{example.name}`" in text, example


def test_import_page_names_all_blocks_models_and_keys():
    text = (ROOT / "docs/import.md").read_text(encoding="utf-8")
    assert all(f"`{known}`" in text for known in [*BLOCKS, *MODELS, *Hyperparameters.model_fields])


def test_export_of_the_import_page_writes_what_the_importer_reads(tmp_path, monkeypatch):
    pytest.importorskip("e3nn")
    from tests.model.botnet_original import Original
    from tests.model.test_import_botnet import HYPER

    monkeypatch.setenv("MULTIACE_OPS", "reference")
    namespace: dict = {}
    exec(blocks(ROOT / "docs/import.md", "python")[0], namespace)
    namespace["export"](Original(HYPER), HYPER, str(tmp_path / "model"))
    potential = import_botnet(tmp_path / "model.json", tmp_path / "model.npz")
    assert potential.config.num_layers == HYPER["num_interactions"]


@pytest.mark.parametrize("preset", PRESETS)
def test_pages_say_which_presets_keep_isolated_atoms(preset):
    """Data and Presets name ace, ace-fs and botnet-e0 as exact, and nequip, schnet and painn as residual."""
    config = PRESETS[preset]
    kind = preset.removesuffix("-small")
    assert (config.shift == "none") == (kind in ("ace", "ace-fs", "ace-tensor-reduced", "botnet-e0"))
    residual = config.first_self_connection == "residual"
    assert residual == (kind in ("nequip", "nequip-linear", "schnet", "painn"))


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text().partition("nav:")[2].partition("hooks:")[0]
    assert {page.name for page in (ROOT / "docs").glob("*.md")} == set(
        re.findall(r"([\w-]+\.md)", navigation)
    )


@pytest.fixture
def hooks(monkeypatch):
    """The code that makes parts of the pages; needs the packages of the documentation."""
    pytest.importorskip("latex2mathml")
    pytest.importorskip("griffe")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    yield importlib.import_module("hooks")
    for module in ("hooks", "docstrings"):
        sys.modules.pop(module, None)


def test_every_field_of_the_model_is_on_one_axis(hooks):
    fields = [field for axis in hooks.AXES for field in axis.fields]
    assert sorted(fields) == sorted(ModelConfig.model_fields)


def test_generated_parts_name_every_choice_and_preset(hooks):
    axes = hooks.axes("")
    for table in hooks.TABLES.values():
        assert all(f"`{choice}`" in axes for choice in table)
    assert all(f"`{preset}`" in hooks.presets_of("full") + hooks.presets_of("small") for preset in PRESETS)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_generated_parts_exist(page, hooks):
    for part, argument in re.findall(PART, page.read_text(), flags=re.MULTILINE):
        assert hooks.PARTS[part](argument)


def test_docstrings_become_markdown(hooks):
    equation = ".. math:: a = b,\n\n          c = d\n\n"
    table = "=====  =====\nx      one\n       two\n=====  =====\n"
    text = f"{equation}See :class:`~x.Y`.\n\n{table}"
    markdown = sys.modules["docstrings"].to_markdown(text)
    assert "$$\na = b, c = d\n$$" in markdown
    assert "See `Y`." in markdown
    assert "| x | one two |" in markdown
