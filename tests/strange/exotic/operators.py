"""Exotic models: opsets, operators of others."""

# ruff: noqa: E501 -- models are read best with one operator after the other

from __future__ import annotations

import onnx
import onnx.numpy_helper
import onnx.parser
from onnx import TensorProto, helper

from tests.strange.exotic.models import (
    BATCHES,
    NCHW,
    Exotic,
    exotic,
    i64,
    parsed,
)

# --- opsets


def opset_model(opset: int) -> Exotic:
    """Two blocks in an opset."""
    return Exotic(
        parsed(f"g ({NCHW} x) => ({NCHW} y) {{ @a x -> h @b h -> y }}", opset=opset),
        BATCHES,
        runs=opset < 27,
    )


for _number in range(7, onnx.defs.onnx_opset_version() + 1):
    exotic(f"opset/{_number:02}")(lambda number=_number: opset_model(number))  # type: ignore[misc]


# --- operators of others


def _foreign(text: str, runs: bool = False, changes: bool = True) -> Exotic:
    header = '<ir_version: 8, opset_import: ["" : 17, "odd" : 3, "com.microsoft" : 1]>'
    return Exotic(parsed(header + text), BATCHES, runs=runs, changes=changes)


@exotic("custom/in_the_middle")
def _custom() -> Exotic:
    text = f'g ({NCHW} x) => ({NCHW} y) {{ @a x -> h u = odd.Twist<turns=3, how="left", grid=[1,2]>(h, abd) @b u -> y }}'
    return _foreign(text)


@exotic("custom/with_shapes")
def _custom_shapes() -> Exotic:
    found = _custom()
    found.proto.graph.value_info.append(helper.make_tensor_value_info("u", TensorProto.FLOAT, ["N", 8, 6, 6]))
    return found


@exotic("custom/inside_the_block")
def _custom_inside() -> Exotic:
    text = f"""g ({NCHW} x) => ({NCHW} y) {{
      @a x -> h
      c = Conv<kernel_shape=[1,1]>(h, aw) t, u = odd.Twist(c, , aw) b = BatchNormalization(t, ag, as, am, av)
      d = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=16>(b, awd, abd)
      y = Conv<kernel_shape=[1,1]>(d, awp, abp) }}"""
    return _foreign(text)


@exotic("custom/reads_folded")
def _custom_reads() -> Exotic:
    return _foreign(f"g ({NCHW} x) => ({NCHW} y, {NCHW} z) {{ @a x -> y z = odd.Look(ac, ag, ar) }}")


@exotic("custom/in_an_if")
def _custom_if() -> Exotic:
    text = f"""g ({NCHW} x, bool k) => ({NCHW} y) {{
      @a x -> h
      z = If(k) <then_branch = t () => ({NCHW} o) {{ o = odd.Twist(h, ac) }},
                 else_branch = e () => ({NCHW} o) {{ o = Neg(h) }}>
      @b z -> y }}"""
    return _foreign(text)


@exotic("custom/known_to_the_runtime")
def _contrib() -> Exotic:
    text = f"""g ({NCHW} x) => ({NCHW} y) {{
      @a x -> h u = com.microsoft.Gelu(h) q = com.microsoft.FusedConv<kernel_shape=[1,1], activation="Relu">(u, cw)
      @b q -> y }}"""
    header = '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>'
    return Exotic(parsed(header + text, {"cw": (8, 8, 1, 1)}), BATCHES)


@exotic("custom/training_operator")
def _preview() -> Exotic:
    text = f"g ({NCHW} x) => ({NCHW} y) {{ @a x -> h u = ai.onnx.ml.Scaler<offset=[0.5], scale=[2.0]>(f2) r = Reshape(u, sh) @b r -> y }}"
    text = text.replace("u = ai", "f2 = Flatten<axis=1>(h) u = ai")
    header = '<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3]>'
    return Exotic(parsed(header + text, {"sh": i64(0, 8, 6, 6)}), BATCHES)
