"""Other ways to predict latency, on the same rows: what the cost model has to be ahead of.

All are fitted on the rows of one fold's training set and predict fused operator groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from hwopt.cost.dataset import Sample
from hwopt.cost.judging import Predictor
from hwopt.cost.raw import table
from hwopt.cost.roofline import roofline
from hwopt.estimate import Estimate, Source
from hwopt.signature import VIEW, Signature
from hwopt.target import Target

Column = npt.NDArray[np.float64]
Price = Callable[[Sequence[Signature]], Column]
TREES = 100  # nn-Meter's own forests have up to 320; beyond 100 nothing changes but the time

# Zhang et al., "nn-Meter", MobiSys 2021, table 4: configuration of the kernel, then FLOPs and parameters.
_CONV = ("hi", "wi", "ci", "co", "kh", "sh", "macs", "weights")
_POOL = ("hi", "wi", "ci", "co", "kh", "sh", "in_elements")
_OTHER = ("hi", "wi", "ci", "co", "in_elements", "out_elements", "inputs")
_DENSE = ("ci", "co", "macs", "weights")
_FEATURES = {
    **dict.fromkeys(("conv", "depthwise", "grouped", "pointwise", "transposed"), _CONV),
    **dict.fromkeys(("gemm", "matmul"), _DENSE),
    **dict.fromkeys(("pool", "global_pool"), _POOL),
}


class Peer:
    """A function from signatures to microseconds, with no idea of its own error."""

    def __init__(self, price: Price) -> None:
        self._price = price

    def predict(self, signatures: Sequence[Signature]) -> list[Estimate]:
        prices = self._price(signatures)
        return [
            Estimate(0.0 if s.kind == VIEW else float(max(price, 0.0)), 0.0, Source.PREDICTED)
            for s, price in zip(signatures, prices, strict=True)
        ]


def peers(rows: Sequence[Sample], target: Target, trees: int = TREES) -> dict[str, Predictor]:
    """Every peer by name, fitted on these rows."""
    return {
        "roofline": Peer(lambda signatures: _roofline_us(signatures, target)),
        "roofline, scaled per kind": Peer(_per_kind(rows, lambda part: _scaled_roofline(part, target))),
        "FLOPs, linear": Peer(_flops_linear(rows)),
        "FLOPs, log-log per kind": Peer(_per_kind(rows, _flops_loglog)),
        "random forest, nn-Meter's features": Peer(_per_kind(rows, lambda part: _forest(part, trees))),
    }


def _latencies(rows: Sequence[Sample]) -> Column:
    return np.array([row.latency_us for row in rows])


def _columns(signatures: Sequence[Signature], names: Sequence[str]) -> Column:
    numbers = table(signatures)
    return np.column_stack([numbers[name] for name in names])


def _work(signatures: Sequence[Signature]) -> Column:
    """Multiply-adds; elements read and written where there are none."""
    numbers = table(signatures)
    elements = numbers["in_elements"] + numbers["out_elements"]
    return np.asarray(np.where(numbers["macs"] > 0, numbers["macs"], elements))


def _roofline_us(signatures: Sequence[Signature], target: Target) -> Column:
    return np.asarray(roofline(table(signatures), target).cycles / target.clock_mhz)


def _scaled_roofline(rows: Sequence[Sample], target: Target) -> Price:
    """The roofline times the median of measured over roofline."""
    bound = _roofline_us([row.signature for row in rows], target)
    factor = float(np.median(_latencies(rows) / bound))
    return lambda signatures: factor * _roofline_us(signatures, target)


def _flops_linear(rows: Sequence[Sample]) -> Price:
    """latency = a + b FLOPs over all operators, least squares: how FLOPs are commonly used."""
    signatures = [row.signature for row in rows]
    macs = table(signatures)["macs"]
    slope, intercept = np.polyfit(macs, _latencies(rows), 1)
    return lambda asked: np.asarray(intercept + slope * table(asked)["macs"])


def _flops_loglog(rows: Sequence[Sample]) -> Price:
    """log latency = a + b log FLOPs; elements where an operator has no FLOPs. What was free has no log."""
    rows = [row for row in rows if row.latency_us > 0]
    if not rows:
        return lambda asked: np.zeros(len(asked))
    work = np.log1p(_work([row.signature for row in rows]))
    latency = np.log(_latencies(rows))
    if np.ptp(work) == 0 or len(rows) < 3:
        middle = float(np.exp(latency.mean()))
        return lambda asked: np.full(len(asked), middle)
    slope, intercept = np.polyfit(work, latency, 1)
    return lambda asked: np.asarray(np.exp(intercept + slope * np.log1p(_work(asked))))


def _forest(rows: Sequence[Sample], trees: int) -> Price:
    """nn-Meter's regressor: a forest on latency itself, one for each kind of kernel."""
    from sklearn.ensemble import RandomForestRegressor

    names = _FEATURES.get(rows[0].signature.kind, _OTHER)
    forest = RandomForestRegressor(
        n_estimators=trees, max_depth=70, max_features=min(5, len(names)), n_jobs=1, random_state=10
    )
    forest.fit(_columns([row.signature for row in rows], names), _latencies(rows))
    return lambda asked: np.asarray(forest.predict(_columns(asked, names)))


def _per_kind(rows: Sequence[Sample], fit: Callable[[Sequence[Sample]], Price]) -> Price:
    """One model for each kind of group; a kind without rows is priced by the one of all rows."""
    of: dict[str, list[Sample]] = {}
    for row in rows:
        of.setdefault(row.signature.kind, []).append(row)
    models = {kind: fit(of[kind]) for kind in sorted(of)}
    ratio = float(np.median(_latencies(rows) / _work([row.signature for row in rows])))

    def price(signatures: Sequence[Signature]) -> Column:
        kinds = np.array([s.kind for s in signatures])
        result = ratio * _work(signatures)
        for kind in sorted(set(kinds.tolist()) & set(models)):
            own = np.flatnonzero(kinds == kind)
            result[own] = models[kind]([signatures[int(i)] for i in own])
        return result

    return price
