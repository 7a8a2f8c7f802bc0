"""The search by itself: steps that change nothing, and a judge who knows what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from math import ceil, log2

import onnx_ir as ir
import pytest

from hwopt.choice import Kind, Risk, Stage, Value
from hwopt.debug.bisect.checks import CRASH, GOOD, NUMERIC, REFUSED, Finding, Verdict
from hwopt.debug.bisect.search import Bisection, Outcome, Prober, Steps, bisect
from hwopt.debug.bisect.stepwise import Stepwise
from hwopt.errors import BadInput, RewriteFailed
from tests.graphs import model_of

TINY = """
<ir_version: 8, opset_import: ["" : 13]>
tiny (float[N,4] x) => (float[N,4] y) { y = Relu(x) }
"""
BAD = Finding(Verdict.BAD, NUMERIC, "wrong")
SKIP = Finding(Verdict.SKIP, "command", "cannot tell")
Made = Callable[[list[int]], None]


@dataclass(frozen=True)
class Step:
    """A step that leaves its number in the model; `look` may object to what was made before."""

    number: int
    look: Made

    def __call__(self, model: ir.Model) -> None:
        made = list(model.graph.meta.get("made", []))
        self.look(made)
        model.graph.meta["made"] = [*made, self.number]


def steps(
    count: int, looks: Mapping[int, Made] | None = None, places: Mapping[int, str] | None = None
) -> Stepwise:
    def value(number: int) -> Value:
        look = (looks or {}).get(number, lambda made: None)
        return Value(
            f"choice-{number}", Kind.FORM, "on", "noop", Risk.EXACT, Stage.FORM,
            tuple((places or {}).get(number, "")), Step(number, look),
        )  # fmt: skip

    return Stepwise(model_of(TINY, {}), tuple(value(number) for number in range(1, count + 1)))


def judged(wrong: Callable[[Steps], bool]) -> Callable[[Steps], Finding]:
    return lambda chosen: BAD if wrong(chosen) else GOOD


def hunted(count: int, wrong: Callable[[Steps], bool]) -> Bisection:
    return bisect(Prober(steps(count), judged(wrong)))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 31, 49])
def test_a_single_culprit_takes_no_more_checks_than_promised(count: int) -> None:
    for culprit in range(1, count + 1):
        found = hunted(count, lambda chosen, culprit=culprit: culprit in chosen)  # type: ignore[misc]
        assert (found.outcome, found.culprit, found.partners) == (Outcome.FOUND, culprit, ())
        assert found.minimal == (culprit,)
        assert found.checks <= ceil(log2(count)) + 2


def test_every_pair_is_found() -> None:
    for pair in combinations(range(1, 10), 2):
        found = hunted(9, lambda chosen, pair=pair: chosen.issuperset(pair))  # type: ignore[misc]
        assert (found.culprit, found.partners) == (pair[1], (pair[0],))


def test_three_that_go_wrong_together_are_found() -> None:
    found = hunted(40, lambda chosen: chosen.issuperset({4, 17, 33}))
    assert found.minimal == (4, 17, 33)
    assert found.complete


def test_steps_that_share_nodes_are_tried_first() -> None:
    shared = {7: "a", 40: "a"}
    found = bisect(Prober(steps(41, places=shared), judged(lambda chosen: chosen >= {7, 40})))
    plain = hunted(41, lambda chosen: chosen >= {7, 40})
    assert found.minimal == plain.minimal == (7, 40)
    assert found.checks < plain.checks


def test_a_plan_that_passes_takes_one_check() -> None:
    found = hunted(30, lambda chosen: False)
    assert (found.outcome, found.checks, found.minimal) == (Outcome.PASSES, 1, ())


def test_a_crash_tells_its_step_at_once() -> None:
    def crash(made: list[int]) -> None:
        raise ZeroDivisionError("planted")

    found = bisect(Prober(steps(50, {21: crash}), judged(lambda chosen: False)))
    assert (found.culprit, found.finding.kind, found.partners, found.checks) == (21, CRASH, (), 2)
    assert "ZeroDivisionError: planted" in found.finding.reason


def test_a_crash_that_takes_an_earlier_step_names_both() -> None:
    def crash(made: list[int]) -> None:
        if 5 in made:
            raise KeyError("left by step 5")

    found = bisect(Prober(steps(50, {21: crash}), judged(lambda chosen: False)))
    assert (found.culprit, found.partners, found.finding.kind) == (21, (5,), CRASH)


def test_another_crash_is_not_taken_for_the_same() -> None:
    def crash(made: list[int]) -> None:
        if 2 not in made:
            raise TypeError("the other one")
        raise KeyError("the one that the plan shows")

    found = bisect(Prober(steps(6, {4: crash}), judged(lambda chosen: False)))
    assert (found.culprit, found.partners) == (4, (2,))


def needing(other: int, made: list[int]) -> None:
    if other not in made:
        raise RewriteFailed(f"no node of step {other}")


def test_what_a_culprit_stands_on_is_no_partner() -> None:
    looks = {9: partial(needing, 3), 3: partial(needing, 2)}
    asked: list[Steps] = []

    def judge(chosen: Steps) -> Finding:
        asked.append(chosen)
        return BAD if 9 in chosen else GOOD

    found = bisect(Prober(steps(12, looks), judge))
    assert (found.culprit, found.partners, found.needs, found.minimal) == (9, (), (2, 3), (2, 3, 9))
    assert len(asked) == found.checks <= ceil(log2(12)) + 2


def test_partners_are_sought_beside_what_is_stood_on() -> None:
    found = bisect(Prober(steps(12, {9: partial(needing, 3)}), judged(lambda chosen: chosen >= {9, 6})))
    assert (found.culprit, found.partners, found.needs) == (9, (6,), (3,))


def test_a_step_that_an_earlier_one_makes_impossible_is_the_culprit() -> None:
    def refuses(made: list[int]) -> None:
        if 4 in made:
            raise RewriteFailed("step 4 took the node")

    found = bisect(Prober(steps(12, {8: refuses}), judged(lambda chosen: False)))
    assert (found.culprit, found.partners, found.finding.kind) == (8, (4,), REFUSED)


def test_neighbours_are_tried_where_the_check_skips() -> None:
    def judge(chosen: Steps) -> Finding:
        return SKIP if len(chosen) in (5, 6) else BAD if 9 in chosen else GOOD

    assert bisect(Prober(steps(12), judge)).culprit == 9


def test_a_range_is_left_where_the_check_skips_what_would_decide() -> None:
    def judge(chosen: Steps) -> Finding:
        return SKIP if len(chosen) in (7, 8, 9) else BAD if 9 in chosen else GOOD

    found = bisect(Prober(steps(12), judge))
    assert (found.outcome, found.between, found.culprit) == (Outcome.UNDECIDED, (7, 10), 0)
    assert (found.minimal, found.complete) == ((), True)


def test_weights_that_cannot_be_fitted_are_a_failure_of_the_plan() -> None:
    def judge(chosen: Steps) -> Finding:
        if 3 in chosen:
            raise RewriteFailed("nothing to fit to")
        return GOOD

    found = bisect(Prober(steps(6), judge))
    assert (found.culprit, found.partners, found.finding.reason) == (3, (), "nothing to fit to")


def test_a_whole_plan_that_is_skipped_cannot_be_bisected() -> None:
    with pytest.raises(BadInput, match="cannot tell"):
        bisect(Prober(steps(3), lambda chosen: SKIP))


def test_an_input_that_fails_by_itself_is_noticed() -> None:
    with pytest.raises(BadInput, match="before any step"):
        bisect(Prober(steps(8), lambda chosen: BAD), sure=False)


def test_an_input_is_checked_only_where_no_beginning_was_good() -> None:
    prober = Prober(steps(8), judged(lambda chosen: 6 in chosen))
    assert bisect(prober, sure=False).culprit == 6
    assert frozenset() not in {checked.steps for checked in prober.made}
    prober = Prober(steps(8), judged(lambda chosen: 1 in chosen))
    assert bisect(prober, sure=False).culprit == 1
    assert frozenset() in {checked.steps for checked in prober.made}


def test_a_failure_that_more_steps_hide_is_told() -> None:
    found = hunted(5, lambda chosen: chosen >= {2, 5} and not (1 in chosen and 3 not in chosen))
    assert (found.culprit, found.partners) == (5, (2,))
    assert any("not seen with step 1 too" in note for note in found.notes)


def test_another_failure_of_the_whole_plan_is_told() -> None:
    def judge(chosen: Steps) -> Finding:
        if len(chosen) == 12:
            return Finding(Verdict.BAD, "invalid", "no model")
        return BAD if 4 in chosen else GOOD

    found = bisect(Prober(steps(12), judge))
    assert (found.culprit, found.finding.kind) == (4, NUMERIC)
    assert any("more than one culprit" in note for note in found.notes)


def test_the_checks_may_be_counted_out() -> None:
    found = bisect(Prober(steps(40), judged(lambda chosen: chosen >= {3, 30}), most=9))
    assert (found.culprit, found.complete) == (30, False)
    assert 3 in found.partners
    assert found.checks <= 9
    early = bisect(Prober(steps(40), judged(lambda chosen: 30 in chosen), most=3))
    assert (early.outcome, early.complete) == (Outcome.UNDECIDED, False)
    assert early.between[0] <= 30 <= early.between[1]


def test_steps_that_must_be_there_are_in_every_set_with_a_later_one() -> None:
    asked: list[Steps] = []

    def judge(chosen: Steps) -> Finding:
        asked.append(chosen)
        return BAD if 7 in chosen else GOOD

    found = bisect(Prober(steps(9), judge, always=frozenset({1, 2, 3})), good=3)
    assert (found.culprit, found.partners) == (7, ())
    assert all(chosen >= {1, 2, 3} for chosen in asked)
