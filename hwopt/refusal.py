"""Words for a budget that cannot be met: which limit, how near a plan comes to it, and what would meet it."""

from __future__ import annotations

from collections.abc import Iterable

from hwopt.damage.link import suffered
from hwopt.damage.measure import Damage
from hwopt.decide import Deciding, NearMiss, Round
from hwopt.errors import BudgetNotMet
from hwopt.held import Checked
from hwopt.report.words import byte_count, microseconds
from hwopt.scope import Assignment
from hwopt.settings import AccuracyLimit

_LISTED = 8  # steps of a plan that a message spells out


def refused(deciding: Deciding, limit: AccuracyLimit | None) -> BudgetNotMet:
    """The error that ends a run without a plan: in words, and the closest plan as plain data."""
    return BudgetNotMet(not_met(deciding, limit), {"closest": closest(deciding, limit)})


def closest(deciding: Deciding, limit: AccuracyLimit | None) -> dict[str, object] | None:
    """The plan that came nearest, its steps and its figures; None where none was looked at."""
    nearest = deciding.nearest
    if nearest is not None:
        limits = [_checked(found) for found in nearest.limits]
        return {"steps": dict(nearest.assignment), "limits": limits, "added_up_damage": nearest.damage}
    mildest = min(deciding.too_harsh, key=lambda found: found.damage.divergence, default=None)
    if mildest is None or limit is None:
        return None
    broken = Checked(limit.name, limit.value, suffered(mildest.damage, limit), "measured")
    return {
        "steps": dict(mildest.assignment),
        "limits": [_checked(broken)],
        "added_up_damage": mildest.predicted.damage,
    }


def _checked(found: Checked) -> dict[str, object]:
    return {
        "name": found.name,
        "limit": found.limit,
        "value": found.value,
        "met": found.met,
        "source": found.source,
    }


def not_met(deciding: Deciding, limit: AccuracyLimit | None) -> str:
    """One line that names the closest plan of those that were looked at."""
    told = []
    if deciding.nearest is not None:
        told.append(closest_plan(deciding.nearest, limit))
    mildest = min(deciding.too_harsh, key=lambda found: found.damage.divergence, default=None)
    if mildest is not None and limit is not None:
        told.append(_too_harsh(mildest, limit))
    return "; ".join(told) or "no plan keeps the limits"


def closest_plan(nearest: NearMiss, limit: AccuracyLimit | None) -> str:
    """What the nearest plan has of the limit that is hardest to keep, and what it would cost."""
    steps = steps_listed(nearest.assignment)
    worst = max(nearest.limits, key=lambda found: found.value / max(found.limit, 1e-9))
    if worst.met and limit is not None:
        return (
            f"{_flag(worst.name)} {_figure(worst, worst.limit)} cannot be met within {_flag(limit.name)} "
            f"{limit.value:g}: the closest plan has {_figure(worst, worst.value)}, but an added-up damage of "
            f"{nearest.damage:.3g} ({steps})"
        )
    damage = f" at a damage of {nearest.damage:.3g}" if nearest.damage > 0 else ""
    return (
        f"{_flag(worst.name)} {_figure(worst, worst.limit)} cannot be met: the closest plan has "
        f"{_figure(worst, worst.value)}{damage} ({steps})"
    )


def _too_harsh(found: Round, limit: AccuracyLimit) -> str:
    return (
        f"the mildest plan that meets the other limits has {suffered(found.damage, limit):.3g} where "
        f"{_flag(limit.name)} allows {limit.value:g} ({steps_listed(found.assignment)})"
    )


def broken_limits(limits: Iterable[Checked]) -> str:
    """The limits that do not hold, each with the figure that counts."""
    told = [
        f"{_flag(found.name)} {_figure(found, found.limit)}: it has {_figure(found, found.value)}"
        for found in limits
        if not found.met
    ]
    return "; ".join(told)


def too_harmful(damage: Damage, limit: AccuracyLimit) -> str:
    """A limit on accuracy that does not hold, with what was measured."""
    return f"{_flag(limit.name)} {limit.value:g}: it has {suffered(damage, limit):.3g}"


def steps_listed(assignment: Assignment) -> str:
    """The first steps of a plan, for a message."""
    steps = [f"{choice}={value}" for choice, value in sorted(assignment.items())]
    if not steps:
        return "keep everything"
    more = f" and {len(steps) - _LISTED} more" if len(steps) > _LISTED else ""
    return ", ".join(steps[:_LISTED]) + more


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _figure(limit: Checked, value: float) -> str:
    return microseconds(value) if limit.name == "max_latency" else byte_count(value)
