"""The contract of listeners: what happens where one breaks it, and what the others cost."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import cast

import pytest

import hwopt
from hwopt import trace
from hwopt.cli.watch import LogListener
from hwopt.errors import BadInput, HwoptError
from hwopt.ir import save_model
from hwopt.pricing.price import tell_prices
from hwopt.report.jsonable import json_text
from hwopt.scope import Problem
from hwopt.trace import ListenerFailed, emit
from tests.graphs import classifier
from tests.planted import plan_of_all, planted, plug_in

TARGET = "edge-npu"
EVENT = trace.StageStarted("load")


def raising(error: BaseException, kind: type[object] = object) -> trace.Listener:
    """A listener that breaks the contract when it is told of that kind of event."""

    def careless(event: trace.Event, /) -> None:
        if isinstance(event, kind):
            raise error

    return careless


def test_everyone_hears_of_an_event_and_then_the_culprit_is_named() -> None:
    first, last = trace.Recorder(), trace.Recorder()
    with pytest.raises(ListenerFailed, match=r"careless broke down when told of StageStarted: KeyError: 'x'"):
        emit((first, raising(KeyError("x")), raising(ValueError("y")), last), EVENT)
    assert first.events == last.events == [EVENT]


def test_the_cause_can_be_read() -> None:
    error = KeyError("x")
    with pytest.raises(ListenerFailed) as caught:
        emit((raising(error),), EVENT)
    assert caught.value.__cause__ is error
    assert caught.value.exit_code == 3


def test_what_the_user_can_mend_goes_through_as_it_is() -> None:
    error = BadInput("the dump folder is full")
    with pytest.raises(BadInput) as caught:
        emit((raising(error), raising(KeyError("later"))), EVENT)
    assert caught.value is error


def test_ctrl_c_is_nobodys_failure() -> None:
    with pytest.raises(KeyboardInterrupt):
        emit((raising(KeyboardInterrupt()),), EVENT)


@pytest.mark.parametrize(
    "kind",
    [
        trace.StageStarted,
        trace.ValueFound,
        trace.ValuePriced,
        trace.PassDone,
        trace.RewriteApplied,
        trace.StageDone,
    ],
)
def test_a_run_whose_listener_breaks_down_ends_and_writes_nothing(
    kind: type[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the pass's fault, and nothing that looks like a result: whoever listened may have missed it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    passes = planted()
    model = tmp_path / "model.onnx"
    save_model(classifier(), model)
    plan = tmp_path / "all.plan.json"
    plan.write_text(json_text(plan_of_all(model, TARGET, passes).to_json()), "utf-8")
    plug_in(monkeypatch, passes)
    listeners = (raising(ValueError("careless"), kind),)
    with pytest.raises(ListenerFailed, match=f"careless broke down when told of {kind.__name__}"):
        hwopt.optimize(
            model, target=TARGET, plan=plan, refine=0, output=tmp_path / "out.onnx", listeners=listeners
        )
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "all.plan.json", "scratch"}


def test_what_went_wrong_first_is_what_the_run_ends_with() -> None:
    """A listener that breaks down at the end of a pass that failed does not hide why it failed."""
    listeners = (raising(KeyError("x"), trace.PassDone),)
    with pytest.raises(ZeroDivisionError), trace.timed_pass(listeners, "fold", classifier()):
        raise ZeroDivisionError
    with pytest.raises(ListenerFailed), trace.timed_pass(listeners, "fold", classifier()):
        pass


def test_a_log_that_nobody_reads_any_more_goes_silent() -> None:
    class Closed(io.StringIO):
        def write(self, text: str, /) -> int:
            raise BrokenPipeError

    emit((LogListener(4, Closed()),), EVENT)


def test_without_listeners_nothing_is_worked_out() -> None:
    """What would have to be computed for an event is not even looked at."""
    tell_prices(cast(Problem, None), ())


def seconds_per(work: Callable[[], None], times: int = 20_000) -> float:
    start = perf_counter()
    for _ in range(times):
        work()
    return (perf_counter() - start) / times


def test_telling_nobody_costs_next_to_nothing() -> None:
    """A run tells of some thousand events: at less than 20 us each that is nothing beside its seconds."""
    best = min(seconds_per(lambda: emit((), trace.ValueFound("pass", "choice", "value"))) for _ in range(3))
    assert best < 20e-6


def test_failures_are_errors_of_hwopt() -> None:
    assert issubclass(ListenerFailed, HwoptError)
