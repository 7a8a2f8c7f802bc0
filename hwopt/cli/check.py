"""`hwopt check R.json --max-latency 5ms`: a gate for pipelines. Exit code 1 where a condition is not met."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hwopt.cli import show as cli_show
from hwopt.cli.common import print_object
from hwopt.cli.config import ConfigFile
from hwopt.cli.options import MaxFootprint, MaxLatency, MaxMemory, MaxSize
from hwopt.errors import BadInput
from hwopt.limits import Bound, bytes_bound, fraction, latency_bound, share
from hwopt.report.gate import Asked, Condition, conditions

_NOT_MET = 1
_OTHERS = "Conditions on the run"
_ACCURACY = "Conditions on accuracy"


class Sources(StrEnum):
    """Where a latency comes from, weakest first."""

    PREDICTED = "predicted"
    COMPILED = "compiled"
    MEASURED = "measured"


class Outcomes(StrEnum):
    """How a run may have ended."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    ANALYSED = "analysed"


ReportFile = Annotated[
    Path, typer.Argument(metavar="R.json", help="The OUT.report.json of a run.", show_default=False)
]
MaxDrop = Annotated[
    float | None,
    typer.Option(metavar="0.01", help="Largest drop of accuracy, a fraction.", rich_help_panel=_ACCURACY),
]
MaxDivergence = Annotated[
    float | None,
    typer.Option(metavar="X", help="Largest divergence of the outputs.", rich_help_panel=_ACCURACY),
]
Precision = Annotated[
    str,
    typer.Option(
        metavar="fp32|int8",
        help="The precision of which accuracy is meant. Without it: that of the written file.",
        rich_help_panel=_ACCURACY,
    ),
]
MaxSpread = Annotated[
    str | None,
    typer.Option(
        metavar="5%", help="How uncertain the latency may be, as a share of it.", rich_help_panel=_OTHERS
    ),
]
Source = Annotated[
    Sources | None,
    typer.Option("--require-source", help="What the latency must be at least.", rich_help_panel=_OTHERS),
]
TargetName = Annotated[
    str | None,
    typer.Option("--target", "-t", help="The accelerator of the run, by name.", rich_help_panel=_OTHERS),
]
Ending = Annotated[
    Outcomes | None, typer.Option("--outcome", help="How the run ended.", rich_help_panel=_OTHERS)
]
ModelFile = Annotated[
    Path | None,
    typer.Option(
        "--model",
        metavar="OUT.onnx",
        help="The file that is deployed: its SHA-256 must be the one in the report.",
        rich_help_panel=_OTHERS,
    ),
]
AllowUnpriced = Annotated[
    bool, typer.Option("--allow-unpriced", help="Accept a latency that leaves out what has no price.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")]


def check(
    report: ReportFile,
    max_latency: MaxLatency = None,
    max_memory: MaxMemory = None,
    max_size: MaxSize = None,
    max_footprint: MaxFootprint = None,
    max_drop: MaxDrop = None,
    max_divergence: MaxDivergence = None,
    precision: Precision = "",
    max_spread: MaxSpread = None,
    require_source: Source = None,
    target: TargetName = None,
    outcome: Ending = None,
    model: ModelFile = None,
    allow_unpriced: AllowUnpriced = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Hold a report against conditions: a gate for pipelines.

    A latency is the oracle's own where it ran the whole model before and after, else the prediction with its
    spread added. -30% means: against the input of that run. A condition whose figure is missing is not met.

    Examples:
        hwopt check out.report.json --max-latency 5ms --max-drop 0.01
        hwopt check out.report.json --max-latency -30% --require-source compiled
        hwopt check out.report.json --model out.onnx --target edge-npu --max-memory 512KiB

    Exit codes:
        0    every condition is met
        1    a condition is not met, or nobody has its figure
        2    bad input or usage, or nothing was asked
        3    a bug in hwopt
        130  interrupted
    """
    asked = Asked(
        max_latency=None if max_latency is None else latency_bound(max_latency),
        max_memory=_bytes(max_memory, "--max-memory"),
        max_size=_bytes(max_size, "--max-size"),
        max_footprint=_bytes(max_footprint, "--max-footprint"),
        max_drop=None if max_drop is None else fraction(max_drop, "--max-drop"),
        max_divergence=_not_negative(max_divergence),
        max_spread=None if max_spread is None else share(max_spread, "--max-spread"),
        require_source=None if require_source is None else require_source.value,
        target=target,
        outcome=None if outcome is None else outcome.value,
        file=None if model is None else str(model),
        sha256="" if model is None else _sha256(model),
        precision=precision,
        allow_unpriced=allow_unpriced,
    )
    found = _held(report, asked)
    if as_json:
        print_object(_verdict(report, found))
    else:
        _show(report, found)
    if not all(condition.met for condition in found):
        raise typer.Exit(_NOT_MET)


def _bytes(limit: str | None, name: str) -> Bound | None:
    return None if limit is None else bytes_bound(limit, name)


def _not_negative(limit: float | None) -> float | None:
    if limit is not None and not limit >= 0:
        raise BadInput(f"--max-divergence {limit}: give a number that is not negative")
    return limit


def _sha256(path: Path) -> str:
    from hwopt.ir import model_sha256

    return model_sha256(path)


def _held(path: Path, asked: Asked) -> tuple[Condition, ...]:
    """The report held against what was asked. Raises BadInput where that was nothing."""
    from hwopt.report.read import read_report

    found = conditions(read_report(path), asked)
    if not found:
        raise BadInput(
            "nothing was asked of the report: give a condition such as --max-latency 5ms (hwopt check --help)"
        )
    return found


def _verdict(path: Path, found: Sequence[Condition]) -> dict[str, object]:
    rows = [
        {
            "name": row.name,
            "value": row.value,
            "limit": row.limit,
            "source": row.source,
            "met": row.met,
            "why": row.why,
        }
        for row in found
    ]
    return {"report": str(path), "met": all(row.met for row in found), "conditions": rows}


def _show(path: Path, found: Sequence[Condition]) -> None:
    met = sum(row.met for row in found)
    print(f"{path}: {met} of {len(found)} conditions met")
    header = ["", "condition", "figure", "limit", "source", ""]
    cli_show.show_table(header, [_row(row) for row in found])


def _row(row: Condition) -> list[str]:
    option = "--" + row.name.replace("_", "-")
    return ["met" if row.met else "NOT MET", option, *row.shown, row.source or "-", row.why]
