"""The benchmark of budgets: what is drawn, and checks that notice a broken limit or a wrong refusal."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bench import budgets
from bench.budget_cases import LARGEST, UNITS, Case, absolute, draw
from bench.budget_checks import (
    EXISTS,
    PROVEN,
    TOO_HARSH,
    Figures,
    Held,
    candidates,
    drop_of,
    figures,
    held,
    scaled,
)
from bench.budgets import (
    BROKEN,
    MET,
    REFUSED,
    UNNAMED,
    Record,
    is_fault,
    kept_by_input,
    read,
    table,
    write_csv,
)
from hwopt.choice import KEEP, Choice, Kind, Risk, Stage, Value
from hwopt.estimate import Estimate, Source
from hwopt.limits import Bound, bytes_bound, latency_bound
from hwopt.pipeline import analyze
from hwopt.report.schema import AccuracyRow, Budget, Limit, Missing, Report
from hwopt.scope import NOTHING, Price, Problem, Scope
from hwopt.search.problem import Budget as SearchBudget
from hwopt.search.problem import Objective

MODEL = Path(budgets.__file__).parent.parent / "models" / "figures" / "figures.onnx"
BEFORE = {"max_latency": 1000.0, "max_memory": 4000.0, "max_size": 500.0, "max_footprint": 4500.0}
FIGURES = Figures(oracle_us=900.0, predicted_us=880.0, spread_us=50.0, peak_bytes=4000.0, weight_bytes=500.0)
CASE = Case(3, "figures", "edge-npu", True, "latency", {"max_latency": "-10.0%", "max_drop": 0.02})
RECORD = Record(CASE, MET, "max_latency 880 of 900 (compiled)", "", "", "", 4.0)


def report(accuracy: tuple[AccuracyRow, ...] | Missing, *limits: Limit) -> Report:
    """The report of an analysis, as if a run had these limits and this accuracy."""
    found = analyze(MODEL, target="edge-npu", refine=0)
    return replace(found, accuracy=accuracy, budget=Budget("latency", limits))


def test_cases_are_the_same_every_time_and_cover_what_is_asked() -> None:
    cases = [draw("figures", "edge-npu", BEFORE, 0, number) for number in range(300)]
    assert cases == [draw("figures", "edge-npu", BEFORE, 0, number) for number in range(300)]
    assert cases != [draw("figures", "edge-npu", BEFORE, 1, number) for number in range(300)]
    assert all(1 <= len(case.limits) <= LARGEST for case in cases)
    assert {name for case in cases for name in case.limits} == {*UNITS, "max_drop"}
    assert {len(case.limits) for case in cases} == {1, 2, 3}
    assert not any("max_drop" in case.limits for case in cases if not case.data)
    shares = [absolute(n, v, BEFORE) / BEFORE[n] for c in cases for n, v in c.limits.items() if n in UNITS]
    assert min(shares) < 0.4 < 0.95 < max(shares) <= 1.2 * (1 + 1e-5)


def test_a_drawn_limit_means_what_the_library_makes_of_it() -> None:
    """Two readers of the same text: the benchmark's, and the one of the command line."""
    for number in range(100):
        case = draw("figures", "edge-npu", BEFORE, 5, number)
        for name, limit in case.limits.items():
            if name != "max_drop":
                assert isinstance(limit, str)
                bound: Bound = latency_bound(limit) if name == "max_latency" else bytes_bound(limit, name)
                assert absolute(name, limit, BEFORE) == pytest.approx(bound.against(BEFORE[name]))


def test_limits_are_held_against_the_figure_that_counts() -> None:
    exact = Missing("every step is exact")
    compiled = report(exact, Limit("max_latency", 900.0, 900.0, True, "compiled"))
    predicted = report(exact, Limit("max_latency", 900.0, 900.0, True, "predicted"))
    limits = {"max_latency": 900.0, "max_footprint": 4499.0}
    assert [row.met for row in held(limits, compiled, FIGURES)] == [True, False]
    assert [row.value for row in held(limits, predicted, FIGURES)] == [930.0, 4500.0]  # with its spread
    assert not held(limits, predicted, FIGURES)[0].met


def test_a_drop_counts_as_counted_and_as_judged() -> None:
    row = AccuracyRow("top1", "fp32", 0.9, 0.88, 0.02, (0.0, 0.04), 400, "cross-fitted")
    assert drop_of(report((row,))) == 0.02
    assert drop_of(report((row,), Limit("max_drop", 0.03, 0.028, True, "measured"))) == 0.028
    assert drop_of(report(Missing("exact"))) == 0.0
    assert not Held("max_drop", 0.02, 0.0201, "measured").met


def value(name: str) -> Value:
    """A value of the choice `a` that does nothing."""
    return Value("a", Kind.FORM, name, "p", Risk.LOSSY, Stage.FORM, ("a",), lambda model: None)


def test_plans_that_a_refusal_overlooked_are_found_mildest_first() -> None:
    choice = Choice("a", Kind.FORM, (value("harsh"), value("mild")))
    costs = {KEEP: (100.0, 0.0), "mild": (80.0, 0.1), "harsh": (60.0, 0.5)}
    prices: dict[tuple[str, ...], Price] = {
        (name,): replace(NOTHING, latency_us=Estimate(us, 0.0, Source.PREDICTED), damage=damage)
        for name, (us, damage) in costs.items()
    }
    problem = Problem((choice,), (Scope("cost", ("a",), prices),), NOTHING)

    def within(limit: float) -> list[dict[str, str]]:
        return candidates(problem, SearchBudget(Objective.DAMAGE, latency_us=limit))

    assert within(90.0) == [{"a": "mild"}, {"a": "harsh"}]
    assert within(78.0)[0] == {"a": "mild"}  # 80 is within the 5% that predictions may be wrong
    assert within(59.0) == [{"a": "harsh"}]
    assert within(50.0) == []
    assert scaled(SearchBudget(latency_us=50.0, peak_bytes=101), 1.05) == SearchBudget(
        latency_us=52.5, peak_bytes=106
    )


def test_what_breaks_a_promise_is_a_fault() -> None:
    assert not is_fault(RECORD)
    assert not is_fault(replace(RECORD, outcome=REFUSED, challenged=PROVEN))
    assert not is_fault(replace(RECORD, outcome=REFUSED, challenged=TOO_HARSH))
    assert all(
        is_fault(found)
        for found in (
            replace(RECORD, outcome=BROKEN),
            replace(RECORD, outcome=UNNAMED),
            replace(RECORD, outcome=REFUSED, challenged=EXISTS),
        )
    )


def test_an_input_that_keeps_every_limit_is_a_plan() -> None:
    def kept(**limits: str | float) -> bool:
        return kept_by_input(replace(CASE, limits=limits), FIGURES)

    assert kept(max_size="+1.0%", max_drop=0.005)
    assert kept(max_latency="900us", max_memory="4000b")
    assert not kept(max_size="+1.0%", max_latency="899us")
    assert not kept(max_footprint="-0.1%")


def test_records_come_back_from_the_file_and_are_counted(tmp_path: Path) -> None:
    records = [RECORD, replace(RECORD, outcome=REFUSED, challenged=EXISTS, said="the closest plan has 3")]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(asdict(record)) + "\n" for record in records))
    assert read(file) == records
    assert read(tmp_path / "none.jsonl") == []
    line = table(records).splitlines()[-1]
    assert line == "| figures | edge-npu | lossy | 2 | 1 | 0 | 1 | 0 | 0 | 1 | 0 | 4 |"
    write_csv(records, tmp_path / "rows.csv")
    rows = (tmp_path / "rows.csv").read_text().splitlines()
    assert len(rows) == 3
    assert "--max-latency -10.0% --max-drop 0.02" in rows[1]


def test_four_bytes_too_many_are_noticed() -> None:
    """Figures of a real file against a limit that it just keeps."""
    before = figures(MODEL, "edge-npu")
    limits = {"max_size": absolute("max_size", "+0.0%", before.limited())}
    assert held(limits, report(Missing("exact")), before)[0].met
    heavier = replace(before, weight_bytes=before.weight_bytes + 4)
    assert not held(limits, report(Missing("exact")), heavier)[0].met
