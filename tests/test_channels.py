"""Channel groups: what is coupled, what blocks, and that resizing by zeros is exact."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hwopt.channels import PADDING, Blocked, ChannelGroup, channel_group, resize
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


def test_a_grouped_convolution_blocks_and_says_so() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 13]>
    g (float[N,4,6,6] x) => (float[N,4,6,6] y) {
      a = Conv<kernel_shape=[1,1]>(x, wa)
      b = Conv<kernel_shape=[1,1], group=2>(a, wb)
      y = Conv<kernel_shape=[1,1]>(b, wc)
    }
    """
    weights = {"wa": (8, 4, 1, 1), "wb": (8, 4, 1, 1), "wc": (4, 8, 1, 1)}
    blocked = group_of(model_of(text, weights), "a")
    assert isinstance(blocked, Blocked)
    assert "2 groups" in blocked.reason


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
