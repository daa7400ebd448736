"""The command that tests a model: its errors on files, or a whole battery."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from multiace.cli.common import advance, check_outputs, console, load
from multiace.cli.parser import Commands, add_command, add_fields, add_model, as_options, read_fields
from multiace.data.config import LabelKeys
from multiace.errors import InputError
from multiace.progress import progress_bar
from multiace.tables import calibration_table, error_table

__all__ = ["add_commands"]

OF_FILES = ("out", "uncertainty")
OF_BATTERIES = ("data", "only", "calculator")
OF_MODELS = ("device", "dtype", "max_edges")


def add_commands(commands: Commands) -> None:
    """Add ``evaluate``."""
    sub = add_command(
        commands, "evaluate", evaluate, "errors of a model on labelled structures, or a battery of tests"
    )
    sub.usage = (
        "multiace evaluate MODEL FILE [FILE ...] [options]\n"
        "       multiace evaluate (MODEL | --calculator MODULE:FACTORY) --battery NAME [options]"
    )
    add_model(sub, nargs="?")
    sub.add_argument("files", nargs="*", metavar="FILE", help="labelled structures, any format of ASE")
    sub.add_argument("--out", help="write reference and predicted values here (extended XYZ)")
    sub.add_argument("--json", help="write the errors, or what the battery found, here")
    sub.add_argument(
        "--uncertainty", action="store_true", help="error bars of the predictions, and how true they are"
    )
    sub.add_argument("--max-edges", type=int, help="edges predicted at once (default: 50000)")
    group = sub.add_argument_group("battery options")
    group.add_argument(
        "--battery",
        metavar="NAME",
        help="sets, curves, dimers, dynamics, cost: acac, ethanol, 3bpa, or a YAML file",
    )
    group.add_argument(
        "--data",
        nargs="+",
        metavar="FOLDER",
        help="where its files are, before data/NAME (or the folder of the YAML file) and $MULTIACE_DATA/NAME",
    )
    group.add_argument(
        "--only", metavar="PARTS", help="only some parts: sets,curves,dimers,dynamics,cost (default: all)"
    )
    group.add_argument(
        "--calculator",
        metavar="MODULE:FACTORY",
        help="test the ASE calculator that this function returns; runs its code",
    )
    add_fields(sub, LabelKeys)


def evaluate(arguments: argparse.Namespace) -> None:
    """Print the errors on files, or what a battery found."""
    check_outputs(arguments.out, arguments.json)
    for option in OF_FILES if arguments.battery else OF_BATTERIES:
        value = getattr(arguments, option)
        if value is not None and value is not False:
            name, goes = option.replace("_", "-"), "without" if arguments.battery else "with"
            raise InputError(f"--{name} goes {goes} --battery: remove one of them.")
    if arguments.battery:
        run_battery(arguments)
    elif not (arguments.model and arguments.files):
        raise InputError(
            "evaluate needs a model and files, evaluate MODEL FILE, or a battery: evaluate MODEL --battery NAME."
        )
    else:
        evaluate_files(arguments)


def run_battery(arguments: argparse.Namespace) -> None:
    """Test a model or a calculator with a battery."""
    from multiace.battery import Battery, run
    from multiace.battery.tables import battery_tables
    from multiace.evaluation import training_keys
    from multiace.verify.choose import make_calculator

    if arguments.files:
        raise InputError(f"{arguments.files[0]}: the battery says which files are used: remove one of them.")
    if bool(arguments.model) == bool(arguments.calculator):
        raise InputError("a battery tests a model file or --calculator module:factory: give one of them.")
    for option in OF_MODELS if arguments.calculator else ():
        if getattr(arguments, option) is not None:
            name = option.replace("_", "-")
            raise InputError(f"--{name} is of models of multiace, not of --calculator: remove one of them.")
    battery = Battery.read(arguments.battery)
    model = make_calculator(arguments.calculator) if arguments.calculator else load(arguments)
    base = battery.labels or (LabelKeys() if arguments.calculator else training_keys(model))
    keys = label_keys(arguments, base)
    bars: dict[str, Any] = {}
    with progress_bar(console()) as bar:

        def show(part: str, done: int, total: int) -> None:
            if part not in bars:
                bars[part] = advance(bar, part)
            bars[part](done, total)

        results = run(
            model,
            battery,
            arguments.data or (),
            [part.strip() for part in arguments.only.split(",")] if arguments.only else (),
            keys,
            show,
            **limit(arguments),
        )
    console().print(battery_tables(results))
    if arguments.json:
        write_json(arguments.json, results)
        print(f"results: {arguments.json}")


def limit(arguments: argparse.Namespace) -> dict[str, int]:
    """Return how many edges are predicted at once, if the command says so."""
    return {} if arguments.max_edges is None else {"max_edges": arguments.max_edges}


def label_keys(arguments: argparse.Namespace, base: LabelKeys) -> LabelKeys | None:
    """Return what the command says of labels, and ``base`` of what it does not; None if it says nothing."""
    given = read_fields(arguments, LabelKeys)
    return base.replace(**LabelKeys(**given).model_dump(exclude_unset=True)) if given else None


def write_json(path: str, content: Any) -> None:
    """Write plain values."""
    import json

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def evaluate_files(arguments: argparse.Namespace) -> None:
    """Print the errors on labelled structures; write predictions and metrics."""
    from multiace.evaluation import evaluate as evaluate_file
    from multiace.evaluation import training_keys, write_metrics, write_predictions

    potential = load(arguments)
    keys = label_keys(arguments, training_keys(potential))
    names = [Path(file).stem for file in arguments.files]
    evaluations = []
    try:
        with progress_bar(console()) as bar:
            for name, file in zip(names, arguments.files, strict=True):
                evaluations.append(
                    evaluate_file(
                        potential,
                        file,
                        name=name if names.count(name) == 1 else file,
                        keys=keys,
                        **limit(arguments),
                        advance=advance(bar, name),
                        uncertainty=arguments.uncertainty,
                    )
                )
    except InputError as error:
        raise InputError(as_options(str(error), LabelKeys)) from None
    unlabelled = [evaluation.unlabelled for evaluation in evaluations]
    if all(unlabelled) and not arguments.out:
        raise InputError(
            f"{'; '.join(unlabelled)}. Say what they are under (--energy-key, --forces-key), or --out FILE for "
            "predictions alone."
        )
    if not all(unlabelled):
        console().print(error_table({evaluation.name: evaluation.metrics for evaluation in evaluations}))
    calibrated = {e.name: e.metrics["calibration"] for e in evaluations if e.metrics.get("calibration")}
    if calibrated:
        console().print(calibration_table(calibrated))
    for evaluation in evaluations:
        if grades := evaluation.metrics.get("extrapolation"):
            share, largest = 100 * grades["above_1"], grades["largest"]
            print(
                f"{evaluation.name}: extrapolation grade above 1 for {share:.1f} % of atoms, at most {largest:.2f}"
            )
    for sentence in filter(None, unlabelled):
        print(f"note: {sentence}: no errors, only predictions")
    if arguments.out:
        write_predictions(evaluations, arguments.out)
        print(f"predictions: {arguments.out}")
    if arguments.json:
        write_metrics(evaluations, arguments.json)
        print(f"metrics: {arguments.json}")
