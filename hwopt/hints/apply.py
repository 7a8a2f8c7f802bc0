"""What hints mean for the choices and tables of one model.

Values that are forbidden leave the choices before anything is priced or measured. What can only be told
from prices (limits on latency and damage) and what is pinned leaves the tables: a joint value
without an entry is impossible, so every strategy obeys without knowing why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from hwopt.choice import KEEP, Choice
from hwopt.errors import BadInput
from hwopt.hints.file import Hints
from hwopt.scope import DAMAGE, Price, Problem, Scope
from hwopt.search.possible import possible

Pair = tuple[str, str]  # choice id, value name
NO_HINTS = Hints()


@dataclass(frozen=True)
class Rule:
    """Something that entries of tables must obey.

    key: where the file says so. exact: values of the choice that do no damage.
    """

    key: str
    choice: str
    pinned: str | None = None
    max_damage: float | None = None
    max_latency_us: float | None = None
    exact: frozenset[str] = frozenset()

    def allows(self, scope: Scope, key: Sequence[str], price: Price) -> bool:
        """Whether an entry of a table that has the rule's choice may stay."""
        name = key[scope.choices.index(self.choice)]
        if self.pinned is not None and name != self.pinned:
            return False
        if self.max_damage is not None and scope.id.startswith(DAMAGE):
            return name in (KEEP, *self.exact) or price.damage <= self.max_damage
        if self.max_latency_us is not None and not scope.id.startswith(DAMAGE):
            return price.latency_us.value <= self.max_latency_us
        return True


@dataclass(frozen=True)
class Orders:
    """A hints file, resolved for one model, and what `--only-choice` leaves out.

    listed: every choice of an allowed risk, before anything was forbidden. pins: choice -> (value, key of
    the file). training: pins to values that only training can mend; they concern the candidate
    alone. removed: why a value may not be taken. wishes: preferred values, the first of the file
    first.
    """

    hints: Hints = NO_HINTS
    listed: tuple[Choice, ...] = ()
    pins: Mapping[str, Pair] = field(default_factory=dict)
    training: Mapping[str, Pair] = field(default_factory=dict)
    removed: Mapping[Pair, str] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    wishes: tuple[Pair, ...] = ()

    def allowed(self, choices: Iterable[Choice]) -> tuple[Choice, ...]:
        """The choices with the values that may be taken; those with none left are left out."""
        left = (replace(c, values=tuple(v for v in c.values if self._may(c.id, v.name))) for c in choices)
        return tuple(choice for choice in left if choice.values)

    def _may(self, choice: str, name: str) -> bool:
        if (choice, name) in self.removed:
            return False
        return choice not in self.pins or self.pins[choice][0] == name

    @property
    def named(self) -> tuple[dict[str, str], ...]:
        """Plans whose damage must be measured, whether they pay or not: all pins, and each wish."""
        pinned = {choice: name for choice, (name, _) in self.pins.items() if name != KEEP}
        wished = [{**pinned, choice: name} for choice, name in self.wishes]
        return (pinned, *wished) if pinned else tuple(wished)

    def for_training(self) -> Orders:
        """The orders for a candidate, to which pins to RETRAIN values belong, too."""
        return replace(self, pins={**self.pins, **self.training}, training={})

    def restrict(self, problem: Problem) -> Problem:
        """The problem without the entries that break a rule.

        `start` becomes a plan that is possible, `wishes` what is preferred. Raises BadInput, naming the
        keys of the file, where nothing possible is left.
        """
        known = {choice.id for choice in problem.choices}
        rules = [rule for rule in (*self._pin_rules(), *self.rules) if rule.choice in known]
        wishes = tuple((c, v) for c, v in self.wishes if c in known)
        if not rules:
            return replace(problem, wishes=wishes, within=self.hints.within)
        self._check_latency(problem)
        left = obeyed(problem, rules)
        start = possible(left)
        if start is None:
            raise self._impossible(problem, rules)
        return replace(left, start=start, wishes=wishes, within=self.hints.within)

    def _pin_rules(self) -> Iterator[Rule]:
        for choice, (name, key) in self.pins.items():
            yield Rule(key, choice, pinned=name)

    def _check_latency(self, problem: Problem) -> None:
        """A limit on the latency of one choice can be held in one table only."""
        for rule in self.rules:
            if rule.max_latency_us is None:
                continue
            tables = [s for s in problem.scopes if rule.choice in s.choices and not s.id.startswith(DAMAGE)]
            if len(tables) > 1:
                raise self.hints.wrong(
                    rule.key,
                    f"cannot be held: {rule.choice} changes {len(tables)} parts of the model that are priced "
                    "apart; limit the forms among them, or the whole model with --max-latency",
                )

    def _impossible(self, problem: Problem, rules: Sequence[Rule]) -> BadInput:
        for one in rules:
            if possible(obeyed(problem, [one])) is None:
                return self.hints.wrong(one.key, self._alone(problem, one))
        for one, two in combinations(rules, 2):
            if possible(obeyed(problem, [one, two])) is None:
                return self.hints.wrong(one.key, f"and key '{two.key}' exclude one another: drop one of them")
        keys = ", ".join(rule.key for rule in rules)
        return BadInput(f"{self.hints.path}: no plan obeys all of {keys}: drop some of them")

    def _alone(self, problem: Problem, rule: Rule) -> str:
        if rule.pinned is not None:
            return f"asks for '{rule.pinned}', which cannot be written or priced here"
        tables = [s for s in problem.scopes if rule.choice in s.choices and not s.id.startswith(DAMAGE)]
        least = min((p.latency_us.value for s in tables for p in s.table.values()), default=0.0)
        return f"cannot be met: the fastest value of {rule.choice} takes {least:.4g} us"

    def reason(self, choice: str, chosen: str) -> str:
        """What hints had to do with a choice's value, in words; empty where nothing."""
        if choice in self.pins:
            return f"pinned by hints ({self.pins[choice][1]})"
        if (choice, chosen) in self.wishes:
            return f"preferred by hints, within {self.hints.within:.3g} of the objective"
        listed = next((c for c in self.listed if c.id == choice), None)
        why = [] if listed is None else [self.removed.get((choice, v.name), "") for v in listed.values]
        return ", ".join(dict.fromkeys(why)) if why and all(why) else ""

    def barred(self, choice: str, name: str) -> str:
        """Why a value could not be taken, where hints are why; empty where they are not."""
        if choice in self.pins and self.pins[choice][0] != name:
            return f"pinned to {self.pins[choice][0]} by hints"
        return self.removed.get((choice, name), "")

    def limits_on(self, choice: str) -> str:
        """The keys of the file that limit what a choice may cost, which only prices can tell."""
        return ", ".join(rule.key for rule in self.rules if rule.choice == choice)


def obeyed(problem: Problem, rules: Sequence[Rule]) -> Problem:
    """The problem without the entries that break one of these rules."""
    of: dict[str, list[Rule]] = {}
    for rule in rules:
        of.setdefault(rule.choice, []).append(rule)
    return replace(problem, scopes=tuple(_obeyed(scope, of) for scope in problem.scopes))


def _obeyed(scope: Scope, of: Mapping[str, Sequence[Rule]]) -> Scope:
    mine = [rule for choice in scope.choices for rule in of.get(choice, ())]
    if not mine:
        return scope
    table = {k: p for k, p in scope.table.items() if all(rule.allows(scope, k, p) for rule in mine)}
    return replace(scope, table=table)


NO_ORDERS = Orders()
