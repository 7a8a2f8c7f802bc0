"""Report  -->  CSV, one row per subgraph, before and after: for spreadsheets and data frames.

Names are separated by "; ". A figure that nobody has is an empty cell, and the reason stands at the end of
the row. A spreadsheet runs a cell that begins with a sign such as "=": such a name gets an apostrophe.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from hwopt.report.jsonable import rounded
from hwopt.report.schema import Figure, Missing, Number, Report, SubgraphRow

HEADER = (
    "side", "order", "id", "kind", "engine", "nodes", "sources", "latency_us", "latency_spread_us",
    "latency_source", "extrapolated", "bound", "macs", "weight_bytes", "on_chip_bytes", "off_chip_bytes",
    "live_bytes", "utilisation", "compute_us", "on_chip_us", "off_chip_us", "unavailable",
)  # fmt: skip

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_BETWEEN = "; "
Cell = str | int | float | None


def to_csv(report: Report) -> str:
    """The subgraphs of both models in order of execution, with a header; lines end in a newline."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for side, rows in (("before", report.subgraphs.before), ("after", report.subgraphs.after)):
        writer.writerows([_safe(cell) for cell in _cells(side, *item)] for item in enumerate(rows))
    return text.getvalue()


def _cells(side: str, order: int, row: SubgraphRow) -> Sequence[Cell]:
    roofs = row.roofs
    moved = (None, None) if roofs is None else (roofs.on_chip_bytes, roofs.off_chip_bytes)
    times = (None, None, None) if roofs is None else (roofs.compute_us, roofs.on_chip_us, roofs.off_chip_us)
    return (
        *(side, order, row.id, row.kind, row.engine, _BETWEEN.join(row.nodes), _BETWEEN.join(row.sources)),
        *_latency(row.latency_us),
        *(row.bound, row.macs, row.weight_bytes, *moved, _value(row.peak_bytes), _value(row.utilisation)),
        *times,
        row.latency_us.unavailable if isinstance(row.latency_us, Missing) else None,
    )


def _latency(figure: Figure) -> Sequence[Cell]:
    if isinstance(figure, Missing):
        return (None, None, None, None)
    return (figure.value, figure.spread, figure.source.value, str(figure.extrapolated).lower())


def _value(figure: Figure | Number) -> float | None:
    if isinstance(figure, Missing):
        return None
    return figure if isinstance(figure, int | float) else figure.value


def _safe(cell: Cell) -> Cell:
    """Numbers rounded as in the JSON report; texts that no spreadsheet takes for a formula."""
    if isinstance(cell, float):
        return rounded(cell)
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
