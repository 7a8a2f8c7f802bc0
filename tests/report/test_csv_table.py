"""CSV per subgraph: every row of both models, figures with their source, gaps with their reason."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

from hwopt.report.csv_table import HEADER, to_csv
from hwopt.report.schema import Missing, RoofsRow, Subgraphs
from tests.report.reports import example, predicted, subgraph


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_one_row_per_subgraph_before_and_after() -> None:
    rows = rows_of(to_csv(example()))
    assert [(row["side"], row["order"], row["id"]) for row in rows] == [
        ("before", "0", "id-conv"),
        ("before", "1", "id-tail"),
        ("after", "0", "id-conv"),
        ("after", "1", "id-tail"),
    ]
    assert rows[2]["latency_us"] == "1000"
    assert (rows[2]["latency_spread_us"], rows[2]["latency_source"]) == ("10", "predicted")
    assert tuple(rows[0]) == HEADER


def test_what_nobody_knows_is_an_empty_cell_with_a_reason() -> None:
    row = subgraph("resize", Missing("no engine runs it"))
    (found,) = rows_of(to_csv(replace(example(), subgraphs=Subgraphs((row,)))))
    assert found["latency_us"] == found["utilisation"] == found["compute_us"] == ""
    assert found["unavailable"] == "no engine runs it"


def test_bytes_moved_and_names_that_would_be_formulas() -> None:
    row = replace(
        subgraph("=cmd()", predicted(3.25), sources=("a", "b,c")), roofs=RoofsRow(1.5, 0.5, 0.25, 1024, 64)
    )
    (found,) = rows_of(to_csv(replace(example(), subgraphs=Subgraphs((), (row,)))))
    assert (found["nodes"], found["sources"]) == ("'=cmd()", "a; b,c")
    assert (found["on_chip_bytes"], found["off_chip_bytes"], found["compute_us"]) == ("1024", "64", "1.5")
