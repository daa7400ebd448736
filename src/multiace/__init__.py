"""multiace: machine-learning interatomic potentials as one design space.

======================  ===================================================================================
:func:`load`            read a model file: ``load("model.safetensors") -> Potential``
:func:`fit`             train: ``fit(RunConfig.read("run.yaml"), "runs/first") -> Potential``
:func:`evaluate`        errors and predictions: ``evaluate(potential, "test.xyz") -> Evaluation``
:class:`Calculator`     a potential in ASE: ``atoms.calc = Calculator("model.safetensors")``
:class:`Potential`      energy, forces, stress, contributions of the layers; ``save``
:class:`ModelConfig`    a point of the design space
:class:`RunConfig`      a run file: model, data, train
``PRESETS``             published models, each a :class:`ModelConfig`
:func:`build_graph`     ASE structure -> :class:`Graph`, what a potential is called with
======================  ===================================================================================

Names are imported when they are first used, so that ``import multiace`` itself costs nothing.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from os import PathLike

    from multiace.deploy.ase import Calculator
    from multiace.evaluation import evaluate
    from multiace.graph.graph import Graph
    from multiace.graph.neighbors import build_graph
    from multiace.model.config import ModelConfig
    from multiace.model.potential import Potential
    from multiace.model.presets import PRESETS
    from multiace.train.config import RunConfig
    from multiace.train.loop import fit

__version__ = version("multiace")

__all__ = [
    "PRESETS",
    "Calculator",
    "Graph",
    "ModelConfig",
    "Potential",
    "RunConfig",
    "__version__",
    "build_graph",
    "evaluate",
    "fit",
    "load",
]

_HOMES = {
    "PRESETS": "multiace.model.presets",
    "Calculator": "multiace.deploy.ase",
    "Graph": "multiace.graph.graph",
    "ModelConfig": "multiace.model.config",
    "Potential": "multiace.model.potential",
    "RunConfig": "multiace.train.config",
    "build_graph": "multiace.graph.neighbors",
    "evaluate": "multiace.evaluation",
    "fit": "multiace.train.loop",
}


def load(
    path: "str | PathLike[str]",
    device: str | None = None,
    dtype: str | None = None,
    outside_code: bool = False,
) -> "Potential":
    """Read a model file; see :meth:`Potential.load <multiace.model.potential.Potential.load>`."""
    from multiace.model.potential import Potential

    return Potential.load(path, device, dtype, outside_code)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'multiace' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
