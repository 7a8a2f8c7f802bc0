"""The tables across targets and of the ablation: what they say of known figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench import ablation
from bench.ablation import FUSE, NEEDS_TRAINING, ROWS, Lab, Row, is_fused, reasons, trained_row
from bench.budget_checks import Figures
from bench.cross_targets import AS_IT_CAME, Cell, table, write_csv
from hwopt.estimate import Estimate, Source
from hwopt.pipeline import analyze
from hwopt.report.schema import ChoiceRow, ValueRow

MODEL = Path(ablation.__file__).parent.parent / "models" / "figures" / "figures.onnx"
MILLISECONDS = {
    AS_IT_CAME: {"a": 10.0, "b": 20.0},
    "a": {"a": 8.0, "b": 21.0},
    "b": {"a": 9.0, "b": 15.0},
}
CELLS = [
    Cell("net", made_for, priced_on, 1e3 * ms, "compiled", "-" if made_for == AS_IT_CAME else "fuse_ibn 1")
    for made_for, row in MILLISECONDS.items()
    for priced_on, ms in row.items()
]
FIRST = Row("baseline", Figures(100.0, 101.0, 1.0, 60.0, 40.0), 1e6, None, None, 0, "-")


def test_the_best_of_a_column_stands_out() -> None:
    lines = table(CELLS, "net").splitlines()
    assert lines[0] == "| net, made for | ms on a | ms on b | passes |"
    assert lines[2:] == [
        "| as it came | 10.000 (+0.0%) | 20.000 (+0.0%) | - |",
        "| a | **8.000 (-20.0%)** | 21.000 (+5.0%) | fuse_ibn 1 |",
        "| b | 9.000 (-10.0%) | **15.000 (-25.0%)** | fuse_ibn 1 |",
    ]


def test_cells_are_written_as_rows(tmp_path: Path) -> None:
    write_csv(CELLS, tmp_path / "cross.csv")
    rows = (tmp_path / "cross.csv").read_text().splitlines()
    assert len(rows) == 1 + len(CELLS)
    assert rows[-1] == "net,b,b,15000,compiled,fuse_ibn 1"


def value(name: str, latency_us: float, *passes: str) -> ValueRow:
    figure = Estimate(latency_us, 0.0, Source.PREDICTED)
    return ValueRow(name, passes, "lossy", figure, figure, figure, figure)


def block(node: str, chosen: str, fused_us: float, reason: str) -> ChoiceRow:
    values = (value("keep", 50.0), value("fused", fused_us, FUSE), value("dense", 49.0, "densify_depthwise"))
    return ChoiceRow(f"form:{node}", "form", (node,), values, chosen, reason)


def test_reasons_are_those_of_the_report() -> None:
    early = block("early", "fused", 20.0, "by itself -30 us, damage 0.01; repaired")
    late = block("late", "keep", 90.0, "no value is faster: the best, fused, is +40 us")
    other = replace(early, values=early.values[::2], chosen="dense")
    report = replace(analyze(MODEL, target="edge-npu", refine=0), choices=(early, late, other))
    assert [is_fused(choice) for choice in (early, late, other)] == [True, False, False]
    assert reasons(report).splitlines()[2:] == [
        "| early | fused | -30.0 | by itself -30 us, damage 0.01; repaired |",
        "| late | keep | +40.0 | no value is faster: the best, fused, is +40 us |",
    ]


def test_rows_are_changes_against_the_first() -> None:
    fused = Row("fused IBN only", Figures(80.0, 81.0, 1.0, 60.0, 45.0), 1.5e6, 0.012, 0.03, 3, "-")
    trained = Row("x0.5", Figures(40.0, 41.0, 1.0, 30.0, 20.0), 0.4e6, None, None, 0, "x0.5", training=True)
    lines = ablation.table([FIRST, fused, trained]).splitlines()
    assert lines[3] == (
        "| fused IBN only | 0.081 | 0.080 | -20.0% | 2 M (+50.0%) | +5.0% | +1.20 | 0.0300 | 3 | - |"
    )
    assert NEEDS_TRAINING in lines[4]
    assert "-60.0%" in lines[4]
    assert {line.count("|") for line in lines} == {len(ablation.COLUMNS) + 1}


def test_a_candidate_is_read_from_its_own_files(tmp_path: Path) -> None:
    lab = Lab(MODEL, MODEL, "edge-npu", 0.03, tmp_path)
    with pytest.raises(SystemExit, match="no candidate for training"):
        trained_row(lab, "x0.5", "no candidate for training: none")
    file = tmp_path / "x0_5.candidate.onnx"
    file.write_bytes(MODEL.read_bytes())
    facts = {"steps": {"form:1": "fused-k3", "width:model": "x0.5"}, "retrained": {"width:model": "x0.5"}}
    file.with_suffix(".json").write_text(json.dumps(facts))
    row = trained_row(lab, "x0.5", "")
    assert (row.fused, row.channels, row.training) == (1, "x0.5", True)


def test_every_row_has_a_file_of_its_own(tmp_path: Path) -> None:
    lab = Lab(MODEL, MODEL, "edge-npu", 0.03, tmp_path)
    assert len({lab.file(name) for name in ROWS}) == len(ROWS)
