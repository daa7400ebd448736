"""What MkDocs needs beyond Markdown: parts of pages that are generated from the code, equations as MathML.

A line ``{{ name argument }}`` of a page is replaced by what ``PARTS[name](argument)`` returns.
"""

from __future__ import annotations

import ast
import html
import inspect
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import latex2mathml.converter

sys.path.insert(0, str(Path(__file__).parent))

import itertools

from docstrings import equations, one_line, to_markdown

from multiace.basis import radial as basis_radial
from multiace.basis import spline
from multiace.battery import BATTERIES, Battery
from multiace.battery.config import CostConfig, CurveConfig, DimersConfig, DynamicsConfig, SetConfig
from multiace.config import Config
from multiace.data.config import DataConfig
from multiace.data.download import BOTNET_FOLDERS
from multiace.data.finding import KINDS
from multiace.data.rmd17 import FILES
from multiace.deploy.config import MDConfig, RelaxConfig
from multiace.fields import plain, type_name
from multiace.graph import graph
from multiace.layers import density, embedding, equivariant, product, radial, readout, update
from multiace.model import config as model_config
from multiace.model import multi_ace, potential, presets, zbl
from multiace.model.config import OPEN_TABLES, TABLES, ModelConfig
from multiace.model.idle import BESIDE
from multiace.model.presets import PRESETS
from multiace.train import loss, optimizer, schedule
from multiace.train.config import TrainConfig
from multiace.verify.checks import CHECKS, SLOW

ROOT = Path(__file__).parents[1]
CONFIGS: tuple[type[Config], ...] = (
    *(ModelConfig, DataConfig, TrainConfig, MDConfig, RelaxConfig),
    *(Battery, SetConfig, CurveConfig, DimersConfig, DynamicsConfig, CostConfig),
)
SECTIONS: dict[str, type[Config]] = {config.section(): config for config in CONFIGS}


@dataclass(frozen=True)
class Axis:
    """One heading of the design space.

    Attributes:
        title: The heading.
        fields: Fields of ModelConfig.
        source: What implements it; its docstring has the equation.
        text: What else there is to say.
        choices: One line for each choice that has no docstring; ``field.choice`` where choices share a name.
        equation: Instead of those in the docstring; "" for none.
    """

    title: str
    fields: tuple[str, ...]
    source: Any
    text: str = ""
    choices: dict[str, str] = field(default_factory=dict)
    equation: str | None = None


AXES = (
    Axis("Elements and cutoff", ("elements", "cutoff"), graph.Graph, "Atoms closer than r_c are neighbours."),
    Axis("Angular part", ("l_max",), multi_ace.SphericalHarmonics, "Directions of the neighbours."),
    Axis(
        "Features and layers",
        ("hidden_irreps", "num_layers"),
        multi_ace.MultiACE,
        "Irreps are written as in e3nn: `32x0e + 16x1o` is 32 scalars and 16 vectors. Multiplicities may "
        "differ, except where there are products of A.",
    ),
    Axis(
        "One-particle basis and density",
        ("channel_coupling", "neighbor_norm"),
        density.ChannelwiseDensity,
        choices={
            "mean": "λ is the mean number of neighbours in the training set.",
            "sqrt": "λ is its square root.",
            "none": "λ = 1.",
            "learned": "λ is a parameter of each layer that starts at the mean number.",
        },
    ),
    Axis("Radial basis", ("radial_basis", "num_radial", "trainable_radial"), basis_radial),
    Axis("Envelope", ("envelope", "envelope_power"), basis_radial.RadialEmbedding),
    Axis(
        "Two-body term",
        ("pair_num_radial", "pair_envelope"),
        basis_radial.PairedEmbedding,
        "With complete coupling the two-body term may have radial functions of its own ([Linear ACE](ace.md)).",
        equation="",
    ),
    Axis("Distance transform", ("distance_transform",), basis_radial.RadialEmbedding),
    Axis(
        "Splines",
        ("radial_knots",),
        spline.SplinedEmbedding,
        "Radial functions may be read from tables that are kept in the model file: those of imported potentials of "
        "pacemaker are ([Importing](import.md)).",
        equation="",
    ),
    Axis(
        "Radial network",
        (
            *("radial_network", "radial_widths", "radial_activation", "radial_norm"),
            *("radial_species", "radial_bias", "n_max"),
        ),
        radial.RadialNetwork,
        choices={
            "linear": "R is a linear function of the basis.",
            "mlp": "R is an MLP of the basis, with hidden widths `radial_widths`.",
            "radial_network.none": "R is the basis itself, without weights (complete coupling).",
            "radial_norm.none": "Hidden values go into their activation as they are.",
            "radial_norm.layer": "They are normalised before, with learned gain and bias; R is multiplied by f_c.",
            "none": "R depends on the distance only.",
            "sender": "R depends on the element of the sender too.",
            "pair": "R depends on the elements at both ends.",
        },
    ),
    Axis(
        "Normalisation of features",
        ("feature_norm",),
        equivariant.LayerNorm,
        "Each layer's density reads normalised features; the residual and the readouts see h itself. So an atom that "
        "goes away takes its energy along with the envelope, and the energy of an isolated atom is E0 where it is "
        "without (`energy_reference`). But the square root makes an energy that is no polynomial in the edges, so that "
        "it has no body order even where updates and readouts are linear. Where features vanish by symmetry, as "
        "vectors do at the sites of a perfect crystal, small displacements are magnified, up to 1/√ε = 100 times: "
        "force constants there are not those of larger displacements.",
        choices={"none": "Features are read as they are."},
    ),
    Axis("Element embedding", ("element_embedding", "embedding_dim"), embedding.InitialFeatures),
    Axis(
        "Product basis",
        ("correlation", "product_elements", "total_degree", "degree_weight", "products"),
        product.ChannelwiseProduct,
        "With `correlation: 1` and `product_elements: false` the message is A itself, exactly. With "
        "`channel_coupling: full` products mix all channels; with `complete` each product of one-particle functions "
        "within `total_degree`, or of the list `products`, has a coefficient of its own ([Linear ACE](ace.md)).",
    ),
    Axis(
        "Self-connection",
        ("first_self_connection", "self_connection"),
        update.Layer,
        choices={
            "none": "Only the message.",
            "selector": "A is mapped by a matrix of the receiver's element; an isolated atom keeps h = 0.",
            "residual": "The old features, mapped by a matrix of the element, are added to the message.",
        },
    ),
    Axis(
        "Nonlinearity of the update",
        ("nonlinearity", "activation", "odd_activation"),
        update.Layer,
        "Body-ordered models have none. Activations are scaled to unit second moment on normal input.",
        equation=r"h_i' = U(m_i)",
    ),
    Axis(
        "Another first layer",
        ("first_layer",),
        update.Layer,
        "The original code's models with two kinds of interaction block need this. It may set: "
        + ", ".join(f"`{name}`" for name in model_config.FIRST_LAYER_FIELDS)
        + ".",
        equation="",
    ),
    Axis(
        "Readout",
        ("readout", "readout_function", "readout_width", "readout_activation", "readout_exponents"),
        readout.Readout,
        choices={
            "mlp": "An MLP of the invariants, linear with `readout_width: 0`.",
            "last": "The last layer alone.",
            "every": "Every layer: linear readouts, and the MLP on the last one.",
        },
    ),
    Axis(
        "Energy reference, scale, shift",
        ("energy_reference", "isolated_energies", "scale", "shift"),
        potential.Potential,
        choices={
            "isolated": "E0 is the energy of the isolated atom in the training data.",
            "given": "E0 is what `isolated_energies` says.",
            "least_squares": "E0 minimises Σ (E - Σ_z n_z E0_z)² over the training set.",
            "energy_reference.mean": "E0 is the mean energy per atom, for every element.",
            "rms_force": "Root mean square force component of the training set.",
            "std": "Standard deviation of (E - ΣE0)/N.",
            "energy_reference.none": "E0 = 0: the network learns total energies.",
            "scale.none": "1 eV.",
            "shift.mean": "Mean of (E - ΣE0)/N over the training set.",
            "shift.none": "0.",
        },
    ),
    Axis("Short-range repulsion", ("zbl",), zbl.ZBL),
    Axis(
        "Precision",
        ("dtype",),
        potential.Potential,
        "Edge vectors, E0 and sums of energies are float64 whatever this says. A model trained in float32 can be "
        "loaded in float64, for exact comparisons and long trajectories at constant energy.",
        equation="",
    ),
)
"""The design space in the order of the computation; every field of ModelConfig is in one axis (tested)."""

ACTIVATIONS = {
    "silu": "x / (1 + e⁻ˣ).",
    "gelu": "x Φ(x), with the normal distribution function Φ.",
    "tanh": "tanh x.",
    "relu": "max(0, x); its derivative jumps, and with it the forces.",
    "abs": "|x|; its derivative jumps, and with it the forces.",
    "softsign": "x / (1 + |x|).",
}


# --- parts ---------------------------------------------------------------------------------------------


def axes(_: str) -> str:
    """Return every axis: equation, fields, choices, file."""
    return "\n\n".join(describe(axis) for axis in AXES)


def describe(axis: Axis) -> str:
    """Return one axis as Markdown."""
    parts = [f"## {axis.title}"]
    if axis.text:
        parts.append(axis.text)
    found = equations(inspect.getdoc(axis.source) or "") if axis.equation is None else [axis.equation]
    parts += [f"$$\n{equation}\n$$" for equation in found if equation]
    parts.append(field_table(ModelConfig, axis.fields))
    told: dict[int, str] = {}
    for name in axis.fields:
        if name in TABLES and id(TABLES[name]) not in told:
            told[id(TABLES[name])] = name
            parts.append(choices_of(axis, name))
    parts.append(f"Code: {file_link(axis.source)}")
    return "\n\n".join(parts)


def choices_of(axis: Axis, name: str) -> str:
    """Return the choices of one field, one line each, with their equations."""
    first = next(field for field in TABLES if TABLES[field] is TABLES[name])
    if first not in axis.fields:
        own = " and your own" if name in OPEN_TABLES else ""
        return (
            f"Choices of `{name}`: "
            + ", ".join(f"`{choice}`" for choice in TABLES[name])
            + f"{own}, as above."
        )
    lines = [f"Choices of `{name}`:\n"]
    for choice in TABLES[name]:
        lines.append(f"- `{choice}`: {sentence_of(axis, name, choice)}")
        target = TABLES[name][choice] if isinstance(TABLES[name], dict) else None
        if documented(target) and target is not axis.source:
            lines += [
                f"\n    $$\n    {equation}\n    $$\n" for equation in equations(inspect.getdoc(target) or "")
            ]
    if name in OPEN_TABLES:
        lines.append("- `package.module:Name`: [your own](adding-a-choice.md).")
    return "\n".join(lines)


def sentence_of(axis: Axis, name: str, choice: str) -> str:
    """Return one line about a choice: from this file, or the first of its docstring.

    Raises:
        KeyError: If nothing says what the choice is.
    """
    for key in (f"{name}.{choice}", choice):
        if key in axis.choices:
            return axis.choices[key]
    target = TABLES[name][choice] if isinstance(TABLES[name], dict) else None
    if documented(target):
        return to_markdown(one_line((inspect.getdoc(target) or "").split("\n\n")[0]))
    if choice in ACTIVATIONS:
        return ACTIVATIONS[choice]
    if choice == "norm":
        return to_markdown(one_line((inspect.getdoc(update.NormActivation) or "").split("\n\n")[0]))
    raise KeyError(f"docs/hooks.py says nothing about {name}: {choice}")


def documented(target: Any) -> bool:
    """Whether this is a class or function of multiace with a docstring of its own."""
    own = str(getattr(target, "__module__", "")).startswith("multiace")
    return own and bool(inspect.getdoc(target)) and getattr(target, "__name__", "<lambda>") != "<lambda>"


def file_link(target: Any) -> str:
    """Return the path of the file that defines something."""
    return f"`{Path(inspect.getsourcefile(target) or '').resolve().relative_to(ROOT)}`"


def field_table(config: type[Config], names: tuple[str, ...]) -> str:
    """Return name, default, type and meaning of fields."""
    rows = ["| field | default | type | meaning |", "|---|---|---|---|"]
    for name in names:
        info = config.model_fields[name]
        default = (
            "required" if info.is_required() else f"`{plain(info.get_default(call_default_factory=True))}`"
        )
        kind = "choice" if config is ModelConfig and name in TABLES else type_name(info.annotation)
        rows.append(f"| `{name}` | {default} | {kind} | {escape(info.description or '')} |")
    return "\n".join(rows)


def escape(text: str) -> str:
    """Make a description safe inside a table."""
    return text.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")


def fields_of(section: str) -> str:
    """Return all fields of a section of a run file or battery file."""
    return field_table(SECTIONS[section], tuple(SECTIONS[section].model_fields))


def table_of(name: str) -> str:
    """Return the choices of a table of the training section with their first docstring lines."""
    tables = {"loss": loss.LOSSES, "schedule": schedule.SCHEDULES, "optimizer": optimizer.OPTIMIZERS}
    rows = ["| choice | what |", "|---|---|"]
    for choice, target in tables[name].items():
        text = (
            OPTIMIZER_TEXT[choice]
            if name == "optimizer"
            else to_markdown(inspect.getdoc(target) or "").split("\n\n")[0]
        )
        rows.append(f"| `{choice}` | {one_line(text.removeprefix('Return '))} |")
    return "\n".join(rows)


OPTIMIZER_TEXT = {
    "adam": "Adam.",
    "amsgrad": "Adam with AMSGrad.",
    "adamw": "Adam with decoupled weight decay.",
}


def presets_of(size: str) -> str:
    """Return the presets of one size side by side; fields in which all agree are listed below the table."""
    small = size == "small"
    chosen = {name: config for name, config in PRESETS.items() if name.endswith("-small") == small}
    values = {
        name: {field: plain(getattr(config, field)) for field in ModelConfig.model_fields}
        for name, config in chosen.items()
    }
    rows = [
        "| field | " + " | ".join(f"`{name}`" for name in chosen) + " |",
        "|---" * (1 + len(chosen)) + "|",
    ]
    same = []
    for field_name in ModelConfig.model_fields:
        row = [values[name][field_name] for name in chosen]
        if len(set(row)) == 1:
            same.append(f"`{field_name}: {row[0]}`")
        else:
            rows.append(f"| `{field_name}` | " + " | ".join(row) + " |")
    return "\n".join(rows) + "\n\nThe same in all of them: " + ", ".join(same) + "."


def preset_sources(_: str) -> str:
    """Return the docstrings that stand under the presets in their file: where the numbers come from."""
    body = ast.parse(inspect.getsource(presets)).body
    lines = []
    for statement, text in itertools.pairwise(body):
        target = statement.targets[0] if isinstance(statement, ast.Assign) else None
        if (
            isinstance(target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            lines.append(f"- `{target.id.lower()}`: {one_line(str(text.value.value))}")
    return "\n".join(lines)


def idle_of(_: str) -> str:
    """Return the fields that have no effect beside another one."""
    rows = ["| field | has no effect with |", "|---|---|"]
    for field_name, other, values, _instead in BESIDE:
        rows.append(f"| `{field_name}` | " + " or ".join(f"`{other}: {value}`" for value in values) + " |")
    return "\n".join(rows)


def data_sets(_: str) -> str:
    """Return the files of the public data sets."""
    rows = ["| name | files |", "|---|---|"]
    for name, (_folder, files) in BOTNET_FOLDERS.items():
        rows.append(
            f"| `{name}` | " + ", ".join(f"`{file}`" for file in files if file.endswith(".xyz")) + " |"
        )
    rows.append("| `rmd17` | " + ", ".join(f"`{file}`" for file in FILES[:2]) + ", ... (ten molecules) |")
    return "\n".join(rows)


def file_of(path: str) -> str:
    """Return a file of the repository as a block of code."""
    return f'```python title="{path}"\n{(ROOT / path).read_text(encoding="utf-8")}```'


def result_of(name: str) -> str:
    """Return a row of the benchmarks, if it has been measured: its table and its figure."""
    path = ROOT / "docs/benchmarks" / name
    if not path.with_suffix(".md").exists():
        return f"Not measured yet: `python benchmarks/run.py {name} --out docs/benchmarks`."
    figure = f"\n![{name}](benchmarks/{name}.svg)\n" if path.with_suffix(".svg").exists() else ""
    return path.with_suffix(".md").read_text(encoding="utf-8") + figure


def findings_of(severity: str) -> str:
    """Return the kinds of findings of a data check with this severity."""
    rows = ["| kind | what |", "|---|---|"]
    rows += [f"| `{code}` | {kind.meaning} |" for code, kind in KINDS.items() if kind.severity == severity]
    return "\n".join(rows)


def checks_of(_: str) -> str:
    """Return the checks of ``multiace verify``, and the first paragraph of what each says about itself."""
    rows = ["| check | what |", "|---|---|"]
    for name, check in CHECKS.items():
        text = one_line(inspect.getdoc(check) or "").replace("|", "\\|")
        rows.append(f"| {name}{' (not with `--quick`)' if name in SLOW else ''} | {text} |")
    return "\n".join(rows)


def batteries_of(_: str) -> str:
    """Return the entries of the built-in batteries."""
    rows = ["| battery | part | name | file | what |", "|---|---|---|---|---|"]
    for name, battery in BATTERIES.items():
        for part, entries in (
            ("sets", battery.sets),
            ("curves", battery.curves),
            ("dynamics", battery.dynamics),
        ):
            for entry, config in entries.items():
                given = config.model_dump(exclude={"file"}, exclude_defaults=True)
                what = ", ".join(f"`{field}: {plain(value)}`" for field, value in given.items())
                rows.append(f"| `{name}` | {part} | {entry} | `{config.file}` | {what} |")
    return "\n".join(rows)


PARTS = {
    "axes": axes,
    "batteries": batteries_of,
    "checks": checks_of,
    "data-sets": data_sets,
    "fields": fields_of,
    "file": file_of,
    "findings": findings_of,
    "idle": idle_of,
    "preset-sources": preset_sources,
    "presets": presets_of,
    "result": result_of,
    "table": table_of,
}


# --- what MkDocs calls ---------------------------------------------------------------------------------


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the generated parts in."""
    return re.sub(
        r"^\{\{ *([\w-]+) *([\w./-]*) *\}\}$",
        lambda match: PARTS[match[1]](match[2]),
        markdown,
        flags=re.MULTILINE,
    )


def on_page_content(content: str, **_: Any) -> str:
    """Turn LaTeX into MathML, which browsers show without a script."""
    content = re.sub(
        r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', display_math, content, flags=re.DOTALL
    )
    return re.sub(r'<span class="arithmatex">\\\((.*?)\\\)</span>', inline_math, content, flags=re.DOTALL)


def display_math(match: re.Match[str]) -> str:
    """Return a displayed equation."""
    return latex2mathml.converter.convert(html.unescape(match[1]), display="block")


def inline_math(match: re.Match[str]) -> str:
    """Return an equation within a line."""
    return latex2mathml.converter.convert(html.unescape(match[1]))
