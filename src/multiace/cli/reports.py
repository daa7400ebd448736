"""Commands that look a model or a run over."""

from __future__ import annotations

import argparse
from pathlib import Path

from multiace.cli.common import advance, check_outputs, console, load
from multiace.cli.parser import Commands, add_command, add_model, add_outside_code
from multiace.progress import progress_bar
from multiace.tables import verification_table

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Add ``verify`` and ``report``."""
    sub = add_command(
        commands, "verify", verify, "physics of a trained model, or of any ASE calculator: a table of checks"
    )
    sub.usage = "multiace verify (MODEL | --calculator MODULE:FACTORY) [STRUCTURES ...] [options]"
    add_model(sub, nargs="?")
    sub.add_argument(
        "structures",
        nargs="*",
        metavar="STRUCTURES",
        help="files, any format of ASE (default: verified.xyz of the run folder, from its training set; else built)",
    )
    sub.add_argument(
        "--calculator", metavar="MODULE:FACTORY", help="verify what this function returns; runs its code"
    )
    sub.add_argument("--elements", help="calculator without STRUCTURES: build some of these, such as Cu,Au")
    sub.add_argument("--cutoff", type=float, help="calculator: cutoff of a pair [Å] (default: searched for)")
    sub.add_argument(
        "--distance",
        type=float,
        default=20.0,
        help="calculator: where atoms have no effect [Å] (default: 20)",
    )
    sub.add_argument(
        "--temperature", type=float, default=1000.0, help="of the hot dynamics [K] (default: 1000)"
    )
    sub.add_argument("--seed", type=int, default=0, help="of all random numbers (default: 0)")
    sub.add_argument("--quick", action="store_true", help="leave out molecular dynamics")
    sub.add_argument("--check", action="append", metavar="NAME", help="only this check; may be repeated")
    sub.add_argument("--json", help="write the report here")

    sub = add_command(
        commands, "report", report, "one HTML file about a run: errors, parity, curves, scan, dynamics"
    )
    sub.add_argument("folder", help="run folder")
    sub.add_argument("--test", nargs="+", metavar="FILE", help="test sets (default: data.test of the run)")
    sub.add_argument("--scan", help="labelled structures along a path")
    sub.add_argument(
        "--coordinate",
        default="reaction_coordinate",
        help="where structures are on the path: an info key, or 'distance 2 8', 'dihedral 0 1 2 3', ...",
    )
    sub.add_argument("--md", help="log of multiace md (CSV)")
    sub.add_argument("--out", help="report file (default: report.html in the run folder)")
    add_outside_code(sub)


def verify(arguments: argparse.Namespace) -> int:
    """Check the physics of a model or of any ASE calculator."""
    import json

    from multiace.verify.checks import verify as run_checks
    from multiace.verify.choose import choose_subject

    potential = None if arguments.calculator or not arguments.model else load(arguments)
    subject, source = choose_subject(potential, vars(arguments))
    with progress_bar(console()) as bar:
        report = run_checks(
            subject, source, arguments.quick, arguments.check or (), advance(bar, "verifying")
        )
    content = report.to_dict()
    console().print(verification_table(content))
    print(report)
    if arguments.json:
        Path(arguments.json).write_text(
            json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        print(f"report: {arguments.json}")
    return 1 if report.failed else 0


def report(arguments: argparse.Namespace) -> None:
    """Write the HTML report of a run."""
    from multiace.report.build import write_report

    check_outputs(arguments.out)
    path = write_report(
        arguments.folder,
        tests=arguments.test,
        scan=arguments.scan,
        coordinate=arguments.coordinate,
        dynamics=arguments.md,
        path=arguments.out,
        outside_code=arguments.outside_code,
    )
    print(f"report: {path}")
