"""A gate holds every condition on the figure that counts for it, and takes no missing figure for a yes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import hwopt
from hwopt.limits import Bound
from hwopt.report import counted
from hwopt.report.gate import Asked, Condition, conditions
from hwopt.report.schema import AccuracyRow, Figure, Limit, Missing, Outcome, Report, Unpriced
from hwopt.report.schema_proof import EXPECTED
from tests.graphs import write_classifier
from tests.report.reports import (
    accuracy,
    choice,
    compiled,
    costs,
    example,
    measured,
    predicted,
    value,
    verified,
)

MS, KB = 1000.0, 1000.0


def only(report: Report, asked: Asked) -> Condition:
    (found,) = conditions(report, asked)
    return found


def lossy(*rows: AccuracyRow) -> Report:
    """A run with a lossy rewrite, and what was measured of it."""
    taken = (choice("form-2", "lossy", value("lossy", 50, "lossy", 0.1)),)
    return replace(example(), choices=taken, accuracy=rows)


@pytest.mark.parametrize(("limit", "met"), [(1515, True), (1514, False), (1500, False)])
def test_a_prediction_counts_with_its_spread(limit: float, met: bool) -> None:
    found = only(example(), Asked(max_latency=Bound(limit)))
    assert (found.value, found.source, found.met) == (1515, "predicted", met)


def test_the_oracles_figure_counts_where_it_ran_both_models() -> None:
    report = replace(example(), verification=verified(compiled(2100), compiled(1480)))
    found = only(report, Asked(max_latency=Bound(1490)))
    assert (found.value, found.source, found.met) == (1480, "compiled", True)


def test_an_oracle_that_ran_less_of_one_model_does_not_count() -> None:
    proof = verified(compiled(2100), compiled(900), left_out=("op",))
    found = only(replace(example(), verification=proof), Asked(max_latency=Bound(1000)))
    assert (found.source, found.met) == ("predicted", False)


@pytest.mark.parametrize(("change", "met"), [(-0.24, True), (-0.25, False)])
def test_a_relative_limit_is_against_the_input(change: float, met: bool) -> None:
    """2000 us became 1515 us, its spread added: 24.25% less."""
    assert only(example(), Asked(max_latency=Bound(1 + change, relative=True))).met == met


def test_a_relative_limit_on_the_oracles_figures() -> None:
    report = replace(example(), verification=verified(compiled(2100), compiled(1480)))
    found = only(report, Asked(max_latency=Bound(0.7, relative=True)))
    assert found.limit == pytest.approx(1470)
    assert not found.met
    assert found.shown == ("1.48 ms", "1.47 ms (-30%)")


def test_what_has_no_price_breaks_a_latency_limit_unless_it_is_accepted() -> None:
    resize = Unpriced("resize_1", "Resize", "no engine runs it")
    report = replace(example(), after=replace(costs(predicted(1500)), unpriced=(resize,)))
    found = only(report, Asked(max_latency=Bound(9 * MS)))
    assert not found.met
    assert "Resize 'resize_1'" in found.why
    assert only(report, Asked(max_latency=Bound(9 * MS), allow_unpriced=True)).met


@pytest.mark.parametrize(
    ("asked", "met"),
    [
        (Asked(max_memory=Bound(3 * KB)), True),
        (Asked(max_memory=Bound(2999)), False),
        (Asked(max_size=Bound(5 * KB)), True),
        (Asked(max_footprint=Bound(8 * KB)), True),
        (Asked(max_footprint=Bound(7999)), False),
        (Asked(max_footprint=Bound(0.8, relative=True)), True),
        (Asked(max_memory=Bound(0.74, relative=True)), False),
    ],
)
def test_sizes_are_counted(asked: Asked, met: bool) -> None:
    found = only(example(), asked)
    assert (found.source, found.met) == ("computed", met)


def test_a_missing_figure_is_not_met_and_says_why() -> None:
    report = replace(example(), after=costs(Missing("nobody can price it")))
    found = only(report, Asked(max_latency=Bound(1e9)))
    assert (found.value, found.met, found.why) == (None, False, "nobody can price it")


def test_an_exact_plan_costs_no_accuracy() -> None:
    found = conditions(example(), Asked(max_drop=0.0, max_divergence=0.0))
    assert [(row.value, row.source, row.met) for row in found] == [(0.0, "computed", True)] * 2


def test_of_a_lossy_plan_without_data_nobody_knows_the_drop() -> None:
    taken = (choice("form-2", "lossy", value("lossy", 50, "lossy", 0.1)),)
    report = replace(example(), choices=taken, accuracy=Missing("the data are gone"))
    found = only(report, Asked(max_drop=0.5))
    assert (found.met, found.why) == (False, "the data are gone")


def test_a_value_that_the_report_does_not_list_is_not_taken_for_exact() -> None:
    taken = (*example().choices, choice("form-3", "who knows"))
    assert not only(replace(example(), choices=taken), Asked(max_drop=0.5)).met


def test_an_exact_plan_in_int8_is_not_exact() -> None:
    """The file was quantised: nobody measured what that costs."""
    report = replace(example(), verification=verified(outputs_of="fp32 result"))
    assert not only(report, Asked(max_drop=0.5)).met


def test_a_drop_is_the_larger_of_the_counted_and_the_expected_one() -> None:
    """0.01 ± 0.0392 (95%) has a standard error of 0.02: the one-sided bound is 0.01 + 1.645 * 0.02."""
    rows = (accuracy("top1", 0.005), accuracy(EXPECTED, 0.01, width=0.0784), accuracy("kl", 0.3))
    assert only(lossy(*rows), Asked(max_drop=0.05)).value == pytest.approx(0.0429)
    assert only(lossy(rows[0], rows[2]), Asked(max_drop=0.05)).value == pytest.approx(0.005)
    assert only(lossy(*rows), Asked(max_divergence=0.29)).met is False


def test_what_the_run_itself_held_its_limit_on_counts() -> None:
    budget = replace(example().budget, limits=(Limit("max_drop", 0.02, 0.015, True, "measured"),))
    found = only(replace(lossy(accuracy("top1", 0.005)), budget=budget), Asked(max_drop=0.01))
    assert (found.value, found.met) == (0.015, False)


def test_accuracy_speaks_of_the_precision_of_the_file_unless_another_is_asked_for() -> None:
    rows = (accuracy("top1", 0.01), accuracy("top1", 0.2, "int8"))
    assert only(lossy(*rows), Asked(max_drop=0.05)).met
    assert not only(lossy(*rows), Asked(max_drop=0.05, precision="int8")).met
    quantised = replace(lossy(*rows), verification=verified(outputs_of="fp32 result"))
    assert counted.written_precision(quantised) == "int8"
    assert not only(quantised, Asked(max_drop=0.05)).met
    assert only(quantised, Asked(max_drop=0.05, precision="fp32")).met
    assert "nothing was measured in fp16" in only(lossy(*rows), Asked(max_drop=1, precision="fp16")).why


@pytest.mark.parametrize(
    ("after", "wanted", "met"),
    [
        (predicted(1), "predicted", True),
        (predicted(1), "compiled", False),
        (compiled(1), "compiled", True),
        (compiled(1), "measured", False),
        (measured(1), "compiled", True),
    ],
)
def test_compiled_is_more_than_predicted_and_measured_more_than_compiled(
    after: Figure, wanted: str, met: bool
) -> None:
    report = replace(example(), verification=verified(after, after))
    assert only(report, Asked(require_source=wanted)).met == met


def test_the_spread_of_the_latency_that_counts() -> None:
    assert only(example(), Asked(max_spread=0.01)).met
    assert not only(example(), Asked(max_spread=0.009)).met
    by_oracle = replace(example(), verification=verified(measured(1, 0.1), measured(1, 0.1)))
    assert only(by_oracle, Asked(max_spread=0.05)).value == pytest.approx(0.1)


def test_target_outcome_and_file() -> None:
    asked = Asked(target="edge-npu", outcome="unchanged", file="out.onnx", sha256="b" * 64)
    found = conditions(example(), asked)
    assert [(row.name, row.met) for row in found] == [("target", True), ("outcome", False), ("model", True)]
    other = only(example(), Asked(file="other.onnx", sha256="e" * 64))
    assert not other.met
    assert "other.onnx is not the file" in other.why
    dry = replace(example(), output=Missing("nothing was written"))
    assert only(dry, Asked(file="out.onnx", sha256="b" * 64)).why == "nothing was written"


def test_an_analysis_is_held_on_the_model_as_it_came() -> None:
    nothing = Missing("nothing was changed")
    report = replace(
        example(),
        outcome=Outcome.ANALYSED,
        after=nothing,
        accuracy=nothing,
        verification=nothing,
        output=nothing,
    )
    assert only(report, Asked(max_latency=Bound(2020))).met
    assert not only(report, Asked(max_latency=Bound(2019))).met
    assert only(report, Asked(file="m.onnx", sha256="a" * 64)).met
    drop = only(report, Asked(max_drop=1))
    assert (drop.met, drop.why) == (False, "nothing was changed")


@pytest.mark.parametrize("refine", [0, 3])
def test_the_gate_and_the_run_hold_limits_on_the_same_figures(tmp_path: Path, refine: int) -> None:
    """With the oracle where it is installed, and without."""
    write_classifier(tmp_path)
    asked = Asked(
        max_latency=Bound(0.99, relative=True),
        max_memory=Bound(1.5, relative=True),
        max_size=Bound(9e6),
        max_footprint=Bound(9e6),
        max_divergence=0.5,
    )
    report = hwopt.optimize(
        tmp_path / "model.onnx", target="edge-npu", calib=tmp_path / "calib.npz", refine=refine,
        max_latency=asked.max_latency, max_memory=asked.max_memory, max_size=asked.max_size,
        max_footprint=asked.max_footprint, max_divergence=asked.max_divergence,
    ).report  # fmt: skip
    held = {row.name: (row.value, row.limit, row.met, row.source) for row in report.budget.limits}
    found = {row.name: (row.value, row.limit, row.met, row.source) for row in conditions(report, asked)}
    assert len(held) == 5
    assert found == held


def test_nothing_asked_gives_nothing() -> None:
    assert conditions(example(), Asked(precision="int8", allow_unpriced=True)) == ()
