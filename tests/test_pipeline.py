"""The whole chain on a small classifier: promises that hold for every run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import hwopt
from hwopt.errors import BadInput, BudgetNotMet
from hwopt.estimate import Estimate
from hwopt.ir import interface, load_model
from hwopt.report.schema import Limit, Outcome
from tests.graphs import classifier, write_classifier

TARGET = "edge-npu"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and calibration data labelled with what the model itself says."""
    folder = tmp_path_factory.mktemp("pipeline")
    write_classifier(folder)
    return folder


@pytest.fixture(scope="module")
def lossy(folder: Path) -> hwopt.Result:
    return hwopt.optimize(
        folder / "model.onnx", target=TARGET, output=folder / "lossy.onnx", calib=folder / "calib.npz",
        max_divergence=0.5,
    )  # fmt: skip


def test_the_result_is_faster_and_keeps_its_interface_and_limit(folder: Path, lossy: hwopt.Result) -> None:
    report = lossy.report
    assert report.outcome == Outcome.CHANGED
    written = load_model(folder / "lossy.onnx")
    assert interface(written) == interface(load_model(folder / "model.onnx"))
    assert any(value.risk == "lossy" for c in report.choices for value in c.values if value.name == c.chosen)
    limits = {limit.name: limit for limit in report.budget.limits}
    assert isinstance(limits["max_divergence"], Limit)
    assert limits["max_divergence"].met
    assert isinstance(report.before.latency_us, Estimate)
    assert not hasattr(report.after, "unavailable")


def test_a_saved_plan_replays_to_the_same_bytes(folder: Path, lossy: hwopt.Result) -> None:
    assert lossy.files
    again = hwopt.optimize(
        folder / "model.onnx", target=TARGET, output=folder / "again.onnx", calib=folder / "calib.npz",
        max_divergence=0.5, plan=folder / "lossy.plan.json",
    )  # fmt: skip
    assert (folder / "again.onnx").read_bytes() == (folder / "lossy.onnx").read_bytes()
    assert (folder / "again.plan.json").read_bytes() == (folder / "lossy.plan.json").read_bytes()
    assert again.plan.steps == lossy.plan.steps


@pytest.mark.parametrize("seed", ["1", "4242"])
def test_another_process_and_hash_seed_give_the_same_bytes(
    folder: Path, lossy: hwopt.Result, seed: str
) -> None:
    assert lossy.files
    out = folder / f"seed{seed}.onnx"
    command = [
        sys.executable, "-m", "hwopt.cli", "optimize", str(folder / "model.onnx"), "--target", TARGET,
        "-o", str(out), "--calib", str(folder / "calib.npz"), "--max-divergence", "0.5", "--quiet",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, capture_output=True, env=environment, timeout=300)
    assert out.read_bytes() == (folder / "lossy.onnx").read_bytes()


def test_lossy_plans_need_their_calibration_data(folder: Path, lossy: hwopt.Result) -> None:
    assert lossy.files
    with pytest.raises(BadInput, match="LOSSY"):
        hwopt.optimize(folder / "model.onnx", target=TARGET, plan=folder / "lossy.plan.json")


def test_without_data_only_exact_values_are_made(folder: Path) -> None:
    result = hwopt.optimize(folder / "model.onnx", target=TARGET)
    assert result.files == ()
    assert all(value.risk == "exact" for c in result.report.choices for value in c.values)


def test_an_input_that_cannot_be_bettered_comes_back_byte_for_byte(folder: Path) -> None:
    result = hwopt.optimize(
        folder / "model.onnx", target=TARGET, output=folder / "same.onnx", passes=["sparsify"]
    )
    assert result.report.outcome == Outcome.UNCHANGED
    assert (folder / "same.onnx").read_bytes() == (folder / "model.onnx").read_bytes()


def test_a_budget_that_cannot_be_met_names_the_closest_plan_and_writes_nothing(folder: Path) -> None:
    with pytest.raises(BudgetNotMet, match=r"--max-latency .* cannot be met: the closest plan has"):
        hwopt.optimize(folder / "model.onnx", target=TARGET, output=folder / "no.onnx", max_latency="-99%")
    assert not list(folder.glob("no.*"))


def test_a_size_limit_is_kept_on_the_written_file(folder: Path) -> None:
    result = hwopt.optimize(
        folder / "model.onnx", target=TARGET, output=folder / "small.onnx", calib=folder / "calib.npz",
        max_divergence=10.0, max_size="-20%", minimize="damage",
    )  # fmt: skip
    after = result.report.after
    assert not hasattr(after, "unavailable")
    assert isinstance(result.report.before.weight_bytes, Estimate)
    limit = next(limit for limit in result.report.budget.limits if limit.name == "max_size")
    assert limit.met
    assert limit.value == pytest.approx(getattr(after, "weight_bytes").value)  # noqa: B009


def test_nothing_is_overwritten_without_force(folder: Path, lossy: hwopt.Result) -> None:
    assert lossy.files
    with pytest.raises(BadInput, match="--force"):
        hwopt.optimize(folder / "model.onnx", target=TARGET, output=folder / "lossy.onnx")


def test_a_model_in_memory_is_not_edited() -> None:
    model = classifier()
    before = [node.op_type for node in model.graph], dict(model.graph.initializers)
    hwopt.optimize(model, target=TARGET)
    assert ([node.op_type for node in model.graph], dict(model.graph.initializers)) == before
