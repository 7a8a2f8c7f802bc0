"""`hwopt analyze`: what a model costs, why, and what rewriting could gain; nothing is changed."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwopt.cli import show as cli_show
from hwopt.cli.analysis import SHOWN, Wanted
from hwopt.cli.common import command_line, print_json, running, shapes_of
from hwopt.cli.config import ConfigFile
from hwopt.cli.options import (
    RESULTS,
    AsJson,
    CostModelFile,
    Measure,
    Model,
    Quiet,
    Refine,
    Shapes,
    TargetName,
)
from hwopt.errors import BadInput
from hwopt.limits import DEFAULT_REFINE

if TYPE_CHECKING:
    from hwopt.report.schema import Report

_FORMS = (".html", ".json", ".md", ".csv")
_ALL = "all"


class Sort(StrEnum):
    """By what subgraphs are sorted, as `hwopt.report.analysis_table.SORTS` knows it."""

    LATENCY = "latency"
    MACS = "macs"
    MEMORY = "memory"
    WEIGHTS = "weights"
    OFF_CHIP = "off-chip"
    ARRAY = "array"
    ORDER = "order"


NoPotential = Annotated[
    bool, typer.Option("--no-potential", help="Leave out what rewriting could gain: quicker.")
]
Subgraphs = Annotated[
    str,
    typer.Option(
        metavar="N|all", help="How many subgraphs to show; files have all.", rich_help_panel=RESULTS
    ),
]
SortBy = Annotated[
    Sort,
    typer.Option(
        "--sort", help="Largest first; array: least used first; order: as they run.", rich_help_panel=RESULTS
    ),
]
Files = Annotated[
    list[Path] | None,
    typer.Option(
        "--output",
        "-o",
        metavar="R.html|R.json|R.md|R.csv",
        help="Write the report (again for more); R.csv has a row per subgraph.",
        rich_help_panel=RESULTS,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite these files.", rich_help_panel=RESULTS)]


def analyze(
    model: Model,
    target: TargetName,
    input_shape: Shapes = None,
    measure: Measure = False,
    no_potential: NoPotential = False,
    refine: Refine = DEFAULT_REFINE,
    cost_model: CostModelFile = None,
    subgraphs: Subgraphs = str(SHOWN),
    sort: SortBy = Sort.LATENCY,
    output: Files = None,
    force: Force = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show what MODEL costs on a target, what is to blame, and how much rewriting could gain at the most.

    Subgraph by subgraph: latency, what limits it, how much of the MAC array it uses, bytes moved and alive.
    What could be gained is predicted for all rewrites, also for those that need calibration data: an upper
    bound. Nothing is changed.

    Examples:
        hwopt analyze model.onnx --target edge-npu
        hwopt analyze model.onnx --target edge-npu --subgraphs all --sort memory --no-potential
        hwopt analyze model.onnx --target edge-npu -o analysis.html -o subgraphs.csv
        hwopt analyze model.onnx --target edge-npu --input-shape x:1,3,480,480 --measure --json
    """
    shapes, wanted = shapes_of(input_shape), Wanted(_most(subgraphs), sort.value)
    files = output or []
    _check_files(files, force)
    with running(as_json, quiet) as listeners:
        from hwopt.pipeline import analyze as run

        report = run(
            model,
            target=target,
            input_shapes=shapes,
            measure=measure,
            gains=not no_potential,
            refine=refine,
            cost_model=cost_model,
            command=command_line(),
            listeners=listeners,
        )
    _write_all(report, files)
    if as_json:
        print_json(report)
        return
    cli_show.show_analysis(report, wanted)
    for path in files:
        print(f"wrote {path}")


def _most(text: str) -> int | None:
    """How many subgraphs are shown, None for all. Raises BadInput for anything else."""
    if text == _ALL:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise BadInput(f"--subgraphs {text}: give a whole number from 1, or {_ALL}")
    return int(text)


def _check_files(files: Sequence[Path], force: bool) -> None:
    """Raises BadInput where one of them cannot be written; asked before any work."""
    from hwopt.report.write import refuse_to_overwrite

    for path in files:
        if path.suffix.lower() not in _FORMS:
            raise BadInput(f"{path}: name a file that ends in {', '.join(_FORMS)}; analyze writes no model")
        if not path.parent.is_dir():
            raise BadInput(f"{path.parent} is not a folder: make it first")
        refuse_to_overwrite(path, force)


def _write_all(report: Report, files: Sequence[Path]) -> None:
    from hwopt.cli.report import rendered, write_text
    from hwopt.report.jsonable import json_text, to_json

    for path in files:
        form = path.suffix.lower()
        write_text(path, json_text(to_json(report)) if form == ".json" else rendered(report, form))
