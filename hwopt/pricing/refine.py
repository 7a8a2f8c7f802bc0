"""Measures the plans that predictions propose, until the proposal does not change any more."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from hwopt.cost.learned import Learned
from hwopt.damage.tables import DamageTables
from hwopt.hints.apply import NO_ORDERS, Orders
from hwopt.pricing.price import Drafts
from hwopt.propose import propose
from hwopt.rewrite import chosen_values, rewrite
from hwopt.scope import Problem
from hwopt.search.problem import Budget
from hwopt.trace import Listeners, Progress, emit
from hwopt.work import Work

ROUNDS = 5


def refined(
    work: Work,
    base: ir.Model,
    drafts: Drafts,
    damage: DamageTables | None,
    budget: Budget,
    learned: Learned,
    listeners: Listeners = (),
    orders: Orders = NO_ORDERS,
) -> Problem:
    """The priced problem after the oracle has seen the canonical model and the plans it leads to.

    damage: what LOSSY values do to the output; joint values that a plan wants are measured here
    too. A whole model without rows teaches nothing: then its most uncertain subgraphs are measured.
    Where the oracle has no figure, or is not to be asked (`--refine 0`), the prices are what the
    cost model says. Weights of LOSSY values are initial ones here. orders: what hints leave of the
    tables.
    """
    problem = orders.restrict(_with(drafts.problem(learned), damage))
    if damage is None and not work.may_ask:  # nothing that a plan could teach
        return problem
    proposal: dict[str, str] | None = {}
    seen: list[dict[str, str]] = []
    for number in range(ROUNDS):
        emit(listeners, Progress("refine", number, ROUNDS))
        if proposal is None or proposal in seen or work.stop():
            break
        seen.append(proposal)
        taught = work.may_ask and _learn(
            work, rewrite(base, chosen_values(drafts.choices, proposal)), learned
        )
        measured = damage is not None and damage.measure_chosen(proposal)
        problem = orders.restrict(_with(drafts.problem(learned), damage))
        if number > 0 and not taught and not measured:
            break
        outcome = propose(work, problem, budget)
        proposal = None if outcome.assignment is None else dict(outcome.assignment)
    return problem


def _learn(work: Work, model: ir.Model, learned: Learned) -> bool:
    """Whether the oracle had a figure for the model, or for its most uncertain subgraphs at least."""
    found = work.assess(model)
    answer = work.ask([model])[0]
    if answer.measurement is not None and answer.measurement.rows:
        learned.learn(found.partition.subgraphs, answer.measurement, answer.source)
        return True
    known = len(learned)
    work.sharpen(model, found, learned)
    return len(learned) > known


def _with(problem: Problem, damage: DamageTables | None) -> Problem:
    return problem if damage is None else replace(problem, scopes=(*problem.scopes, *damage.scopes()))
