"""Reports made in code for tests of the page: a usual one, a large one, and one with hostile names."""

from __future__ import annotations

from dataclasses import replace

from hwopt.estimate import Estimate, Source
from hwopt.report import schema as s

SCRIPT = "<script>window.broken = 1</script>"
QUOTES = "\"'><img src=x onerror='window.broken = 2'>"
LONG = "long" * 2500
BIDI = "safe\u202egnp.exe\u2066"
ODD = "a$b_{c}$\\frac{1}{$ {{ 7 * 7 }} </style><!-- 層"
HOSTILE = (SCRIPT, QUOTES, LONG, BIDI, ODD)


def predicted(value: float, spread: float = 0.0) -> Estimate:
    return Estimate(value, spread, Source.PREDICTED)


def compiled(value: float) -> Estimate:
    return Estimate(value, 0.0, Source.COMPILED)


def counted(value: float) -> Estimate:
    return Estimate(value, 0.0, Source.COMPUTED)


def costs(latency: float, peak: float, size: float, nodes: int, at: int) -> s.Costs:
    tensors = (s.TensorRow("block1.out", 9000), s.TensorRow("block2.out", 1000))
    return s.Costs(
        predicted(latency, latency / 50), counted(peak), counted(size), 8e6, 40_000, nodes,
        peak=s.PeakRow(at, 10_000, tensors),
    )  # fmt: skip


def subgraph(name: str, latency: float, bound: str, alive: int) -> s.SubgraphRow:
    roofs = s.RoofsRow(latency / 2, latency / 4, latency / 3, 8000, 4000)
    return s.SubgraphRow(
        f"id-{name}", "conv", "npu", (name,), predicted(latency, 1), bound, counted(alive),
        (name,), 100_000, 300, 0.25, roofs,
    )  # fmt: skip


def value(
    name: str, passes: tuple[str, ...], risk: str, latency: float, damage: float, worse_than: str = ""
) -> s.ValueRow:
    source = Source.COMPUTED if risk == "exact" else Source.MEASURED
    return s.ValueRow(
        name, passes, risk, predicted(latency, 1), counted(500), counted(700),
        Estimate(damage, 0.0, source), worse_than,
    )  # fmt: skip


def choice(number: int, chosen: str = "keep") -> s.ChoiceRow:
    """A block whose fused form saves more the higher its number."""
    values = (
        value("keep", (), "exact", 1000.0, 0.0),
        value("dense", ("densify_depthwise",), "exact", 990.0, 0.0),
        value("fused", ("fuse_ibn",), "lossy", 980.0 - number, 0.001 * number, ""),
    )
    nodes = (f"block{number}.expand", f"block{number}.depthwise")
    why = f"by itself {-20 - number} us" if chosen != "keep" else "its damage is better spent elsewhere"
    return s.ChoiceRow(f"form:{number:04}", "form", nodes, values, chosen, why)


def fold() -> s.ChoiceRow:
    nobody = s.Missing("folds are priced together: see before and after")
    rows = tuple(
        s.ValueRow(name, passes, "exact", nobody, nobody, nobody, counted(0))
        for name, passes in (("keep", ()), ("fold_after", ("canonicalize",)))
    )
    return s.ChoiceRow("canonical:1", "canonical", ("bn",), rows, "fold_after", "exact, with fewer operators")


def usual() -> s.Report:
    """A LOSSY run: one fold, one exact and two lossy rewrites, one choice kept."""
    before = tuple(
        subgraph(f"block{n}.conv", 500.0 + n, ("compute", "off_chip")[n % 2], 4000 + n) for n in range(5)
    )
    after = tuple(
        subgraph(f"block{n}.conv", 200.0 + n, ("compute", "on_chip")[n % 2], 2000 + n) for n in range(5)
    )
    asked = s.OracleProof(
        s.OracleCosts(compiled(2500), s.Missing("this oracle does not tell")),
        s.OracleCosts(compiled(1000), s.Missing("this oracle does not tell")),
    )
    top1 = s.AccuracyRow(
        "top1", "fp32", 0.9075, 0.8925, 0.015, (-0.0033, 0.0333), 400, "400 samples, cross-fitted"
    )
    levels = (s.MemoryLevel("sram", 12_000, 128_000.0), s.MemoryLevel("dram", 10**9, 4000.0))
    hardware = s.Hardware(500.0, 512_000.0, levels, "sram")
    moved = s.AccuracyRow("kl", "fp32", 0.0, 0.02, 0.02, s.Missing("per fold: 0.02"), 400, "400 samples")
    return s.Report(
        tool=s.Tool("hwopt", "0.1.0", {"python": "3.11.7"}),
        command="hwopt optimize model.onnx --target edge-npu --calib data -o out.onnx",
        seed=7,
        created="2025-01-01T00:00:00+00:00",
        outcome=s.Outcome.CHANGED,
        model=s.ModelInfo("models/model.onnx", "a" * 64, 13),
        output=s.OutputInfo("out.onnx", "b" * 64),
        target=s.TargetInfo("edge-npu", "zigzag", "int8", "c" * 64, hardware),
        before=costs(2550, 12_000, 50_000, 99, 1),
        after=costs(1020, 6_000, 30_000, 64, 2),
        accuracy=(top1, moved),
        choices=(fold(), choice(1, "dense"), choice(2, "fused"), choice(3, "fused"), choice(4)),
        skipped=(s.SkippedRow("sparsify", "every layer", "gains nothing from zeros"),),
        subgraphs=s.Subgraphs(before, after),
        verification=s.Verification(True, "passed", (s.OutputDifference("logits", 0.9, 0.3),), asked),
        budget=s.Budget("latency", (s.Limit("max_drop", 0.02, 0.015, True, "measured"),)),
        search=s.SearchInfo(
            "milp", 13, 990.0, 0.002, 20.1, (s.RoundRow(3, predicted(1000), 0.03, 0.02, 0.015, True),),
            s.LinkInfo(0.9, 0.5, 1),
        ),
        timings_s={"load": 0.1, "search": 20.1},
        notes=("one subgraph is extrapolated", "measured round 1: damage 0.02, within the limit"),
        pareto=(
            s.ParetoRow(predicted(1000), 0.02, 9, 5, 4, {"form:0002": "fused"}, True, 0.015, True),
            s.ParetoRow(predicted(1500), 0.01, 9, 5, 4, {"form:0003": "fused"}),
            s.ParetoRow(predicted(2000), 0.0, 9, 5, 4, {}),
        ),
        passes=(
            s.PassRow("canonicalize", 1, 0, 1, 35, 0, 0.1, 0.2, "BatchNorm --> folded away"),
            s.PassRow("fuse_ibn", 4, 0, 2, 4, 0, 0.1, 0.2, "1x1 Conv, depthwise Conv --> KxK Conv"),
        ),
        settings={"max_drop": 0.02},
        calibration=s.CalibrationInfo("d" * 64, 400, 5, True),
    )  # fmt: skip


def large(rows: int = 1000) -> s.Report:
    """As many choices, subgraphs and places as a large model has."""
    report = usual()
    before = tuple(subgraph(f"stage.block{n}.conv", 5.0 + n % 7, "compute", 4000 + n) for n in range(rows))
    return replace(
        report,
        choices=tuple(choice(n, "fused" if n % 3 else "keep") for n in range(rows)),
        skipped=tuple(s.SkippedRow("sparsify", f"node{n}", "gains nothing") for n in range(rows)),
        subgraphs=s.Subgraphs(before, before),
    )


def hostile(name: str) -> s.Report:
    """The name wherever a model, a target or a plugin can put a text of its own."""
    report = usual()
    rows = tuple(
        replace(row, id=name, kind=name, nodes=(name,), sources=(name,)) for row in report.subgraphs.before
    )
    taken = replace(choice(2).values[2], name=name, passes=(name,), dominated_by=name)
    decided = replace(
        choice(2),
        id=name,
        kind=name,
        nodes=(name, name),
        values=(choice(2).values[0], taken),
        chosen=name,
        reason=name,
    )
    peak = s.PeakRow(1, 10_000, (s.TensorRow(name, 9000),))
    gone = s.Missing(name)
    return replace(
        report,
        tool=s.Tool("hwopt", "0.1.0", {name: name}),
        command=f"hwopt optimize '{name}'",
        model=s.ModelInfo(name, name, 13),
        output=s.OutputInfo(name, name),
        target=replace(report.target, name=name, oracle=name, precision=name, hardware=s.Missing(name)),
        before=replace(report.before, peak=peak, unpriced=(s.Unpriced(name, name, name),)),
        accuracy=(s.AccuracyRow(name, name, 0.9, gone, gone, gone, 4, name),),
        choices=(decided,),
        skipped=(s.SkippedRow(name, name, name),),
        subgraphs=s.Subgraphs(rows, rows),
        verification=s.Verification(False, name, (s.OutputDifference(name, 1.0, 1.0),), gone, (name,)),
        budget=s.Budget(name, (s.Limit(name, 1.0, s.Missing(name), False, name),)),
        search=s.SearchInfo(name, 1, s.Missing(name), s.Missing(name), 1.0, stopped=name),
        timings_s={name: 1.0},
        notes=(name,),
        passes=(s.PassRow(name, 1, 1, 1, 1, 1, 1.0, 1.0, name),),
        settings={name: name},
    )  # fmt: skip


def analysed() -> s.Report:
    """An analysis, with an operator that has no price."""
    report, nothing = usual(), s.Missing("nothing was changed")
    return replace(
        report,
        outcome=s.Outcome.ANALYSED,
        output=s.Missing("analyze writes no model"),
        before=replace(report.before, unpriced=(s.Unpriced("resize", "Resize", "no engine runs it"),)),
        after=nothing,
        accuracy=nothing,
        choices=(),
        skipped=(),
        subgraphs=s.Subgraphs(report.subgraphs.before, ()),
        verification=s.Missing("the oracle was not asked: --measure does"),
        budget=s.Budget("latency"),
        search=nothing,
        pareto=(),
        passes=(),
    )


def unchanged() -> s.Report:
    """A run whose input came back."""
    report = usual()
    return replace(
        report,
        outcome=s.Outcome.UNCHANGED,
        after=report.before,
        accuracy=s.Missing("every step is exact"),
        choices=tuple(choice(n) for n in range(3)),
        subgraphs=s.Subgraphs(report.subgraphs.before, report.subgraphs.before),
        verification=s.Verification(True, "passed", (), s.Missing("--refine 0")),
        pareto=(),
    )
