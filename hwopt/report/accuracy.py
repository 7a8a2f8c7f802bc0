"""Accuracy before and after, one group of rows per precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hwopt.accuracy import Drop
from hwopt.damage.measure import FLOAT, Damage
from hwopt.quantize.damage import INPUT_INT8, INT8
from hwopt.report.schema import AccuracyRow, Missing
from hwopt.report.schema_proof import EXPECTED
from hwopt.settle import Settled
from hwopt.work import Work


def accuracy(work: Work, settled: Settled) -> tuple[AccuracyRow, ...] | Missing:
    """Rows from what was measured; in fp32 none is needed where every step is exact."""
    if not settled.accuracy:
        exact = "every step is exact: the function is the same, see verification"
        return Missing(exact if work.calibration else f"{exact}; no calibration data was given")
    rows: list[AccuracyRow] = []
    for damage in settled.accuracy:
        if (damage.precision, damage.against) == (FLOAT, FLOAT):
            rows += _float_rows(damage)
        elif (damage.precision, damage.against) == (INT8, FLOAT):
            rows += _int8_rows(damage, settled.accuracy, settled.written is not None)
        elif (damage.precision, damage.against) == (INT8, INT8):
            how = f"{_int8_data(damage)}; before: the input's int8 form, after: the result's"
            rows += _drops(damage, how)
    return tuple(rows)


def _float_rows(damage: Damage) -> Iterator[AccuracyRow]:
    how = f"{damage.samples} calibration samples, cross-fitted: each judged by a repair that did not see it"
    yield from _drops(damage, how)
    yield from _expected(damage, how)
    per_fold = Missing(f"per fold: {', '.join(f'{value:.4g}' for value in damage.per_fold)}")
    yield AccuracyRow(
        damage.kind, FLOAT, 0.0, damage.divergence, damage.divergence, per_fold, damage.samples, how
    )
    if damage.agreement is not None:
        lost = 1.0 - damage.agreement
        yield AccuracyRow("agreement", FLOAT, 1.0, damage.agreement, lost, per_fold, damage.samples, how)


def _int8_rows(damage: Damage, every: Sequence[Damage], written: bool) -> Iterator[AccuracyRow]:
    """The int8 form of the result against the fp32 input; divergences with those of the input's int8 form."""
    data = _int8_data(damage)
    how = f"{data}; before: the fp32 input, after: the result's int8 form"
    yield from _drops(damage, how)
    if written:
        yield from _expected(damage, how)
    before = next((other for other in every if other.precision == INPUT_INT8), None)
    how = f"{data}; both against the fp32 input; before: the input's int8 form, after: the result's"
    per_fold = Missing(f"per fold: {', '.join(f'{value:.4g}' for value in damage.per_fold)}")
    own = 0.0 if before is None else before.divergence
    yield AccuracyRow(
        damage.kind, INT8, own, damage.divergence, damage.divergence - own, per_fold, damage.samples, how
    )
    if damage.agreement is not None:
        alike = 1.0 if before is None or before.agreement is None else before.agreement
        lost = alike - damage.agreement
        yield AccuracyRow("agreement", INT8, alike, damage.agreement, lost, per_fold, damage.samples, how)


def _int8_data(damage: Damage) -> str:
    return f"{damage.samples} calibration samples, judged by repairs and ranges that did not see them"


def _drops(damage: Damage, how: str) -> Iterator[AccuracyRow]:
    if damage.drop is not None and damage.before is not None and damage.after is not None:
        yield _row(damage, damage.metric or "metric", damage.before, damage.after, damage.drop, how)


def _expected(damage: Damage, how: str) -> Iterator[AccuracyRow]:
    drop = damage.expected_drop
    if drop is not None and damage.before is not None:
        yield _row(damage, EXPECTED, damage.before, damage.before - drop.value, drop, how)


def _row(damage: Damage, metric: str, before: float, after: float, drop: Drop, how: str) -> AccuracyRow:
    return AccuracyRow(
        metric, damage.precision, before, after, drop.value, drop.interval, damage.samples, how,
        damage.against,
    )  # fmt: skip
