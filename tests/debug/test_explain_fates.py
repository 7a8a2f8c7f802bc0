"""What became of a value: every kind of reason, each where it really comes about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import onnx_ir as ir
import pytest

from hwopt.choice import KEEP, Kind, Pass, Risk, Skip, Stage, Value
from hwopt.debug.explain.answer import answer, explain
from hwopt.debug.explain.fates import Fate
from hwopt.debug.explain.quotes import Change
from hwopt.debug.explain.run import Run, decide_only
from hwopt.errors import RewriteFailed
from hwopt.estimate import Estimate, Source
from hwopt.nodes import convs
from hwopt.places import place_of
from hwopt.report.schema import Missing
from hwopt.search.problem import Objective
from hwopt.settings import Options, settings
from hwopt.target import Target
from hwopt.work import open_work
from tests.graphs import write_classifier
from tests.planted import plug_in

FIGURES = Path(__file__).parents[2] / "models" / "figures" / "figures.onnx"
TARGET = "edge-npu"
BLOCK1 = "form:conv-1b990fa119"
VERSION = "schema_version = 1\n"


def decided(model: Path, calib: Path | None = None, **options: Unpack[Options]) -> Run:
    options["refine"] = 0
    return decide_only(open_work(model, TARGET, settings(**options), calib))


@pytest.fixture(scope="module")
def run() -> Run:
    return decided(FIGURES)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    write_classifier(folder)
    return folder


@pytest.fixture(scope="module")
def tight(classifier: Path) -> Run:
    """With calibration data, and hardly any damage allowed."""
    return decided(classifier / "model.onnx", classifier / "calib.npz", max_divergence=0.001)


def fates(run: Run, choice: str) -> dict[str, tuple[Fate, str]]:
    found = answer(run, choice).choices[0]
    return {item.name: (item.fate, item.reason) for item in found.values}


def fates_of_all(run: Run) -> dict[Fate, list[str]]:
    """The reasons of every kind, over all choices."""
    gathered: dict[Fate, list[str]] = {}
    for choice in run.offered:
        for fate, reason in fates(run, choice).values():
            gathered.setdefault(fate, []).append(reason)
    return gathered


class Refuses(Pass):
    """A value that can be offered but not written."""

    name = "refuses"
    stage = Stage.FORM
    risk = Risk.EXACT
    summary = "Conv --> nothing that there is"

    def values(self, model: ir.Model, target: Target) -> Iterator[Value | Skip]:
        del target
        for conv in convs(model):
            place = place_of(conv.node)
            yield Value(
                f"form:{place}", Kind.FORM, "odd", self.name, Risk.EXACT, self.stage, (place,), refuse
            )
            return


def refuse(model: ir.Model) -> None:
    del model
    raise RewriteFailed("it does not fit")


def test_what_cannot_be_written_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, (Refuses(),))
    found = explain(
        FIGURES, target=TARGET, choice="stem.conv2d", refine=0, passes=("refuses", "canonicalize")
    )
    odd = found.choices[0].values[1]
    assert (odd.fate, odd.reason) == (Fate.IMPOSSIBLE, "it cannot be written here: it does not fit")
    assert odd.latency_us == Missing(odd.reason)
    assert odd.damage == Estimate(0.0, 0.0, Source.COMPUTED)


def test_without_data_and_training(run: Run) -> None:
    found = {item.name: item for item in answer(run, "width:model").choices[0].values}
    assert found["x0.5"].fate == Fate.NEEDS_TRAINING
    assert found["x0.9"].fate == Fate.NEEDS_DATA
    assert found["up16"].fate == Fate.DOMINATED
    assert found["up16"].reason.startswith("dominated by keep")
    assert found["x0.5"].damage == Missing("needs training")
    half, most = found["x0.5"].alone, found["x0.9"].alone
    assert isinstance(half, Change)  # priced all the same
    assert isinstance(most, Change)
    assert half.latency_us.value < most.latency_us.value < 0


def test_hints_and_only_choice(tmp_path: Path) -> None:
    (tmp_path / "h.toml").write_text(
        VERSION + f'[pin]\n"{BLOCK1}" = "keep"\n[forbid]\npasses = ["align_channels"]\n'
    )
    run = decided(FIGURES, hints=tmp_path / "h.toml")
    found = answer(run, BLOCK1).choices[0]
    assert found.reason == f'pinned by hints (pin."{BLOCK1}")'
    dense = found.values[1]
    assert (dense.fate, dense.reason) == (Fate.FORBIDDEN, "pinned to keep by hints")
    assert isinstance(dense.alone, Change)  # what the hint costs
    assert dense.alone.latency_us.value < 0
    assert fates(run, "width:809fe7ce9c")["w32"] == (
        Fate.FORBIDDEN, "forbidden by hints (forbid.passes)",
    )  # fmt: skip
    only = decided(FIGURES, only_choice=(BLOCK1,))
    assert fates(only, "form:conv-b7048e8bc9")["dense"][0] == Fate.NOT_ASKED
    assert fates(only, BLOCK1)["dense"][0] == Fate.CHOSEN


def test_a_limit_that_a_value_breaks() -> None:
    run = decided(FIGURES, max_size="401KB")  # folded it has 400.5 KB; dense adds more than 2
    fate, reason = fates(run, BLOCK1)["dense"]
    assert fate == Fate.BREAKS_LIMIT
    assert reason.startswith("max_size 401 KB would be broken: 402.")
    assert "but max_size 401 KB would be broken" in answer(run, BLOCK1).choices[0].reason


def test_limits_that_cannot_be_met_are_part_of_the_answer() -> None:
    run = decided(FIGURES, max_latency="-90%")
    found = answer(run, BLOCK1)
    assert found.outcome.startswith("--max-latency")
    assert "cannot be met" in found.outcome
    assert found.choices[0].chosen == "dense"  # in the plan that comes closest


def test_a_plan_that_is_no_better_or_not_there(run: Run) -> None:
    """What stands in the tables was worth it, what counts said otherwise."""
    free = replace(run.decided, assignment={}, dropped=())
    back = replace(run, decided=replace(free, unchanged=True))
    assert fates(back, BLOCK1)["dense"] == (
        Fate.PASSED_OVER, "the input came back: no plan was better on the figures that count",
    )  # fmt: skip
    assert fates(back, BLOCK1)[KEEP][0] == Fate.CHOSEN
    refused = fates(replace(run, decided=replace(free, refused="no")), BLOCK1)["dense"]
    assert refused[0] == Fate.PASSED_OVER
    assert refused[1].endswith("the plan that comes closest to the limits does without it")
    plain = fates(replace(run, decided=free), BLOCK1)["dense"]
    assert plain == (Fate.PASSED_OVER, "would save 13.8 us on the tables, not on the figures that count")
    worse = fates(replace(run, decided=free), "form:conv-b7048e8bc9")["dense"]
    assert worse[0] == Fate.WORSE
    assert worse[1].startswith("not faster: +205 us on top of the plan")


def test_reasons_speak_of_what_the_run_makes_small(run: Run) -> None:
    free = replace(run.decided, assignment={}, dropped=())
    told = {
        objective: answer(replace(run, decided=replace(free, objective=objective)), BLOCK1).choices[0].reason
        for objective in (Objective.LATENCY, Objective.MEMORY, Objective.SIZE)
    }
    assert told[Objective.LATENCY].startswith("dense would save 13.8 us by itself")
    # 9 x 16 x 15 weights more than the depthwise convolution has, at a byte each
    assert told[Objective.SIZE] == "no value is smaller in size: the best, dense, is +2.16 KB"
    assert told[Objective.MEMORY] == "no value is smaller in memory: the best, dense, is +0 B"


def test_with_data_damage_decides(tight: Run) -> None:
    found = fates_of_all(tight)
    assert {Fate.CHOSEN, Fate.TOO_HARMFUL, Fate.NOT_MEASURED, Fate.EXCLUDED, Fate.DOMINATED} <= found.keys()
    assert any(
        "where max_divergence 0.001 leaves room for about" in reason for reason in found[Fate.TOO_HARMFUL]
    )
    assert all(reason.startswith("not measured") for reason in found[Fate.NOT_MEASURED])
    assert all(reason.startswith("not together with width:") for reason in found[Fate.EXCLUDED])
    assert Fate.NEEDS_DATA not in found


def test_damage_is_measured_with_data(tight: Run) -> None:
    fused = next(item for item in answer(tight, "form:").choices[0].values if item.name == "fused")
    assert isinstance(fused.damage, Estimate)
    assert fused.damage.value > 0.001
    assert isinstance(fused.on_top, Change)
    assert isinstance(fused.on_top.damage, float)
