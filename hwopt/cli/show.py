"""What the command line shows of its results, on standard output. Called by hwopt.cli alone.

rich is imported where it is needed, so that `hwopt --help` stays quick.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hwopt.cli.analysis import DEFAULT, Wanted, show
from hwopt.report import words
from hwopt.report.schema import Costs, Missing, Outcome, Report
from hwopt.visible import visible

if TYPE_CHECKING:
    from rich.console import Console

_FILE_WIDTH = 160
_SHOWN_UNPRICED = 5


def show_result(report: Report, files: Sequence[Path]) -> None:
    """The outcome, the table of before and after, what was changed, and the files written."""
    console = _console()
    console.print(visible(_headline(report)), style="bold", markup=False)
    _print_table(console, ["", "before", "after", "change", "source"], _summary_rows(report))
    for line in _closing_lines(report):
        console.print(visible(line), markup=False)
    for path in files:
        console.print(visible(f"wrote {path}"), markup=False)


def show_analysis(report: Report, wanted: Wanted = DEFAULT) -> None:
    """What the model costs, subgraph by subgraph, what bounds each, and what there is to gain."""
    show(report, _console(), wanted)


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain table on standard output."""
    _print_table(_console(), header, rows)


def _console() -> Console:
    """As wide as the terminal; where there is none, wide enough that no table is cut for a file."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _FILE_WIDTH)


def _print_table(console: Console, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in header:
        table.add_column(Text(visible(name)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    console.print(table)


def _headline(report: Report) -> str:
    endings = {
        Outcome.CHANGED: "changed",
        Outcome.UNCHANGED: "unchanged: nothing found that is better within the limits",
        Outcome.BUDGET_NOT_MET: "limits not met, nothing written",
        Outcome.ANALYSED: "analysed",
    }
    return f"{report.model.path} on {report.target.name}: {endings[report.outcome]}"


def _summary_rows(report: Report) -> list[list[str]]:
    return [[row.what, row.before, row.after, row.change, row.source] for row in words.summary(report)]


def _closing_lines(report: Report) -> Iterator[str]:
    taken: dict[str, int] = {}
    for row in report.choices:
        value = next((value for value in row.values if value.name == row.chosen), None)
        for name in value.passes if value is not None else ():
            taken[name] = taken.get(name, 0) + 1
    if taken:
        counts = ", ".join(f"{name} {count}x" for name, count in sorted(taken.items()))
        yield f"passes that were chosen: {counts}"
    yield from _unpriced_lines(report.before if isinstance(report.after, Missing) else report.after)
    yield from (f"note: {note}" for note in report.notes)


def _unpriced_lines(costs: Costs) -> Iterator[str]:
    """Operators without a price are named, never passed over in silence."""
    for item in costs.unpriced[:_SHOWN_UNPRICED]:
        yield f"not priced: {item.op} '{item.node}': {item.reason}"
    left = len(costs.unpriced) - _SHOWN_UNPRICED
    if left > 0:
        yield f"not priced: {left} more operators (the report lists them all)"
