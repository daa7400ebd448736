"""Which implementation runs, and what is said where the fast one cannot."""

import warnings

import pytest
import torch

from multiace import ops
from multiace.basis.irreps import Irreps
from multiace.ops import compiler, cpu, reference
from multiace.ops.compiler import CompilerError

IRREPS = Irreps.parse("2x0e + 2x1o")
OPERANDS = (torch.ones(3, 8), torch.ones(1, 8), None, IRREPS, IRREPS)


@pytest.fixture
def fresh():
    """Forget what was found out about the compiler, before and after."""
    ops._compiles.cache_clear()
    yield
    ops._compiles.cache_clear()


@pytest.fixture
def called(monkeypatch):
    names = []
    monkeypatch.setattr(cpu, "linear", lambda *_: names.append("cpu"))
    monkeypatch.setattr(reference, "linear", lambda *_: names.append("reference"))
    return names


def test_without_a_compiler_the_definitions_run_and_one_warning_says_so(fresh, called, monkeypatch):
    monkeypatch.delenv("MULTIACE_OPS", raising=False)

    def missing():
        raise CompilerError("no C compiler was found")

    monkeypatch.setattr(cpu, "check_compiler", missing)
    with pytest.warns(UserWarning, match="no C compiler was found"):
        ops.linear(*OPERANDS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ops.linear(*OPERANDS)
    assert called == ["reference", "reference"]


def test_environment_selects_the_definitions(fresh, called, monkeypatch):
    monkeypatch.setenv("MULTIACE_OPS", "reference")
    ops.linear(*OPERANDS)
    monkeypatch.delenv("MULTIACE_OPS")
    ops.linear(*OPERANDS)
    assert called == ["reference", "cpu"]


def test_no_compiler_is_found_on_an_empty_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(CompilerError, match="no C compiler"):
        compiler.compile_c("int unique_to_this_test_1(void) { return 1; }")


def test_source_that_does_not_compile_says_what_the_compiler_said(monkeypatch, tmp_path):
    monkeypatch.setenv("MULTIACE_CACHE", str(tmp_path))
    with pytest.raises(CompilerError, match="error"):
        compiler.compile_c("int broken(void) { return }")
    assert not list(tmp_path.iterdir())


def test_libraries_are_kept_in_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("MULTIACE_CACHE", str(tmp_path / "kernels"))
    library = compiler.compile_c("int unique_to_this_test_2(void) { return 2; }")
    assert library.unique_to_this_test_2() == 2
    assert [path.suffix for path in (tmp_path / "kernels").iterdir()] == [".so"]


def test_an_unusable_cache_folder_is_replaced_by_a_temporary_one(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("MULTIACE_CACHE", str(blocked))
    monkeypatch.setattr(compiler.tempfile, "gettempdir", lambda: str(tmp_path))
    assert compiler.cache_folder().parent == tmp_path
