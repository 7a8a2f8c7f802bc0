"""Every event that the engine knows is told of in a real run, and what it says is so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, get_args

import onnx_ir as ir
import pytest

import hwopt
from hwopt import trace
from hwopt.choice import KEEP, Kind, Pass, Risk, Skip, Stage, Value
from hwopt.errors import BudgetNotMet, RewriteFailed
from hwopt.estimate import Estimate
from hwopt.nodes import convs
from hwopt.places import place_of
from hwopt.report.jsonable import json_text
from hwopt.target import Target
from hwopt.verify import require_same_interface
from tests.graphs import classifier, write_classifier
from tests.planted import plan_of_all, planted, plug_in

TARGET = "edge-npu"
E = TypeVar("E")


class Heard(trace.Recorder):
    """A recorder that is asked for one kind of event."""

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]


@dataclass(frozen=True)
class Run:
    heard: Heard
    result: hwopt.Result


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small classifier with its data, written in int8: folds, a search, repairs, limits that break."""
    folder, heard = tmp_path_factory.mktemp("trace"), Heard()
    write_classifier(folder)
    result = hwopt.optimize(
        folder / "model.onnx", target=TARGET, calib=folder / "calib.npz", max_divergence=0.01,
        passes=("canonicalize", "fuse_ibn", "prune_channels"), quantize="int8", refine=0, listeners=(heard,),
    )  # fmt: skip
    return Run(heard, result)


def test_every_event_is_really_told_of(run: Run) -> None:
    told = {type(event) for event in run.heard.events}
    assert told == set(get_args(trace.Event))


def test_a_value_is_priced_as_the_report_says(run: Run) -> None:
    priced = {(event.choice, event.value): event for event in run.heard.of(trace.ValuePriced)}
    rows = {(row.id, value.name): value for row in run.result.report.choices for value in row.values}
    assert set(priced) == set(rows)
    for key, event in priced.items():
        latency, damage = rows[key].latency_us, rows[key].damage
        if isinstance(latency, Estimate):
            assert event.latency_us == latency
            assert isinstance(damage, Estimate)
            assert event.damage == damage.value
        else:  # the report has no figures of what cannot be chosen
            assert event.latency_us is None or event.damage is None


def test_keep_is_priced_first(run: Run) -> None:
    seen: set[str] = set()
    for event in run.heard.of(trace.ValuePriced):
        assert event.choice in seen or event.value == KEEP
        seen.add(event.choice)


def test_steps_are_those_of_the_plan_and_count_nodes(run: Run) -> None:
    steps = run.heard.of(trace.RewriteApplied)
    last = {event.step: event for event in steps}
    assert [(last[n].choice, last[n].value) for n in sorted(last)] == [
        (step.choice, step.value) for step in run.result.plan.steps
    ]
    assert sorted(last) == list(range(1, len(run.result.plan.steps) + 1))
    for event in steps:
        assert event.nodes_after == event.nodes_before - event.removed + event.added
        assert event.seconds > 0


def test_a_broken_limit_is_told_with_its_figures(run: Run) -> None:
    failed = [event for event in run.heard.of(trace.CheckFailed) if event.check == "max_divergence"]
    beyond = [r for r in run.result.report.notes if r.endswith("beyond the limit")]
    assert len(failed) == len(beyond) > 0
    assert all("is over 0.01 (measured)" in event.detail for event in failed)


def test_repairs_are_told_of_the_delivered_plan_alone(run: Run) -> None:
    fitted = run.heard.of(trace.RepairFitted)
    made = [event.name for event in run.heard.of(trace.ModelMade)]
    assert made == ["repair"] * (len(made) - 1) + ["quantise"]
    assert {event.choice for event in fitted} - {""} <= {step.choice for step in run.result.plan.steps}
    per_node = Counter(event.node for event in fitted)
    assert max(per_node.values()) == len(made) - 1  # once per model that was repaired
    assert run.result.model is run.heard.of(trace.ModelMade)[-1].model


def test_every_pass_and_stage_that_begins_ends(run: Run) -> None:
    began = Counter((event.pass_name, event.phase) for event in run.heard.of(trace.PassStarted))
    ended = Counter((event.pass_name, event.phase) for event in run.heard.of(trace.PassDone))
    assert began == ended
    assert {phase for _, phase in began} == {trace.FINDING, trace.REWRITING}
    names = [event.name for event in run.heard.of(trace.StageStarted)]
    assert sorted(names) == sorted(event.name for event in run.heard.of(trace.StageDone))


def test_what_a_pass_finds_is_told_between_its_start_and_its_end(run: Run) -> None:
    current = None
    for event in run.heard.events:
        if isinstance(event, trace.PassStarted):
            current = event.pass_name
        elif isinstance(event, trace.PassDone):
            current = None
        elif isinstance(event, trace.ValueFound | trace.RewriteApplied):
            assert event.pass_name == current


def test_the_log_never_spills_over_a_line(run: Run) -> None:
    from hwopt.cli.lines import Lines

    lines = Lines()
    said = [line for event in run.heard.events if (line := lines.of(event)) is not None]
    words = {text.split()[0] for _, text in said}
    assert words == {
        "stage", "better", "failed", "pass", "step", "model", "value", "repair", "found", "skip", "progress",
    }  # fmt: skip
    assert all("\n" not in text and text == text.rstrip() for _, text in said)


def test_a_wrong_exact_step_is_told_of_before_the_run_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_classifier(tmp_path)
    heard, passes = Heard(), planted(wrong=1)
    with pytest.raises(RewriteFailed, match="the plan changed output 'y'"):
        replayed(tmp_path, passes, monkeypatch, heard)
    [event] = heard.of(trace.CheckFailed)
    assert (event.check, event.where) == ("verify", "output 'y'")
    assert "0.0001" in event.detail


def replayed(folder: Path, passes: tuple[Pass, ...], monkeypatch: pytest.MonkeyPatch, heard: Heard) -> None:
    """A run that carries out one value of each choice that these passes offer."""
    plan = plan_of_all(folder / "model.onnx", TARGET, passes)
    plug_in(monkeypatch, passes)
    path = folder / "all.plan.json"
    path.write_text(json_text(plan.to_json()), "utf-8")
    hwopt.optimize(folder / "model.onnx", target=TARGET, plan=path, refine=0, listeners=(heard,))


def test_a_hard_limit_that_a_proposed_plan_breaks_is_told_of() -> None:
    heard = Heard()
    with pytest.raises(BudgetNotMet) as caught:
        hwopt.optimize(classifier(), target=TARGET, refine=0, max_latency="1us", listeners=(heard,))
    failed = heard.of(trace.CheckFailed)
    assert {(event.check, event.where) for event in failed} == {("max_latency", "a plan of 0 values")}
    figure = failed[0].detail.split()[0]
    assert failed[0].detail == f"{figure} is over 1 (predicted)"
    assert float(figure) == pytest.approx(before_us(), rel=1e-3)
    assert "max_latency" in str(caught.value) or "--max-latency" in str(caught.value)


def before_us() -> float:
    """What counts of the unchanged classifier: the prediction with its spread."""
    found = hwopt.optimize(classifier(), target=TARGET, refine=0).report.before.latency_us
    assert isinstance(found, Estimate)
    return found.value + found.spread


def test_another_interface_is_told_of() -> None:
    one, two, heard = classifier(), classifier(), Heard()
    two.graph.outputs[0].name = "other"
    with pytest.raises(RewriteFailed, match="interface"):
        require_same_interface(one, two, (heard,))
    assert [event.check for event in heard.of(trace.CheckFailed)] == ["interface"]


@dataclass(frozen=True)
class Refusing(Pass):
    """Offers a value at the first convolution that it then cannot write."""

    name = "refusing"
    stage = Stage.FORM
    risk = Risk.EXACT
    summary = "Conv --> nothing"

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        del target
        place = place_of(next(convs(model)).node)

        def rewrite(model: ir.Model) -> None:
            raise RewriteFailed("it does not fit")

        yield Value("form:x", Kind.FORM, "gone", self.name, Risk.EXACT, Stage.FORM, (place,), rewrite)


def test_a_value_that_cannot_be_written_is_told_of_once_per_place(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard()
    plug_in(monkeypatch, (Refusing(),))
    hwopt.optimize(classifier(), target=TARGET, refine=0, listeners=(heard,))
    assert {(e.check, e.where, e.detail) for e in heard.of(trace.CheckFailed)} == {
        ("rewrite", "form:x = gone", "it does not fit")
    }
    [price] = [event for event in heard.of(trace.ValuePriced) if event.value == "gone"]
    assert price.latency_us is None
