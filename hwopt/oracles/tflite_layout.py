"""Which layout the readers of a tensor want."""

from __future__ import annotations

import onnx_ir as ir

_WANT_LAST = (
    "Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool",
    "BatchNormalization", "Resize", "Upsample", "PRelu",
)  # fmt: skip
_WANT_PLAIN = ("MatMul", "Gemm", "Softmax", "Reshape", "Transpose", "LayerNormalization", "Gather")
_PASS_THROUGH_LIMIT = 64  # values looked at before giving up


def prefers_last(value: ir.Value, rank: int) -> bool:
    """Whether convolutions, rather than matrix products, read this value first.

    Looks through operators that take either layout; where nothing decides, a tensor of rank 4
    counts as an image.
    """
    queue, seen = [value], {value.name}
    position = 0
    while position < len(queue) and position < _PASS_THROUGH_LIMIT:
        for node in queue[position].consumers():
            if node.op_type in _WANT_LAST:
                return True
            if node.op_type in _WANT_PLAIN:
                return False
            fresh = [output for output in node.outputs if output.name not in seen]
            queue.extend(fresh)
            seen.update(output.name for output in fresh)
        position += 1
    return rank == 4
