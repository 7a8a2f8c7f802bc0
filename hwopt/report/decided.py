"""What could be decided about a model and what was: all that prices and reasons of choices are read off."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from hwopt.choice import Value
from hwopt.damage.link import prior
from hwopt.decide import Decision
from hwopt.held import Checked
from hwopt.hints.apply import Orders
from hwopt.nodes import label
from hwopt.places import has_place, place_of
from hwopt.report.findings import Findings
from hwopt.scope import Assignment, Problem
from hwopt.search.curate import Dropped
from hwopt.search.problem import Objective
from hwopt.settings import AccuracyLimit


@dataclass(frozen=True)
class Decided:
    """The choices of a run, priced, and what became of them.

    model: the input. assignment: the plan, or, where none keeps the limits, the closest one: `refused`
    says why, then. limits: the hard limits on the plan's figures. unchanged: whether the input came
    back; unproved: because nothing could be proved of the result. damage_allowed: how much added-up
    damage the limit on accuracy is expected to leave room for, None without calibration data.
    """

    model: ir.Model
    folds: tuple[Value, ...]
    orders: Orders
    problem: Problem
    objective: Objective
    assignment: Assignment
    limits: tuple[Checked, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    unchanged: bool = False
    unproved: bool = False
    refused: str = ""
    accuracy: AccuracyLimit | None = None
    damage_allowed: float | None = None


def decided(findings: Findings) -> Decided:
    """What a finished run decided."""
    work, settled = findings.work, findings.settled
    return Decided(
        model=work.model,
        folds=findings.folds,
        orders=findings.orders,
        problem=findings.problem,
        objective=work.settings.objective,
        assignment=settled.decision.assignment,
        limits=settled.limits,
        dropped=settled.decision.dropped,
        unchanged=findings.unchanged,
        unproved=settled.unproved,
        accuracy=work.limit,
        damage_allowed=damage_allowed(settled.decision, work.limit),
    )


def damage_allowed(decision: Decision | None, limit: AccuracyLimit | None) -> float | None:
    """The added-up damage at which the limit is expected to be reached, as measured plans tell."""
    if limit is None:
        return None
    link = None if decision is None else decision.link
    return (link or prior(limit)).allowed(limit)


def node_labels(model: ir.Model) -> dict[str, str]:
    """What people call the node at each place of a model."""
    return {place_of(node): label(node) for node in model.graph if has_place(node)}
