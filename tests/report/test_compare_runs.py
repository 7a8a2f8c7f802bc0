"""Two reports compared: what went in, what came out, what was decided, and where the time went."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hwopt.estimate import Estimate
from hwopt.report.compare_inputs import InputChange
from hwopt.report.compare_runs import ResultChange, Verdict, compare_runs
from hwopt.report.compare_text import result_row, to_markdown
from hwopt.report.schema import (
    UNKNOWN,
    CalibrationInfo,
    Limit,
    Missing,
    Outcome,
    Report,
    Subgraphs,
    Tool,
)
from tests.report.reports import (
    accuracy,
    choice,
    compiled,
    costs,
    example,
    measured,
    predicted,
    subgraph,
    value,
    verified,
)


def result(a: Report, b: Report, what: str) -> ResultChange:
    return next(row for row in compare_runs(a, b).results if row.what == what)


def with_latency(latency: float, spread: float, *rows: tuple[str, float, float]) -> Report:
    """A run with this latency, of subgraphs with a name, a latency and a spread."""
    parts = tuple(subgraph(name, predicted(us, error)) for name, us, error in rows)
    return replace(
        example(),
        after=costs(predicted(latency, spread)),
        subgraphs=Subgraphs(example().subgraphs.before, parts),
    )


def test_a_run_does_not_differ_from_itself() -> None:
    found = compare_runs(example(), example())
    assert (found.inputs, found.choices, found.subgraphs, found.notes) == ((), (), (), ())
    assert {row.verdict for row in found.results} == {Verdict.SAME}


def test_what_went_in_is_named_in_a_fixed_order() -> None:
    data = CalibrationInfo("f" * 64, 250, 5, labels=True)
    budget = replace(example().budget, limits=(Limit("max_drop", 0.01, 0.0, True, "measured"),))
    other = replace(
        example(), seed=3, settings={"refine": 0}, calibration=data, budget=budget,
        tool=replace(example().tool, version="0.2.0", versions={"python": "3.12.1", "hwopt": "0.2.0"}),
    )  # fmt: skip
    assert compare_runs(example(), other).inputs == (
        InputChange("calibration, fingerprint", "-", "f" * 64),
        InputChange("calibration, samples", "-", "250, labelled"),
        InputChange("limit max_drop", "-", "0.01"),
        InputChange("setting refine", "-", "0"),
        InputChange("seed", "0", "3"),
        InputChange("hwopt", "0.1.0", "0.2.0"),
        InputChange("version of python", "3.11.7", "3.12.1"),
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": replace(example().model, sha256="e" * 64)}, "different models"),
        ({"target": replace(example().target, name="ethos-u55-256")}, "different targets"),
        ({"target": replace(example().target, config="e" * 64)}, "not the same in both"),
        ({"outcome": Outcome.ANALYSED}, "B is an analysis"),
        ({"calibration": UNKNOWN, "tool": Tool("hwopt", "0.1.0")}, "B is of an older hwopt"),
    ],
)
def test_what_speaks_against_a_comparison_is_said(change: dict[str, object], said: str) -> None:
    found = compare_runs(example(), replace(example(), **change))  # type: ignore[arg-type]
    (note,) = found.notes
    assert said in note
    assert not any(row.what.startswith(("version of", "cost model")) for row in found.inputs)


@pytest.mark.parametrize(
    ("latency", "spread", "verdict"),
    [
        (1519, 5, Verdict.WITHIN),
        (1530, 5, Verdict.BEYOND),
        (1500, 5, Verdict.SAME),
        (1470, 5, Verdict.BEYOND),
    ],
)
def test_a_difference_is_held_against_what_both_do_not_share(
    latency: float, spread: float, verdict: Verdict
) -> None:
    """The tail of 500 ± 100 is in both and cancels: hypot(10, 5) is 11, twice that the border."""
    a = with_latency(1500, 100, ("conv", 1000, 10), ("tail", 500, 100))
    b = with_latency(latency, 100, ("other", latency - 500, spread), ("tail", 500, 100))
    row = result(a, b, "latency")
    assert row.verdict == verdict
    assert isinstance(row.change, Estimate)
    assert row.change.spread == pytest.approx(11.18, abs=0.01)


def test_predictions_of_two_cost_models_do_not_cancel() -> None:
    a = with_latency(1500, 100, ("conv", 1000, 10), ("tail", 500, 100))
    b = replace(a, target=replace(a.target, cost_model="e" * 64), after=costs(predicted(1600, 100)))
    row = result(a, b, "latency")
    assert isinstance(row.change, Estimate)
    assert row.change.spread == pytest.approx(141.4, abs=0.1)
    assert row.verdict == Verdict.WITHIN


def test_what_is_counted_or_compiled_is_certain_and_a_bare_measurement_is_not() -> None:
    a = replace(example(), verification=verified(compiled(2000), compiled(1500)))
    b = replace(
        a, after=costs(predicted(1500, 15), peak=2999), verification=verified(compiled(2000), compiled(1499))
    )
    assert result(a, b, "peak memory").verdict == Verdict.CERTAIN
    assert result(a, b, "latency, whole model by the oracle").verdict == Verdict.CERTAIN
    one = replace(a, verification=verified(measured(2000), measured(1500)))
    two = replace(a, verification=verified(measured(2000), measured(1400)))
    assert result(one, two, "latency, whole model by the oracle").verdict == Verdict.UNKNOWN


def test_predicted_and_compiled_are_never_compared() -> None:
    a = example()
    row = result(a, replace(a, after=costs(compiled(1400))), "latency")
    assert row.verdict == Verdict.MIXED
    assert result_row(row)[-1] == "not comparable: predicted and compiled"


def test_figures_of_the_input_stand_there_only_where_they_differ() -> None:
    other = replace(example(), before=costs(predicted(2000, 20), peak=4000, weights=6001))
    names = [row.what for row in compare_runs(example(), other).results]
    assert "weight size of the input" in names
    assert "peak memory of the input" not in names


@pytest.mark.parametrize(("drop", "verdict"), [(0.03, Verdict.WITHIN), (0.06, Verdict.BEYOND)])
def test_accuracy_is_held_against_its_interval(drop: float, verdict: Verdict) -> None:
    """Intervals of ± 0.02 are standard errors of 0.0102, of the difference 0.0144."""
    a = replace(example(), accuracy=(accuracy("top1", 0.01, width=0.04),))
    b = replace(example(), accuracy=(accuracy("top1", drop, width=0.04),))
    assert result(a, b, "top1, fp32").verdict == verdict


def test_a_figure_of_one_run_alone_is_named_with_the_reason() -> None:
    row = result(example(), replace(example(), accuracy=(accuracy("top1", 0.01),)), "top1, fp32")
    assert row.change == Missing("A: no calibration data was given")
    assert row.verdict == Verdict.UNKNOWN


def test_choices_decided_differently_with_gain_damage_and_reason() -> None:
    a = example()
    b = replace(
        a,
        choices=(
            choice("form-1", "keep", value("dense", 60), reason="not together with the rest"),
            choice("form-2", "lossy", value("lossy", 50, "lossy", 0.1)),
            choice("form-3", "keep"),
        ),
    )
    first, second = compare_runs(a, b).choices
    assert first.id == "form-2", "it saves 50 us, the other one 40"
    assert not isinstance(first.b, Missing)
    assert (first.b.value, first.b.gain_us, first.b.reason) == ("lossy", predicted(50), "it pays")
    assert first.b.damage == measured(0.1)
    assert not isinstance(second.a, Missing)
    assert not isinstance(second.b, Missing)
    assert (second.a.value, second.b.value) == ("dense", "keep")
    assert second.b.reason == "not together with the rest"


def test_a_choice_that_one_run_does_not_have() -> None:
    a, b = example(), replace(example(), choices=())
    (found,) = compare_runs(a, b).choices
    assert (found.id, found.b) == ("form-1", Missing("no such choice in this run"))


def test_an_analysis_decides_nothing() -> None:
    assert compare_runs(example(), replace(example(), outcome=Outcome.ANALYSED, choices=())).choices == ()


def test_subgraphs_are_matched_by_the_nodes_that_they_come_from() -> None:
    """expand and depthwise stand alone in a, and are one convolution in b; the tail is gone."""
    a = (
        subgraph("expand", predicted(30, 3), "pointwise"),
        subgraph("depthwise", predicted(70, 4), "depthwise"),
        subgraph("same", predicted(9)),
        subgraph("tail", predicted(5)),
    )
    b = (
        subgraph("fused", predicted(40, 12), "conv", ("expand", "depthwise")),
        subgraph("same", predicted(9)),
    )
    runs = [replace(example(), subgraphs=Subgraphs((), rows)) for rows in (a, b)]
    first, second = compare_runs(*runs).subgraphs
    assert first.sources == ("expand", "depthwise")
    assert (first.a_kinds, first.b_kinds) == (("pointwise", "depthwise"), ("conv",))
    assert first.change_us == predicted(-60, 13)
    assert (second.sources, second.change_us) == (("tail",), predicted(-5))
    assert isinstance(second.b_latency_us, Missing)


def test_markdown_holds_all_of_it() -> None:
    b = replace(example(), choices=(), seed=1)
    text = to_markdown(compare_runs(example(), b), ["A: one", "B: two"])
    for part in ("- A: one", "| seed | 0 | 1 |", "## What came out", "form-1", "The same in both."):
        assert part in text
