"""The most that rewriting could gain: against an exhaustive look at the tables, what it leaves alone."""

from __future__ import annotations

from itertools import product

import pytest

from hwopt.choice import KEEP, Risk
from hwopt.cost.learned import Learned
from hwopt.ir import model_bytes
from hwopt.potential import Potential, potential, prices_of, promising
from hwopt.pricing.price import make_scene, price
from hwopt.scope import Problem
from hwopt.settings import settings
from hwopt.trace import Event, Progress, StageStarted
from hwopt.work import Work, open_work
from tests.graphs import classifier, ibn

TARGET = "edge-npu"


@pytest.fixture(scope="module")
def work() -> Work:
    return open_work(ibn(), TARGET, settings(refine=0))


@pytest.fixture(scope="module")
def found(work: Work) -> Potential:
    return potential(work)


def quickest(problem: Problem, risks: frozenset[Risk]) -> float:
    """The least latency of all assignments, one by one."""
    names = [[KEEP, *(v.name for v in c.values if v.risk in risks)] for c in problem.choices]
    ids = [choice.id for choice in problem.choices]
    prices = (problem.total(dict(zip(ids, some, strict=True))) for some in product(*names))
    return min(price.latency_us.value for price in prices if price is not None)


def test_the_bounds_are_the_optima_of_the_whole_tables(work: Work, found: Potential) -> None:
    scene = make_scene(found.base, work.assess(found.base).shapes, work.target)
    whole = price(scene, found.choices, Learned(work.cost_model))
    exact, every = frozenset({Risk.EXACT}), frozenset({Risk.EXACT, Risk.LOSSY})
    assert found.exact.price.latency_us.value == pytest.approx(quickest(whole, exact))
    assert found.everything.price.latency_us.value == pytest.approx(quickest(whole, every))


def test_a_bound_of_more_is_never_above_one_of_less(found: Potential) -> None:
    plans = [found.folded, found.exact, found.everything]
    latencies = [plan.price.latency_us.value for plan in plans]
    assert latencies == sorted(latencies, reverse=True)
    assert latencies[2] < latencies[0]  # this block fuses well on this target
    alone = [row.best.price.latency_us.value for row in found.passes if row.best is not None]
    assert min(alone) >= latencies[2]


def test_lossy_values_are_priced_without_any_data(found: Potential) -> None:
    risks = {value.risk for choice in found.choices for value in choice.values}
    assert risks == {Risk.EXACT, Risk.LOSSY}
    by_pass = {row.name: row for row in found.passes}
    fused = by_pass["fuse_ibn"]
    assert (fused.risk, fused.choices, fused.values) == (Risk.LOSSY, 1, 2)
    assert fused.best is not None
    assert fused.best.values == 1


def test_what_only_training_can_mend_is_in_no_plan(found: Potential) -> None:
    assert all(value.risk is Risk.RETRAIN for value in found.retrain)
    offered = {(choice.id, value.name) for choice in found.choices for value in choice.values}
    assert offered.isdisjoint((value.choice, value.name) for value in found.retrain)


def test_of_a_choice_the_quickest_lossy_value_of_every_pass_stays(found: Potential) -> None:
    left = {choice.id: choice for choice in promising(found.choices, found.priced)}
    for choice in found.choices:
        prices = prices_of(found.priced, choice)
        saving = [
            value for value in choice.values
            if value.risk is Risk.LOSSY and value.name in prices
            and prices[value.name].latency_us.value < prices[KEEP].latency_us.value
        ]  # fmt: skip
        kept = left[choice.id].values if choice.id in left else ()
        assert {v.pass_name for v in saving} == {v.pass_name for v in kept if v.risk is Risk.LOSSY}
        for value in saving:
            mine = next(v for v in kept if v.pass_name == value.pass_name and v.risk is Risk.LOSSY)
            assert prices[mine.name].latency_us.value <= prices[value.name].latency_us.value
        assert [v for v in kept if v.risk is Risk.EXACT] == [v for v in choice.values if v.risk is Risk.EXACT]


def test_the_model_stays_as_it_is_and_listeners_hear_of_it() -> None:
    model, heard = classifier(), list[Event]()
    before = model_bytes(model)
    potential(open_work(model, TARGET, settings(refine=0)), (heard.append,))
    assert model_bytes(model) == before
    assert [e.name for e in heard if isinstance(e, StageStarted)] == ["find", "price", "search"]
    counts = [(e.done, e.total) for e in heard if isinstance(e, Progress) and e.stage == "price"]
    assert counts[-1][0] == counts[-1][1] > 0


def test_a_second_look_finds_the_same(work: Work, found: Potential) -> None:
    again = potential(work)
    assert again.everything == found.everything
    assert again.passes == found.passes


def test_without_passes_there_is_nothing_to_gain() -> None:
    nothing = open_work(ibn(), TARGET, settings(refine=0, passes=("swap_activation",)))
    found = potential(nothing)
    assert found.choices == ()
    assert found.passes == ()
    assert found.everything.price.latency_us.value == pytest.approx(found.before_us.value)
    assert found.everything.values == 0
