"""`hwopt bisect`: which step of a plan breaks a check, and the smallest model on which it does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from hwopt.cli.bisect_show import lines, plain, steps_text
from hwopt.cli.common import command_line, debug_level, print_object, running
from hwopt.cli.config import ConfigFile
from hwopt.cli.flat import flat
from hwopt.cli.options import (
    RESULTS,
    TASK,
    AsJson,
    CostModelFile,
    Force,
    Model,
    Quiet,
    Shapes,
    TargetName,
)
from hwopt.cli.run_options import AccuracyOptions, DataOptions, PassOptions, engine_options
from hwopt.errors import BadInput
from hwopt.trace import Listeners, Progress, emit

if TYPE_CHECKING:
    from hwopt.debug.bisect.search import Checked

LOG = "check.log"
_BROKEN = 1
JUDGED = "What is checked"  # heading in the help

ThePlan = Annotated[
    Path,
    typer.Option("--plan", metavar="FILE", help="The plan whose steps are looked at.", rich_help_panel=TASK),
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Folder for the smallest failing model; default: MODEL.bisect.",
        rich_help_panel=RESULTS,
    ),
]
Command = Annotated[
    str | None,
    typer.Option(
        "--check",
        metavar="'CMD {model}'",
        help="A command that judges a model, without a shell: exit code 0 good, 125 skip, 1 to 127 bad.",
        rich_help_panel=JUDGED,
    ),
]
CheckTimeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        min=0.001,
        help="A --check that takes longer says nothing (skip).",
        rich_help_panel=JUDGED,
    ),
]
Limit = Annotated[
    float | None,
    typer.Option(
        "--tolerance",
        metavar="X",
        help="Largest difference of an output over its largest value; default: what float rounding explains.",
        rich_help_panel=JUDGED,
    ),
]
InputsFile = Annotated[
    Path | None,
    typer.Option(
        "--inputs",
        metavar="FILE",
        help="Data to compare on, instead of seeded noise.",
        rich_help_panel=JUDGED,
    ),
]
MaxChecks = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Make so many checks at most; say what is known then.",
        rich_help_panel=JUDGED,
    ),
]
PlanSeed = Annotated[
    int | None, typer.Option("--seed", min=0, help="Default: the plan's.", rich_help_panel=JUDGED)
]
NoCase = Annotated[
    bool, typer.Option("--no-case", help="Name the step, write no folder.", rich_help_panel=RESULTS)
]


@flat
def bisect(
    *,
    model: Model,
    plan: ThePlan,
    target: TargetName,
    input_shape: Shapes = None,
    check: Command = None,
    check_timeout: CheckTimeout = None,
    tolerance: Limit = None,
    inputs: InputsFile = None,
    max_checks: MaxChecks = None,
    seed: PlanSeed = None,
    accuracy: AccuracyOptions,
    data: DataOptions,
    passes: PassOptions,
    cost_model: CostModelFile = None,
    output: Folder = None,
    no_case: NoCase = False,
    config: ConfigFile = None,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Find the first step of a plan that breaks MODEL, and the smallest model on which it does.

    Without --check, --max-drop or --max-divergence, outputs are compared with the input model's.

    Examples:
        hwopt bisect model.onnx --plan fast.plan.json --target edge-npu
        hwopt bisect model.onnx --plan fast.plan.json --target edge-npu --check 'python check.py {model}'
        hwopt bisect model.onnx --plan fast.plan.json --target edge-npu --tolerance 0.001 --no-case --json

    Exit codes:
        0    the plan passes
        1    a step breaks it, or the checks ran out
        2    bad input or usage, or a check that does not work
        3    a bug in hwopt
        130  interrupted
    """
    folder = None if no_case else _folder(output, model, force)
    log: list[str] = []
    started = perf_counter()
    with running(as_json, quiet) as listeners:
        from hwopt.debug.bisect.material import Material, Wanted
        from hwopt.debug.bisect.run import bisect_plan

        options = engine_options(input_shape, accuracy, passes)
        options |= {"plan": plan, "refine": 0, "cost_model": cost_model}
        if seed is not None:
            options["seed"] = seed
        said = _shown if debug_level() else log.append
        wanted = Wanted(check, check_timeout, said, tolerance, inputs)
        material = Material(target, options, wanted, data.calib, data.labels, data.preprocess)
        hunt = bisect_plan(
            model,
            material,
            output=folder,
            most=max_checks,
            force=force,
            command=f"{command_line()} --no-case",
            tell=_telling(listeners, as_json or quiet),
            listeners=listeners,
        )
    seconds = perf_counter() - started
    if hunt.case is not None:
        _write_log(hunt.case.folder / LOG, "".join(log))
    if as_json:
        print_object(plain(hunt, seconds))
    else:
        for line in lines(hunt, seconds):
            print(line)
    raise typer.Exit(0 if hunt.bisection.outcome == "passes" else _BROKEN)


def _folder(output: Path | None, model: Path, force: bool) -> Path:
    """Where the case goes. Raises BadInput where it cannot, before any work."""
    folder = Path(f"{model.name.removesuffix('.onnx')}.bisect") if output is None else output
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file: name another folder with -o")
    if not force and folder.is_dir() and any(folder.iterdir()):
        raise BadInput(f"{folder} is not empty: name another folder with -o, or pass --force")
    if not folder.absolute().parent.is_dir():
        raise BadInput(f"{folder.parent} is not a folder: make it first")
    return folder


def _write_log(path: Path, text: str) -> None:
    """What the command of --check printed; an older file goes."""
    path.unlink(missing_ok=True)
    if text:
        path.write_text(text, "utf-8")


def _shown(text: str) -> None:
    print(text, end="", file=sys.stderr, flush=True)


def _telling(listeners: Listeners, quiet: bool) -> Callable[[Checked], None]:
    """Tells of every check, and how many there may be: halving finds the step, a few more its partners."""
    planned = 0

    def tell(checked: Checked) -> None:
        nonlocal planned
        planned = planned or len(checked.steps)
        likely = 3 + planned.bit_length()
        emit(listeners, Progress("bisect", checked.number, max(likely, checked.number + 1)))
        if not quiet:
            _tell(checked)

    return tell


def _tell(checked: Checked) -> None:
    """One line per check, on standard error."""
    reason = f": {checked.finding.reason}" if checked.finding.reason else ""
    text = f"check {checked.number}, {steps_text(sorted(checked.steps))}: {checked.finding.verdict}{reason}"
    print(text, file=sys.stderr, flush=True)
