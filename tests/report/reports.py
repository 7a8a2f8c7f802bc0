"""Small reports for tests, made by hand: every figure is one that a test can reckon with."""

from __future__ import annotations

from hwopt.estimate import Estimate, Source
from hwopt.report import schema as s

NO_DATA = s.Missing("no calibration data was given")


def predicted(value: float, spread: float = 0.0) -> Estimate:
    return Estimate(value, spread, Source.PREDICTED)


def compiled(value: float) -> Estimate:
    return Estimate(value, 0.0, Source.COMPILED)


def measured(value: float, spread: float = 0.0) -> Estimate:
    return Estimate(value, spread, Source.MEASURED)


def counted(value: float) -> Estimate:
    return Estimate(value, 0.0, Source.COMPUTED)


def costs(latency: s.Figure, peak: float = 3000, weights: float = 5000) -> s.Costs:
    return s.Costs(latency, counted(peak), counted(weights), 1e6, 500, 10)


def subgraph(
    name: str, latency: s.Figure, kind: str = "conv", sources: tuple[str, ...] = ()
) -> s.SubgraphRow:
    return s.SubgraphRow(
        f"id-{name}", kind, "npu", (name,), latency, "compute", counted(10), sources or (name,)
    )


def value(name: str, latency: float, risk: str = "exact", damage: float = 0.0) -> s.ValueRow:
    passes = () if name == "keep" else ("a_pass",)
    return s.ValueRow(
        name,
        passes,
        risk,
        predicted(latency),
        counted(1),
        counted(1),
        measured(damage) if damage else counted(0),
    )


def choice(id_: str, chosen: str, *values: s.ValueRow, reason: str = "it pays") -> s.ChoiceRow:
    return s.ChoiceRow(id_, "form", (f"node of {id_}",), (value("keep", 100), *values), chosen, reason)


def verified(
    before: s.Figure | None = None,
    after: s.Figure | None = None,
    outputs_of: str = "file",
    left_out: tuple[str, ...] = (),
) -> s.Verification:
    """With the oracle's word on both models, where there is one. left_out: of the second one."""
    oracle: s.OracleProof | s.Missing = s.Missing("the oracle was not asked: --refine 0")
    if before is not None and after is not None:
        unknown = s.Missing("this oracle does not tell")
        oracle = s.OracleProof(s.OracleCosts(before, unknown), s.OracleCosts(after, unknown, left_out))
    return s.Verification(True, "passed", (), oracle, outputs_of=outputs_of)


def accuracy(metric: str, drop: float, precision: str = "fp32", width: float = 0.02) -> s.AccuracyRow:
    interval = (drop - width / 2, drop + width / 2)
    before = 0.0 if metric in ("kl", "relative_error") else 0.9
    after = drop if before == 0 else before - drop
    return s.AccuracyRow(metric, precision, before, after, drop, interval, 250, "5 folds")


def example() -> s.Report:
    """An exact run: 2000 us to 1500 us, both ± 1%, and one convolution made dense."""
    conv, tail = subgraph("conv", predicted(1000, 10)), subgraph("tail", predicted(500, 5))
    return s.Report(
        tool=s.Tool("hwopt", "0.1.0", {"python": "3.11.7", "hwopt": "0.1.0"}),
        command="hwopt optimize m.onnx --target edge-npu -o out.onnx",
        seed=0,
        created="2025-01-01T00:00:00+00:00",
        outcome=s.Outcome.CHANGED,
        model=s.ModelInfo("m.onnx", "a" * 64, 13),
        output=s.OutputInfo("out.onnx", "b" * 64),
        target=s.TargetInfo("edge-npu", "zigzag", "int8", "c" * 64, cost_model="d" * 64),
        before=costs(predicted(2000, 20), 4000, 6000),
        after=costs(predicted(1500, 15)),
        accuracy=NO_DATA,
        choices=(
            choice("form-1", "dense", value("dense", 60)),
            choice("form-2", "keep", value("lossy", 50, "lossy", 0.1), reason="no calibration data"),
        ),
        skipped=(),
        subgraphs=s.Subgraphs((subgraph("conv", predicted(1500, 15)), tail), (conv, tail)),
        verification=verified(),
        budget=s.Budget("latency"),
        search=s.Missing("replayed"),
        timings_s={"load": 0.1},
        calibration=NO_DATA,
    )
