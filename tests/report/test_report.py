"""The report: every key of the contract, deterministic JSON, readable Markdown, all files or none."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from hwopt.choice import KEEP, Choice, Kind, Risk, Stage, Value
from hwopt.errors import BadInput
from hwopt.estimate import Estimate, Source
from hwopt.report import schema as s
from hwopt.report import words
from hwopt.report.jsonable import JsonObject, json_text, rounded, to_json
from hwopt.report.markdown import to_markdown
from hwopt.report.reasons import why_not_measured
from hwopt.report.write import OUTPUT_KEY, OutputFiles, check_output, staged
from hwopt.scope import NOTHING, Price, Problem, Scope

NO_DATA = s.Missing("no calibration data")


def compiled(value: float) -> Estimate:
    return Estimate(value, 0.0, Source.COMPILED)


def predicted(value: float, spread: float) -> Estimate:
    return Estimate(value, spread, Source.PREDICTED)


def costs(latency: float, unpriced: tuple[s.Unpriced, ...] = ()) -> s.Costs:
    return s.Costs(
        latency_us=predicted(latency, latency / 100),
        peak_bytes=Estimate(602112, 0, Source.COMPUTED),
        weight_bytes=Estimate(4_600_000, 0, Source.COMPUTED),
        macs=385_000_000.0,
        params=4_630_000,
        nodes=100,
        unpriced=unpriced,
    )


def example() -> s.Report:
    """A run that made one depthwise convolution dense and kept one block."""
    keep = s.ValueRow(
        "keep", (), "exact", predicted(100, 1), compiled(10), compiled(20), s.Missing("no change")
    )
    dense = replace(keep, name="dense", passes=("densify_depthwise",), latency_us=predicted(68, 1))
    subgraph = s.SubgraphRow("0", "conv", "npu", ("stem",), predicted(50, 1), "compute", compiled(99))
    return s.Report(
        tool=s.Tool("hwopt", "0.1.0"),
        command="hwopt optimize m.onnx --target edge-npu -o out.onnx",
        seed=0,
        created="2025-01-01T00:00:00Z",
        outcome=s.Outcome.CHANGED,
        model=s.ModelInfo("m.onnx", "a" * 64, 13),
        output=s.Missing("not written yet"),
        target=s.TargetInfo("edge-npu", "zigzag", "int8", "c" * 64),
        before=costs(2000.0, (s.Unpriced("resize_1", "Resize", "no engine of the target runs it"),)),
        after=costs(1500.0),
        accuracy=(s.AccuracyRow("top1", "fp32", 0.8827, 0.8700, 0.0127, (0.001, 0.024), 250, "5 folds"),),
        choices=(
            s.ChoiceRow("form-1", "form", ("dw|1",), (keep, dense), "dense", "saves 32.0 us"),
            s.ChoiceRow("form-2", "form", ("dw2",), (keep,), "keep", "no value is faster"),
        ),
        skipped=(s.SkippedRow("fuse_ibn", "conv_9", "weight is not a constant"),),
        subgraphs=s.Subgraphs((subgraph,), (subgraph,)),
        verification=s.Verification(
            interface_same=True,
            checker="passed",
            outputs=(s.OutputDifference("logits", 1e-6, 1e-7),),
            oracle=s.OracleProof(
                s.OracleCosts(compiled(2010), compiled(7)), s.OracleCosts(compiled(1490), compiled(7))
            ),
        ),
        budget=s.Budget("latency", (s.Limit("max_drop", 0.03, 0.0127, True, "measured"),)),
        search=s.SearchInfo("milp", 3, 1495.0, 0.003, 0.5),
        timings_s={"load": 0.1, "price": 2.0},
        pareto=(
            s.ParetoRow(predicted(1500, 15), 0.0, 700, 400, 300, {"form-1": "dense"}, True, 0.0, True),
            s.ParetoRow(predicted(2000, 20), 0.0, 600, 300, 300, {}),
        ),
        passes=(s.PassRow("densify_depthwise", 2, 0, 1, 0, 0, 0.012, 0.003),),
    )


# Every key that docs/architecture.md promises to readers of the report.
CONTRACT: dict[str, list[str]] = {
    "tool": ["name", "version"],
    "model": ["path", "sha256", "opset"],
    "target": ["name", "oracle", "precision", "config"],
    "before": ["latency_us", "peak_bytes", "weight_bytes", "macs", "params", "nodes", "unpriced"],
    "after": ["latency_us", "peak_bytes", "weight_bytes", "macs", "params", "nodes", "unpriced"],
    "before/latency_us": ["value", "spread", "source"],
    "accuracy/0": ["metric", "precision", "before", "after", "drop", "interval", "samples", "how"],
    "choices/0": ["id", "kind", "nodes", "values", "chosen", "reason"],
    "choices/0/values/1": [
        "name",
        "passes",
        "risk",
        "latency_us",
        "peak_bytes",
        "weight_bytes",
        "damage",
    ],
    "skipped/0": ["pass", "node", "reason"],
    "subgraphs": ["before", "after"],
    "subgraphs/after/0": ["id", "kind", "engine", "nodes", "latency_us", "bound", "peak_bytes"],
    "verification": ["interface_same", "checker", "outputs", "oracle"],
    "verification/outputs/0": ["name", "max_abs", "max_rel"],
    "verification/oracle/before": ["latency_us", "peak_bytes"],
    "verification/oracle/after": ["latency_us", "peak_bytes"],
    "search": ["strategy", "evaluations", "bound", "gap", "seconds", "stopped"],
    "pareto/0": [
        "latency_us",
        "damage",
        "footprint_bytes",
        "weight_bytes",
        "peak_bytes",
        "values",
        "measured",
        "drop",
        "chosen",
    ],
    "passes/0": [
        "name",
        "values",
        "skipped",
        "steps",
        "nodes_removed",
        "nodes_added",
        "finding_s",
        "rewriting_s",
    ],
}
TOP = ["schema_version", "tool", "command", "seed", "created", "model", "target", "before", "after"]
TOP += ["accuracy", "choices", "skipped", "subgraphs", "verification", "budget", "search", "timings_s"]
TOP += ["pareto", "passes"]


def lookup(value: object, path: str) -> object:
    for step in path.split("/"):
        assert isinstance(value, dict | list)
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


def test_every_key_of_the_contract_is_there() -> None:
    encoded = json.loads(json_text(to_json(example())))
    assert set(TOP) <= set(encoded)
    assert next(iter(encoded)) == "schema_version"
    for path, keys in CONTRACT.items():
        found = lookup(encoded, path)
        assert isinstance(found, dict)
        assert set(keys) <= set(found), path


def test_what_is_missing_carries_its_reason() -> None:
    encoded = to_json(replace(example(), accuracy=NO_DATA, verification=s.Missing("dry run")))
    assert encoded["accuracy"] == {"unavailable": "no calibration data"}
    assert encoded["verification"] == {"unavailable": "dry run"}


def test_the_text_is_the_same_every_time_and_has_no_nan() -> None:
    odd = replace(example(), timings_s={"load": math.nan})
    assert json_text(to_json(example())) == json_text(to_json(example()))
    assert json.loads(json_text(to_json(odd)))["timings_s"] == {"load": None}


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1 / 3, 0.3333333), (123456789.4, 123456789), (2.0, 2), (math.inf, None), (1e-9 / 3, 3.333333e-10)],
)
def test_numbers_keep_seven_digits(value: float, expected: float | None) -> None:
    assert rounded(value) == expected


def test_the_summary_compares_before_and_after() -> None:
    rows = {row.what: row for row in words.summary(example())}
    assert rows["latency"].before == "2 ms ± 20 us"
    assert rows["latency"].change == f"{100 * (1500 / 2000 - 1):+.1f}%"
    assert rows["latency"].source == "predicted"
    assert rows["latency, whole model by zigzag"].change == f"{100 * (1490 / 2010 - 1):+.1f}%"
    assert rows["peak memory"].before == "602.1 KB"
    assert rows["top1 (fp32)"].after == "87.00%"
    assert rows["top1 (fp32)"].change == "drop 1.27 points [0.1, 2.4]"


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.5, 4, "0.5 us"),
        (268.9, 2, "270 us"),
        (999.96, 4, "1 ms"),
        (14_444, 4, "14.44 ms"),
        (2.5e6, 4, "2.5 s"),
    ],
)
def test_times_are_short_and_without_exponents(value: float, digits: int, text: str) -> None:
    assert words.microseconds(value, digits) == text


def test_the_summary_names_what_is_unavailable() -> None:
    analysis = replace(example(), after=s.Missing("nothing was changed"), accuracy=NO_DATA)
    rows = {row.what: row for row in words.summary(analysis)}
    assert rows["latency"].after == "unavailable: nothing was changed"
    assert rows["accuracy"].source == "unavailable: no calibration data"


def test_markdown_tells_what_was_done_and_left() -> None:
    text = to_markdown(example())
    assert "dense (densify_depthwise)" in text
    assert "saves 32.0 us" in text
    assert "no value is faster" in text
    assert "weight is not a constant" in text
    assert "no engine of the target runs it" in text
    assert "hwopt optimize m.onnx --target edge-npu -o out.onnx" in text
    assert "dw\\|1" in text  # a bar in a node name does not break the table


def test_every_table_row_has_as_many_cells_as_its_header() -> None:
    for block in to_markdown(example()).split("\n\n"):
        rows = [line.replace("\\|", "").count("|") for line in block.splitlines() if line.startswith("|")]
        assert len(set(rows)) <= 1, block


def publish(out: Path, content: bytes = b"model", force: bool = False) -> tuple[Path, ...]:
    plan: JsonObject = {"schema_version": 1}
    with staged(out, force) as stage:
        stage.onnx.write_bytes(content)
        return stage.publish(plan, example())


def test_siblings_carry_the_hash_of_the_model(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    written = publish(out)
    assert written[0] == out
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in written)
    sha256 = hashlib.sha256(out.read_bytes()).hexdigest()
    files = OutputFiles.beside(out)
    assert json.loads(files.plan.read_text())[OUTPUT_KEY] == sha256
    assert json.loads(files.report_json.read_text())["output"]["sha256"] == sha256
    assert sha256 in files.report_md.read_text()
    assert sha256 in files.report_html.read_text()


def test_external_weights_travel_with_the_model(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    with staged(out) as stage:
        stage.onnx.write_bytes(b"graph")
        stage.onnx.with_name("out.onnx.data").write_bytes(b"weights")
        written = stage.publish({}, example())
    assert (tmp_path / "out.onnx.data").read_bytes() == b"weights"
    assert tmp_path / "out.onnx.data" in written


def write_and_stop(out: Path) -> None:
    with staged(out) as stage:
        stage.onnx.write_bytes(b"model")
        raise RuntimeError("stop")


def test_an_error_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stop"):
        write_and_stop(tmp_path / "out.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [path.name for path in OutputFiles.beside(Path("out.onnx")).in_order()])
def test_nothing_is_overwritten_without_force(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(BadInput, match=r"exists: choose another name or pass --force"):
        publish(tmp_path / "out.onnx")
    assert (tmp_path / name).read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_force_replaces_the_files_of_an_earlier_run(tmp_path: Path) -> None:
    publish(tmp_path / "out.onnx", b"old")
    publish(tmp_path / "out.onnx", b"new", force=True)
    assert (tmp_path / "out.onnx").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["out.txt", "nowhere/out.onnx"])
def test_an_output_that_cannot_be_is_refused_before_any_work(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput):
        check_output(tmp_path / name, force=False)


def test_a_choice_whose_values_are_all_slower_says_by_how_much() -> None:
    """Damage is measured of what can pay alone: the rest has no entry in those tables, but it has a price."""
    value = Value("c", Kind.FORM, "fused", "t", Risk.LOSSY, Stage.FORM, (), lambda model: None)
    choice = Choice("c", Kind.FORM, (value,))
    cost: dict[tuple[str, ...], Price] = {(KEEP,): price_of(100.0), ("fused",): price_of(140.0)}
    scopes = (Scope("cost:0", ("c",), cost), Scope("damage:0", ("c",), {(KEEP,): price_of(0.0)}))
    problem = Problem((choice,), scopes, NOTHING)
    assert why_not_measured(problem, choice) == "no value is faster: the best, fused, is +40 us"
    cost["fused",] = price_of(99.99)
    assert "would save 0.01 us, too little to measure" in why_not_measured(problem, choice)


def price_of(latency_us: float) -> Price:
    return Price(Estimate(latency_us, 0.0, Source.PREDICTED))
