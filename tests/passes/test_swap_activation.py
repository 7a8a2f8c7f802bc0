"""swap_activation: what is offered where, what it makes, and that the fit follows the old function."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hwopt.calibration.data import Arrays, from_source
from hwopt.channels.groups import ChannelGroup, channel_group
from hwopt.choice import Risk, Skip, Value
from hwopt.edit import set_constant
from hwopt.ir import interface
from hwopt.nodes import FloatArray
from hwopt.passes.shrink_kernel import ShrinkKernel
from hwopt.passes.swap_activation import SwapActivation
from hwopt.pricing.regions import cut_out
from hwopt.repair.effort import Effort
from hwopt.repair.marks import Origin, fit_of, origin_of
from hwopt.repair.reference import Reference
from hwopt.repair.sequence import repair
from hwopt.rewrite import rewrite
from hwopt.shapes import infer_shapes
from hwopt.target import Target, read_target
from tests.graphs import model_of, output_of

TARGETS = Path(__file__).parents[2] / "targets"
SMALL = Effort(rows=4000, pool=4000, joint_rounds=20, downstream=0)

NET = """
<ir_version: 8, opset_import: ["" : 14]>
net (float[N,6,10,10] x) => (float[N,6,10,10] y) {
  a = Conv<kernel_shape=[1,1]>(x, w1, b1)
  ACTIVATION
  d = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=24>(act, w2, b2)
  e = Relu(d)
  y = Conv<kernel_shape=[1,1]>(e, w3, b3)
}
"""
WEIGHTS = {
    "w1": (24, 6, 1, 1), "b1": (24,), "w2": (24, 1, 3, 3), "b2": (24,), "w3": (6, 24, 1, 1), "b3": (6,),
}  # fmt: skip
SILU = "s = Sigmoid(a)\n  act = Mul(a, s)"
HARDSWISH = "act = HardSwish(a)"
DECOMPOSED = "three = Constant<value = float {3.0}>()\n  p = Add(a, three)\n  q = Clip(p, zero, six)\n"
DECOMPOSED += "  r = Mul(a, q)\n  act = Div(r, six)"
PRELU = "act = PRelu(a, slopes)"


@pytest.fixture(scope="module")
def cpu() -> Target:
    return read_target(TARGETS / "cpu")


@pytest.fixture(scope="module")
def ethos() -> Target:
    return read_target(TARGETS / "ethos-u55-256")


def net(activation: str, opset: int = 14) -> ir.Model:
    text = NET.replace("ACTIVATION", activation).replace('"" : 14', f'"" : {opset}')
    model = model_of(text, {**WEIGHTS, **({"slopes": (24, 1, 1)} if "slopes" in activation else {})})
    if "slopes" in activation:
        set_constant(node_of(model, "act"), 1, np.linspace(0.05, 0.3, 24, dtype=np.float32).reshape(24, 1, 1))
    return model


def offers(model: ir.Model, target: Target) -> dict[str, Value]:
    return {v.name: v for v in SwapActivation().values(model, target) if isinstance(v, Value)}


def skips(model: ir.Model, target: Target) -> list[str]:
    return [v.reason for v in SwapActivation().values(model, target) if isinstance(v, Skip)]


def fields(count: int, seed: int = 3) -> FloatArray:
    x = np.random.default_rng(seed).normal(size=(count, 6, 10, 10))
    return np.asarray(x + np.roll(x, 1, 2) + np.roll(x, 1, 3), np.float32)


def relative(model: ir.Model, base: ir.Model, x: FloatArray) -> float:
    """Squared error of the output relative to its variance."""
    wanted = output_of(base, x)
    return float(np.square(output_of(model, x) - wanted).mean() / wanted.var())


def node_of(model: ir.Model, output: str) -> ir.Node:
    return next(node for node in model.graph if node.outputs[0].name == output)


@pytest.mark.parametrize(
    ("activation", "names"),
    [
        (SILU, ["relu", "relu6"]),
        (HARDSWISH, ["relu", "relu6"]),
        (DECOMPOSED, ["relu", "relu6"]),
        (PRELU, ["leaky_relu", "relu"]),
    ],
)
def test_the_cpu_fuses_clamps_and_leaky_relu_so_those_are_offered(
    activation: str, names: list[str], cpu: Target
) -> None:
    assert list(offers(net(activation), cpu)) == names


def test_a_target_that_fuses_hardswish_is_offered_it_for_silu_and_nothing_for_hardswish(
    ethos: Target,
) -> None:
    assert list(offers(net(SILU), ethos)) == ["hardswish", "relu", "relu6"]
    assert offers(net(HARDSWISH), ethos) == {}
    assert offers(net(DECOMPOSED), ethos) == {}


def test_nothing_is_offered_where_the_target_runs_them_all() -> None:
    edge = read_target(TARGETS / "edge-npu")
    for activation in (SILU, HARDSWISH, PRELU):
        assert offers(net(activation), edge) == {}
        assert skips(net(activation), edge) == []


@pytest.mark.parametrize("activation", [SILU, HARDSWISH, DECOMPOSED, PRELU])
def test_one_node_stands_for_the_activation_and_its_neighbours_are_fitted(
    activation: str, cpu: Target
) -> None:
    model = net(activation)
    value = offers(model, cpu)["relu"]
    changed = rewrite(model, [value])
    kinds = [node.op_type for node in changed.graph if node.op_type != "Constant"]
    assert kinds == ["Conv", "Relu", "Conv", "Relu", "Conv"]
    before, behind = node_of(changed, "a"), node_of(changed, "d")
    assert fit_of(before) is not None
    assert fit_of(behind) is not None
    assert (origin_of(before), origin_of(behind)) == (Origin("act"), Origin("d"))
    assert interface(changed) == interface(model)
    assert value.risk == Risk.LOSSY
    onnx.checker.check_model(ir.to_proto(changed), full_check=True)


def test_hardswish_stands_for_silu_from_opset_14_on(ethos: Target) -> None:
    model = net(SILU)
    changed = rewrite(model, [offers(model, ethos)["hardswish"]])
    assert [node.op_type for node in changed.graph] == ["Conv", "HardSwish", "Conv", "Relu", "Conv"]
    assert origin_of(node_of(changed, "a")) == Origin("a")
    assert relative(changed, model, fields(4)) < 0.02
    assert "hardswish" not in offers(net(SILU, opset=13), ethos)


@pytest.mark.parametrize("opset", [10, 13])
def test_clip_takes_its_bounds_as_its_opset_wants_them(opset: int, cpu: Target) -> None:
    model = net(SILU, opset)
    changed = rewrite(model, [offers(model, cpu)["relu6"]])
    onnx.checker.check_model(ir.to_proto(changed), full_check=True)
    clip = node_of(changed, "act")
    assert ("max" in clip.attributes) == (opset < 11)


def test_a_prelu_with_one_slope_becomes_a_leaky_relu_exactly(cpu: Target) -> None:
    model = net(PRELU)
    set_constant(node_of(model, "act"), 1, np.full((24, 1, 1), 0.25, np.float32))
    value = offers(model, cpu)["leaky_relu"]
    assert value.risk == Risk.EXACT
    changed = rewrite(model, [value])
    x = fields(3)
    np.testing.assert_allclose(output_of(changed, x), output_of(model, x), atol=1e-6)
    assert not any(fit_of(node) for node in changed.graph)


@pytest.mark.parametrize("activation", [SILU, HARDSWISH, PRELU])
def test_the_fit_follows_the_old_function(activation: str, cpu: Target) -> None:
    """The fit must be far better than putting ReLU there, on samples that it has not seen."""
    model = net(activation)
    x = fields(60)
    reference = Reference(model, from_source(Arrays({"x": x})), threads=1)
    changed = rewrite(model, [offers(model, cpu)["relu"]])
    fitted = repair(reference, changed, range(4), seed=0, effort=SMALL)
    held_out = x[list(reference.calibration.folds[4])]
    assert relative(fitted, model, held_out) < 0.6 * relative(changed, model, held_out)


@pytest.mark.parametrize(
    ("reader", "most"),
    [
        ("kernel_shape=[1,1], group=1", 1.05),
        # ReLU has another mean than what it stands for. Inside, the bias behind makes up for it; next to
        # the border the padding is zero as before, and the fit can only share the error out.
        ("kernel_shape=[3,3], pads=[1,1,1,1], group=24", 1.25),
    ],
)
def test_the_border_is_hardly_worse_than_the_interior(reader: str, most: float, cpu: Target) -> None:
    text = NET.replace("ACTIVATION", HARDSWISH).replace(
        "kernel_shape=[3,3], pads=[1,1,1,1], group=24", reader
    )
    dense = "group=1" in reader and "group=24" not in reader
    text = text.replace("ACTIVATION", HARDSWISH)
    model = model_of(text, {**WEIGHTS, "w2": (24, 24, 1, 1) if dense else WEIGHTS["w2"]})
    x = fields(60)
    reference = Reference(model, from_source(Arrays({"x": x})), threads=1)
    changed = rewrite(model, [offers(model, cpu)["relu"]])
    fitted = repair(reference, changed, range(4), seed=0, effort=SMALL)
    held_out = x[list(reference.calibration.folds[4])]
    wrong = np.abs(output_of(fitted, held_out) - output_of(model, held_out)).mean(axis=(0, 1))
    inside = np.zeros_like(wrong, dtype=np.bool_)
    inside[1:-1, 1:-1] = True
    assert wrong[~inside].mean() <= most * wrong[inside].mean()


def test_an_activation_that_is_an_output_stays(cpu: Target) -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 14]>
    m (float[N,6,10,10] x) => (float[N,24,10,10] act) {
      a = Conv<kernel_shape=[1,1]>(x, w1, b1)
      act = HardSwish(a)
    }
    """
    model = model_of(text, {"w1": (24, 6, 1, 1), "b1": (24,)})
    assert offers(model, cpu) == {}
    assert "output of the model" in skips(model, cpu)[0]


def test_an_activation_behind_no_operator_of_the_target_stays_with_a_reason(cpu: Target) -> None:
    text = NET.replace("ACTIVATION", "m = MaxPool<kernel_shape=[1,1]>(a)\n  act = HardSwish(m)")
    model = model_of(text, WEIGHTS)
    assert offers(model, cpu) == {}
    assert "inside the operator before it" in skips(model, cpu)[0]


def test_it_goes_together_with_a_smaller_kernel(cpu: Target) -> None:
    """The node behind the swapped activation is rewritten, too: both marks must survive."""
    text = NET.replace("kernel_shape=[3,3], pads=[1,1,1,1]", "kernel_shape=[5,5], pads=[2,2,2,2]")
    model = model_of(text.replace("ACTIVATION", HARDSWISH), {**WEIGHTS, "w2": (24, 1, 5, 5)})
    small = next(v for v in ShrinkKernel().values(model, cpu) if isinstance(v, Value))
    changed = rewrite(model, [offers(model, cpu)["relu"], small])
    assert [n.outputs[0].name for n in changed.graph if fit_of(n)] == ["a", "d", "y"]
    assert origin_of(node_of(changed, "a")) == Origin("act")


def test_at_the_end_of_a_piece_the_result_is_still_its_output(cpu: Target) -> None:
    model = net(HARDSWISH)
    value = offers(model, cpu)["relu"]
    start = [node for node in model.graph if str(node.outputs[0].name) in ("a", "act")]
    piece = cut_out(model, start, infer_shapes(model, {}))
    changed = rewrite(piece, [value])
    assert [output.name for output in changed.graph.outputs] == ["act"]
    assert [node.op_type for node in changed.graph] == ["Conv", "Relu"]
    assert isinstance(channel_group(changed.graph.outputs[0]), ChannelGroup)  # its channels may still change
