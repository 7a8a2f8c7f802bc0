"""What became of a value, and the limit or reason that decided."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from hwopt.choice import KEEP, Risk
from hwopt.damage.tables import SMALLEST_GAIN
from hwopt.debug.explain.quotes import Change, Quotes
from hwopt.report.reasons import BETTER, amount, dominated_by, limit_broken, signed
from hwopt.search.problem import Objective
from hwopt.selection import OPTION

NO_DATA = "needs calibration data: give --calib"


class Fate(StrEnum):
    """What became of a value."""

    CHOSEN = "chosen"
    WORSE = "worse"  # than what the plan has
    DOMINATED = "dominated"  # another value of the choice is never worse
    BREAKS_LIMIT = "breaks a limit"
    TOO_HARMFUL = "too harmful"  # beside what else the plan does to the output
    EXCLUDED = "excluded"  # by what was chosen for another choice
    UNPROVED = "unproved"  # ONNX Runtime does not run the input, so nothing can be held against it
    PASSED_OVER = "passed over"  # better on the tables, not on the figures that count
    NOT_MEASURED = "not measured"  # it saves too little to look at the output
    IMPOSSIBLE = "impossible"  # it cannot be written or priced here
    NEEDS_DATA = "needs data"
    NEEDS_TRAINING = "needs training"
    FORBIDDEN = "forbidden"  # by hints
    NOT_ASKED = "not asked"  # --only-choice


def fate_of(quotes: Quotes, name: str, chosen_reason: str) -> tuple[Fate, str]:
    """The first thing that decided, in the order in which a run comes to it, and the words for it."""
    if name == quotes.chosen:
        return Fate.CHOSEN, chosen_reason
    return next(
        (fate, reason)
        for step in (_not_for_this_run, _not_priced, _in_search)
        for fate, reason in step(quotes, name)
    )


def _not_for_this_run(quotes: Quotes, name: str) -> Iterator[tuple[Fate, str]]:
    """What keeps a value out before anything is priced."""
    run, value = quotes.run, quotes.choice.value(name)
    barred = run.decided.orders.barred(quotes.choice.id, name)
    if barred:
        yield Fate.NOT_ASKED if OPTION in barred else Fate.FORBIDDEN, barred
    if value is not None and value.risk == Risk.RETRAIN:
        yield Fate.NEEDS_TRAINING, "only training mends it: --allow-retrain writes a candidate with it"
    if value is not None and value.risk == Risk.LOSSY and run.work.calibration is None:
        yield Fate.NEEDS_DATA, NO_DATA


def _not_priced(quotes: Quotes, name: str) -> Iterator[tuple[Fate, str]]:
    """What keeps a value out of the tables."""
    if quotes.in_run(name) is not None:
        return
    orders = quotes.run.decided.orders
    if limits := orders.limits_on(quotes.choice.id):
        yield Fate.FORBIDDEN, f"beyond the limits of the hints ({limits}), or not measured"
    alone = quotes.alone(name)
    if not isinstance(alone, Change):
        yield Fate.IMPOSSIBLE, alone.unavailable
    elif quotes.measured(name):
        yield Fate.IMPOSSIBLE, "it goes together with no value of what touches the same nodes"
    else:
        yield Fate.NOT_MEASURED, _unmeasured(quotes, alone.latency_us.value)


def _unmeasured(quotes: Quotes, change_us: float) -> str:
    """Why what a LOSSY value does to the output was not looked at."""
    stopped = quotes.run.work.stop.reason
    if stopped:
        return f"not measured before the search was cut short ({stopped})"
    if change_us >= 0 and quotes.run.decided.objective == Objective.LATENCY:
        return f"not measured: {signed(quotes.run.decided, change_us)}, it saves nothing"
    return f"not measured: it saves less than {100 * SMALLEST_GAIN:g}% of the model, or repairing it failed"


def _in_search(quotes: Quotes, name: str) -> Iterator[tuple[Fate, str]]:
    """What kept a priced value out of the plan."""
    run, choice = quotes.run.decided, quotes.choice
    if by := dominated_by(run, choice, name):
        yield (
            Fate.DOMINATED,
            f"dominated by {by}: in latency, memory at every step, size and damage never better",
        )
    top = quotes.on_top(name)
    if not isinstance(top, Change):
        yield Fate.EXCLUDED, top.unavailable
        return
    if broken := limit_broken(run, choice, name):
        yield Fate.BREAKS_LIMIT, broken
    change = quotes.objective_change(name)
    if change >= 0:
        place = "on top of the plan" if quotes.chosen == KEEP else f"in the place of {quotes.chosen}"
        yield Fate.WORSE, f"not {BETTER[run.objective]}: {signed(run, change)} {place}"
    if run.unproved:
        yield Fate.UNPROVED, "the input came back: no rewrite could be proved; see --allow-unverified"
    if run.unchanged:
        yield Fate.PASSED_OVER, "the input came back: no plan was better on the figures that count"
    saves = f"would save {amount(run, -change)}"
    if isinstance(top.damage, float) and top.damage > 0:
        yield Fate.TOO_HARMFUL, f"{saves}, but {_harm(quotes, top.damage)}"
    if run.refused:
        yield Fate.PASSED_OVER, f"{saves}; the plan that comes closest to the limits does without it"
    yield Fate.PASSED_OVER, f"{saves} on the tables, not on the figures that count"


def _harm(quotes: Quotes, more: float) -> str:
    """What its damage means beside that of the plan."""
    run = quotes.run.decided
    price = run.problem.total(quotes.plan)
    told = f"its damage {more:.3g} is better spent elsewhere"
    if price is None or run.damage_allowed is None or run.accuracy is None:
        return told
    whole = price.damage + more
    if whole <= run.damage_allowed:
        return told
    return (
        f"the plan's damage would add up to {whole:.3g}, where {run.accuracy.name} {run.accuracy.value:g} "
        f"leaves room for about {run.damage_allowed:.3g}"
    )
