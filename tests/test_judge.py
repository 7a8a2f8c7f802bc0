"""The input is a result where it keeps every limit itself, whatever became of the search."""

from __future__ import annotations

from pathlib import Path

from hwopt.assess import assess
from hwopt.judge import input_within
from hwopt.memory import weight_bytes
from hwopt.registry import load_target
from hwopt.scope import NOTHING, Problem
from hwopt.settings import settings
from hwopt.signature import biases
from hwopt.work import open_work
from tests.analytic import AnalyticCostModel
from tests.graphs import model_of, write_classifier

NORMALISED = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[1,3,8,8] x) => (float[1,12,8,8] y) {
  c = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w)
  y = BatchNormalization(c, scale, shift, mean, var)
}
"""
FOLDED = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[1,3,8,8] x) => (float[1,12,8,8] y) {
  y = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w, b)
}
"""
EMPTY = Problem((), (), NOTHING)


def test_an_input_that_keeps_the_limits_comes_back(tmp_path: Path) -> None:
    write_classifier(tmp_path)
    work = open_work(tmp_path / "model.onnx", "edge-npu", settings(max_size="+1%", max_memory="-0%"))
    kept = input_within(work, EMPTY)
    assert kept is not None
    assert kept.model is work.model
    assert all(limit.met for limit in kept.limits)
    assert kept.notes


def test_one_that_does_not_is_no_result(tmp_path: Path) -> None:
    write_classifier(tmp_path)
    work = open_work(tmp_path / "model.onnx", "edge-npu", settings(max_size="+1%", max_memory="-1%"))
    assert input_within(work, EMPTY) is None


def test_a_normalisation_is_stored_as_a_bias() -> None:
    """Folding it must not look as if the model had grown."""
    target = load_target("ethos-u65-512")
    weights = {"w": (12, 3, 3, 3), "scale": (12,), "shift": (12,), "mean": (12,), "var": (12,)}
    before = assess(model_of(NORMALISED, weights), {}, target, AnalyticCostModel())
    after = assess(model_of(FOLDED, {"w": (12, 3, 3, 3), "b": (12,)}), {}, target, AnalyticCostModel())
    (one,), (two,) = before.partition.subgraphs, after.partition.subgraphs
    assert biases(one.signature) == biases(two.signature) == 12
    assert weight_bytes(one.signature, target) == weight_bytes(two.signature, target)
