"""Sizes in the attributes of standard operators: within what any implementation can work with.

A step of zero divides by zero, a kernel of 2^40 overflows what comes out: here, in shape inference, or in
whoever prices the node.
"""

from __future__ import annotations

import onnx

from hwopt.ir.vet_graphs import title
from hwopt.ir.vet_words import Unsound, shown

_LARGEST = 2**31 - 1
_STANDARD = ("", "ai.onnx")
_AT_LEAST_ONE = {"kernel_shape", "strides", "dilations", "group", "blocksize"}
_ANY_SIGN = {"pads", "output_padding"}


def check_sizes(node: onnx.NodeProto) -> None:
    """Raises Unsound for a kernel, step, group or border that cannot be one."""
    if node.domain not in _STANDARD:
        return
    for attribute in node.attribute:
        least = 1 if attribute.name in _AT_LEAST_ONE else -_LARGEST
        if attribute.name not in _AT_LEAST_ONE | _ANY_SIGN or attribute.ref_attr_name:
            continue
        numbers = attribute.ints if attribute.type == onnx.AttributeProto.INTS else [attribute.i]
        wrong = [number for number in numbers if not least <= number <= _LARGEST]
        if wrong:
            raise Unsound(f"the attribute {shown(attribute.name)} of {title(node)} holds {wrong[0]}")
