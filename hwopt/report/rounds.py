"""The plans that were measured on the way, and what they say of how damage adds up."""

from __future__ import annotations

from hwopt.damage.link import suffered
from hwopt.decide import Decision, Round
from hwopt.report.schema import LinkInfo, Missing, RoundRow
from hwopt.settings import AccuracyLimit


def round_rows(decision: Decision, limit: AccuracyLimit | None) -> tuple[RoundRow, ...]:
    """One row per plan that was repaired and measured, in the order of measuring."""
    return () if limit is None else tuple(_row(found, limit) for found in decision.rounds)


def _row(found: Round, limit: AccuracyLimit) -> RoundRow:
    return RoundRow(
        values=len(found.assignment),
        latency_us=found.predicted.latency_us,
        added_up=found.predicted.damage,
        joint=found.damage.divergence,
        suffered=suffered(found.damage, limit),
        within_limit=found.within_limit,
    )


def link_info(decision: Decision) -> LinkInfo | Missing:
    """The two ratios that lead from single damage to what the limit speaks of."""
    link = decision.link
    if link is None:
        return Missing("no plan with LOSSY values was measured")
    return LinkInfo(link.joint_per_added_up, link.suffered_per_joint, len(link.points))


def round_lines(rows: tuple[RoundRow, ...], link: LinkInfo | Missing) -> list[str]:
    """For people: what was measured, and the link."""
    lines = [
        f"- plan {number}: {row.values} values, damage {row.added_up:.3g} added up, {row.joint:.3g} measured "
        f"together; the limit's figure {row.suffered:.3g}, {'within' if row.within_limit else 'beyond'}"
        for number, row in enumerate(rows, start=1)
    ]
    if isinstance(link, LinkInfo):
        lines.append(
            f"- link from {link.plans} plans: {link.joint_per_added_up:.2f} of the added-up damage is left "
            f"when all is repaired, {link.suffered_per_joint:.3g} of the limit's figure per unit of it"
        )
    return lines
