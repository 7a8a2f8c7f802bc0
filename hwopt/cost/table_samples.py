"""From a user's table of measurements to a measurement file that a cost model is fitted on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hwopt.cost.dataset import Sample
from hwopt.cost.measure import Measured
from hwopt.errors import BadInput
from hwopt.oracles.table import groups_of_model, read_for, signature_in
from hwopt.oracles.table_file import Table, TableRow
from hwopt.oracles.table_shapes import signature_of_row
from hwopt.signature import Signature
from hwopt.target import Target

DEFAULT_FAMILY = "table"


def measured_in(target: Target, table: str | Path | None = None) -> Measured:
    """What a table holds, as a campaign would have measured it; `write_samples` makes a file of its rows.

    table: a CSV or Parquet file (columns: hwopt.oracles.table_file); None: the one that the
    target's file names. Rows of whole networks are dropped: they have no price per group.
    Raises BadInput where a cell is wrong, or no row can be used.
    """
    found = read_for(target, table)
    samples = tuple(samples_of(found, target))
    if not samples:
        raise BadInput(f"{found.path}: every row is of a whole network: a cost model needs operators")
    skipped = len(found.rows) - len(samples)
    return Measured(samples, len(found.rows), {"row: of a whole network": skipped} if skipped else {})


def samples_of(table: Table, target: Target) -> Iterator[Sample]:
    """The rows that are of a single fused group.

    `sample`, `family` and `network` are the row's own; without them every row is a sample of its
    own in the family "table". Shapes given by hand have weights that nobody read and neighbours
    that nobody knows.
    """
    for row in table.rows:
        signature = _signature(row, target)
        if signature is not None:
            yield Sample(
                sample=row.get("sample") or f"{table.path.stem}-{row.line}",
                family=row.get("family") or DEFAULT_FAMILY,
                network=row.get("network"),
                signature=signature,
                latency_us=row.latency_us,
                macs=row.whole("macs") or 0,
                weight_bytes=row.whole("weight_bytes") or 0,
                off_chip_bytes=row.whole("off_chip_bytes") or 0,
            )


def _signature(row: TableRow, target: Target) -> Signature | None:
    column = row.key_column
    if column == "signature_json":
        return signature_in(row)
    if column == "kind":
        return signature_of_row(row, target)
    if column == "model":
        groups = groups_of_model(row, target)
        return groups[0].signature if len(groups) == 1 else None
    return None
