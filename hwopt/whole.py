"""Whole plans on the figures that count, for a search with the oracle in the loop.

Tables add up what subgraphs cost. Where a compiler decides for the network as a whole (what stays on
chip between layers, say), sums mislead, and a strategy that looks at whole plans can ask here instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from hwopt.assess import OracleAnswer, comparable
from hwopt.errors import RewriteFailed
from hwopt.estimate import Estimate
from hwopt.rewrite import chosen_values, rewrite
from hwopt.scope import Assignment, Price, Problem
from hwopt.search.problem import Evaluate
from hwopt.work import Work

AT_ONCE = 8  # models held in memory while the oracle's workers are busy with them


def whole_prices(work: Work, base: ir.Model, problem: Problem) -> Evaluate:
    """Prices of whole plans: by the oracle where it has a figure for the base, else predicted.

    A plan that the oracle can run less of than of the base is impossible. Memory is the arena with
    its layout, weights are those of the rewritten structure before repair; damage is what the tables
    add up to.
    """

    known = work.ask([base])[0]

    def some(plans: Sequence[Assignment]) -> Iterator[Price | None]:
        models = [_written(base, problem, plan) for plan in plans]
        answers = iter(work.ask([model for model in models if model is not None]))
        for plan, model in zip(plans, models, strict=True):
            yield None if model is None else _price(work, problem, plan, model, known, next(answers))

    def evaluate(plans: Sequence[Assignment], /) -> list[Price | None]:
        parts = (plans[begin : begin + AT_ONCE] for begin in range(0, len(plans), AT_ONCE))
        return [price for part in parts for price in some(part)]

    return evaluate


def _written(base: ir.Model, problem: Problem, plan: Assignment) -> ir.Model | None:
    """The rewritten structure; None where these values cannot be written together."""
    if problem.total(plan) is None:
        return None
    try:
        return rewrite(base, chosen_values(problem.choices, plan))
    except RewriteFailed:
        return None


def _price(
    work: Work, problem: Problem, plan: Assignment, model: ir.Model, known: OracleAnswer, answer: OracleAnswer
) -> Price | None:
    tables = problem.total(plan)
    assert tables is not None, "it was written"
    if known.measurement is not None and not comparable(known, answer):
        return None
    found = work.assess(model)
    latency = found.latency_us
    if answer.measurement is not None:
        latency = Estimate(answer.measurement.latency_us, 0.0, answer.source)
    arena = ((0, found.memory.peak_bytes),)
    return Price(latency, found.weight_bytes, arena, found.macs, tables.damage, tuple(found.unpriced))
