"""Searches, looks at what the plan really is and does, and searches again with what was learned.

Predictions propose. A plan's structure is looked at first, which is cheap: the oracle's figure for
the whole model, the arena with its layout, encoded weights. What keeps the hard limits there is
repaired and measured on data, which takes minutes. Whatever breaks tightens the search's own limits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from hwopt.choice import KEEP
from hwopt.damage.link import Link, estimated, prior, suffered
from hwopt.damage.link import Point as Measured
from hwopt.damage.measure import Damage
from hwopt.held import Checked, Inspection, halfway, tightened
from hwopt.scope import Assignment, Price, Problem
from hwopt.search.curate import Dropped
from hwopt.search.problem import Budget, Outcome, Point
from hwopt.settings import AccuracyLimit
from hwopt.trace import BetterPlan, CheckFailed, Listeners, Progress, emit

MAX_ROUNDS = 8  # plans that are repaired and measured
MAX_LOOKS = 8  # plans that are looked at for one that keeps the hard limits
ROUNDING = 1e-9  # 8 of 400 images are two points, whatever floating point makes of the difference
SMALLEST_STEP = 0.05  # limits on damage closer than this are not worth another measurement


@dataclass(frozen=True)
class Round:
    """One plan that was searched, repaired and measured."""

    assignment: Assignment
    predicted: Price
    damage: Damage
    within_limit: bool


@dataclass(frozen=True)
class Decision:
    """The plan that was settled on.

    objective: its figure, where it counts. rounds: everything that was measured on the way to it;
    link: what the measurements say of how damage adds up, None where nothing was measured. front:
    plans that no other beats in latency, damage and footprint at once, as predicted. dropped:
    values that went before the search, since another is never worse. stopped: whether somebody
    ended the search before it was done.
    """

    assignment: Assignment
    predicted: Price
    outcome: Outcome
    damage: Damage | None
    rounds: tuple[Round, ...]
    link: Link | None = None
    objective: float = float("nan")
    front: tuple[Point, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    stopped: bool = False


@dataclass(frozen=True)
class NearMiss:
    """The plan that came closest to the hard limits, what it has of them, and its predicted damage."""

    assignment: Assignment
    limits: tuple[Checked, ...]
    damage: float

    @property
    def excess(self) -> float:
        """How much the limits are exceeded, each relative to itself."""
        return sum(max(limit.value / max(limit.limit, 1e-9) - 1, 0.0) for limit in self.limits)


@dataclass(frozen=True)
class Bench:
    """What deciding stands on.

    propose: the best plan for a budget, these plans left out. inspect: a plan's structure, held
    against the hard limits. measure: what it does to the output, repaired.
    """

    problem: Problem
    propose: Callable[[Budget, Sequence[Assignment]], Outcome]
    inspect: Callable[[Assignment, Price], Inspection]
    measure: Callable[[Assignment], Damage]
    stopped: Callable[[], bool]
    listeners: Listeners = ()


@dataclass
class Deciding:
    """Plans that were looked at, and what they taught.

    first: the budget as it was asked for; budget: as tight as was learned. nearest: the plan that
    breaks the hard limits least. rounds: plans that were repaired and measured.
    """

    bench: Bench
    first: Budget
    nearest: NearMiss | None = None
    budget: Budget = field(init=False)
    rounds: list[Round] = field(default_factory=list)
    _seen: dict[tuple[tuple[str, str], ...], Inspection] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.budget = self.first

    @property
    def too_harsh(self) -> list[Round]:
        """Plans that keep the hard limits and break the one on accuracy."""
        return [found for found in self.rounds if not found.within_limit]

    def within(self, damage: float | None) -> Decision | None:
        """The best plan of so much added-up damage that keeps the hard limits where they count.

        What breaks a limit is cut, and the search's own limit moves in by the excess, for later
        searches too. How far off a figure is depends on the plan (an arena's layout does), so a limit
        that moved in too far moves back halfway. None where no plan was found that keeps them.
        """
        cuts: list[Assignment] = []
        for _ in range(MAX_LOOKS):
            outcome = self.bench.propose(replace(self.budget, damage=damage), cuts)
            plan = outcome.assignment if outcome.assignment is not None else outcome.closest
            price = None if plan is None else self.bench.problem.total(plan)
            if plan is None or price is None:
                return None
            found = self._inspected(plan, price)
            mild = damage is None or price.damage <= damage * (1 + 1e-9) + 1e-12
            if mild and all(limit.met for limit in found.limits):
                return Decision(plan, price, outcome, None, (), objective=found.objective)
            self.missed(plan, price.damage, found.limits)
            if outcome.assignment is not None:
                cuts.append(plan)
                self.budget = tightened(self.budget, found.limits)
            elif self.budget != self.first:
                self.budget = halfway(self.budget, self.first)
            else:
                return None
        return None

    def missed(self, plan: Assignment, damage: float, limits: tuple[Checked, ...]) -> None:
        """Remembers a plan that breaks a limit, where none came closer to the hard ones, or was as mild."""
        for limit in limits:
            if not limit.met:
                self._tell_broken(plan, limit.name, limit.value, limit.limit, limit.source)
        miss = NearMiss(dict(plan), limits, damage)
        known = self.nearest
        if known is None or (miss.excess, miss.damage) < (known.excess, known.damage):
            self.nearest = miss

    def measured(self, found: Decision, limit: AccuracyLimit) -> Round:
        """The plan's round: known from before, or measured now and put among them."""
        for known in self.rounds:
            if dict(known.assignment) == dict(found.assignment):
                return known
        damage = self.bench.measure(found.assignment)
        self.rounds.append(Round(found.assignment, found.predicted, damage, not broken(damage, limit)))
        if broken(damage, limit):
            harm = suffered(damage, limit)
            self._tell_broken(found.assignment, limit.name, harm, limit.value, "measured")
        return self.rounds[-1]

    def _tell_broken(self, plan: Assignment, name: str, value: float, limit: float, source: str) -> None:
        values = sum(value != KEEP for value in plan.values())
        where, detail = f"a plan of {values} values", f"{value:.6g} is over {limit:.6g} ({source})"
        emit(self.bench.listeners, CheckFailed(name, where, detail))

    def tell(self, best: Decision | None) -> None:
        """Says what is the best plan so far: it is saved where somebody interrupts the run."""
        if best is not None:
            damage = 0.0 if best.damage is None else best.damage.divergence
            told = BetterPlan(best.assignment, best.predicted.latency_us.value, damage)
            emit(self.bench.listeners, told)

    def _inspected(self, plan: Assignment, price: Price) -> Inspection:
        key = tuple(sorted(plan.items()))
        if key not in self._seen:
            self._seen[key] = self.bench.inspect(plan, price)
        return self._seen[key]


def first_guess(limit: AccuracyLimit) -> float:
    """The added-up damage at which the limit is expected before anything was measured."""
    return prior(limit).allowed(limit)


def broken(damage: Damage, limit: AccuracyLimit) -> bool:
    """Whether the measured damage is beyond the limit, as `suffered` tells it."""
    return suffered(damage, limit) > limit.value + ROUNDING


def decide(bench: Bench, budget: Budget, limit: AccuracyLimit | None) -> tuple[Decision | None, Deciding]:
    """The best plan found that keeps every limit on the figures that count, and how it was found.

    limit: on accuracy; None: only plans without damage. None in the place of a plan where none
    keeps the limits.
    """
    deciding = Deciding(bench, budget)
    if limit is None:
        best = deciding.within(None)
        deciding.tell(best)
        return best, deciding
    return decide_lossy(deciding, limit), deciding


def decide_lossy(deciding: Deciding, limit: AccuracyLimit) -> Decision | None:
    """The best plan found whose measured, cross-fitted damage keeps the limit.

    The limit on added-up damage is moved between the largest that held and the smallest that did
    not, as the measurements tell. A plan that keeps everything has no damage and needs no
    measurement.
    """
    held, failed, best = 0.0, float("inf"), deciding.within(0.0)
    deciding.tell(best)
    allowed, stopped = first_guess(limit), False
    for number in range(MAX_ROUNDS):
        emit(deciding.bench.listeners, Progress("decide", number, MAX_ROUNDS))
        stopped = deciding.bench.stopped()
        if stopped:
            break
        found = deciding.within(allowed)
        if found is None:
            if allowed >= failed:
                break
            allowed = min(allowed * 2, 0.5 * (allowed + failed)) if failed < float("inf") else allowed * 2
            continue
        measured = deciding.measured(found, limit)
        if measured.within_limit:
            held = max(held, allowed)
            if best is None or found.objective < best.objective:
                best = replace(found, damage=measured.damage)
                deciding.tell(best)
        else:
            failed = min(failed, found.predicted.damage)
        if not found.assignment or failed - held < SMALLEST_STEP * held:
            break
        allowed = _next_limit(link_of(deciding.rounds, limit).allowed(limit), held, failed)
    if best is None:
        return None
    rounds = tuple(deciding.rounds)
    return replace(best, rounds=rounds, link=link_of(rounds, limit) if rounds else None, stopped=stopped)


def link_of(rounds: Sequence[Round], limit: AccuracyLimit) -> Link:
    """What these rounds say of the link between single damage, joint damage and the limit's figure."""
    points = [Measured(r.predicted.damage, r.damage.divergence, suffered(r.damage, limit)) for r in rounds]
    return estimated(points, limit)


def _next_limit(wished: float, held: float, failed: float) -> float:
    """Where the measurements say the limit lies, kept well inside what is still open."""
    if failed == float("inf"):
        return min(max(wished, 1.25 * max(held, 1e-9)), 2.5 * max(held, 1e-9))
    room = failed - held
    return min(max(wished, held + 0.2 * room), held + 0.8 * room)
