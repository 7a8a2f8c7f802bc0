"""The verifier finds what differs and accepts what does not."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from hwopt.edit import set_constant
from hwopt.errors import RewriteFailed
from hwopt.verify import (
    compare,
    differences,
    overflow,
    require_exact,
    require_same_interface,
    same_message,
)
from tests.graphs import classifier


def test_the_same_model_differs_by_nothing() -> None:
    found = differences(classifier(), classifier(), {}, seed=0)
    assert not isinstance(found, str)
    assert [d.max_abs for d in found] == [0.0]
    require_exact(found, "nothing")


def test_one_changed_weight_is_found_and_named() -> None:
    model, other = classifier(), classifier()
    node = other.graph[0]
    weight = node.inputs[1].const_value.numpy().copy()  # type: ignore[union-attr]
    weight[3, 1, 1, 1] += 0.5
    set_constant(node, 1, weight)
    found = differences(model, other, {}, seed=0)
    with pytest.raises(RewriteFailed, match="the plan changed output 'y'"):
        require_exact(found, "the plan")


def test_a_clone_is_the_same_message_and_another_weight_is_not() -> None:
    model, other = classifier(), classifier()
    assert same_message(model, model.clone())
    weight = other.graph[0].inputs[1].const_value.numpy().copy()  # type: ignore[union-attr]
    weight[3, 1, 1, 1] = np.nextafter(weight[3, 1, 1, 1], np.float32(1))
    set_constant(other.graph[0], 1, weight)
    assert not same_message(model, other)


def test_a_renamed_output_breaks_the_interface() -> None:
    model, other = classifier(), classifier()
    other.graph.outputs[0].name = "z"
    with pytest.raises(RewriteFailed, match="interface"):
        require_same_interface(model, other)


def test_metadata_is_part_of_the_interface() -> None:
    model, other = classifier(), classifier()
    other.metadata_props["author"] = "somebody"
    with pytest.raises(RewriteFailed, match="interface"):
        require_same_interface(model, other)


def test_equal_nan_and_infinity_are_equal_and_others_are_not() -> None:
    one = {"y": np.array([np.nan, np.inf, 1.0], np.float32)}
    assert compare(one, {"y": one["y"].copy()})[0].max_abs == 0.0
    assert compare(one, {"y": np.array([np.nan, 3.0, 1.0], np.float32)})[0].max_abs == np.inf
    assert compare(one, {"y": np.array([0.0, np.inf, 1.0], np.float32)})[0].max_abs == np.inf


def test_another_shape_or_type_is_a_difference() -> None:
    one = {"y": np.zeros((2, 3), np.float32)}
    assert compare(one, {"y": np.zeros((3, 2), np.float32)})[0].max_abs == np.inf
    assert compare(one, {"y": np.zeros((2, 3), np.float64)})[0].max_abs == np.inf


def test_a_model_onnxruntime_cannot_load_gives_a_reason() -> None:
    model = classifier()
    model.graph.append(ir.node("NoSuchOperator", [model.graph[0].outputs[0]], domain="nowhere"))
    found = differences(model, model, {}, seed=0)
    assert isinstance(found, str)
    assert "cannot load" in found


def test_where_the_input_overflows_a_difference_proves_nothing() -> None:
    finite = np.array([1.0, 2.0], np.float32)
    beyond = np.array([1.0, np.inf], np.float32)
    huge = np.array([1.0, 3e38], np.float32)
    assert not overflow(compare({"y": finite}, {"y": finite + 1}))  # wrong, and nothing to excuse it
    assert not overflow(compare({"y": beyond}, {"y": beyond}))  # the same infinities
    assert (
        overflow(compare({"y": beyond}, {"y": huge}))
        == "output 'y' of the input itself holds infinities or NaN"
    )
    assert not overflow(compare({"y": beyond, "z": finite}, {"y": huge, "z": finite + 1}))
    assert not overflow(compare({"y": huge}, {"y": beyond}))  # a rewrite that makes an infinity is wrong
