"""resize_input: which sizes are offered, what pins a resolution, and that it needs permission."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hwopt.choice import Kind, Risk, Skip, Value, in_order
from hwopt.errors import BadInput
from hwopt.passes.resize_input import ResizeInput, smaller
from hwopt.registry import select_passes
from hwopt.rewrite import rewrite
from hwopt.target import Target, read_target
from tests.graphs import CLASSIFIER, CLASSIFIER_WEIGHTS, classifier, ibn, model_of, output_of

EDGE_NPU = Path(__file__).parents[2] / "targets" / "edge-npu"


@pytest.fixture(scope="module")
def target() -> Target:
    return read_target(EDGE_NPU)


def large(edge: int = 64) -> ir.Model:
    return model_of(CLASSIFIER.replace("16,16", f"{edge},{edge}"), CLASSIFIER_WEIGHTS)


def offers(model: ir.Model, target: Target) -> dict[str, Value]:
    return {v.name: v for v in ResizeInput().values(model, target) if isinstance(v, Value)}


def skips(model: ir.Model, target: Target) -> list[str]:
    return [v.reason for v in ResizeInput().values(model, target) if isinstance(v, Skip)]


def test_sizes_are_shares_rounded_to_whole_steps() -> None:
    assert smaller((224, 224)) == [(192, 192), (160, 160), (128, 128), (96, 96)]
    assert smaller((640, 480)) == [(544, 416), (480, 352), (384, 288), (320, 224)]
    assert smaller((64, 64)) == [(56, 56), (48, 48), (40, 40), (32, 32)]
    assert smaller((16, 16)) == []


def test_the_model_takes_smaller_images_and_its_weights_stay(target: Target) -> None:
    model = large()
    found = offers(model, target)
    assert list(found) == ["r56", "r48", "r40", "r32"]
    value = found["r48"]
    assert (value.choice, value.kind, value.risk) == ("input:0", Kind.INPUT, Risk.LOSSY)
    changed = rewrite(model, [value])
    onnx.checker.check_model(ir.to_proto(changed), full_check=True)
    assert str(changed.graph.inputs[0].shape) == "[N,3,48,48]"
    assert set(changed.graph.initializers) == set(model.graph.initializers)
    assert output_of(changed, np.zeros((2, 3, 48, 48), np.float32)).shape == (2, 10)


def test_recorded_shapes_follow(target: Target) -> None:
    model = large()
    stem = model.graph[0].outputs[0]
    stem.shape = ir.Shape(["N", 12, 32, 32])
    changed = rewrite(model, [offers(model, target)["r32"]])
    assert str(changed.graph[0].outputs[0].shape) == "[N,12,16,16]"


FLAT = CLASSIFIER.replace("g = GlobalAveragePool(ha)\n  f = Flatten<axis=1>(g)", "f = Flatten<axis=1>(ha)")
KERNEL = CLASSIFIER.replace("GlobalAveragePool(ha)", "AveragePool<kernel_shape=[32,32]>(ha)")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: model_of(FLAT.replace("16,16", "64,64"), {**CLASSIFIER_WEIGHTS, "wg": (10, 60 * 1024)}),
         "flattens a map of 32x32"),
        (lambda: model_of(KERNEL.replace("16,16", "64,64"), CLASSIFIER_WEIGHTS), "at 56x56"),
        (lambda: segmenter(constant=True), "resizes to a constant size"),
        (lambda: segmenter(constant=False), "would have the shape"),
    ],
)  # fmt: skip
def test_what_pins_the_resolution_is_named(model: object, reason: str, target: Target) -> None:
    assert callable(model)
    made = model()
    assert offers(made, target) == {}
    assert reason in skips(made, target)[0]


def segmenter(constant: bool) -> ir.Model:
    operands = ", , , sizes" if constant else ", , scales"
    text = """
    <ir_version: 8, opset_import: ["" : 13]>
    m (float[N,3,64,64] x) => (float[A,B,C,D] y)
      <int64[4] sizes = {1, 4, 64, 64}, float[4] scales = {1.0, 1.0, 2.0, 2.0}> {
      a = Conv<kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]>(x, w)
      y = Resize<mode="nearest">(aOPERANDS)
    }
    """
    return model_of(text.replace("OPERANDS", operands), {"w": (4, 3, 3, 3)})


def test_a_free_resolution_is_left_to_the_caller(target: Target) -> None:
    model = model_of(CLASSIFIER.replace("16,16", "H,W"), CLASSIFIER_WEIGHTS)
    assert offers(model, target) == {}
    assert "--input-shape" in skips(model, target)[0]


def test_other_inputs_are_none_of_its_business(target: Target) -> None:
    assert offers(ibn(), target) == {}
    assert skips(ibn(), target) == []
    assert offers(classifier(), target) == {}


def test_it_is_offered_only_where_the_interface_may_change() -> None:
    assert "resize_input" not in [item.name for item in select_passes()]
    assert "resize_input" in [item.name for item in select_passes(interface_may_change=True)]
    with pytest.raises(BadInput, match="allow-interface-change"):
        select_passes(["resize_input"])


def test_a_resolution_is_written_before_forms(target: Target) -> None:
    """Forms copy the shapes that they find."""
    form = Value("a:1", Kind.FORM, "v", "t", Risk.LOSSY, ResizeInput.stage, (), lambda model: None)
    value = offers(large(), target)["r32"]
    assert in_order([form, value]) == [value, form]
