"""The mildest plans that need training: how they are found and weighed."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwopt.candidate import Considered, preferred, weigh
from hwopt.candidate_plans import mildest, near_mildest, opened, removed
from hwopt.choice import KEEP, Choice, Kind, Risk, Stage, Value
from hwopt.decide import Decision
from hwopt.estimate import Estimate, Source
from hwopt.find import find_choices
from hwopt.scope import Price, Problem, Scope
from hwopt.search import Budget, Objective
from hwopt.search.problem import Outcome
from hwopt.settings import settings
from hwopt.steps import find
from hwopt.work import open_work
from hwopt.zero_shot.score import zero_shot_score
from tests.graphs import CLASSIFIER, CLASSIFIER_WEIGHTS, model_of


def us(value: float) -> Estimate:
    return Estimate(value, 0.0, Source.PREDICTED)


def value(choice: str, name: str, risk: Risk) -> Value:
    return Value(choice, Kind.WIDTH, name, "t", risk, Stage.PRUNE, (), lambda model: None)


def problem_of(*entries: tuple[str, str, Risk, float, int]) -> Problem:
    """One choice per entry: (choice, value, risk, microseconds saved of 100, bytes saved of 1000)."""
    choices = []
    scopes = []
    for choice, name, risk, gain, size in entries:
        choices.append(Choice(choice, Kind.WIDTH, (value(choice, name, risk),)))
        table: dict[tuple[str, ...], Price] = {
            (KEEP,): Price(us(100.0), 1000),
            (name,): Price(us(100.0 - gain), 1000 - size),
        }
        scopes.append(Scope(f"cost:{choice}", (choice,), table))
    return Problem(tuple(choices), tuple(scopes), Price(us(0.0), 0))


MIXED = problem_of(
    ("a", "half", Risk.RETRAIN, 50.0, 500),
    ("b", "most", Risk.RETRAIN, 60.0, 900),
    ("c", "dense", Risk.EXACT, 20.0, -100),
)


def test_the_smallest_share_that_meets_the_limit_is_taken_and_exact_values_help() -> None:
    found = mildest(MIXED, Budget(latency_us=240.0), 0)
    assert found is not None
    assert found.assignment == {"a": "half", "c": "dense"}
    assert found.predicted.latency_us.value == 230.0


def test_one_value_that_takes_more_loses_against_two_that_take_less() -> None:
    problem = problem_of(
        ("a", "v", Risk.RETRAIN, 30.0, 100),
        ("b", "v", Risk.RETRAIN, 30.0, 100),
        ("c", "v", Risk.RETRAIN, 60.0, 900),
    )
    found = mildest(problem, Budget(latency_us=245.0), 0)
    assert found is not None
    assert found.assignment == {"a": "v", "b": "v"}


def test_no_plan_is_no_plan_and_an_easy_limit_needs_no_training() -> None:
    assert mildest(MIXED, Budget(latency_us=100.0), 0) is None
    easy = mildest(MIXED, Budget(latency_us=290.0), 0)
    assert easy is not None
    assert easy.assignment == {"c": "dense"}


def test_values_that_need_training_have_no_entry_in_damage_tables_and_are_possible_all_the_same() -> None:
    lossy = Choice("w", Kind.WIDTH, (value("w", "mild", Risk.LOSSY), value("w", "hard", Risk.RETRAIN)))
    cost: dict[tuple[str, ...], Price] = {
        (KEEP,): Price(us(100.0), 10),
        ("mild",): Price(us(90.0), 9),
        ("hard",): Price(us(40.0), 4),
    }
    damage: dict[tuple[str, ...], Price] = {(KEEP,): Price(us(0.0)), ("mild",): Price(us(0.0), damage=0.1)}
    problem = Problem(
        (lossy,), (Scope("cost:0", ("w",), cost), Scope("damage:0", ("w",), damage)), Price(us(0))
    )
    found = mildest(problem, Budget(latency_us=50.0), 0)
    assert found is not None
    assert found.assignment == {"w": "hard"}
    assert removed(opened(problem), found.assignment) == pytest.approx(0.6)


@pytest.mark.parametrize("objective", list(Objective))
def test_the_objective_decides_among_equally_mild_plans(objective: Objective) -> None:
    found = mildest(MIXED, Budget(objective=objective, latency_us=255.0), 0)
    assert found is not None
    wanted = objective in (Objective.LATENCY,)
    assert ("c" in found.assignment) == wanted
    assert found.assignment["a"] == "half"


def test_other_sets_follow_from_mild_to_harsh_and_none_comes_twice() -> None:
    limit = Budget(latency_us=240.0)
    found = near_mildest(MIXED, limit, 0)
    sets = [{c: v for c, v in d.assignment.items() if c != "c"} for d in found]
    assert sets == [{"a": "half"}, {"b": "most"}, {"a": "half", "b": "most"}]
    assert all(not limit.violations(d.predicted) for d in found)
    gone = [removed(MIXED, only) for only in sets]
    assert gone == sorted(gone)
    assert near_mildest(MIXED, limit, 0, count=2) == found[:2]
    assert mildest(MIXED, limit, 0) == found[0]


def test_nothing_is_milder_than_no_training() -> None:
    found = near_mildest(MIXED, Budget(latency_us=290.0), 0)
    assert [d.assignment for d in found] == [{"c": "dense"}]


def test_two_harsh_values_of_one_choice_are_two_sets() -> None:
    owner = Choice("w", Kind.MODEL, (value("w", "half", Risk.RETRAIN), value("w", "quarter", Risk.RETRAIN)))
    table: dict[tuple[str, ...], Price] = {
        (KEEP,): Price(us(100.0), 1000), ("half",): Price(us(50.0), 500), ("quarter",): Price(us(30.0), 250),
    }  # fmt: skip
    problem = Problem((owner,), (Scope("cost", ("w",), table),), Price(us(0.0), 0))
    found = near_mildest(problem, Budget(latency_us=60.0), 0)
    assert [d.assignment for d in found] == [{"w": "half"}, {"w": "quarter"}]


def test_the_ordinary_search_sees_no_value_that_needs_training() -> None:
    model = Path(__file__).parent.parent / "models" / "figures" / "figures.onnx"
    work = open_work(model, "edge-npu", settings(allow_retrain=True, max_latency="-90%"))
    found = find(work)
    assert found.choices
    assert all(v.risk == Risk.EXACT for c in found.choices for v in c.values)
    offered, _ = find_choices(found.base, work.passes, work.target, frozenset(Risk))
    assert any(v.risk == Risk.RETRAIN for c in offered for v in c.values)


def test_plans_are_weighed_with_what_they_remove_and_a_score() -> None:
    model = model_of(CLASSIFIER, CLASSIFIER_WEIGHTS)
    decision = Decision({"a": "half"}, Price(us(230.0)), Outcome(None, "milp", 0), None, ())
    chosen = weigh(model, MIXED, [decision])[0]
    assert chosen.retrained == {"a": "half"}
    assert chosen.removed == pytest.approx(500 / 3000)
    assert chosen.score == zero_shot_score(model)  # these values rewrite nothing
    assert chosen.row()["steps"] == {"a": "half"}


def considered(score: float | str) -> Considered:
    decision = Decision({}, Price(us(1.0)), Outcome({}, "milp", 0), None, ())
    return Considered(decision, {"a": "half"}, 0.5, score)


def test_the_best_score_is_preferred_and_the_mildest_where_one_has_none() -> None:
    mild, better, harsh = considered(1.0), considered(3.0), considered(2.0)
    assert preferred([mild, better, harsh]) is better
    assert preferred([mild, considered("unknown operator"), better]) is mild
    assert preferred([mild, considered(1.0)]) is mild
