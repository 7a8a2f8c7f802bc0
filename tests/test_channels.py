"""Channel groups: what is coupled, what blocks, and that resizing by zeros is exact."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hwopt.channels.groups import PADDING, Blocked, ChannelGroup, channel_group, channel_groups, resize
from hwopt.nodes import constant_array
from hwopt.repair.marks import origin_of
from tests.graphs import classifier, ibn, model_of, output_of


def group_of(model: ir.Model, name: str) -> ChannelGroup | Blocked:
    value = next(v for node in model.graph for v in node.outputs if v.name == name)
    return channel_group(value)


def test_a_residual_stream_couples_stem_projection_and_every_reader() -> None:
    group = group_of(classifier(), "p")
    assert isinstance(group, ChannelGroup)
    assert group.width == 12
    assert {(s.node.outputs[0].name, s.side) for s in group.slots if s.input == 1} == {
        ("s", "out"), ("p", "out"), ("e", "in"), ("h", "in"),
    }  # fmt: skip


def test_a_hidden_group_passes_through_its_depthwise_convolution() -> None:
    group = group_of(classifier(), "e")
    assert isinstance(group, ChannelGroup)
    sides = {(s.node.outputs[0].name, s.side) for s in group.slots}
    assert sides == {("e", "out"), ("d", "through"), ("p", "in")}


def test_pooling_and_flattening_one_pixel_lead_to_the_classifier() -> None:
    group = group_of(classifier(), "h")
    assert isinstance(group, ChannelGroup)
    assert ("y", "in") in {(s.node.outputs[0].name, s.side) for s in group.slots}


@pytest.mark.parametrize(("name", "reason"), [("y", "graph output"), ("p", "graph input")])
def test_what_touches_the_interface_is_blocked(name: str, reason: str) -> None:
    model = classifier() if name == "y" else ibn()
    blocked = group_of(model, name)
    assert isinstance(blocked, Blocked)
    assert reason in blocked.reason


GROUPED = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[N,4,6,6] x) => (float[N,4,6,6] y) {
  a = Conv<kernel_shape=[1,1]>(x, wa)
  b = Conv<kernel_shape=[1,1], group=2>(a, wb)
  y = Conv<kernel_shape=[1,1]>(b, wc)
}
"""
GROUPED_WEIGHTS = {"wa": (8, 4, 1, 1), "wb": (6, 4, 1, 1), "wc": (4, 6, 1, 1)}


def test_a_grouped_convolution_keeps_its_groups_equal() -> None:
    model = model_of(GROUPED, GROUPED_WEIGHTS)
    group = group_of(model, "a")
    assert isinstance(group, ChannelGroup)
    assert group.parts == 2
    for unequal in ([0, 1, 2, 4], [0, 1, 2], [0, 4, 1, 5]):
        with pytest.raises(ValueError, match="part"):
            resize(group, unequal)
    resize(group, [1, 3, 4, 7])
    assert "wb" not in model.graph.initializers  # replaced by one of its own
    old = model_of(GROUPED, GROUPED_WEIGHTS).graph.initializers["wb"].const_value
    new = constant_array(next(n for n in model.graph if n.outputs[0].name == "b").inputs[1])
    assert old is not None
    assert new is not None
    np.testing.assert_array_equal(new[:3], old.numpy()[:3][:, [1, 3]])
    np.testing.assert_array_equal(new[3:], old.numpy()[3:][:, [0, 3]])


def test_a_concat_lays_groups_side_by_side() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 13]>
    g (float[N,3,6,6] x) => (float[N,4,6,6] y) {
      a = Conv<kernel_shape=[1,1]>(x, wa)
      b = Conv<kernel_shape=[1,1]>(x, wb)
      c = Concat<axis=1>(a, b, a)
      y = Conv<kernel_shape=[1,1]>(c, wc)
    }
    """
    model = model_of(text, {"wa": (2, 3, 1, 1), "wb": (5, 3, 1, 1), "wc": (4, 9, 1, 1)})
    first, second = group_of(model, "a"), group_of(model, "b")
    assert isinstance(first, ChannelGroup)
    assert isinstance(second, ChannelGroup)
    assert sorted(s.start for s in first.slots_on("in")) == [0, 7]
    assert [s.start for s in second.slots_on("in")] == [2]
    value = next(v for n in model.graph for v in n.outputs if v.name == "c")
    assert [g.width if isinstance(g, ChannelGroup) else g.reason for g in channel_groups(value)][:2] == [2, 5]
    assert isinstance(channel_group(value), Blocked)


UNKNOWN = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[N,3,6,6] x) => (float[N,4,6,6] y) {{
  a = Conv<kernel_shape=[1,1]>(x, wa)
  b = {middle}
  y = Conv<kernel_shape=[1,1]>(b, wc)
}}
"""


@pytest.mark.parametrize(
    ("middle", "reason"),
    [
        ("Softmax<axis=1>(a)", "not understood"),
        ("LpNormalization<axis=1>(a)", "not understood"),
        ("ReduceMean<axes=[1]>(a)", "over the channels"),
        ("Pad(a, grow)", "pads the channels"),
        ("Div(a, a)", "divides by a computed tensor"),
        ("Transpose<perm=[0,2,1,3]>(a)", "channels on axis 2 meet a weight"),
        ("Reshape(a, mixed)", "Reshape that is not understood"),
    ],
)
def test_what_mixes_or_hides_channels_blocks_and_says_why(middle: str, reason: str) -> None:
    model = model_of(UNKNOWN.format(middle=middle), {"wa": (6, 3, 1, 1), "wc": (4, 6, 1, 1)})
    for name, array in {"grow": [0, 0, 0, 0, 0, 1, 0, 0], "mixed": [0, 3, 2, 36]}.items():
        model.graph.register_initializer(ir.val(name, const_value=ir.tensor(np.array(array), name=name)))
    for node in model.graph:
        for index, value in enumerate(node.inputs):
            if value is not None and value.name in ("grow", "mixed"):
                node.replace_input_with(index, model.graph.initializers[value.name])
    blocked = group_of(model, "a")
    assert isinstance(blocked, Blocked)
    assert reason in blocked.reason


def test_a_single_channel_spread_over_many_blocks() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 13]>
    g (float[N,3,6,6] x) => (float[N,4,6,6] y) {
      a = Conv<kernel_shape=[1,1]>(x, wa)
      m = Conv<kernel_shape=[1,1]>(x, wm)
      b = Mul(a, m)
      y = Conv<kernel_shape=[1,1]>(b, wc)
    }
    """
    weights = {"wa": (6, 3, 1, 1), "wm": (1, 3, 1, 1), "wc": (4, 6, 1, 1)}
    spread, group = (group_of(model_of(text, weights), name) for name in ("m", "a"))
    assert isinstance(spread, Blocked)
    assert "one channel" in spread.reason
    assert isinstance(group, ChannelGroup)
    assert {s.node.outputs[0].name for s in group.slots} == {"a", "y"}


def test_one_output_channel_is_not_depthwise() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 13]>
    g (float[N,1,6,6] x) => (float[N,4,6,6] y) {
      a = Conv<kernel_shape=[1,1], group=1>(x, wa)
      y = Conv<kernel_shape=[1,1]>(a, wb)
    }
    """
    group = group_of(model_of(text, {"wa": (1, 1, 1, 1), "wb": (4, 1, 1, 1)}), "a")
    assert isinstance(group, ChannelGroup)
    assert {s.side for s in group.slots} == {"out", "in"}


@pytest.mark.parametrize("name", ["p", "e", "h"])
def test_zero_padding_changes_no_output(name: str) -> None:
    model, padded = classifier(), classifier()
    group = group_of(padded, name)
    assert isinstance(group, ChannelGroup)
    resize(group, [*range(group.width), *[PADDING] * 5])
    onnx.checker.check_model(ir.to_proto(padded), full_check=True)
    x = np.random.default_rng(1).standard_normal((3, 3, 16, 16)).astype(np.float32)
    np.testing.assert_allclose(output_of(padded, x), output_of(model, x), rtol=1e-5, atol=1e-5)


def test_reordering_a_group_changes_no_output_and_is_remembered() -> None:
    model, shuffled = classifier(), classifier()
    group = group_of(shuffled, "e")
    assert isinstance(group, ChannelGroup)
    order = np.random.default_rng(2).permutation(36).tolist()
    resize(group, order)
    x = np.random.default_rng(1).standard_normal((2, 3, 16, 16)).astype(np.float32)
    np.testing.assert_allclose(output_of(shuffled, x), output_of(model, x), rtol=1e-4, atol=1e-4)
    origin = origin_of(next(n for n in shuffled.graph if n.outputs[0].name == "e"))
    assert origin is not None
    assert origin.channels == tuple(order)


def test_tied_weights_are_copied_not_edited() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 13]>
    tied (float[N,4,6,6] x) => (float[N,4,6,6] y) {
      a = Conv<kernel_shape=[1,1]>(x, w)
      b = Relu(a)
      c = Conv<kernel_shape=[1,1]>(b, w)
      y = Relu(c)
    }
    """
    model, padded = (model_of(text, {"w": (4, 4, 1, 1)}) for _ in range(2))
    group = group_of(padded, "a")
    assert isinstance(group, ChannelGroup)
    resize(group, [0, 1, 2, 3, PADDING])
    x = np.random.default_rng(1).standard_normal((1, 4, 6, 6)).astype(np.float32)
    np.testing.assert_allclose(output_of(padded, x), output_of(model, x), rtol=1e-6)
