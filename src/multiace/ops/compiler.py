"""Compile generated C once, keep it, load it."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["CompilerError", "compile_c"]

FLAGS = (
    *("-std=gnu11", "-O3", "-march=native", "-fPIC", "-fopenmp"),
    *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-ffp-contract=fast"),
)


PROCESSOR = ("model name", "flags", "Features", "CPU implementer", "CPU part")  # lines of /proc/cpuinfo


class CompilerError(RuntimeError):
    """There is no C compiler, it failed, or its result cannot be loaded."""


@cache
def compile_c(source: str) -> ctypes.CDLL:
    """Compile C source with the system's compiler ($CC, cc, gcc or clang) and load it.

    Libraries are kept in ``$MULTIACE_CACHE``, else ``$XDG_CACHE_HOME/multiace``, under a name made of the
    source, the flags, the compiler and the processor. OpenMP symbols are left to the runtime that PyTorch
    has loaded: a second one in the process would fight it for the cores.

    Raises:
        CompilerError: If there is no compiler, or it fails.
    """
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", ""), "cc", "gcc", "clang"))), None)
    if compiler is None:
        raise CompilerError("no C compiler was found (looked for $CC, cc, gcc, clang)")
    key = hashlib.sha256("\0".join([source, *FLAGS, _identity(compiler)]).encode()).hexdigest()[:24]
    library = cache_folder() / f"{key}.so"
    if library.exists():
        try:
            return ctypes.CDLL(str(library))
        except OSError:  # a damaged file: made anew
            library.unlink(missing_ok=True)
    _build(compiler, source, library)
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:  # such as no OpenMP runtime in the process
        raise CompilerError(f"compiled kernels cannot be loaded: {error}") from error


def cache_folder() -> Path:
    """Where compiled kernels are kept; a temporary folder of this user where the home is not writable."""
    chosen = os.environ.get("MULTIACE_CACHE")
    base = (
        Path(chosen)
        if chosen
        else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "multiace"
    )
    try:
        base.mkdir(parents=True, exist_ok=True)
        if os.access(base, os.W_OK):
            return base
    except OSError:
        pass
    fallback = Path(tempfile.gettempdir()) / f"multiace-{os.getuid()}"
    fallback.mkdir(mode=0o700, exist_ok=True)
    if fallback.stat().st_uid != os.getuid():
        raise CompilerError(f"{fallback} belongs to another user; set MULTIACE_CACHE to a folder of your own")
    return fallback


@cache
def _identity(compiler: str) -> str:
    """Compiler version and processor, since -march=native depends on both."""
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = "\n".join(sorted({line for line in lines if line.startswith(PROCESSOR)}))
    except OSError:
        processor = ""
    return version + processor


def _build(compiler: str, source: str, library: Path) -> None:
    """Compile into the cache; the library appears whole or not at all."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.c"
        path.write_text(source)
        descriptor, partial = tempfile.mkstemp(dir=library.parent, suffix=".part")
        os.close(descriptor)
        # Object first, then link without -fopenmp: GOMP_* stay undefined and resolve to PyTorch's runtime.
        commands = [
            [compiler, *FLAGS, "-c", str(path), "-o", f"{folder}/kernel.o"],
            [compiler, "-shared", f"{folder}/kernel.o", "-o", partial, "-lm"],
        ]
        for command in commands:
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode:
                os.unlink(partial)
                raise CompilerError(f"{' '.join(command)} failed:\n{result.stderr}")
        os.replace(partial, library)
