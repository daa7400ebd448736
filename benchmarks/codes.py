"""The codes that are measured: their environments, and their processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from peers import ANSWER

__all__ = ["CODES", "Code", "Process"]

HERE = Path(__file__).parent
PLACE = HERE / ".envs"
PACKAGES = {
    "nequip": ["nequip==0.19.1"],
    "mace": ["mace-torch==0.3.16"],
    "mace-cueq": [
        *("mace-torch==0.3.16", "cuequivariance-torch==0.9.1", "cuequivariance-ops-torch-cu12==0.9.1")
    ],
}
"""What each environment holds, beside PyTorch of the version in constraints.txt. mace-torch brings e3nn 0.4.4."""


@dataclass(frozen=True)
class Code:
    """One code: its script in ``peers``, its environment (None: this one), and what its models are like."""

    script: str
    environment: str | None = None
    family: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


CODES = {
    "multiace": Code("multiace"),
    "nequip": Code("nequip", "nequip", "nequip"),
    "nequip-compiled": Code("nequip", "nequip", "nequip", {"compiled": True}),
    "botnet": Code("botnet", "mace", "botnet"),
    "mace": Code("mace", "mace", "mace"),
    "mace-cueq": Code("mace", "mace-cueq", "mace", {"cuequivariance": True}),
}
"""Every code by name."""


def python(environment: str | None) -> str:
    """Return the interpreter of an environment, which is made first if it is not there or not complete."""
    if environment is None:
        return sys.executable
    folder, packages = PLACE / environment, PACKAGES[environment]
    interpreter, mark = folder / "bin/python", folder / "complete"
    if mark.exists() and mark.read_text().split() == packages:
        return str(interpreter)
    print(f"installing {' '.join(packages)} into {folder}", file=sys.stderr)
    venv.create(folder, with_pip=True)
    pins = (HERE.parent / "constraints.txt").read_text().splitlines()
    torch = next(line for line in pins if line.startswith("torch=="))
    constraint = folder / "constraints.txt"
    constraint.write_text(torch + "\n")
    # PyTorch by itself first: a machine without a GPU must get the CPU build.
    for wanted in ([torch], packages):
        command = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*command, "--constraint", constraint, *wanted], check=True)
    mark.write_text("\n".join(packages))
    return str(interpreter)


class Process:
    """A live process of one code, which answers one command at a time.

    Args:
        name: One of ``CODES``.
        threads: Threads it may use.
        log: Where its stderr goes.
        variables: Further environment variables.

    Raises:
        RuntimeError: If it fails to answer; says what its log ends with.
    """

    def __init__(self, name: str, threads: int, log: Path, variables: dict[str, str] | None = None) -> None:
        code = CODES[name]
        self.name, self.log = name, log
        environment = {
            **os.environ,
            **{variable: str(threads) for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")},
            "TORCHINDUCTOR_CACHE_DIR": str(PLACE / "inductor"),
            **(variables or {}),
        }
        with log.open("w") as stderr:
            self.process = subprocess.Popen(
                [python(code.environment), "-m", f"peers.{code.script}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=HERE,
                env=environment,
            )

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send a command and wait for the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the log says why
        lines = (line for line in self.process.stdout if line.startswith(ANSWER))
        line = next(lines, "").removeprefix(ANSWER)
        answer = json.loads(line) if line else {"error": f"the process ended ({self.process.wait()})"}
        if "error" in answer:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
            raise RuntimeError(f"{self.name}: {do}: {answer['error']}\n{tail}\n(all of it: {self.log})")
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait()
