"""Which of a report's figures count: what a limit is held on, and what two runs are compared by.

The oracle's latency where it ran the whole model before and after, else the prediction; accuracy at the
precision of the written file (docs/architecture.md; the engine's own side of it is `hwopt.held`).
"""

from __future__ import annotations

from dataclasses import dataclass

from hwopt.estimate import Estimate, Source
from hwopt.report.schema import (
    AccuracyRow,
    ChoiceRow,
    Costs,
    Figure,
    Missing,
    Number,
    OracleProof,
    Outcome,
    Report,
)
from hwopt.report.schema_proof import AGREEMENT, DIVERGENCES, EXPECTED

FP32 = "fp32"
ONE_SIDED, TWO_SIDED = 1.645, 1.96  # standard errors: 95%
_EXACT = "exact"


@dataclass(frozen=True)
class Counted:
    """A latency before and after. unpriced: operators left out of it. whole: by the oracle, in one piece."""

    before: Figure
    after: Figure
    unpriced: tuple[str, ...]
    whole: bool


def delivered(report: Report) -> Costs:
    """What the run's model costs: the written one's, or the input's where nothing was changed."""
    return report.before if isinstance(report.after, Missing) else report.after


def latency(report: Report) -> Counted:
    """The latency that counts. A prediction's spread is not added yet."""
    proof = _proof(report)
    if proof is not None:
        return Counted(proof.before.latency_us, proof.after.latency_us, proof.after.unpriced, whole=True)
    after = delivered(report)
    names = tuple(f"{item.op} '{item.node}'" for item in after.unpriced)
    return Counted(report.before.latency_us, after.latency_us, names, whole=False)


def _proof(report: Report) -> OracleProof | None:
    """The oracle's figures for both models, where they speak of the same share of them."""
    if isinstance(report.verification, Missing) or isinstance(report.verification.oracle, Missing):
        return None
    proof = report.verification.oracle
    both = (proof.before, proof.after)
    known = not any(isinstance(side.latency_us, Missing) for side in both)
    return proof if known and len(proof.before.unpriced) == len(proof.after.unpriced) else None


def whole_latency(report: Report, before: bool) -> Figure:
    """The oracle's own latency of the whole model, of the input or of the result."""
    if isinstance(report.verification, Missing):
        return report.verification
    proof = report.verification.oracle
    if isinstance(proof, Missing):
        return proof
    return (proof.before if before else proof.after).latency_us


def count(number: Number) -> Figure:
    """A count as a figure."""
    return number if isinstance(number, Missing) else Estimate(float(number), 0.0, Source.COMPUTED)


def footprint(costs: Costs) -> Figure:
    """Arena and weights together."""
    for figure in (costs.peak_bytes, costs.weight_bytes):
        if isinstance(figure, Missing):
            return figure
    assert isinstance(costs.peak_bytes, Estimate)
    assert isinstance(costs.weight_bytes, Estimate)
    return costs.peak_bytes + costs.weight_bytes


def written_precision(report: Report) -> str:
    """The precision of the file: that of the input unless another one was asked for."""
    proof = report.verification
    return FP32 if isinstance(proof, Missing) or proof.outputs_of == "file" else report.target.precision


def drop(report: Report, precision: str) -> Figure:
    """The drop of accuracy against the fp32 input, as limits are held on it.

    The larger of the drop that was counted and, where it is known, the upper 95% bound of the expected
    one: a search among many plans finds those that were lucky in counting.
    """
    rows = _rows(report, precision)
    counted = [row for row in rows if row.metric not in (*DIVERGENCES, AGREEMENT, EXPECTED)]
    if not counted:
        return _without(report, precision, "drop", bool(rows))
    if isinstance(counted[0].drop, Missing):
        return counted[0].drop
    bounds = [_upper(row) for row in rows if row.metric == EXPECTED]
    return Estimate(max([counted[0].drop, *bounds]), 0.0, Source.MEASURED)


def divergence(report: Report, precision: str) -> Figure:
    """How far the outputs are from the fp32 input's."""
    rows = _rows(report, precision)
    found = [row.after for row in rows if row.metric in DIVERGENCES]
    if not found:
        return _without(report, precision, "divergence", bool(rows))
    return found[0] if isinstance(found[0], Missing) else Estimate(found[0], 0.0, Source.MEASURED)


def _rows(report: Report, precision: str) -> list[AccuracyRow]:
    every = () if isinstance(report.accuracy, Missing) else report.accuracy
    return [row for row in every if row.precision == precision and row.against == FP32]


def _upper(row: AccuracyRow) -> float:
    """The one-sided 95% bound, from the interval on both sides."""
    if isinstance(row.drop, Missing) or isinstance(row.interval, Missing):
        return 0.0
    low, high = row.interval
    return row.drop + (high - low) * ONE_SIDED / (2 * TWO_SIDED)


def _without(report: Report, precision: str, what: str, others: bool) -> Figure:
    """An exact plan costs nothing, by construction; of any other nobody knows."""
    if precision == FP32 == written_precision(report) and is_exact(report):
        return Estimate(0.0, 0.0, Source.COMPUTED)
    if others:
        return Missing(f"no {what} was measured in {precision}: labels or a metric are needed")
    if isinstance(report.accuracy, Missing) and precision == written_precision(report):
        return report.accuracy
    return Missing(f"nothing was measured in {precision}")


def is_exact(report: Report) -> bool:
    """Whether every value that was taken keeps the function."""
    made = report.outcome in (Outcome.CHANGED, Outcome.UNCHANGED)
    return made and all(_risk(row) == _EXACT for row in report.choices)


def _risk(row: ChoiceRow) -> str:
    """Of the value that was taken; "" where the report does not list it."""
    return next((value.risk for value in row.values if value.name == row.chosen), "")
