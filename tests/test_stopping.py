"""When a run is to end early, without a real clock."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import hwopt
from hwopt.settings import Options, Settings, settings
from hwopt.stopping import ASKED, TIME_LIMIT, Stop


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_time_limit_counts_from_the_start_and_is_told_as_the_reason() -> None:
    clock = Clock()
    stop = Stop(10.0, clock=clock)
    clock.now = 109.9
    assert not stop()
    assert stop.reason == ""
    clock.now = 110.0
    assert stop()
    assert stop.reason == TIME_LIMIT


def test_a_step_may_have_a_share_of_the_limit_and_the_rest_goes_on() -> None:
    clock = Clock()
    stop = Stop(10.0, clock=clock)
    clock.now = 106.0
    assert stop.used(0.6)
    assert stop.reason == TIME_LIMIT  # something was left out, so the result depends on the clock
    assert not stop()


def test_a_caller_who_asked_once_need_not_ask_again() -> None:
    said = iter([False, True, False])
    stop = Stop(asked=lambda: next(said))
    assert [stop(), stop(), stop()] == [False, True, True]
    assert stop.reason == ASKED


def test_without_limit_and_caller_nothing_ends() -> None:
    clock = Clock()
    stop = Stop(clock=clock)
    clock.now = 1e9
    assert not stop()


def test_options_settings_and_their_check_name_the_same_things() -> None:
    renamed = {"minimize": "objective", "max_latency": "latency", "max_memory": "memory"}
    renamed |= {"max_size": "size", "max_footprint": "footprint"}
    known = {renamed.get(name, name) for name in Options.__annotations__}
    assert known == set(Settings.__dataclass_fields__)
    assert settings() == Settings()


def test_a_mistyped_option_is_an_error_before_anything_is_read() -> None:
    with pytest.raises(TypeError, match="did you mean 'max_drop'"):
        hwopt.optimize("no.onnx", target="edge-npu", max_dorp=0.1)  # type: ignore[call-arg]
