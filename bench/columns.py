"""Columns that several tables share."""

from __future__ import annotations

from hwopt.estimate import Estimate
from hwopt.report.schema import OracleProof, Report, Verification


def milliseconds(figure: object, digits: int) -> str:
    """A figure in microseconds as milliseconds; "-" where there is none."""
    return f"{figure.value / 1e3:.{digits}f}" if isinstance(figure, Estimate) else "-"


def oracle_columns(report: Report, digits: int) -> tuple[str, str]:
    """The oracle's latency before and after in milliseconds, and the change; "-" where it has none."""
    checked = report.verification
    if not isinstance(checked, Verification) or not isinstance(checked.oracle, OracleProof):
        return "-", "-"
    before, after = checked.oracle.before.latency_us, checked.oracle.after.latency_us
    if not isinstance(before, Estimate) or not isinstance(after, Estimate) or before.value == 0:
        return "-", "-"
    change = f"{100 * (after.value / before.value - 1):+.1f}%"
    return f"{milliseconds(before, digits)} → {milliseconds(after, digits)}", change
