"""Whole plans are priced as the rewritten model is, not as the sum of its parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import pytest

from hwopt import optimize
from hwopt.choice import KEEP, Choice
from hwopt.ir import save_model
from hwopt.rewrite import chosen_values, rewrite
from hwopt.settings import settings
from hwopt.steps import find, price_choices
from hwopt.whole import AT_ONCE, whole_prices
from hwopt.work import Work, open_work
from tests.graphs import classifier


@pytest.mark.parametrize("refine", [0, 3])
def test_a_plan_costs_what_its_model_costs(tmp_path: Path, refine: int) -> None:
    save_model(classifier(), tmp_path / "model.onnx")
    work: Work = open_work(tmp_path / "model.onnx", "ethos-u55-256", settings(refine=refine))
    found = find(work)
    problem, _ = price_choices(work, found)
    plans = [{}, *({choice.id: value.name} for choice in found.choices for value in choice.values)]
    prices = whole_prices(work, found.base, problem)(plans)
    assert len(prices) == len(plans)
    assert len(plans) <= AT_ONCE or prices[AT_ONCE] is not None
    for plan, price in zip(plans, prices, strict=True):
        assert price is not None
        model = rewrite(found.base, chosen_values(found.choices, plan))
        whole, answer = work.assess(model), work.ask([model])[0]
        expected = whole.latency_us.value if answer.measurement is None else answer.measurement.latency_us
        assert (answer.measurement is None) == (refine == 0)
        assert price.latency_us.value == pytest.approx(expected)
        assert price.peak_bytes == whole.memory.peak_bytes
        assert price.weight_bytes == whole.weight_bytes


def test_a_plan_that_the_tables_rule_out_is_impossible(tmp_path: Path) -> None:
    save_model(classifier(), tmp_path / "model.onnx")
    work = open_work(tmp_path / "model.onnx", "edge-npu", settings(refine=0))
    found = find(work)
    problem, _ = price_choices(work, found)
    assert whole_prices(work, found.base, problem)([{found.choices[0].id: "no such value"}]) == [None]


def test_a_search_with_the_oracle_in_the_loop_finds_what_trying_everything_finds(tmp_path: Path) -> None:
    """On a target whose compiler decides for the whole network."""
    save_model(classifier(), tmp_path / "model.onnx")
    name = "ethos-u65-512-dedicated"
    passes = ("canonicalize", "align_channels")
    work = open_work(tmp_path / "model.onnx", name, settings(passes=passes))
    found = find(work)
    problem, _ = price_choices(work, found)
    every = [dict(zip((c.id for c in found.choices), names, strict=True)) for names in joint(found.choices)]
    assert len(every) <= 40
    prices = [p.latency_us.value for p in whole_prices(work, found.base, problem)(every) if p is not None]
    result = optimize(
        tmp_path / "model.onnx", target=name, passes=passes, search="evolve", evaluations=40, in_the_loop=True
    )
    (answer,) = work.ask([result.model])
    assert answer.measurement is not None
    assert answer.measurement.latency_us <= min(prices) * (1 + 1e-9)


def joint(choices: Sequence[Choice]) -> Iterator[tuple[str, ...]]:
    return product(*[[KEEP, *(value.name for value in choice.values)] for choice in choices])
