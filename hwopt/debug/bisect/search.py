"""Which step of a plan breaks it: binary search over the plan's beginnings, then delta debugging.

all N steps             bad, else the plan passes
the first N/2, ...      until k is bad and k-1 is not: step k is the culprit
k by itself             bad: it is alone
k with some before it   ddmin: the fewest of them with which k fails in the same way
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from hwopt.debug.bisect.checks import CRASH, GOOD, INVALID, REFUSED, Finding, Verdict
from hwopt.debug.bisect.ddmin import ddmin
from hwopt.debug.bisect.stepwise import Broken, Stepwise
from hwopt.errors import BadInput, RewriteFailed

Steps = frozenset[int]
Judge = Callable[[Steps], Finding]  # asked only for steps that can be written


class Outcome(StrEnum):
    """How a bisection ended."""

    PASSES = "passes"
    FOUND = "found"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Checked:
    """One check that was made: its number from 1, the steps that were in the model, what it said."""

    number: int
    steps: Steps
    finding: Finding


@dataclass(frozen=True)
class Bisection:
    """What was found out about a plan of `planned` steps.

    culprit: the first step that breaks the check; 0 where there is none, or it is undecided between the
    two steps of `between`, both included. finding: what the plan up to it shows. partners: the steps
    before it without which it does no harm. needs: those without which it cannot be written. complete:
    False where the checks ran out before all that was known.
    """

    outcome: Outcome
    planned: int
    checks: int
    culprit: int = 0
    between: tuple[int, int] = (0, 0)
    finding: Finding = GOOD
    partners: tuple[int, ...] = ()
    needs: tuple[int, ...] = ()
    complete: bool = True
    notes: tuple[str, ...] = ()

    @property
    def minimal(self) -> tuple[int, ...]:
        """The fewest steps that show the failure, in order."""
        return tuple(sorted({*self.partners, *self.needs, self.culprit})) if self.culprit else ()


@dataclass
class Prober:
    """Asks for verdicts on sets of steps, remembers them, and counts those that were really made.

    always: steps that are in every set that holds a later one. most: checks that may be made, None for as
    many as it takes.
    """

    steps: Stepwise
    judge: Judge
    tell: Callable[[Checked], None] = lambda checked: None
    always: Steps = frozenset()
    most: int | None = None
    made: list[Checked] = field(default_factory=list)
    _known: dict[Steps, Finding] = field(default_factory=dict)

    def of(self, wanted: Iterable[int]) -> Finding:
        """What the model with these steps shows; a step that cannot be written there is a "refused" skip."""
        chosen = self._with_always(wanted)
        if chosen not in self._known:
            self._known[chosen] = finding = self._found(chosen)
            if finding.kind != REFUSED or chosen == frozenset(range(1, len(self.steps) + 1)):
                self.made.append(Checked(len(self.made) + 1, chosen, finding))
                self.tell(self.made[-1])
        return self._known[chosen]

    def _with_always(self, wanted: Iterable[int]) -> Steps:
        chosen = frozenset(wanted)
        return chosen | self.always if chosen - self.always else chosen

    def _found(self, chosen: Steps) -> Finding:
        attempt = self.steps.attempt(chosen)
        if isinstance(attempt, Broken):
            return _broken(attempt)
        try:
            return self.judge(chosen)
        except RewriteFailed as error:  # weights that cannot be fitted, say
            return Finding(Verdict.BAD, INVALID, str(error))

    def first(self, count: int) -> Finding:
        """What the model with the first `count` steps shows."""
        return self.of(range(1, count + 1))

    def writable(self, wanted: Iterable[int]) -> bool:
        """Whether these steps can be made; a crash counts, since then it was tried. No check is made."""
        attempt = self.steps.attempt(self._with_always(wanted))
        return not isinstance(attempt, Broken) or attempt.crash

    @property
    def spent(self) -> bool:
        """Whether no more checks may be made."""
        return self.most is not None and len(self.made) >= self.most

    def known(self) -> Iterator[tuple[Steps, Finding]]:
        """Every verdict so far."""
        yield from self._known.items()


def bisect(prober: Prober, good: int = 0, sure: bool = True) -> Bisection:
    """Finds the first step that breaks the check, and what it takes to break it.

    good: so many steps from the beginning are good; sure: that is known, not only hoped. Raises BadInput
    where they turn out not to be, or the check cannot tell.
    """
    count, planned = len(prober.steps), max(prober.steps.planned, len(prober.steps))
    whole = prober.first(count)
    if whole.verdict == Verdict.GOOD:
        return Bisection(Outcome.PASSES, planned, len(prober.made))
    if whole.kind in (CRASH, REFUSED):
        return _explained(prober, whole.step, whole, planned)
    if not whole.bad:
        raise BadInput(f"the check cannot tell whether the whole plan is good: {whole.reason}")
    begin = good
    good, bad = narrowed(prober, begin, count)
    if good == begin and not sure:
        _require_good_input(prober, begin)
    if bad - good > 1:
        return Bisection(
            Outcome.UNDECIDED, planned, len(prober.made), between=(good + 1, bad),
            finding=prober.first(bad), complete=not prober.spent,
        )  # fmt: skip
    return _explained(prober, bad, prober.first(bad), planned)


def narrowed(prober: Prober, good: int, bad: int) -> tuple[int, int]:
    """The longest good beginning and the shortest bad one that binary search leads to.

    They are neighbours, unless the check skips everything between them.
    """
    skipped: set[int] = set()
    while (left := [n for n in range(good + 1, bad) if n not in skipped]) and not prober.spent:
        middle = (good + bad) // 2
        tried = min(left, key=lambda n: (abs(n - middle), n))
        finding = prober.first(tried)
        if finding.verdict == Verdict.SKIP:
            skipped.add(tried)
        elif finding.bad:
            bad = tried
        else:
            good = tried
    return good, bad


def _require_good_input(prober: Prober, count: int) -> None:
    """Asked only where no beginning of the plan was good."""
    finding = prober.first(count)
    if finding.bad:
        raise BadInput(f"the model fails the check before any step is made: {finding.reason}")


def _explained(prober: Prober, culprit: int, finding: Finding, planned: int) -> Bisection:
    """What the culprit needs to be written, and with which steps before it it fails."""
    given = prober.always if culprit not in prober.always else frozenset[int]()
    earlier = [step for step in range(1, culprit) if step not in given]
    needs = frozenset[int]() if finding.kind == REFUSED else needed(prober, culprit, earlier)

    def fails(some: tuple[int, ...]) -> bool:
        found = prober.of({*some, *needs, culprit})
        return found.like(finding) and found.step == finding.step

    rest = [step for step in earlier if step not in needs]
    partners: tuple[int, ...] = ()
    if rest and not fails(()):
        near = [step for step in _touching(prober.steps, culprit, earlier) if step in rest]
        begin = near if 0 < len(near) < len(rest) and fails(tuple(near)) else rest
        partners = ddmin(begin, fails, lambda: prober.spent)
    return Bisection(
        Outcome.FOUND, planned, len(prober.made), culprit, finding=finding, partners=partners,
        needs=tuple(sorted(needs)), complete=not (partners and prober.spent),
        notes=tuple(_notes(prober, culprit, finding)),
    )  # fmt: skip


def needed(prober: Prober, culprit: int, earlier: list[int]) -> Steps:
    """A small set of earlier steps with which the culprit can be written; no check is made."""

    def writable(some: tuple[int, ...]) -> bool:
        return prober.writable({*some, culprit})

    if writable(()) or not earlier:
        return frozenset()
    touched = _touching(prober.steps, culprit, earlier)
    begin = touched if len(touched) < len(earlier) and writable(tuple(touched)) else earlier
    return frozenset(ddmin(begin, writable))


def _touching(steps: Stepwise, culprit: int, earlier: list[int]) -> list[int]:
    """The earlier steps that share nodes with the culprit, directly or through one another."""
    places, found = set(steps.value(culprit).places), set[int]()
    for step in reversed(earlier):
        if places & set(steps.value(step).places):
            found.add(step)
            places |= set(steps.value(step).places)
    return sorted(found)


def _notes(prober: Prober, culprit: int, finding: Finding) -> Iterator[str]:
    """What a reader must know of verdicts that do not fit together."""
    whole = prober.first(len(prober.steps))
    if not whole.like(finding):
        yield f"the whole plan fails in another way ({whole.kind}): there is more than one culprit"
    yield from _hidden(prober, finding)
    count, planned = len(prober.steps), prober.steps.planned
    if planned > count:
        yield f"steps {count + 1} to {planned} were not looked at: they are found after step {culprit}"


def _hidden(prober: Prober, finding: Finding) -> Iterator[str]:
    """Steps that hide the failure: some steps fail, and with more of them nothing is seen."""
    good = [steps for steps, found in prober.known() if found.verdict == Verdict.GOOD]
    for some in (steps for steps, found in prober.known() if found.like(finding)):
        hiding = [more for more in good if some < more]
        if hiding:
            added = ", ".join(map(str, sorted(min(hiding, key=len) - some)))
            yield f"the failure of step {_listed(some)} is not seen with step {added} too: hidden, not gone"
            return


def _listed(steps: Steps) -> str:
    return ", ".join(map(str, sorted(steps)))


def _broken(broken: Broken) -> Finding:
    cause = broken.error.__cause__ if broken.crash else broken.error
    verdict, kind = (Verdict.BAD, CRASH) if broken.crash else (Verdict.SKIP, REFUSED)
    named = type(cause).__name__ if broken.crash else str(broken.error)
    return Finding(verdict, kind, str(broken.error), step=broken.step, cause=named)
