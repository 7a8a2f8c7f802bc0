"""What an analysis says: sums that a test can reckon with, sentences, tables, and the report as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwopt.estimate import Estimate, Source
from hwopt.pipeline import analyze
from hwopt.report import analysis_text as text
from hwopt.report.analysis_gains import gains
from hwopt.report.analysis_shares import NOTHING_PRICED, percent, where_time_goes
from hwopt.report.analysis_table import SORTS, subgraph_table, unit_of
from hwopt.report.jsonable import json_text, to_json
from hwopt.report.markdown import to_markdown
from hwopt.report.read import read_report
from hwopt.report.schema import Missing, Potential, Report, RoofsRow, SubgraphRow, WhereTimeGoes
from tests.graphs import classifier, ibn
from tests.report.reports import choice, counted, predicted, value

TARGET = "edge-npu"


def row(
    name: str,
    latency: float | None,
    kind: str = "conv",
    macs: int = 0,
    used: float = 0.0,
    bound: str = "compute",
    ops: tuple[str, ...] = (),
) -> SubgraphRow:
    """One subgraph that moves 10 bytes on and 20 off the chip."""
    figure = Missing("no engine runs it") if latency is None else predicted(latency, latency / 10)
    roofs = RoofsRow(1.0, 1.0, 1.0, 10, 20)
    return SubgraphRow(
        f"id-{name}", kind, None if latency is None else "npu", (name,), figure, bound, counted(1000),
        (name,), macs, 100, used, roofs, ops,
    )  # fmt: skip


MIXED = (
    row("d1", 40.0, "depthwise", 100, 0.02, "off_chip"),
    row("d2", 20.0, "depthwise", 100, 0.05, "off_chip"),
    row("p", 30.0, "pointwise", 900, 0.6),
    row("bn", 10.0, "other", ops=("BatchNormalization",)),
)


def test_kinds_are_added_up_the_longest_first() -> None:
    kinds = where_time_goes(MIXED).kinds
    assert [kind.name for kind in kinds] == ["depthwise", "pointwise", "BatchNormalization"]
    first = kinds[0]
    assert (first.subgraphs, first.macs, first.weight_bytes) == (2, 200, 200)
    assert (first.on_chip_bytes, first.off_chip_bytes) == (20, 40)
    assert isinstance(first.latency_us, Estimate)
    assert first.latency_us.value == 60.0
    assert first.latency_us.spread == pytest.approx((4.0**2 + 2.0**2) ** 0.5)
    assert first.share == pytest.approx(0.6)
    assert first.utilisation == pytest.approx((40 * 0.02 + 20 * 0.05) / 60)  # weighted by time
    assert [bound.name for bound in where_time_goes(MIXED).bounds] == ["off_chip", "compute"]


def test_the_bottleneck_in_a_sentence() -> None:
    assert where_time_goes(MIXED).bottleneck == (
        "60% of the time is spent in 2 depthwise convolutions that use 3% of the MAC array "
        "and wait for off-chip memory"
    )


def test_a_bottleneck_of_several_kinds() -> None:
    rows = (row("a", 40.0, "add"), row("p", 30.0, "pointwise", 9, 0.6), row("c", 30.0, "conv", 9, 0.5))
    assert where_time_goes(rows).bottleneck == (
        "70% of the time is spent in one addition (40%, no multiply-adds) and one dense convolution "
        "(30%, 50% of the MAC array)"
    )


def test_what_has_no_price_is_not_part_of_the_sentence() -> None:
    rows = (*MIXED, row("odd", None, "other", ops=("Det",)))
    found = where_time_goes(rows)
    assert found.bottleneck.startswith("60% of the time of what has a price is spent in 2 depthwise")
    assert [engine.name for engine in found.engines] == ["npu", "none"]
    odd = next(kind for kind in found.kinds if kind.name == "Det")
    assert odd.latency_us == Missing("it has no price")
    assert where_time_goes(rows[-1:]).bottleneck == NOTHING_PRICED


@pytest.mark.parametrize(
    ("share", "said"), [(0.614, "61%"), (0.0163, "1.6%"), (1.0, "100%"), (0.00042, "0.042%")]
)
def test_shares_are_said_with_two_digits(share: float, said: str) -> None:
    assert percent(share) == said


def test_a_column_has_one_unit_and_the_decimals_of_its_largest_figure() -> None:
    times = (("s", 1e7), ("ms", 1e4), ("us", 0.0))
    assert unit_of([639.7, 3.25], times).of(3.25) == "3.2"
    assert unit_of([12_345.0], times).of(12_345.0) == "12.35"  # ms
    assert unit_of([12_345.0], times).of(0.0) == "-"


def test_the_table_sorts_and_counts_the_rest() -> None:
    table = subgraph_table(MIXED, "latency", 2)
    assert [line.name for line in table.lines] == ["d1", "p", "2 more"]
    assert table.lines[-1].share == pytest.approx(0.3)
    assert [line.name for line in subgraph_table(MIXED, "macs", None).lines] == ["p", "d1", "d2", "bn"]
    assert [line.name for line in subgraph_table(MIXED, "array", None).lines][:2] == ["d1", "d2"]
    assert [line.name for line in subgraph_table(MIXED, "order", None).lines] == ["d1", "d2", "p", "bn"]
    assert len(subgraph_table(MIXED, "latency", 3).lines) == 4  # a line for one alone says less than it


def test_flags_are_explained_where_they_occur() -> None:
    known = Estimate(5.0, 0.0, Source.COMPILED)
    compiled = SubgraphRow("i", "conv", "npu", ("n",), known, "compute", counted(1))
    assert subgraph_table(MIXED).legend == ""
    table = subgraph_table((*MIXED, compiled))
    assert table.lines[-1].flag == "c"
    assert table.legend == "c: compiled, the oracle's own figure"


def test_gains_are_of_the_quickest_value_and_the_largest_first() -> None:
    rows = [
        choice("a", "keep", value("x", 90.0), value("y", 80.0)),
        choice("b", "keep", value("x", 120.0)),
        choice("c", "keep", value("x", 50.0)),
    ]
    assert [(gain.choice.id, gain.value.name, gain.saved_us) for gain in gains(rows)] == [
        ("c", "x", 50.0),
        ("a", "y", 20.0),
    ]


@pytest.fixture(scope="module")
def report() -> Report:
    return analyze(ibn(), target=TARGET, refine=0, gains=True)


def test_the_report_survives_the_disk(report: Report, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    file.write_text(json_text(to_json(report)))
    again = read_report(file)
    assert json_text(to_json(again)) == file.read_text()
    assert isinstance(again.where_time_goes, WhereTimeGoes)
    assert isinstance(again.potential, Potential)


def test_the_potential_is_predicted_and_of_the_input(report: Report) -> None:
    found = report.potential
    assert isinstance(found, Potential)
    before, best = found.before_us, found.everything.latency_us
    assert isinstance(before, Estimate)
    assert isinstance(best, Estimate)
    assert {before.source, best.source} == {Source.PREDICTED}
    assert isinstance(found.exact.change, float)
    assert isinstance(found.everything.change, float)
    assert found.everything.change == pytest.approx(best.value / before.value - 1)
    assert found.everything.change <= found.exact.change <= 0
    line, warning = text.bound_lines(found)
    assert f"at most {100 * found.everything.change:+.1f}%" in line
    assert "before accuracy is looked at" in line
    assert "nothing was written" in warning


def test_every_choice_keeps_and_lossy_damage_is_not_known(report: Report) -> None:
    assert report.choices
    assert {row.chosen for row in report.choices} == {"keep"}
    values = [value for row in report.choices for value in row.values if value.risk == "lossy"]
    assert values
    assert all(isinstance(value.damage, Missing) for value in values)
    assert report.passes  # who offered what
    best = gains(report.choices)[0]
    assert f"by itself {best.value.name} would save" in best.choice.reason
    assert all(row.steps == 0 for row in report.passes)


def test_without_asking_there_is_no_potential() -> None:
    plain = analyze(classifier(), target=TARGET, refine=0)
    assert isinstance(plain.potential, Missing)
    assert plain.choices == ()
    assert isinstance(plain.where_time_goes, WhereTimeGoes)


def test_sums_of_kinds_are_those_of_the_model(report: Report) -> None:
    assert isinstance(report.where_time_goes, WhereTimeGoes)
    for table in (
        report.where_time_goes.kinds,
        report.where_time_goes.engines,
        report.where_time_goes.bounds,
    ):
        assert sum(item.macs for item in table) == report.before.macs
        latencies = [item.latency_us.value for item in table if isinstance(item.latency_us, Estimate)]
        assert isinstance(report.before.latency_us, Estimate)
        assert sum(latencies) == pytest.approx(report.before.latency_us.value)


def test_memory_names_the_culprit_and_weights_the_layers(report: Report) -> None:
    peak = report.before.peak
    assert peak is not None
    name = report.subgraphs.before[peak.subgraph].nodes[0]
    assert f"at '{name}'" in text.memory(report)
    assert peak.tensors[0].name in text.memory(report)
    heaviest = max(report.subgraphs.before, key=lambda item: item.weight_bytes)
    assert f"'{heaviest.nodes[0]}'" in text.weights(report)


def test_sorts_are_those_of_the_command_line() -> None:
    from hwopt.cli.analyze import Sort

    assert [item.value for item in Sort] == list(SORTS)


def test_markdown_tells_the_same() -> None:
    found = analyze(ibn(), target=TARGET, refine=0, gains=True)
    page = to_markdown(found)
    assert isinstance(found.where_time_goes, WhereTimeGoes)
    assert isinstance(found.potential, Potential)
    assert found.where_time_goes.bottleneck in page
    assert next(iter(text.bound_lines(found.potential))) in page
    assert "## What rewriting could gain" not in to_markdown(analyze(ibn(), target=TARGET, refine=0))
