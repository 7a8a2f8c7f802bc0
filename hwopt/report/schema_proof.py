"""The report's contract, proof: accuracy, outputs, and the oracle's own figures."""

from __future__ import annotations

from dataclasses import dataclass

from hwopt.report.schema_costs import Figure, Missing, Number

EXPECTED = "top1, expected by the input's own probabilities"  # a metric of its own, less noisy than top1
DIVERGENCES = ("kl", "relative_error")  # metrics that say how far outputs are apart
AGREEMENT = "agreement"
STRETCHES = "stretch by stretch"  # how outputs of large models are compared


@dataclass(frozen=True)
class CalibrationInfo:
    """The data that lossy rewrites were fitted and judged on."""

    fingerprint: str
    """SHA-256 over the samples, their preprocessing and their labels."""
    samples: int
    folds: int
    """Parts that the samples are dealt into: each is judged by fits on the others."""
    labels: bool
    """Whether every sample has one."""
    copies: int = 0
    """Variants of each sample, for fitting alone (`--augment`)."""


@dataclass(frozen=True)
class AccuracyRow:
    """Accuracy in one metric at one precision, before and after."""

    metric: str
    """One of "top1", "kl", "relative_error", "agreement" ..., or the name of the user's own."""
    precision: str
    """Of the model that `after` speaks of."""
    before: Number
    """0 for a divergence in fp32."""
    after: Number
    """Of a divergence: how far the outputs are from the fp32 input's."""
    drop: Number
    """before - after, positive where it is worse; for a divergence after - before."""
    interval: tuple[float, float] | Missing
    """95%, of the drop."""
    samples: int
    how: str
    """On which data, and how the fit was kept apart from it."""
    against: str = "fp32"
    """The precision of the input that `before` and the drop speak of."""


@dataclass(frozen=True)
class OutputDifference:
    """Largest difference of one output between input and written model (EXACT part of the plan)."""

    name: str
    max_abs: float
    max_rel: float
    """max_abs over the largest magnitude in the reference output."""


@dataclass(frozen=True)
class OracleCosts:
    """The oracle's own figures for a whole model."""

    latency_us: Figure
    peak_bytes: Figure
    unpriced: tuple[str, ...] = ()
    """Operators that its latency leaves out, by the names of their outputs."""


@dataclass(frozen=True)
class OracleProof:
    """The whole model before and after, asked of the oracle."""

    before: OracleCosts
    after: OracleCosts


@dataclass(frozen=True)
class Verification:
    """What was checked on the written file."""

    interface_same: bool
    """Names, dtypes, shapes, dynamic axes, metadata and opset."""
    checker: str
    """The word "passed", or what onnx.checker's full check objects to."""
    outputs: tuple[OutputDifference, ...]
    oracle: OracleProof | Missing
    interface_changes: tuple[str, ...] = ()
    """What the user allowed to change, one line each."""
    outputs_of: str = "file"
    """Whose outputs those are: the file's, or the fp32 result's, where the file has another precision."""
    how: str = ""
    """How outputs were compared: of whole models, or of stretches of large ones, where `outputs` has the
    values at which they were cut, too; or why they were not. "" in reports of older versions."""
