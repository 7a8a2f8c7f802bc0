"""From a profile and an optimised graph to figures for the nodes of the model as it was given."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from hwopt.ir import model_bytes
from hwopt.oracles.onnxruntime_context import name_nodes
from hwopt.oracles.onnxruntime_join import join, joinable
from hwopt.oracles.onnxruntime_options import OrtOptions
from hwopt.oracles.onnxruntime_rows import GUARDED, charged, node_times, owners, producers, settle
from hwopt.oracles.onnxruntime_session import BoundSession
from tests.graphs import Weights, model_of

NET = """<ir_version: 8, opset_import: ["" : 13]>
net (float[1,16,8,8] x) => (float[1,4] y) {
  e = Conv<kernel_shape=[1,1]>(x, we)
  er = Relu(e)
  p = Conv<kernel_shape=[1,1]>(er, wp)
  s = Add(p, x)
  g = GlobalAveragePool(s)
  f = Flatten<axis=1>(g)
  y = Gemm<transB=1>(f, wy)
}"""
WEIGHTS: Weights = {"we": (32, 16, 1, 1), "wp": (16, 32, 1, 1), "wy": (4, 16)}


def net() -> onnx.ModelProto:
    return onnx.load_model_from_string(model_bytes(model_of(NET, WEIGHTS)))


def optimised(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    path = folder / "optimised.onnx"
    BoundSession(model.SerializeToString(), OrtOptions(), optimised=str(path))
    return onnx.load_model(path)


def test_every_optimised_node_is_charged_to_a_node_of_the_model(tmp_path: Path) -> None:
    model = net()
    name_nodes(model)
    producer = producers(model)
    owner = owners(optimised(model, tmp_path), producer)
    names = [node.output[0] for node in model.graph.node]
    found = {names[index] for index in owner.values()}
    assert found >= {"p", "g", "y"}
    assert GUARDED not in owner.values()
    assert "f" not in found, "a view is charged to what computes its input"


def test_guards_and_other_models_are_told_apart(tmp_path: Path) -> None:
    joined = join([net(), net()], guards=True)
    owner = owners(optimised(joined.model, tmp_path), joined.producer)
    numbers = sorted(set(owner.values()) - {GUARDED})
    assert GUARDED in owner.values()
    assert {joined.outputs[n] for n in numbers if joined.model_of(n) == 0} == {
        joined.outputs[n] for n in numbers if joined.model_of(n) == 1
    }
    assert "y" in {joined.outputs[n] for n in numbers}


def test_a_joined_model_computes_what_its_parts_compute() -> None:
    """Without guards: the same weights and inputs under new names."""
    import onnxruntime as ort

    x = np.random.default_rng(0).random((1, 16, 8, 8), np.float32)
    alone = ort.InferenceSession(net().SerializeToString(), providers=["CPUExecutionProvider"])
    joined = join([net(), net()], guards=False).model
    onnx.checker.check_model(joined, full_check=True)
    both = ort.InferenceSession(joined.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = alone.run(None, {"x": x})
    for found in both.run(None, {"p0.x": x, "p1.x": x}):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_models_of_other_opsets_or_with_control_flow_are_not_joined() -> None:
    other = net()
    other.opset_import[0].version = 14
    assert joinable(net()) == joinable(net()) != joinable(other)
    flow = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 13]>
    g (bool c, float[2] x) => (float[2] y) {
      y = If<
        then_branch = t () => (float[2] a) { a = Neg(x) }, else_branch = e () => (float[2] b) { b = Abs(x) }
      >(c)
    }""")
    assert joinable(flow) is None


def test_node_times_are_differences_of_starts(tmp_path: Path) -> None:
    """Starts fall anywhere between ticks: the mean difference finds 2.25 us although ticks are whole."""
    events, clock = [], 0.0
    for run in range(80):
        clock = np.floor(clock) + 50.3 + 0.05 * (run % 20)
        for name, length in (("a", 2.25), ("b", 7.0)):
            event = {"cat": "Node", "name": f"{name}_kernel_time", "ts": int(clock), "dur": int(length) - 1}
            events.append(event)
            clock += length
    path = tmp_path / "profile.json"
    path.write_text(json.dumps([{"cat": "Session", "name": "model_run", "ts": 0, "dur": 9}, *events]))
    overall, *sets = node_times(path, {"a", "b"}, skip=20)
    assert overall["a"] == pytest.approx(2.25, abs=0.06)
    assert len(sets) == 4
    assert node_times(path, {"a", "b"}, skip=79) == []


def test_the_profilers_share_is_the_same_at_each_node() -> None:
    assert settle({"a": 13.0, "b": 23.0}, 30.0) == pytest.approx({"a": 10.0, "b": 20.0})


def test_a_larger_difference_grows_with_the_nodes_and_the_sum_is_kept() -> None:
    settled = settle({"a": 100.0, "b": 300.0, "c": 1.0}, 190.0)
    assert sum(settled.values()) == pytest.approx(190.0)
    assert settled["b"] / settled["a"] == pytest.approx((300 - 7) / (100 - 7))
    assert 0 < settled["c"] < 1.0
    assert settle({}, 10.0) == {}


def test_charges_add_up_without_guards() -> None:
    times = {"n0": 1.0, "n1": 2.0, "n2": 4.0, "guard": 8.0}
    assert charged(times, {"n0": 0, "n1": 3, "n2": 0, "guard": GUARDED}) == {0: 5.0, 3: 2.0}
