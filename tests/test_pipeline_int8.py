"""int8 through the whole chain: the file, what the report says of it, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import hwopt
from hwopt.errors import BadInput, BudgetNotMet
from hwopt.ir import interface, load_model, save_model
from hwopt.report.schema import AccuracyRow, Missing, Outcome
from hwopt.runtime import Session
from tests.graphs import write_classifier

TARGET = "edge-npu"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and calibration data labelled with what the model itself says."""
    folder = tmp_path_factory.mktemp("int8")
    write_classifier(folder)
    return folder


@pytest.fixture(scope="module")
def int8(folder: Path) -> hwopt.Result:
    return hwopt.optimize(
        folder / "model.onnx", target=TARGET, output=folder / "int8.onnx", calib=folder / "calib.npz",
        max_divergence=0.5, quantize="int8",
    )  # fmt: skip


def rows(result: hwopt.Result) -> list[AccuracyRow]:
    found = result.report.accuracy
    assert not isinstance(found, Missing)
    return list(found)


def test_the_file_is_int8_and_keeps_the_interface(folder: Path, int8: hwopt.Result) -> None:
    onnx.checker.check_model(str(folder / "int8.onnx"), full_check=True)
    written = load_model(folder / "int8.onnx")
    assert interface(written) == interface(load_model(folder / "model.onnx"))
    kinds = {node.op_type for node in written.graph}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    stored = [v.const_value.dtype for v in written.graph.initializers.values() if v.const_value is not None]
    assert any(str(dtype) == "INT8" for dtype in stored)
    assert int8.report.outcome == Outcome.CHANGED


def test_the_limit_is_held_by_the_int8_form_against_the_fp32_input(folder: Path, int8: hwopt.Result) -> None:
    """The figure in the report is that of the cross-fitted form; the file itself is not far from it."""
    kl = next(row for row in rows(int8) if (row.metric, row.precision) == ("kl", "int8"))
    limit = next(limit for limit in int8.report.budget.limits if limit.name == "max_divergence")
    assert limit.met
    assert isinstance(limit.value, float)
    assert limit.value == kl.after
    assert rows(int8)[0].precision == "int8"
    x = np.load(folder / "calib.npz")["x"]
    one, two = (
        next(iter(Session(load_model(folder / name)).run({"x": x}).values()))
        for name in ("model.onnx", "int8.onnx")
    )
    p, q = (v - np.log(np.exp(v).sum(axis=1, keepdims=True)) for v in (one, two))
    assert 0.2 * limit.value < np.sum(np.exp(p) * (p - q), axis=1).mean() < 2 * limit.value


def test_both_precisions_stand_side_by_side(folder: Path, int8: hwopt.Result) -> None:
    found = {(row.metric, row.precision, row.against): row for row in rows(int8)}
    assert ("top1", "int8", "fp32") in found
    assert ("top1", "int8", "int8") in found
    assert ("top1", "fp32", "fp32") in found
    assert found["top1", "int8", "fp32"].before == 1.0  # the labels are what the fp32 model says
    text = (folder / "int8.report.md").read_text()
    assert "top1 (fp32 to int8)" in text
    assert "written in int8 as QDQ" in text


def test_the_plan_replays_to_the_same_bytes_without_naming_the_precision(
    folder: Path, int8: hwopt.Result
) -> None:
    assert json.loads((folder / "int8.plan.json").read_text())["options"] == {"quantize": "int8"}
    hwopt.optimize(
        folder / "model.onnx", target=TARGET, output=folder / "again.onnx", calib=folder / "calib.npz",
        max_divergence=0.5, plan=folder / "int8.plan.json",
    )  # fmt: skip
    assert (folder / "again.onnx").read_bytes() == (folder / "int8.onnx").read_bytes()
    assert (folder / "again.plan.json").read_bytes() == (folder / "int8.plan.json").read_bytes()


def test_a_replayed_int8_plan_needs_its_data_and_its_ranking(folder: Path, int8: hwopt.Result) -> None:
    assert int8.files
    plan = folder / "int8.plan.json"
    with pytest.raises(BadInput, match="--quantize int8 needs calibration data"):
        hwopt.optimize(folder / "model.onnx", target=TARGET, plan=plan)
    with pytest.raises(BadInput, match="the plan was made with ranking obs"):
        hwopt.optimize(
            folder / "model.onnx", target=TARGET, plan=plan, calib=folder / "calib.npz", ranking="magnitude"
        )


def test_where_no_rewrite_pays_the_file_is_the_input_in_int8(folder: Path) -> None:
    result = hwopt.optimize(
        folder / "model.onnx", target=TARGET, output=folder / "plain.onnx", calib=folder / "calib.npz",
        max_divergence=0.5, quantize="int8", passes=["sparsify"],
    )  # fmt: skip
    assert any("no rewrite pays" in note for note in result.report.notes)
    assert any(node.op_type == "QuantizeLinear" for node in load_model(folder / "plain.onnx").graph)
    kl = next(row for row in rows(result) if row.metric == "kl")
    assert kl.before == kl.after != 0.0
    hwopt.optimize(
        folder / "model.onnx", target=TARGET, output=folder / "plain2.onnx", calib=folder / "calib.npz",
        passes=["sparsify"], plan=folder / "plain.plan.json",
    )  # fmt: skip
    assert (folder / "plain2.onnx").read_bytes() == (folder / "plain.onnx").read_bytes()


def test_a_limit_that_int8_alone_breaks_cannot_be_met(folder: Path) -> None:
    with pytest.raises(BudgetNotMet, match="cannot be met in int8: the input's own int8 form has"):
        hwopt.optimize(
            folder / "model.onnx", target=TARGET, output=folder / "none.onnx", calib=folder / "calib.npz",
            max_divergence=1e-9, quantize="int8",
        )  # fmt: skip
    assert not (folder / "none.onnx").exists()


def test_a_target_in_int8_hears_of_its_precision_in_any_case(folder: Path) -> None:
    """Only EXACT steps, an fp32 file: still two lines of int8, from two folds."""
    result = hwopt.optimize(
        folder / "model.onnx", target=TARGET, output=folder / "exact.onnx", calib=folder / "calib.npz",
        passes=["canonicalize", "densify_depthwise"],
    )  # fmt: skip
    found = rows(result)
    assert {row.precision for row in found} == {"int8"}
    assert {row.samples for row in found} == {24}
    assert not any(node.op_type == "QuantizeLinear" for node in load_model(folder / "exact.onnx").graph)


def test_a_metric_of_ones_own_judges_instead_of_top1(folder: Path) -> None:
    def mean_score(outputs, labels):  # type: ignore[no-untyped-def]
        return float(next(iter(outputs.values())).max(axis=1).mean())

    x = np.load(folder / "calib.npz")["x"]
    np.save(folder / "bare.npy", x)
    result = hwopt.optimize(
        folder / "model.onnx", target=TARGET, output=folder / "metric.onnx", calib=folder / "bare.npy",
        metric=mean_score, max_drop=0.5,
    )  # fmt: skip
    row = rows(result)[0]
    assert row.metric.endswith("mean_score")
    out = next(iter(Session(load_model(folder / "model.onnx")).run({"x": x}).values()))
    assert row.before == pytest.approx(out.max(axis=1).mean(), abs=0.05)  # the mean over folds


def test_what_int8_cannot_be_is_refused_before_any_work(folder: Path) -> None:
    with pytest.raises(BadInput, match="target cpu computes in fp32"):
        hwopt.optimize(folder / "model.onnx", target="cpu", calib=folder / "calib.npz", quantize="int8")
    old = load_model(folder / "model.onnx")
    old.opset_imports[""] = 11
    save_model(old, folder / "old.onnx")
    with pytest.raises(BadInput, match="opset 11"):
        hwopt.optimize(folder / "old.onnx", target=TARGET, calib=folder / "calib.npz", quantize="int8")


@pytest.mark.parametrize("data", [False, True])
def test_a_candidate_for_training_is_written_beside_nothing(folder: Path, data: bool) -> None:
    out = folder / f"wished{int(data)}.onnx"

    def wish() -> None:
        hwopt.optimize(
            folder / "model.onnx", target=TARGET, output=out, max_size="-70%", allow_retrain=True,
            calib=folder / "calib.npz" if data else None, max_divergence=0.5 if data else None,
        )  # fmt: skip

    with pytest.raises(BudgetNotMet, match=r"a candidate that meets it needs training .*candidate\.onnx"):
        wish()
    assert sorted(path.name for path in folder.glob(f"{out.stem}*")) == [
        f"{out.stem}.candidate.json", f"{out.stem}.candidate.onnx",
    ]  # fmt: skip
    facts = json.loads((folder / f"{out.stem}.candidate.json").read_text())
    assert facts["accuracy"] == {"unavailable": "needs training"}
    assert facts["retrained"]
    one, two = (load_model(p) for p in (folder / "model.onnx", folder / f"{out.stem}.candidate.onnx"))
    assert interface(one) == interface(two)
    with pytest.raises(BadInput, match="--force"):
        wish()


def test_a_candidate_needs_a_limit(folder: Path) -> None:
    with pytest.raises(BadInput, match="--allow-retrain"):
        hwopt.optimize(folder / "model.onnx", target=TARGET, allow_retrain=True)


def test_rows_of_unlike_precisions_have_unlike_names(int8: hwopt.Result) -> None:
    from hwopt.report.words import accuracy_row

    names = [accuracy_row(row).what for row in rows(int8)]
    assert len(set(names)) == len(names)
    row = replace(rows(int8)[0], metric="kl", precision="int8", against="fp32")
    assert accuracy_row(row).what == "kl (int8, to the fp32 input)"
