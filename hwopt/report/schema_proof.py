"""The report's contract, proof: accuracy, outputs, and the oracle's own figures."""

from __future__ import annotations

from dataclasses import dataclass

from hwopt.report.schema_costs import Figure, Missing, Number


@dataclass(frozen=True)
class AccuracyRow:
    """Accuracy at one precision, before and after; drop is before - after (positive: worse).

    metric: "top1", "kl", "relative_error" ...; for a divergence `before` is 0 and `after` is it.
    interval: 95%, of the drop. how: on which data, and how the fit was kept apart from it.
    against: the precision of the input that `before` and the drop speak of.
    """

    metric: str
    precision: str
    before: Number
    after: Number
    drop: Number
    interval: tuple[float, float] | Missing
    samples: int
    how: str
    against: str = "fp32"


@dataclass(frozen=True)
class OutputDifference:
    """Largest difference of one output between input and written model (EXACT part of the plan).

    max_rel: max_abs over the largest magnitude in the reference output.
    """

    name: str
    max_abs: float
    max_rel: float


@dataclass(frozen=True)
class OracleCosts:
    """The oracle's own figures for a whole model."""

    latency_us: Figure
    peak_bytes: Figure


@dataclass(frozen=True)
class OracleProof:
    """The whole model before and after, asked of the oracle."""

    before: OracleCosts
    after: OracleCosts


@dataclass(frozen=True)
class Verification:
    """What was checked on the written file. checker: "passed", or what onnx.checker objects to.

    outputs: of the fp32 result, before it was written in another precision (`outputs_of`).
    interface_changes: what the user allowed to change, one line each.
    """

    interface_same: bool
    checker: str
    outputs: tuple[OutputDifference, ...]
    oracle: OracleProof | Missing
    interface_changes: tuple[str, ...] = ()
    outputs_of: str = "file"
