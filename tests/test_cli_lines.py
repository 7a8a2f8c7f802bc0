"""The lines of HWOPT_DEBUG: their words and columns are what people grep for."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from hwopt import trace
from hwopt.cli.lines import Lines
from hwopt.estimate import Estimate, Source

MODEL = ir.Model(ir.Graph([], [], nodes=[]), ir_version=10)
CHOICE = "form:conv-463bcd5fb1"


def us(value: float) -> Estimate:
    return Estimate(value, 0.0, Source.PREDICTED)


def said(*events: trace.Event, level: int = 4) -> list[tuple[int, str]]:
    lines = Lines(level)
    found = (lines.of(event) for event in events)
    return [(line[0], " ".join(line[1].split())) for line in found if line is not None]


@pytest.mark.parametrize(
    ("event", "level", "text"),
    [
        (trace.StageStarted("price"), 1, "stage price begins"),
        (trace.StageDone("price", 1.234), 1, "stage price done in 1.23s"),
        (
            trace.CheckFailed("max_memory", "a plan of 2 values", "9 is over 8"),
            1,
            "failed max_memory a plan of 2 values: 9 is over 8",
        ),
        (
            trace.BetterPlan({"a": "x", "b": "keep"}, 24645.53, 0.0123),
            1,
            "better plan 24,645.5 us damage 0.0123 1 value a=x",
        ),
        (
            trace.RewriteApplied(12, "densify_depthwise", CHOICE, "dense", 394, 391, MODEL, 4, 1, 0.0012),
            2,
            f"step 12 densify_depthwise {CHOICE} = dense nodes 394 -> 391 1.2 ms",
        ),
        (trace.ModelMade("repair", MODEL), 2, "model repair 0 nodes"),
        (
            trace.RepairFitted(CHOICE, "conv_3", 1.5, 0.25),
            3,
            f"repair {CHOICE} error 1.5000 -> 0.2500 conv_3",
        ),
        (trace.RepairFitted("", "conv_4", 0.5, 0.25), 3, "repair (absorbs) error 0.5000 -> 0.2500 conv_4"),
        (trace.ValueFound("fuse_ibn", CHOICE, "fused"), 4, f"found fuse_ibn {CHOICE} = fused"),
        (trace.PlaceSkipped("fuse_ibn", "conv_1", "not\nconstant"), 4, "skip fuse_ibn conv_1: not constant"),
        (trace.Progress("price", 12, 117), 4, "progress price 12/117"),
        (trace.Progress("search", 12, 0), 4, "progress search 12"),
    ],
)
def test_each_event_has_its_line_and_its_level(event: trace.Event, level: int, text: str) -> None:
    assert said(event) == [(level, text)]


def test_the_values_of_a_better_plan_are_for_who_reads_on() -> None:
    event = trace.BetterPlan({"a": "x"}, 1.0, 0.0)
    assert [text for _, text in said(event, level=1)] == ["better plan 1.0 us damage 0 1 value"]


def test_a_value_is_held_against_keep_and_names_its_pass() -> None:
    events: list[trace.Event] = [
        trace.ValueFound("fuse_ibn", CHOICE, "fused"),
        trace.ValuePriced(CHOICE, "keep", us(100.0)),
        trace.ValuePriced(CHOICE, "fused", us(40.0), 0.003),
        trace.ValuePriced(CHOICE, "fused_k3", us(120.0), None),
        trace.ValuePriced(CHOICE, "dense", None),
    ]
    assert [text for _, text in said(*events)[1:]] == [
        f"value {CHOICE} = keep 100.0 us",
        f"value fuse_ibn {CHOICE} = fused 40.0 us -60.0 us damage 0.003",
        f"value {CHOICE} = fused_k3 120.0 us +20.0 us damage not measured",
        f"value {CHOICE} = dense no price",
    ]


def test_a_pass_is_summed_up_and_one_that_found_nothing_is_kept_for_the_last_level() -> None:
    events: list[trace.Event] = [
        trace.PassStarted("a"),
        trace.ValueFound("a", "c", "v"),
        trace.PlaceSkipped("a", "n", "r"),
        trace.PlaceSkipped("a", "m", "r"),
        trace.PassDone("a", 0.5, 9, 9),
        trace.PassStarted("b"),
        trace.PassDone("b", 0.25, 9, 9),
        trace.PassStarted("a", trace.REWRITING),
        trace.RewriteApplied(1, "a", "c", "v", 9, 7, MODEL, 2, 0, 0.125),
        trace.PassDone("a", 60.0, 9, 7, trace.REWRITING),  # a minute of which went into a dump
    ]
    assert [line for line in said(*events) if line[1].startswith("pass")] == [
        (2, "pass a found 1 value, skipped 2 places, 0.500s"),
        (4, "pass b found 0 values, skipped 0 places, 0.250s"),
        (2, "pass a made 1 step, nodes 9 -> 7, 0.125s"),
    ]


def test_columns_stand_below_one_another() -> None:
    lines = Lines()
    steps = [
        trace.RewriteApplied(number, name, CHOICE, "dense", 9, 9, MODEL)
        for number, name in ((7, "a"), (1234, "densify_depthwise"))
    ]
    texts = [line[1] for event in steps if (line := lines.of(event)) is not None]
    assert len({text.index(CHOICE) for text in texts}) == len({text.index("nodes") for text in texts}) == 1
