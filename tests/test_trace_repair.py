"""What a repair tells its listeners: which node, for whom, and by how much its error fell."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from hwopt.calibration.data import Arrays, from_source
from hwopt.choice import Kind, Risk, Stage, Value
from hwopt.edit import set_constant
from hwopt.ir import model_bytes
from hwopt.nodes import FloatArray, constant_array
from hwopt.repair.effort import Effort
from hwopt.repair.marks import request_fit
from hwopt.repair.reference import Reference
from hwopt.repair.sequence import repair
from hwopt.rewrite import carry_out_steps
from hwopt.trace import Recorder, RepairFitted
from tests.graphs import classifier, ibn, model_of, values_of

SMALL = Effort(rows=4000, pool=4000, joint_rounds=20, downstream=2)


def node_of(model: ir.Model, output: str) -> ir.Node:
    return next(node for node in model.graph if node.outputs[0].name == output)


def spoil(output: str, scale: float) -> Value:
    """A LOSSY step of a plan: scales a node's weights and asks for them to be fitted."""

    def rewrite(model: ir.Model) -> None:
        node = node_of(model, output)
        old = constant_array(node.inputs[1])
        assert old is not None
        set_constant(node, 1, (scale * np.asarray(old, np.float32)).astype(np.float32))
        request_fit(node)

    return Value(f"form:{output}", Kind.FORM, "spoiled", "spoil", Risk.LOSSY, Stage.FORM, (), rewrite)


def images(shape: tuple[int, ...]) -> FloatArray:
    return np.random.default_rng(3).normal(size=(40, *shape)).astype(np.float32)


LINEAR = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[N,4,8,8] x) => (float[N,4,8,8] y) {
  y = Conv<kernel_shape=[1,1]>(x, w)
}
"""
CLIPPED = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[N,4,8,8] x) => (float[N,4,8,8] y) {
  c = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w)
  y = Relu(c)
}
"""


def told(base: ir.Model, x: FloatArray, values: list[Value], effort: Effort = SMALL) -> list[RepairFitted]:
    heard = Recorder()
    changed = carry_out_steps(base, values)
    data = Reference(base, from_source(Arrays({"x": x})), threads=1)
    repair(data, changed, range(5), seed=0, effort=effort, listeners=(heard,))
    return [event for event in heard.events if isinstance(event, RepairFitted)]


@pytest.mark.parametrize("scale", [0.5, 0.25, 3.0])
def test_the_errors_are_those_of_the_output_before_and_after(scale: float) -> None:
    base = model_of(LINEAR, {"w": (4, 4, 1, 1)})
    [event] = told(base, images((4, 8, 8)), [spoil("y", scale)])
    assert (event.choice, event.node) == ("form:y", "y")
    assert event.error_before == pytest.approx(abs(scale - 1), rel=1e-5)  # |sWx - Wx| / |Wx|
    assert event.error_after < 1e-3


def test_the_error_is_measured_behind_the_activation() -> None:
    """Weights of zero: nothing comes out, an error of all that there was."""
    base = model_of(CLIPPED, {"w": (4, 4, 3, 3)})
    [event] = told(base, images((4, 8, 8)), [spoil("c", 0.0)])
    assert event.error_before == pytest.approx(1.0, rel=1e-6)
    assert event.error_after < 0.05


def test_every_fit_names_the_choice_that_asked_for_it() -> None:
    events = told(classifier(), images((3, 16, 16)), [spoil("s", 0.5), spoil("d", 0.5)])
    asked = {event.node: event.choice for event in events}
    assert (asked["s"], asked["d"]) == ("form:s", "form:d")
    others = {node: choice for node, choice in asked.items() if node not in "sd"}
    assert others
    assert set(others.values()) == {""}  # projections behind that absorb what is left


def test_a_pair_that_is_fitted_together_is_told_of_by_what_comes_out_of_both() -> None:
    base, x, heard = ibn(), images((16, 14, 14)) / np.float32(4), Recorder()
    changed = carry_out_steps(dense(base), [spoil("d", 0.5), spoil("p", 0.5)])
    data = Reference(base, from_source(Arrays({"x": x})), threads=1)
    fitted = repair(data, changed, range(5), seed=0, effort=SMALL, listeners=(heard,))
    events = [event for event in heard.events if isinstance(event, RepairFitted)]
    assert [(event.node, event.choice) for event in events] == [("d", "form:d"), ("p", "form:p")]
    for event in events:
        assert event.error_before == pytest.approx(distance(base, changed, x, "p"), rel=0.1)
        assert event.error_after < 1e-3  # the weights can be what they were
    assert distance(base, fitted, x, "p") < 1e-3


def dense(base: ir.Model) -> ir.Model:
    """The bottleneck with its depthwise convolution written dense, to be fitted with its projection."""
    model = carry_out_steps(base, [])
    node = node_of(model, "d")
    depthwise = constant_array(node.inputs[1])
    assert depthwise is not None
    weight = np.zeros((48, 48, 5, 5), np.float32)
    weight[np.arange(48), np.arange(48)] = depthwise[:, 0]
    del node.attributes["group"]
    set_constant(node, 1, weight)
    return model


def distance(one: ir.Model, two: ir.Model, x: FloatArray, name: str) -> float:
    """|two - one| / |one| of a value, by ONNX Runtime."""
    expected = values_of(one, x, name)
    return float(np.linalg.norm(values_of(two, x, name) - expected) / np.linalg.norm(expected))


def test_telling_changes_nothing_of_the_fit() -> None:
    base, x = classifier(), images((3, 16, 16))
    data = Reference(base, from_source(Arrays({"x": x})), threads=1)
    changed = carry_out_steps(base, [spoil("s", 0.5), spoil("h", 0.7)])
    silent = repair(data, changed, range(5), seed=0, effort=SMALL)
    heard = repair(data, changed, range(5), seed=0, effort=SMALL, listeners=(Recorder(),))
    assert model_bytes(silent) == model_bytes(heard)


def test_without_listeners_no_error_is_worked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> float:
        raise AssertionError("nobody listens")

    monkeypatch.setattr("hwopt.repair.telling.relative", fail)
    monkeypatch.setattr("hwopt.repair.block.relative", fail)
    base, x = classifier(), images((3, 16, 16))
    data = Reference(base, from_source(Arrays({"x": x})), threads=1)
    repair(data, carry_out_steps(base, [spoil("s", 0.5)]), range(5), seed=0, effort=SMALL)
