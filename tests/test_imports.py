"""Imports point one way: each part of the package uses only parts further down."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src/multiace"
LEVELS = (
    ("errors", "progress"),
    ("fields", "files", "machine", "memory"),
    ("config",),
    ("graph", "basis"),
    ("ops",),
    ("layers",),
    ("model",),
    ("data", "deploy"),
    ("verify", "linear", "solve", "calibration"),
    ("train",),
    ("evaluation", "selection", "tables"),
    ("battery", "explanation"),
    ("report",),
    ("study",),
    ("cli",),
    ("__init__", "__main__"),
)
LEVEL = {part: number for number, level in enumerate(LEVELS) for part in level}


def imported_parts(path: Path) -> set[str]:
    """Parts of multiace that a file names in an import statement, wherever that stands."""
    modules: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports"
            modules += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
    return {module.split(".")[1] for module in modules if module.startswith("multiace.")}


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_imports_point_down(path):
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for other in imported_parts(path) - {part}:
        assert LEVEL[other] < LEVEL[part], f"{part} imports {other}"


def test_importing_the_package_is_cheap_and_has_no_side_effects():
    code = (
        "import sys, multiace; assert 'torch' not in sys.modules and 'ase' not in sys.modules;"
        "import torch; assert torch.get_default_dtype() == torch.float32; assert 'PRESETS' in dir(multiace)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("module", "slow"),
    [
        ("multiace.cli", ("torch", "scipy", "ase.io", "matplotlib")),
        ("multiace.train.config", ("lightning_fabric", "torch._dynamo", "scipy", "ase.io")),
    ],
)
def test_help_and_run_files_wait_for_nothing_they_do_not_need(module, slow):
    code = f"import sys, {module}; found = set({slow}) & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_e3nn_is_not_imported():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = (
                    [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
                )
                assert not any(
                    name.split(".")[0] in ("e3nn", "pickle", "dill", "joblib") for name in names
                ), path
